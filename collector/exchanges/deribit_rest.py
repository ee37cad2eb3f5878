"""Deribit's REST: instruments, turnover, and trades by time."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.topic import INFINITY, MAX_MS, number
from collector.rows import Trade

CREDITS_A_SECOND = 8000
"""Of the 10,000 that come back; the rest is left to subscriptions."""
CREDITS = 500
"""Of a request."""
LISTING_CREDITS = 8000
"""Of the list of all instruments, which has a limit of its own: rarely asked for."""
PAGE = 1000
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
    """`get_last_trades_by_instrument_and_time`, oldest first; whole when the venue says that there are no more."""

    reach = "all trades, by time"

    def __init__(self, market: str) -> None:
        self._market = market

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        return self._request(hole, hole.from_ts // 1000)

    def _request(self, hole: Hole, start_ms: int) -> Request:
        # A millisecond more: whether the venue's bound is closed does not matter then.
        end_ms = hole.to_ts // 1000 + 1
        return Request(
            f"/api/v2/public/get_last_trades_by_instrument_and_time?instrument_name={quote(hole.symbol)}"
            f"&start_timestamp={start_ms}&end_timestamp={end_ms}&count={PAGE}&sorting=asc",
            CREDITS,
        )

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        result = result_of(body)
        try:
            trades = [self._trade(hole.symbol, item, recv_us) for item in result["trades"]]
            more = bool(result["has_more"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadAnswerError(f"not a trade: {error!r}") from error
        if not more or not trades:
            return Page(trades, None, complete=not more)
        newest_ms = max(trade.ts for trade in trades) // 1000
        start_ms = int(request.path.partition("&start_timestamp=")[2].partition("&")[0])
        # A millisecond with more trades than a page can't be paged by time: what is left of it stays missing.
        following = newest_ms if newest_ms > start_ms else None
        return Page(trades, None if following is None else self._request(hole, following))

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
