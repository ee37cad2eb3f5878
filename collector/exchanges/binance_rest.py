"""Binance's REST: instruments, turnover, and trades by id."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.topic import INFINITY, MAX_MS, base_units, number
from collector.rows import Trade

API = {"linear": "/fapi/v1", "inverse": "/dapi/v1", "spot": "/api/v3"}
KINDS = {"PERPETUAL": "perpetual", "TRADIFI_PERPETUAL": "perpetual"}
LISTING_WEIGHT = {"linear": 1, "inverse": 1, "spot": 20}
TURNOVER_WEIGHT = {"linear": 40, "inverse": 40, "spot": 80}
HISTORY_WEIGHT = {"linear": 20, "inverse": 20, "spot": 25}
PAGE = 1000
HOUR_MS = 3_600_000


def decoded(body: bytes) -> Any:
    """Raises BadAnswerError."""
    try:
        return msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        raise BadAnswerError(f"not JSON: {error}") from error


def instruments_request(market: str) -> Request:
    return Request(f"{API[market]}/exchangeInfo", LISTING_WEIGHT[market])


def instruments(market: str, body: bytes) -> list[Instrument]:
    """Raises BadAnswerError."""
    try:
        return [instrument(market, item) for item in decoded(body)["symbols"]]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not an instrument: {error!r}") from error


def instrument(market: str, item: dict[str, Any]) -> Instrument:
    filters = {one["filterType"]: one for one in item.get("filters", ())}
    status = item.get("contractStatus") or item.get("status") or ""
    inverse = market == "inverse"
    return Instrument(
        symbol=str(item["symbol"]),
        base=str(item.get("baseAsset", "")),
        quote=str(item.get("quoteAsset", "")),
        kind="spot" if market == "spot" else KINDS.get(str(item.get("contractType", "")), "future"),
        status="trading" if status == "TRADING" else str(status),
        contract_size=number(item["contractSize"]) if inverse else 1.0,
        inverse=inverse,
        tick=number(filters["PRICE_FILTER"]["tickSize"]) if "PRICE_FILTER" in filters else None,
        lot=number(filters["LOT_SIZE"]["stepSize"]) if "LOT_SIZE" in filters else None,
    )


def turnover_request(market: str) -> Request:
    return Request(f"{API[market]}/ticker/24hr", TURNOVER_WEIGHT[market])


def turnover(market: str, body: bytes) -> dict[str, float]:
    """Raises BadAnswerError."""
    try:
        if market == "inverse":
            return {
                str(item["symbol"]): number(item["baseVolume"]) * number(item["lastPrice"])
                for item in decoded(body)
            }
        return {str(item["symbol"]): number(item["quoteVolume"]) for item in decoded(body)}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not a ticker: {error!r}") from error


class BinanceHistory:
    """Ids rise by one, and REST has them: `aggTrades` on futures, `historicalTrades` on spot. From the newest known id on
    until a trade after the hole; where none is known, by time on futures, and the newest trades on spot."""

    def __init__(self, market: str) -> None:
        self._market = market
        self.reach = "all trades, by id" if market == "spot" else "48 hours, by id"

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        if hole.last_id.isdigit():
            return self._from_id(hole, int(hole.last_id) + 1)
        if self._market == "spot":
            return Request(f"/api/v3/trades?symbol={quote(hole.symbol)}&limit={PAGE}", HISTORY_WEIGHT["spot"])
        start = hole.from_ts // 1000
        end = min(hole.to_ts // 1000 + 1, start + HOUR_MS - 1)
        return Request(
            f"{API[self._market]}/aggTrades?symbol={quote(hole.symbol)}&limit={PAGE}&startTime={start}&endTime={end}",
            HISTORY_WEIGHT[self._market],
        )

    def _from_id(self, hole: Hole, first: int) -> Request:
        what = "historicalTrades" if self._market == "spot" else "aggTrades"
        path = f"{API[self._market]}/{what}?symbol={quote(hole.symbol)}&limit={PAGE}&fromId={first}"
        return Request(path, HISTORY_WEIGHT[self._market])

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        items = decoded(body)
        try:
            trades = [self._trade(hole.symbol, item, instrument, recv_us) for item in items]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BadAnswerError(f"not a trade: {error!r}") from error
        trades.sort(key=lambda trade: int(trade.trade_id))
        by_id = "&fromId=" in request.path
        if not trades:
            # By id: nothing after the newest known one. By time: an hour without trades, of a hole that may be longer.
            return Page([], None, complete=by_id or hole.to_ts - hole.from_ts < HOUR_MS * 1000)
        first, last = trades[0], trades[-1]
        if by_id and int(first.trade_id) != int(request.path.partition("&fromId=")[2]):
            return Page(trades, None)  # the venue no longer has what comes between
        if not by_id and self._market == "spot":
            return Page(trades, None, complete=first.ts < hole.from_ts)
        if last.ts > hole.to_ts or (len(trades) < PAGE and by_id):
            return Page(trades, None, complete=True)
        return Page(trades, self._from_id(hole, int(last.trade_id) + 1))

    def _trade(self, symbol: str, item: dict[str, Any], instrument: Instrument | None, recv_us: int) -> Trade:
        spot = self._market == "spot"
        number_, price, size, at, sold = (
            (item["id"], item["price"], item["qty"], item["time"], item["isBuyerMaker"])
            if spot
            else (item["a"], item["p"], item["q"], item["T"], item["m"])
        )
        amount = number(price)
        qty = base_units(number(size), amount, instrument if self._market == "inverse" else None)
        if not (amount > 0 and 0 < qty < INFINITY and 0 < int(at) < MAX_MS):
            raise ValueError(f"impossible trade {item!r}")
        side = "sell" if sold else "buy"
        where = ("binance", self._market, symbol)
        return Trade(int(at) * 1000, recv_us, *where, side, amount, qty, str(int(number_)))
