"""BitMEX's REST: instruments, turnover, and trades by time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.bitmex_topics import SIDES
from collector.exchanges.isotime import iso_us
from collector.exchanges.topic import INFINITY, base_units, number
from collector.rows import Trade

KINDS = {"FFWCSX": "perpetual", "FFWCSF": "perpetual", "FFCCSX": "future", "FFCCSF": "future"}
SATOSHI = 1e8
PAGE = 1000


def items_of(body: bytes) -> list[dict[str, Any]]:
    """Raises BadAnswerError."""
    try:
        return msgspec.json.decode(body, type=list[dict[str, Any]])
    except msgspec.DecodeError as error:
        raise BadAnswerError(f"not a list of objects: {error}") from error


def listed(market: str, item: dict[str, Any]) -> bool:
    """Whether it is of this market. Quanto contracts are of neither: what one is worth moves with another price."""
    inverse = bool(item.get("isInverse"))
    return item.get("typ") in KINDS and not item.get("isQuanto") and inverse == (market == "inverse")


def instruments(market: str, body: bytes) -> list[Instrument]:
    """Raises BadAnswerError."""
    try:
        return [instrument(item) for item in items_of(body) if listed(market, item)]
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BadAnswerError(f"not an instrument: {error!r}") from error


def instrument(item: dict[str, Any]) -> Instrument:
    inverse = bool(item["isInverse"])
    # Inverse: the multiplier is what a contract is worth, in satoshi at a price of 1. Linear: contracts a base unit.
    size = (
        abs(number(item["multiplier"])) / SATOSHI
        if inverse
        else 1 / number(item["underlyingToPositionMultiplier"])
    )
    return Instrument(
        symbol=str(item["symbol"]),
        base=str(item.get("underlying", "")),
        quote=str(item.get("quoteCurrency", "")),
        kind=KINDS[item["typ"]],
        status="trading" if item.get("state") == "Open" else str(item.get("state", "")),
        contract_size=size,
        inverse=inverse,
        tick=number(item["tickSize"]) if item.get("tickSize") is not None else None,
        lot=number(item["lotSize"]) if item.get("lotSize") is not None else None,
    )


def turnover(market: str, body: bytes) -> dict[str, float]:
    """`foreignNotional24h` is in the quote currency. Raises BadAnswerError."""
    try:
        return {
            str(item["symbol"]): number(item.get("foreignNotional24h") or 0.0)
            for item in items_of(body)
            if listed(market, item)
        }
    except (KeyError, TypeError, ValueError) as error:
        raise BadAnswerError(f"not an instrument: {error!r}") from error


def iso(us: int) -> str:
    return datetime.fromtimestamp(us // 1000 / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class BitmexHistory:
    """`/trade` by time, oldest first, 1,000 a page; `start` passes over those of earlier pages."""

    reach = "all trades, by time"

    def __init__(self, market: str) -> None:
        self._market = market

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        return self._request(hole, 0)

    def _request(self, hole: Hole, start: int) -> Request:
        # The last millisecond belongs to the hole, whatever the venue takes its bound for.
        times = f"&startTime={quote(iso(hole.from_ts))}&endTime={quote(iso(hole.to_ts + 1000))}"
        return Request(f"/api/v1/trade?symbol={quote(hole.symbol)}&count={PAGE}&start={start}{times}")

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        if instrument is None:
            raise BadAnswerError(
                f"the venue lists no {hole.symbol}, so the size of its contracts is not known"
            )
        items = items_of(body)
        try:
            trades = [self._trade(item, instrument, recv_us) for item in items]
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswerError(f"not a trade: {error!r}") from error
        if len(items) < PAGE:
            return Page(trades, None, complete=True)
        start = int(request.path.partition("&start=")[2].partition("&")[0])
        return Page(trades, self._request(hole, start + PAGE))

    def _trade(self, item: dict[str, Any], instrument: Instrument, recv_us: int) -> Trade:
        price = number(item["price"])
        qty = base_units(number(item["size"]), price, instrument)
        if not (price > 0 and 0 < qty < INFINITY and item["trdMatchID"]):
            raise ValueError(f"impossible trade {item!r}")
        side = SIDES[item["side"]] if item.get("side") else None
        where = ("bitmex", self._market, instrument.symbol)
        return Trade(iso_us(item["timestamp"]), recv_us, *where, side, price, qty, str(item["trdMatchID"]))
