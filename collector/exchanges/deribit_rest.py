"""Deribit's REST: instruments, turnover, and trades by number, of which none can be missing unnoticed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.deribit_topics import OPPOSITE
from collector.exchanges.topic import INFINITY, MAX_MS, number
from collector.rows import Liquidation, Trade

CREDITS_A_SECOND = 8000
"""Of the 10,000 that come back; the rest is left to subscriptions."""
CREDITS = 500
"""Of a request."""
LISTING_CREDITS = 8000
"""Of the list of all instruments, which has a limit of its own: rarely asked for."""
PAGE = 1000
ANCHOR_MS = 86_400_000
"""How far before a hole the trade is looked for from whose number the others are counted."""
KINDS = {"spot": "spot", "option": "option"}


def result_of(body: bytes) -> Any:
    """Raises BadAnswerError."""
    try:
        answer = msgspec.json.decode(body)
        if "error" in answer:
            raise BadAnswerError(f"error {answer['error']}")
        return answer["result"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise BadAnswerError(f"not an answer with a result: {error!r}") from error


def market_of(item: dict[str, Any]) -> str:
    """ "spot", "linear" or "inverse"."""
    if item["kind"] == "spot":
        return "spot"
    # "reversed" is coin-settled; so are options, which have no such member in early answers.
    return "linear" if item.get("instrument_type") == "linear" else "inverse"


def instruments_request(market: str) -> Request:
    kind = "&kind=spot" if market == "spot" else ""
    return Request(f"/api/v2/public/get_instruments?currency=any&expired=false{kind}", LISTING_CREDITS)


def instruments(market: str, body: bytes) -> list[Instrument]:
    """Raises BadAnswerError."""
    try:
        return [instrument(item) for item in result_of(body) if market_of(item) == market]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not an instrument: {error!r}") from error


def instrument(item: dict[str, Any]) -> Instrument:
    perpetual = item.get("settlement_period") == "perpetual"
    return Instrument(
        symbol=str(item["instrument_name"]),
        base=str(item.get("base_currency", "")),
        quote=str(item.get("quote_currency", "")),
        kind=KINDS.get(str(item["kind"]), "perpetual" if perpetual else "future"),
        status="trading" if item.get("is_active", True) else "inactive",
        inverse=market_of(item) == "inverse" and item["kind"] != "option",
        tick=number(item["tick_size"]) if "tick_size" in item else None,
        lot=number(item["min_trade_amount"]) if "min_trade_amount" in item else None,
    )


def turnover_request(market: str) -> Request:
    kind = "&kind=spot" if market == "spot" else ""
    return Request(f"/api/v2/public/get_book_summary_by_currency?currency=any{kind}", CREDITS)


def turnover(market: str, body: bytes) -> dict[str, float]:
    """All markets' symbols: what is of another market is not in this one's list. Raises BadAnswerError."""
    try:
        return {
            str(item["instrument_name"]): number(item.get("volume_usd") or item.get("volume_notional") or 0.0)
            for item in result_of(body)
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not a summary: {error!r}") from error


class DeribitHistory:
    """Trades, or those of them that were forced, as liquidations. Rows have the venue's `trade_id`, which has no order; the
    numbers without a gap are `trade_seq`. So the newest trade before the hole is asked for, and from its number on all that
    follow, until one is younger than the hole or there is none: then the hole is complete for certain. Where no such trade
    is known, or a number is left out, what there is is asked for by time, and the hole is not called complete."""

    reach = "what the venue still lists"

    def __init__(self, market: str, channel: str) -> None:
        self._market, self._forced = market, channel == "liquidations"

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        before_ms = hole.from_ts // 1000 - 1
        return by_time(hole, before_ms - ANCHOR_MS, before_ms, 1, "desc")

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        result = result_of(body)
        try:
            items = sorted(result["trades"], key=lambda item: int(item["trade_seq"]))
            trades = [self._trade(hole.symbol, item, recv_us) for item in items]
            numbers = [int(item["trade_seq"]) for item in items]
            rows = forced_rows(items, trades) if self._forced else trades
            more = bool(result["has_more"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadAnswerError(f"not a trade: {error!r}") from error
        asked = dict(parse_qsl(urlsplit(request.path).query))
        if asked["sorting"] == "desc":
            known = bool(trades) and trades[-1].ts < hole.from_ts
            return Page(rows, by_number(hole, numbers[-1]) if known else within(hole, hole.from_ts))
        ended = not more or not trades or trades[-1].ts > hole.to_ts
        if "start_seq" in asked:
            first = int(asked["start_seq"])
            if not numbers or numbers != list(range(first, first + len(numbers))):
                return Page(rows, within(hole, hole.from_ts))
            return Page(rows, None if ended else by_number(hole, numbers[-1] + 1), complete=ended)
        # A millisecond that fills a page can't be passed by time.
        stuck = ended or trades[-1].ts // 1000 <= int(asked["start_timestamp"])
        return Page(rows, None if stuck else within(hole, trades[-1].ts + 1000))

    def _trade(self, symbol: str, item: dict[str, Any], recv_us: int) -> Trade:
        price, amount, at, side = (
            number(item["price"]),
            number(item["amount"]),
            int(item["timestamp"]),
            item["direction"],
        )
        qty = (
            amount / (price or INFINITY)
            if self._market == "inverse" and not symbol.endswith(("-C", "-P"))
            else amount
        )
        if not (price > 0 and 0 < qty < INFINITY and 0 < at < MAX_MS and side in ("buy", "sell")):
            raise ValueError(f"impossible trade {item!r}")
        where = ("deribit", self._market, symbol)
        return Trade(at * 1000, recv_us, *where, side, price, qty, str(item["trade_id"]))


def forced_rows(items: Sequence[dict[str, Any]], trades: Sequence[Trade]) -> list[Liquidation]:
    """Of the trades that were read from the items. Raises ValueError."""
    rows = []
    for item, trade in zip(items, trades, strict=True):
        mark = item.get("liquidation") or "none"
        if mark not in ("none", "M", "T", "MT"):
            raise ValueError(f"mark {mark!r}")
        side = item["direction"]
        rows += [
            Liquidation(
                trade.ts,
                trade.recv_ts,
                *(trade.exchange, trade.market, trade.symbol),
                side if who == "T" else OPPOSITE[side],
                trade.price,
                trade.qty,
                f"{trade.trade_id}-{who}",
            )
            for who in ("" if mark == "none" else mark)
        ]
    return rows


def within(hole: Hole, from_ts: int) -> Request:
    """The rest of the hole; a millisecond more on either side, as it is not documented which bound belongs to it."""
    return by_time(hole, from_ts // 1000 - 1, hole.to_ts // 1000 + 1, PAGE, "asc")


def by_time(hole: Hole, start_ms: int, end_ms: int, count: int, sorting: str) -> Request:
    return Request(
        f"/api/v2/public/get_last_trades_by_instrument_and_time?instrument_name={quote(hole.symbol)}"
        f"&start_timestamp={max(0, start_ms)}&end_timestamp={end_ms}&count={count}&sorting={sorting}",
        CREDITS,
    )


def by_number(hole: Hole, first: int) -> Request:
    return Request(
        f"/api/v2/public/get_last_trades_by_instrument?instrument_name={quote(hole.symbol)}"
        f"&start_seq={first}&count={PAGE}&sorting=asc",
        CREDITS,
    )
