"""Bybit's REST v5: the instruments."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from collector.exchanges.base import BadAnswerError, Instrument, Request
from collector.exchanges.topic import number

KINDS = {"LinearPerpetual": "perpetual", "InversePerpetual": "perpetual"}


def result_of(body: bytes) -> dict[str, Any]:
    """Raises BadAnswerError."""
    try:
        answer = msgspec.json.decode(body)
        if answer["retCode"] != 0:
            raise BadAnswerError(f"retCode {answer['retCode']}: {answer.get('retMsg')}")
        result: dict[str, Any] = answer["result"]
        result["list"]  # every answer used here has one
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise BadAnswerError(f"not an answer with a list: {error!r}") from error
    return result


def instruments_request(market: str, cursor: str) -> Request:
    page = f"&cursor={quote(cursor)}" if cursor else ""
    return Request(f"/v5/market/instruments-info?category={market}&limit=1000{page}")


def instruments(market: str, body: bytes) -> tuple[list[Instrument], str]:
    """Raises BadAnswerError."""
    result = result_of(body)
    try:
        listed = [instrument(market, item) for item in result["list"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not an instrument: {error!r}") from error
    return listed, str(result.get("nextPageCursor") or "")


def instrument(market: str, item: dict[str, Any]) -> Instrument:
    status, prices, lots = item.get("status", ""), item.get("priceFilter", {}), item.get("lotSizeFilter", {})
    return Instrument(
        symbol=str(item["symbol"]),
        base=str(item.get("baseCoin", "")),
        quote=str(item.get("quoteCoin", "")),
        kind="spot" if market == "spot" else KINDS.get(str(item.get("contractType", "")), "future"),
        status="trading" if status == "Trading" else str(status),
        inverse=market == "inverse",
        tick=number(prices["tickSize"]) if "tickSize" in prices else None,
        lot=next((number(lots[key]) for key in ("qtyStep", "basePrecision") if key in lots), None),
    )
