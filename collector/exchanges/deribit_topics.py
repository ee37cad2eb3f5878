"""Deribit's topics: from a notification of each kind to rows. Sources and doubts are told in `deribit.py`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from collector.exchanges.base import Broken, Item, Notice, Resynced, Stream
from collector.exchanges.states import BookTopic, TickerTopic, TradeTopic
from collector.exchanges.topic import INFINITY, Milliseconds, Price, Size, Topic, UpdateId
from collector.rows import Liquidation, Trade
from collector.settings import FeedConfig

INTERVAL = "100ms"
"""The finest that needs no account ("raw" does)."""
KEPT_LEVELS = 10_000
"""A side. The venue sends all that it has, which is less."""
OPPOSITE = {"buy": "sell", "sell": "buy"}
OPTION = re.compile(r"-[CP]$")
Channel = Literal["book", "trades", "ticker"]
CHANNELS: dict[str, Channel] = {
    "trades": "trades",
    "liquidations": "trades",
    "orderbook": "book",
    "tickers": "ticker",
}
"""Ours → the venue's."""


def in_quote_units(feed: FeedConfig, symbol: str) -> bool:
    """Whether amounts are in USD: all that is settled in coin, but for options, whose amounts are coins."""
    return feed.market == "inverse" and not OPTION.search(symbol)


class TradeItem(msgspec.Struct, gc=False):
    trade_seq: UpdateId
    trade_id: str
    timestamp: Milliseconds
    price: float
    amount: float
    direction: str
    liquidation: str | None = None


class TradeParams(msgspec.Struct, gc=False):
    channel: str
    data: list[TradeItem]


class TradeMessage(msgspec.Struct, gc=False):
    params: TradeParams


Change = tuple[Literal["new", "change", "delete"], Price, Size]


class BookData(msgspec.Struct, gc=False):
    timestamp: Milliseconds
    change_id: UpdateId
    bids: list[Change]
    asks: list[Change]
    type: Literal["snapshot", "change", ""] = ""
    prev_change_id: UpdateId | None = None


class BookParams(msgspec.Struct, gc=False):
    channel: str
    data: BookData


class BookMessage(msgspec.Struct, gc=False):
    params: BookParams


class TickerData(msgspec.Struct, gc=False):
    timestamp: Milliseconds
    last_price: float | None = None
    mark_price: float | None = None
    index_price: float | None = None
    current_funding: float | None = None
    open_interest: float | None = None
    best_bid_price: float | None = None
    best_ask_price: float | None = None


class TickerParams(msgspec.Struct, gc=False):
    channel: str
    data: TickerData


class TickerMessage(msgspec.Struct, gc=False):
    params: TickerParams


def check_channel(channel: str, name: str) -> None:
    """Another interval of the same channel is as good: a recording may have it. Raises ValueError."""
    if channel.rpartition(".")[0] != name.rpartition(".")[0]:
        raise ValueError("the channel is not where it was found")


class Trades(TradeTopic):
    """`trades`, of which those that were forced are liquidations too. `trade_seq` rises by one a trade of the instrument."""

    message = TradeMessage

    def __init__(self, feed: FeedConfig, channels: Sequence[str], symbol: str) -> None:
        super().__init__(feed, channels[0], symbol, f"trades.{symbol}.{INTERVAL}")
        self.streams = tuple((channel, symbol) for channel in channels)
        self._show_trades, self._show_liquidations = "trades" in channels, "liquidations" in channels
        self._quoted = in_quote_units(feed, symbol)
        self._seq = 0

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        params = self._decode(raw).params
        check_channel(params.channel, self.name)
        if not params.data:
            return 0
        known = not self.broken  # what a break has cost is declared already
        self.arrived(params.data[0].timestamp * 1000, recv_us, out)
        for item in params.data:
            if self._follows(item, known, out):
                self._take(item, recv_us, out)
            known = True
        return self.last_ts

    def _follows(self, item: TradeItem, known: bool, out: list[Item]) -> bool:
        """Whether the trade is new; what is missing before it is declared."""
        before, self._seq = self._seq, item.trade_seq
        if not before or item.trade_seq == before + 1 or not known:
            return True
        ts = item.timestamp * 1000
        if item.trade_seq > before:
            cause, missing = "sequence_gap", item.trade_seq - before - 1
        elif ts > self.last_ts:
            cause, missing = "exchange_restart", None
        else:
            self._seq = before
            return False
        for channel, symbol in self.streams:
            out.append(Broken(channel, symbol, self.last_ts, cause, missing if channel == "trades" else None))
            out.append(Resynced(channel, symbol, ts))
        return True

    def _take(self, item: TradeItem, recv_us: int, out: list[Item]) -> None:
        side, price = item.direction, item.price
        # The quotient of two positive numbers can be 0 or infinite.
        qty = item.amount / (price or INFINITY) if self._quoted else item.amount
        forced = item.liquidation if item.liquidation != "none" else None
        if not (
            side in OPPOSITE
            and 0.0 < price < INFINITY
            and 0.0 < qty < INFINITY
            and item.trade_id
            and (not forced or forced in ("M", "T", "MT"))
        ):
            self.fail(
                f"trade {item.trade_id!r} has an impossible side, price, size, id or mark", recv_us, out
            )
            return
        ts = self.last_ts = item.timestamp * 1000
        if self._show_trades:
            out.append(Trade(ts, recv_us, *self.where, side, price, qty, item.trade_id))
        if forced and self._show_liquidations:
            # Who was liquidated: the maker, the taker, or both, each with an order of their own.
            for who in forced:
                liquidated = side if who == "T" else OPPOSITE[side]
                liq_id = f"{item.trade_id}-{who}"
                out.append(Liquidation(ts, recv_us, *self.where, liquidated, price, qty, liq_id))


