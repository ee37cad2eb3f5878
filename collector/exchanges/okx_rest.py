"""OKX's REST: instruments, turnover, trades by id and liquidations by time, walked back from the end of a hole."""

from __future__ import annotations

from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.topic import INFINITY, MAX_MS, base_units, number
from collector.rows import Liquidation, Trade

PAGE = 100
KINDS = {"SPOT": "spot", "SWAP": "perpetual", "FUTURES": "future"}
FUTURES = "FUTURES"
"""The cursor of the second page: derivatives are listed by kind."""


def data_of(body: bytes) -> list[dict[str, Any]]:
    """Raises BadAnswerError."""
    try:
        answer = msgspec.json.decode(body)
        if str(answer["code"]) != "0":
            raise BadAnswerError(f"code {answer['code']}: {answer.get('msg')}")
        data: list[dict[str, Any]] = answer["data"]
        if not isinstance(data, list):
            raise BadAnswerError("data is no list")
        return data
    except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
        raise BadAnswerError(f"not an answer with code and data: {error!r}") from error


def instruments_request(market: str, cursor: str) -> Request:
    kind = "SPOT" if market == "spot" else cursor or "SWAP"
    return Request(f"/api/v5/public/instruments?instType={kind}")


def instruments(market: str, body: bytes) -> tuple[list[Instrument], str]:
    """Raises BadAnswerError."""
    items = data_of(body)
    try:
        listed = [instrument(item) for item in items if market_of(item) == market]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not an instrument: {error!r}") from error
    swaps = market != "spot" and any(item["instType"] == "SWAP" for item in items)
    return listed, FUTURES if swaps else ""


def market_of(item: dict[str, Any]) -> str:
    return "spot" if item["instType"] == "SPOT" else str(item.get("ctType", ""))


def instrument(item: dict[str, Any]) -> Instrument:
    symbol, state = str(item["instId"]), str(item.get("state", "live"))
    base, _, quoted = symbol.partition("-")
    spot = item["instType"] == "SPOT"
    size = 1.0 if spot else number(item["ctVal"]) * number(item.get("ctMult") or 1)
    if not 0.0 < size < INFINITY:
        raise ValueError(f"contract size of {symbol}")
    return Instrument(
        symbol=symbol,
        base=base,
        quote=quoted.partition("-")[0],
        kind=KINDS.get(str(item["instType"]), "option"),
        status="trading" if state == "live" else state,
        contract_size=size,
        inverse=market_of(item) == "inverse",
        tick=number(item["tickSz"]) if item.get("tickSz") else None,
        lot=number(item["lotSz"]) if item.get("lotSz") else None,
    )


def turnover_request(market: str) -> Request:
    return Request(f"/api/v5/market/tickers?instType={'SPOT' if market == 'spot' else 'SWAP'}")


def turnover(market: str, body: bytes) -> dict[str, float]:
    """All markets' symbols: what is of another market is not in this one's list. Raises BadAnswerError."""
    found = {}
    try:
        for item in data_of(body):
            volume = number(item["volCcy24h"] or 0)
            # Of spot it is in quote units, of swaps in coins.
            found[str(item["instId"])] = volume * (1.0 if market == "spot" else number(item["last"] or 0))
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not a ticker: {error!r}") from error
    return found


