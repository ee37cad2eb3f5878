"""Bybit's topics: from a message of each kind to rows. Sources and doubts are told in `bybit.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from collector.exchanges.base import Broken, Item, Notice, Resynced
from collector.exchanges.states import BookTopic, TradeTopic
from collector.exchanges.topic import (
    INFINITY,
    MAX_MS,
    Milliseconds,
    Price,
    Size,
    Topic,
    UpdateId,
    figure,
    number,
)
from collector.rows import Liquidation, Ticker, Trade
from collector.settings import FeedConfig

BOOK_DEPTHS = (1, 50, 200, 1000)
TAKER = {"Buy": "buy", "Sell": "sell"}
FORCED = {"Buy": "sell", "Sell": "buy"}
"""`S` of a liquidation is the position's side: a liquidated long ("Buy") is closed by a sell order."""
TICKER_FIELDS = {
    "lastPrice": "last",
    "markPrice": "mark",
    "indexPrice": "index",
    "usdIndexPrice": "index",
    "fundingRate": "funding_rate",
    "openInterest": "open_interest",
    "bid1Price": "bid",
    "ask1Price": "ask",
}
ASK_AGAIN_US = 10_000_000


def in_quote_units(feed: FeedConfig) -> bool:
    """Whether sizes are in USD; rows are in base units."""
    return feed.market == "inverse"


class TradeItem(msgspec.Struct, gc=False):
    T: int
    S: str
    v: float
    p: float
    i: str


class TradeMessage(msgspec.Struct, gc=False):
    topic: str
    ts: Milliseconds
    data: list[TradeItem]


class BookData(msgspec.Struct, gc=False):
    b: list[tuple[Price, Size]]
    a: list[tuple[Price, Size]]
    u: UpdateId


class BookMessage(msgspec.Struct, gc=False):
    topic: str
    type: str
    ts: Milliseconds
    data: BookData
    cts: Milliseconds | None = None


class LiquidationItem(msgspec.Struct, gc=False):
    T: int
    S: str
    v: float
    p: float


class LiquidationMessage(msgspec.Struct, gc=False):
    topic: str
    ts: Milliseconds
    data: list[LiquidationItem]


class TickerMessage(msgspec.Struct, gc=False):
    topic: str
    type: str
    ts: Milliseconds
    data: dict[str, Any]


class Pushed(Topic):
    """Every message has `topic` and `ts` (push time, ms)."""

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message = self._decode(raw)
        if message.topic != self.name:
            raise ValueError("the topic is not where it was found")
        push_us: int = message.ts * 1000
        if self.broken:
            self.arrived(push_us, recv_us, out)
        else:
            self.last_recv = recv_us
        self.take(message, recv_us, out)
        return push_us

    def take(self, message: Any, recv_us: int, out: list[Item]) -> None:
        """Append the message's rows. Raises ValueError."""
        raise NotImplementedError


class Trades(Pushed, TradeTopic):
    message = TradeMessage

    def __init__(self, feed: FeedConfig, channel: str, symbol: str) -> None:
        super().__init__(feed, channel, symbol, f"publicTrade.{symbol}")
        self._quoted = in_quote_units(feed)

    def take(self, message: TradeMessage, recv_us: int, out: list[Item]) -> None:
        exchange, market, symbol = self.where
        for item in message.data:
            side = TAKER.get(item.S)
            # The quotient of two positive numbers can be 0 or infinite.
            qty = item.v / (item.p or INFINITY) if self._quoted else item.v
            if side is None or not (
                0.0 < item.p < INFINITY and 0.0 < qty < INFINITY and 0 < item.T < MAX_MS and item.i
            ):
                self.fail(f"trade {item.i!r} has an impossible side, price, size, time or id", recv_us, out)
                continue
            ts = item.T * 1000
            self.last_ts = ts
            out.append(Trade(ts, recv_us, exchange, market, symbol, side, item.p, qty, item.i))


class Liquidations(Pushed):
    message = LiquidationMessage

    def __init__(self, feed: FeedConfig, channel: str, symbol: str) -> None:
        super().__init__(feed, channel, symbol, f"allLiquidation.{symbol}")
        self._quoted = in_quote_units(feed)
        self.patience = 0  # there may be none for days

    def take(self, message: LiquidationMessage, recv_us: int, out: list[Item]) -> None:
        exchange, market, symbol = self.where
        seen: dict[str, int] = {}
        for item in message.data:
            side = FORCED.get(item.S)
            qty = item.v / (item.p or INFINITY) if self._quoted else item.v
            if side is None or not (0.0 < item.p < INFINITY and 0.0 < qty < INFINITY and 0 < item.T < MAX_MS):
                self.fail("a liquidation has an impossible side, price, size or time", recv_us, out)
                continue
            self.last_ts = item.T * 1000
            # The venue gives no id: content, and an ordinal for equal ones within a message, survive a resend.
            content = f"{item.T}-{side}-{item.p!r}-{item.v!r}"
            ordinal = seen[content] = seen.get(content, -1) + 1
            liq_id = f"{content}-{ordinal}"
            out.append(
                Liquidation(self.last_ts, recv_us, exchange, market, symbol, side, item.p, qty, liq_id)
            )


