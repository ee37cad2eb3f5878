"""Hyperliquid's topics: from a message of each kind to rows. Sources and doubts are told in `hyperliquid.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from collector.exchanges.base import Item
from collector.exchanges.states import BookTopic, TickerTopic, TradeTopic
from collector.exchanges.topic import INFINITY, Milliseconds, Price, Topic, UpdateId, figure
from collector.rows import Trade
from collector.settings import FeedConfig

TAKER = {"B": "buy", "A": "sell"}
MOST_LEVELS = 100
"""A side, should the venue send more than its 20."""
LevelSize = Annotated[float, msgspec.Meta(gt=0, lt=1e300)]
TICKER_FIELDS = {
    "markPx": "mark",
    "oraclePx": "index",
    "funding": "funding_rate",
    "openInterest": "open_interest",
}
FUNDING_US = 3_600_000_000
UNDERWAY_US = 1_000_000
"""How long a message without a time may have been under way."""


class TradeItem(msgspec.Struct, gc=False):
    coin: str
    side: str
    px: float
    sz: float
    time: Milliseconds
    tid: UpdateId


class TradeMessage(msgspec.Struct, gc=False):
    data: list[TradeItem]


class Level(msgspec.Struct, gc=False):
    px: Price
    sz: LevelSize


class BookData(msgspec.Struct, gc=False):
    coin: str
    time: Milliseconds
    levels: tuple[list[Level], list[Level]]


class BookMessage(msgspec.Struct, gc=False):
    data: BookData


class ContextData(msgspec.Struct, gc=False):
    coin: str
    ctx: dict[str, Any]


class ContextMessage(msgspec.Struct, gc=False):
    data: ContextData


class Trades(TradeTopic):
    message = TradeMessage

    def __init__(self, feed: FeedConfig, symbol: str) -> None:
        super().__init__(feed, "trades", symbol, f"trades:{symbol}")

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        """The first message after subscribing brings the newest trades once more: their times and ids are the same."""
        message: TradeMessage = self._decode(raw)
        exchange, market, symbol = self.where
        newest = 0
        for item in message.data:
            side, ts = TAKER.get(item.side), item.time * 1000
            if item.coin != symbol:
                raise ValueError(f"{item.coin!r} among the trades of {symbol}")
            if side is None or not (0.0 < item.px < INFINITY and 0.0 < item.sz < INFINITY):
                self.fail(f"trade {item.tid} has an impossible side, price or size", recv_us, out)
                continue
            newest = max(newest, ts)
            out.append(Trade(ts, recv_us, exchange, market, symbol, side, item.px, item.sz, str(item.tid)))
        self.last_ts = max(self.last_ts, newest)
        if newest:
            self.arrived(newest, recv_us, out)
        return newest


class OrderBook(BookTopic):
    message = BookMessage

    def __init__(self, feed: FeedConfig, symbol: str) -> None:
        super().__init__(feed, symbol, f"l2Book:{symbol}", MOST_LEVELS)

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: BookMessage = self._decode(raw)
        data = message.data
        if data.coin != self.symbol:
            raise ValueError(f"the book of {data.coin!r} where {self.symbol} was found")
        ts = data.time * 1000
        self.arrived(ts, recv_us, out)
        bids, asks = data.levels
        self.show(
            ts,
            recv_us,
            0,
            [(level.px, level.sz) for level in bids],
            [(level.px, level.sz) for level in asks],
            out,
        )
        return ts


class Tickers(TickerTopic):
    """Whole states without a time."""

    message, untimed = ContextMessage, True

    def __init__(self, feed: FeedConfig, symbol: str) -> None:
        super().__init__(feed, symbol, f"activeAssetCtx:{symbol}")

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: ContextMessage = self._decode(raw)
        if message.data.coin != self.symbol:
            raise ValueError(f"the context of {message.data.coin!r} where {self.symbol} was found")
        ctx = message.data.ctx
        state: dict[str, Any] = {
            ours: None if ctx[theirs] is None else figure(ours, ctx[theirs])
            for theirs, ours in TICKER_FIELDS.items()
            if theirs in ctx
        }
        if not state:
            raise ValueError("a context without a price")
        if "funding_rate" in state:
            state["next_funding_ts"] = (recv_us // FUNDING_US + 1) * FUNDING_US  # every hour
        self.merge(recv_us, recv_us, state, out)
        # What follows on this message was pushed after it, but perhaps before it was received.
        self.last_ts = recv_us - UNDERWAY_US
        self.arrived(recv_us, recv_us, out)
        return 0


TOPICS: dict[str, Callable[[FeedConfig, str], Topic]] = {
    "trades": Trades,
    "orderbook": OrderBook,
    "tickers": Tickers,
}