class OrderBook(BookTopic):
    """`book`: a snapshot, then changes, each of which names the one before it."""

    message = BookMessage

    def __init__(self, feed: FeedConfig, channels: Sequence[str], symbol: str) -> None:
        name = f"book.{symbol}.{INTERVAL}"
        limit = max(KEPT_LEVELS, feed.book_depth)
        super().__init__(feed, symbol, name, limit, quoted=in_quote_units(feed, symbol))

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        super().subscribed(recv_us, out)
        if self.valid:
            self.waiting_since = 0

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        params = self._decode(raw).params
        check_channel(params.channel, self.name)
        data: BookData = params.data
        ts = data.timestamp * 1000
        self.arrived(ts, recv_us, out)
        if self._is_whole(data):
            if self.valid and data.prev_change_id == self.seq:
                self.seq = data.change_id  # nothing lies between
            self.restart(ts, recv_us, data.change_id, levels(data.bids), levels(data.asks), out)
        elif data.prev_change_id is None:
            raise ValueError("a change without prev_change_id")
        elif not self.valid:
            pass  # what follows a break is of no use before the next snapshot
        elif data.prev_change_id == self.seq:
            self.apply(ts, recv_us, data.change_id, levels(data.bids), levels(data.asks), out)
        elif data.change_id <= self.seq and ts <= self.last_ts:
            detail = f"change_id {data.change_id} after {self.seq}"
            out.append(Notice("stale_update", detail, self.channel, self.symbol))
        else:
            # Ids count the changes of many instruments, so that how many messages are missing can't be told.
            cause = "sequence_gap" if data.change_id > self.seq else "exchange_restart"
            self.invalidate(cause, None, recv_us, out)
        return ts

    def _is_whole(self, data: BookData) -> bool:
        """Early messages had no type. A book that nobody has used yet may begin with a change after 0, from nothing."""
        if data.type:
            begins = data.prev_change_id == 0 and not self.seq and not self.valid and not self.broken
            return data.type == "snapshot" or begins
        return data.prev_change_id is None


def levels(changes: list[Change]) -> list[tuple[float, float]]:
    return [(price, 0.0 if action == "delete" else size) for action, price, size in changes]


class Tickers(TickerTopic):
    """`ticker`: the whole state each time."""

    message = TickerMessage

    def __init__(self, feed: FeedConfig, channels: Sequence[str], symbol: str) -> None:
        super().__init__(feed, symbol, f"ticker.{symbol}.{INTERVAL}")
        self._newest: dict[str, Any] = {}
        self._resumed = False
        """Whether the next message ends a silence."""

    def silent(self, recv_us: int) -> bool:
        silent = super().silent(recv_us)
        self._resumed = self._resumed or silent
        return silent

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        params = self._decode(raw).params
        check_channel(params.channel, self.name)
        data: TickerData = params.data
        ts = data.timestamp * 1000
        told = {
            "last": positive(data.last_price),
            "mark": positive(data.mark_price),
            "index": positive(data.index_price),
            "funding_rate": finite(data.current_funding),
            "open_interest": finite(data.open_interest),
            "bid": positive(data.best_bid_price),
            "ask": positive(data.best_ask_price),
        }
        if data.open_interest is not None and data.open_interest < 0:
            raise ValueError("open_interest is negative")
        self.arrived(ts, recv_us, out)
        if self._resumed and told != self._newest:
            out.append(Broken(self.channel, self.symbol, self.last_ts, "silent"))
            out.append(Resynced(self.channel, self.symbol, ts))
        self._resumed, self._newest = False, told
        self.merge(ts, recv_us, told, out)
        return ts


def finite(value: float | None) -> float | None:
    """Raises ValueError."""
    if value is not None and not -INFINITY < value < INFINITY:
        raise ValueError(f"{value!r} is not finite")
    return value


def positive(price: float | None) -> float | None:
    """0 is written for a price that there is not. Raises ValueError."""
    if not price:
        return None
    if not 0.0 < price < INFINITY:
        raise ValueError(f"{price!r} is not a price")
    return price


KINDS: dict[Channel, Callable[[FeedConfig, Sequence[str], str], Topic]] = {
    "book": OrderBook,
    "trades": Trades,
    "ticker": Tickers,
}


def topics(feed: FeedConfig, streams: Sequence[Stream]) -> list[Topic]:
    """One for all streams of a symbol that the same channel brings."""
    grouped: dict[tuple[Channel, str], list[str]] = {}
    for channel, symbol in streams:
        grouped.setdefault((CHANNELS[channel], symbol), []).append(channel)
    return [KINDS[kind](feed, channels, symbol) for (kind, symbol), channels in grouped.items()]
