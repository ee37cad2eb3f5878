"""Kraken's REST: pairs, turnover, and trades by time."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any

from collector.exchanges.base import BadAnswerError, Hole, Instrument, Page, Request
from collector.exchanges.topic import INFINITY, MAX_MS, number
from collector.rows import Trade

PAGE = 1000
OLD_NAMES = {"XBT": "BTC", "XDG": "DOGE"}
"""REST's names of coins → those of the socket."""
QUOTES = ("USDT", "USDC", "USD", "EUR", "GBP", "AUD", "CAD", "CHF", "JPY", "XBT", "ETH")
SIDES = {"b": "buy", "s": "sell"}


def result_of(body: bytes) -> Any:
    """Raises BadAnswerError."""
    try:
        answer = json.loads(body, parse_float=Decimal)
        if answer["error"]:
            raise BadAnswerError(f"error {answer['error']}")
        return answer["result"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, BadAnswerError):
            raise
        raise BadAnswerError(f"not an answer with a result: {error!r}") from error


def symbol_of(wsname: str) -> str:
    base, _, quoted = wsname.partition("/")
    return f"{OLD_NAMES.get(base, base)}/{OLD_NAMES.get(quoted, quoted)}"


def pair_of(symbol: str) -> str:
    """As REST has it."""
    new_names = {new: old for old, new in OLD_NAMES.items()}
    return "".join(new_names.get(coin, coin) for coin in symbol.split("/"))


def instruments_request(market: str) -> Request:
    return Request("/0/public/AssetPairs")


def instruments(market: str, body: bytes) -> list[Instrument]:
    """Raises BadAnswerError."""
    result = result_of(body)
    try:
        return [instrument(item) for item in result.values() if item.get("wsname")]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadAnswerError(f"not a pair: {error!r}") from error


def instrument(item: dict[str, Any]) -> Instrument:
    symbol, status = symbol_of(str(item["wsname"])), str(item.get("status", "online"))
    base, _, quoted = symbol.partition("/")
    return Instrument(
        symbol=symbol,
        base=base,
        quote=quoted,
        kind="spot",
        status="trading" if status == "online" else status,
        tick=number(item["tick_size"]) if item.get("tick_size") else None,
        lot=10.0 ** -int(item["lot_decimals"]) if item.get("lot_decimals") is not None else None,
    )


def turnover_request(market: str) -> Request:
    return Request("/0/public/Ticker")


def turnover(market: str, body: bytes) -> dict[str, float]:
    """Of pairs whose name can be taken apart ("XBTUSD", "XXBTZUSD"). Raises BadAnswerError."""
    result, found = result_of(body), {}
    try:
        for name, item in result.items():
            if symbol := apart(name):
                found[symbol] = number(item["v"][1]) * number(item["c"][0])
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise BadAnswerError(f"not a ticker: {error!r}") from error
    return found


def apart(name: str) -> str:
    if len(name) == 8 and name[0] == "X" and name[4] in "XZ":
        return symbol_of(f"{name[1:4]}/{name[5:]}")
    quoted = next((quote for quote in QUOTES if name.endswith(quote) and name != quote), "")
    return symbol_of(f"{name.removesuffix(quoted)}/{quoted}") if quoted else ""


class KrakenHistory:
    """By time, from the beginning of the hole on, until a trade is younger than it or there is no more: then it is
    complete. A page may end between trades of one time, so the next begins with that time again, instead of after it as
    the `last` of an answer does; where one time fills a page, the rest can't be had."""

    reach = "all trades, by time"

    def __init__(self, market: str) -> None:
        self._market = market

    def request(self, hole: Hole, instrument: Instrument | None) -> Request:
        return since(hole, hole.from_ts)

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """Raises BadAnswerError."""
        result = result_of(body)
        try:
            (items,) = (value for key, value in result.items() if key != "last")
            trades = [self._trade(hole.symbol, item, recv_us) for item in items]
        except (KeyError, TypeError, AttributeError, ValueError, IndexError, InvalidOperation) as error:
            raise BadAnswerError(f"not a trade: {error!r}") from error
        ended = len(trades) < PAGE or trades[-1].ts > hole.to_ts
        # Times of REST may be rounded otherwise: what is stored already is known by its number.
        first = int(hole.last_id) + 1 if hole.last_id.isdigit() else 0
        end = int(hole.next_id) if hole.next_id.isdigit() else INFINITY
        inside = [trade for trade in trades if first <= int(trade.trade_id) < end]
        following = None if ended else since(hole, trades[-1].ts)
        return Page(inside, None if following == request else following, complete=ended)

    def _trade(self, symbol: str, item: list[Any], recv_us: int) -> Trade:
        price, qty, side, trade_id = number(item[0]), number(item[1]), SIDES[item[3]], int(item[6])
        ts = int(Decimal(item[2]) * 1_000_000)
        if not (price > 0 and 0 < qty < INFINITY and 0 < ts < MAX_MS * 1000 and trade_id >= 0):
            raise ValueError(f"impossible trade {item!r}")
        return Trade(ts, recv_us, "kraken", self._market, symbol, side, price, qty, str(trade_id))


def since(hole: Hole, ts: int) -> Request:
    """Trades from `ts` (µs) on: asked for from a microsecond before, as it is not documented whether the bound belongs to
    them."""
    return Request(f"/0/public/Trades?pair={pair_of(hole.symbol)}&since={(ts - 1) * 1000}&count={PAGE}")
