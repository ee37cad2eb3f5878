"""Deribit's REST: instruments, turnover, and trades by time or by number, of which none can be missing unnoticed."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.deribit_topics import OPPOSITE, OPTION
from collector.exchanges.topic import INFINITY, MAX_MS, number
from collector.rows import Trade

CREDITS_A_SECOND = 10_000
CREDITS = 500
"""Of one request…"""
LIST_CREDITS = 10_000
"""…and of one for the instruments."""
MOST_TRADES = 1000
"""In one answer."""
KINDS = {"linear": "future", "inverse": "future", "spot": "spot"}
TYPES = {"linear": "linear", "inverse": "reversed"}
CURRENCIES = {
    "linear": ("USDC", "USDT"),
    "inverse": ("BTC", "ETH"),
    "spot": ("BTC", "ETH", "USDC", "USDT"),
}
"""Market → the currencies by which turnover is told."""
ANCHOR_MS = 86_400_000
"""How far before a hole the trade is looked for that its numbers are counted from."""
BY_TIME = "/api/v2/public/get_last_trades_by_instrument_and_time"
BY_NUMBER = "/api/v2/public/get_last_trades_by_instrument"


def result_of(body: bytes) -> Any:
    """Raises BadAnswerError."""
    try:
        answer = msgspec.json.decode(body)
        if "error" in answer:
            raise BadAnswerError(f"error {answer['error']}")
        return answer["result"]
    except (msgspec.DecodeError, KeyError, TypeError) as error:
        raise BadAnswerError(f"not an answer with a result: {error!r}") from error


def instruments_request(market: str) -> Request:
    path = f"/api/v2/public/get_instruments?currency=any&kind={KINDS[market]}&expired=false"
    return Request(path, weight=LIST_CREDITS)


def instruments(market: str, body: bytes) -> list[Instrument]:
    """Raises BadAnswerError."""
    try:
        return [
            instrument(market, item)
            for item in result_of(body)
            if TYPES.get(market) in (None, item.get("instrument_type"))
        ]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not an instrument: {error!r}") from error


def instrument(market: str, item: dict[str, Any]) -> Instrument:
    """`contract_size` is not the venue's: its amounts are in base or quote units, not in contracts."""
    kind = str(item.get("kind", ""))
    if kind == "future" and item.get("settlement_period") == "perpetual":
        kind = "perpetual"
    state = str(item.get("state") or ("open" if item.get("is_active", True) else "inactive"))
    symbol = str(item["instrument_name"])
    return Instrument(
        symbol=symbol,
        base=str(item.get("base_currency", "")),
        quote=str(item.get("quote_currency", "")),
        kind=kind,
        status="trading" if state == "open" else state,
        inverse=market == "inverse" and not OPTION.search(symbol),
        tick=number(item["tick_size"]) if "tick_size" in item else None,
        lot=number(item["min_trade_amount"]) if "min_trade_amount" in item else None,
    )


def turnover_requests(market: str) -> list[Request]:
    return [
        Request(
            f"/api/v2/public/get_book_summary_by_currency?currency={currency}&kind={KINDS[market]}", CREDITS
        )
        for currency in CURRENCIES[market]
    ]


def turnover(body: bytes) -> dict[str, float]:
    """Raises BadAnswerError."""
    try:
        return {str(item["instrument_name"]): number(item.get("volume_usd") or 0) for item in result_of(body)}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not a summary: {error!r}") from error


class DeribitHistory:
    """Rows have the venue's `trade_id`, which has no order; numbers without a gap are `trade_seq`. So the newest trade before
    the hole is asked for first, and from its number on all that follow, until one is younger than the hole or there is
    none: then it is complete for certain. Where no such trade is known, or a number is left out, the trades are asked
    for by time, and the hole is not called complete."""

    reach = "what the venue still lists"

    def __init__(self, market: str) -> None:
        self._market = market

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
            more = bool(result.get("has_more", len(items) >= MOST_TRADES))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadAnswerError(f"not trades: {error!r}") from error
        asked = dict(parse_qsl(urlsplit(request.path).query))
        if asked["sorting"] == "desc":
            known = bool(trades) and trades[-1].ts < hole.from_ts
            return Page(trades, by_number(hole, numbers[-1]) if known else within(hole, hole.from_ts))
        ended = not more or not trades or trades[-1].ts > hole.to_ts
        if "start_seq" in asked:
            first = int(asked["start_seq"])
            if numbers == list(range(first, first + len(numbers))) and numbers:
                return Page(trades, None if ended else by_number(hole, numbers[-1] + 1), ended)
            return Page(trades, within(hole, hole.from_ts))
        # A millisecond that fills a page can't be passed by time.
        stuck = ended or trades[-1].ts // 1000 <= int(asked["start_timestamp"])
        return Page(trades, None if stuck else within(hole, trades[-1].ts))

    def _trade(self, symbol: str, item: dict[str, Any], recv_us: int) -> Trade:
        price, amount, at = number(item["price"]), number(item["amount"]), item["timestamp"]
        inverse = self._market == "inverse" and not OPTION.search(symbol)
        qty = amount / (price or INFINITY) if inverse else amount
        side, trade_id = item["direction"], item["trade_id"]
        if not (
            price > 0
            and 0 < qty < INFINITY
            and 0 < at < MAX_MS
            and side in OPPOSITE
            and trade_id
            and isinstance(trade_id, str)
        ):
            raise ValueError(f"impossible trade {item!r}")
        return Trade(at * 1000, recv_us, "deribit", self._market, symbol, side, price, qty, trade_id)


def within(hole: Hole, from_ts: int) -> Request:
    """The rest of the hole; which bound belongs to it is not documented."""
    return by_time(hole, from_ts // 1000 - 1, hole.to_ts // 1000 + 1, MOST_TRADES, "asc")


def by_time(hole: Hole, start_ms: int, end_ms: int, count: int, sorting: str) -> Request:
    return Request(
        f"{BY_TIME}?instrument_name={quote(hole.symbol)}&start_timestamp={max(0, start_ms)}&end_timestamp={end_ms}"
        f"&count={count}&sorting={sorting}",
        CREDITS,
    )


def by_number(hole: Hole, first: int) -> Request:
    return Request(
        f"{BY_NUMBER}?instrument_name={quote(hole.symbol)}&start_seq={first}&count={MOST_TRADES}&sorting=asc",
        CREDITS,
    )
