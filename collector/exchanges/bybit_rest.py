"""Bybit's REST v5: instruments, turnover, and recent trades, which are all that it offers to fill a hole with."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.bybit_topics import TAKER
from collector.exchanges.topic import INFINITY, MAX_MS, number
from collector.rows import Trade

KINDS = {"LinearPerpetual": "perpetual", "InversePerpetual": "perpetual"}
MOST_TRADES = {"spot": 60}
"""Recent trades that can be had, newest first; elsewhere 1,000."""


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


def turnover(body: bytes) -> dict[str, float]:
    """Raises BadAnswerError."""
    try:
        return {str(item["symbol"]): number(item["turnover24h"]) for item in result_of(body)["list"]}
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswerError(f"not a ticker: {error!r}") from error


class BybitHistory:
    """`recent-trade` has no range: the newest 1,000 (spot: 60) fill a hole, or the end of it, if it is asked for at once."""

    def __init__(self, market: str) -> None:
        self._market = market
        self.reach = f"the newest {MOST_TRADES.get(market, 1000):,} trades"

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        limit = MOST_TRADES.get(self._market, 1000)
        return Request(
            f"/v5/market/recent-trade?category={self._market}&symbol={quote(hole.symbol)}&limit={limit}"
        )

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        items = result_of(body)["list"]
        try:
            trades = [self._trade(hole.symbol, item, recv_us) for item in items]
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswerError(f"not a trade: {error!r}") from error
        oldest = min((trade.ts for trade in trades), default=0)
        # An answer of fewer than were asked for is all that there ever was.
        complete = oldest < hole.from_ts or len(trades) < MOST_TRADES.get(self._market, 1000)
        return Page(trades, None, complete)

    def _trade(self, symbol: str, item: dict[str, Any], recv_us: int) -> Trade:
        price, size, at = number(item["price"]), number(item["size"]), int(item["time"])
        qty = size / (price or INFINITY) if self._market == "inverse" else size
        if not (price > 0 and 0 < qty < INFINITY and 0 < at < MAX_MS):
            raise ValueError(f"impossible trade {item!r}")
        trade_id = str(item["execId"])
        return Trade(
            at * 1000, recv_us, "bybit", self._market, symbol, TAKER[item["side"]], price, qty, trade_id
        )