class Tickers(Pushed):
    message = TickerMessage
    whole_after_message = False

    def __init__(self, feed: FeedConfig, channel: str, symbol: str) -> None:
        super().__init__(feed, channel, symbol, f"tickers.{symbol}")
        self._state: dict[str, Any] = {}
        self._asked = 0
        self._resumed = False
        """Whether the next snapshot ends a silence."""

    def silent(self, recv_us: int) -> bool:
        silent = super().silent(recv_us)
        self._resumed = self._resumed or silent
        return silent

    def take(self, message: TickerMessage, recv_us: int, out: list[Item]) -> None:
        before = self._state
        if message.type == "snapshot":
            state: dict[str, Any] = {}
        elif message.type != "delta":
            raise ValueError(f"type {message.type!r} is not known")
        elif not before:
            self._ask(recv_us)
            return  # a delta of a state that is not known: the snapshot is on its way
        else:
            state = before.copy()
        for field, text in message.data.items():
            name = TICKER_FIELDS.get(field)
            if name is not None:
                state[name] = None if text in ("", None) else figure(name, text)
            elif field == "nextFundingTime":
                state["next_funding_ts"] = None if text in ("", "0", None) else self._time(text)
        self._state = state
        if self.broken:
            self.broken = False
            out.append(Resynced(self.channel, self.symbol, message.ts * 1000))
        if self._resumed and state != before:
            out.append(Broken(self.channel, self.symbol, self.last_ts, "silent"))
            out.append(Resynced(self.channel, self.symbol, message.ts * 1000))
        self._resumed = False
        self.last_ts = message.ts * 1000
        out.append(Ticker(self.last_ts, recv_us, *self.where, **state))

    def _time(self, text: Any) -> int:
        value = int(number(text))
        if not 0 < value < MAX_MS:
            raise ValueError(f"nextFundingTime is {text!r}")
        return value * 1000

    def fail(self, reason: str, recv_us: int, out: list[Item]) -> None:
        """What an unreadable delta changed is not known, so the state is of no use before the next snapshot."""
        super().fail(reason, recv_us, out)
        self._state = {}
        self._ask(recv_us)

    def _ask(self, recv_us: int) -> None:
        """For a new snapshot, after a break, now and then until it comes."""
        if self.broken and recv_us - self._asked > ASK_AGAIN_US:
            self.resync, self._asked = True, recv_us


class OrderBook(Pushed, BookTopic):
    message = BookMessage

    def __init__(self, feed: FeedConfig, channel: str, symbol: str) -> None:
        limit = next(depth for depth in BOOK_DEPTHS if depth >= feed.book_depth)
        super().__init__(feed, symbol, f"orderbook.{limit}.{symbol}", limit, quoted=in_quote_units(feed))
        self._chained = limit > 1

    def take(self, message: BookMessage, recv_us: int, out: list[Item]) -> None:
        data = message.data
        ts = (message.cts or message.ts) * 1000
        if message.type == "snapshot" or data.u == 1:
            if self.valid and data.u == self.seq != 1:
                self.waiting_since = 0
                return  # level 1 repeats itself when nothing changes; so does a silent book that missed nothing
            if self.valid and self._chained and data.u != self.seq + 1:
                cause = "exchange_restart" if data.u == 1 else "snapshot_jump"
                self.jump(cause, data.u - self.seq - 1 if data.u > self.seq else None, out)
            self.replace(ts, recv_us, data.u, data.b, data.a, out)
        elif message.type != "delta":
            raise ValueError(f"type {message.type!r} is not known")
        elif not self.valid:
            return  # what follows a break is of no use before the next snapshot
        elif data.u <= self.seq:
            out.append(Notice("stale_update", f"u {data.u} after {self.seq}", self.channel, self.symbol))
        elif data.u != self.seq + 1:
            self.invalidate("sequence_gap", data.u - self.seq - 1, recv_us, out)
        else:
            self.apply(ts, recv_us, data.u, data.b, data.a, out)


TOPICS: dict[str, Callable[[FeedConfig, str, str], Topic]] = {
    "trades": Trades,
    "orderbook": OrderBook,
    "liquidations": Liquidations,
    "tickers": Tickers,
}