class OkxHistory:
    """Single fills, newest first, by id from the oldest trade after the hole backwards, until one is older than the hole:
    then it is complete for certain. Where that trade is not known, the first page is had by time."""

    reach = "what the venue still lists"

    def __init__(self, market: str) -> None:
        self._market = market

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        if hole.next_id.isdigit():
            return before_id(hole, int(hole.next_id))
        # A millisecond more, as it is not documented whether the bound belongs to it.
        return page_of(hole, f"type=2&after={hole.to_ts // 1000 + 2}")

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        items = data_of(body)
        try:
            trades = [self._trade(hole.symbol, item, instrument, recv_us) for item in items]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadAnswerError(f"not a trade: {error!r}") from error
        if not trades:
            return Page([], None)
        oldest = min(trades, key=lambda trade: int(trade.trade_id))
        number_ = int(oldest.trade_id)
        known = int(hole.last_id) if hole.last_id.isdigit() else -1
        if oldest.ts < hole.from_ts or number_ <= known + 1:
            return Page(trades, None, complete=True)
        asked = dict(parse_qsl(urlsplit(request.path).query))
        if asked["type"] == "1" and number_ >= int(asked["after"]):
            return Page(trades, None)  # not older than what was asked for: it would never end
        return Page(trades, before_id(hole, number_))

    def _trade(self, symbol: str, item: dict[str, Any], instrument: Instrument | None, recv_us: int) -> Trade:
        price, at, side, trade_id = number(item["px"]), int(item["ts"]), item["side"], int(item["tradeId"])
        qty = base_units(number(item["sz"]), price, None if self._market == "spot" else instrument)
        if not (
            price > 0 and 0 < qty < INFINITY and 0 < at < MAX_MS and side in ("buy", "sell") and trade_id >= 0
        ):
            raise ValueError(f"impossible trade {item!r}")
        where = ("okx", self._market, symbol)
        return Trade(at * 1000, recv_us, *where, side, price, qty, str(trade_id))


class OkxLiquidationHistory:
    """`liquidation-orders` of an underlying, newest first, by time from the end of the hole backwards, until one is older
    than the hole: then it is complete for certain. It may have more than the socket, which tells one a second."""

    reach = "7 days, by time"

    def __init__(self, market: str) -> None:
        self._market = market

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        return forced_before(hole, hole.to_ts // 1000 + 2)

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        try:
            told = [(str(item["instId"]), order) for item in data_of(body) for order in item["details"]]
            times = [int(order["ts"]) for _, order in told]
            seen: Counter[str] = Counter()
            rows = [
                self._row(hole.symbol, order, instrument, recv_us, seen)
                for symbol, order in told
                if symbol == hole.symbol
            ]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadAnswerError(f"not a liquidation: {error!r}") from error
        if not times:
            return Page(rows, None)
        oldest = min(times)
        if oldest * 1000 < hole.from_ts:
            return Page(rows, None, complete=True)
        # A millisecond more, as its other orders may be on the next page; one that fills a page can't be passed by time.
        before = oldest + 1
        asked = int(dict(parse_qsl(urlsplit(request.path).query))["after"])
        return Page(rows, forced_before(hole, before) if before < asked else None)

    def _row(
        self,
        symbol: str,
        item: dict[str, Any],
        instrument: Instrument | None,
        recv_us: int,
        seen: Counter[str],
    ) -> Liquidation:
        price, size, at, side = number(item["bkPx"]), number(item["sz"]), int(item["ts"]), item["side"]
        qty = base_units(size, price, instrument)
        if not (price > 0 and 0 < qty < INFINITY and 0 < at < MAX_MS and side in ("buy", "sell")):
            raise ValueError(f"impossible order {item!r}")
        content = liquidation_content(at, side, price, size)
        liq_id = f"{content}-{seen[content]}"
        seen[content] += 1
        return Liquidation(at * 1000, recv_us, "okx", self._market, symbol, side, price, qty, liq_id)


def liquidation_content(at_ms: int, side: str, price: float, size: float) -> str:
    """What tells an order from others: the venue gives it no id. Several alike are numbered from 0."""
    return f"{at_ms}-{side}-{price!r}-{size!r}"


def forced_before(hole: Hole, before_ms: int) -> Request:
    parts = hole.symbol.split("-")
    kind, underlying = "SWAP" if parts[-1] == "SWAP" else "FUTURES", "-".join(parts[:2])
    return Request(
        f"/api/v5/public/liquidation-orders?instType={kind}&uly={quote(underlying)}&state=filled"
        f"&after={before_ms}&limit={PAGE}"
    )


def before_id(hole: Hole, trade_id: int) -> Request:
    return page_of(hole, f"type=1&after={trade_id}")


def page_of(hole: Hole, bounds: str) -> Request:
    return Request(f"/api/v5/market/history-trades?instId={quote(hole.symbol)}&{bounds}&limit={PAGE}")
