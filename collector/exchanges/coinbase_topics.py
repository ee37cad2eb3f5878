"""Coinbase's channels: from a message of each kind to rows. Sources and doubts are told in `coinbase.py`."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import msgspec

from collector.exchanges.base import BadAnswerError, Broken, Item, Stream
from collector.exchanges.coinbase_rest import decoded
from collector.exchanges.coinbase_sides import TradeSides
from collector.exchanges.isotime import iso_us
from collector.exchanges.states import BookTopic, NumberedTrades, TickerTopic
from collector.exchanges.topic import INFINITY, Price, Size, Topic, UpdateId, price
from collector.rows import Trade
from collector.settings import FeedConfig

KEPT_LEVELS = 5000
"""A side: the venue sends the whole book, of which the farthest levels are not kept."""
SIDES = {"BUY": "buy", "SELL": "sell"}
BOOK_SIDES = frozenset({"bid", "offer"})


class TradeItem(msgspec.Struct, gc=False):
    trade_id: UpdateId
    product_id: str
    price: float
    size: float
    side: str
    time: str


class Trades(msgspec.Struct, gc=False):
    trades: list[TradeItem]


class TradeMessage(msgspec.Struct, gc=False):
    events: list[Trades]


class Change(msgspec.Struct, gc=False):
    side: Annotated[str, msgspec.Meta(max_length=5)]
    price: Price = msgspec.field(name="price_level")
    size: Size = msgspec.field(name="new_quantity")


class BookEvent(msgspec.Struct, gc=False):
    type: str
    product_id: str
    updates: list[Change]


class BookMessage(msgspec.Struct, gc=False):
    timestamp: str
    events: list[BookEvent]


class Tickers(msgspec.Struct, gc=False):
    tickers: list[dict[str, Any]]


class TickerMessage(msgspec.Struct, gc=False):
    timestamp: str
    events: list[Tickers]


def products(symbol: str) -> frozenset[str]:
    """Names under which a product's data come: those of USDC products come under USD's."""
    return frozenset({symbol, symbol.removesuffix("C")}) if symbol.endswith("-USDC") else frozenset({symbol})


class TradeTopic(NumberedTrades):
    """`market_trades`: the newest ones first, then each."""

    message = TradeMessage

    def __init__(self, feed: FeedConfig, symbol: str, sides: TradeSides) -> None:
        """`sides`: shared by the topics of a connection."""
        super().__init__(feed, symbol, f"market_trades:{symbol}")
        self._products, self._sides = products(symbol), sides
        self._product = symbol
        """Under which its data come."""
        self._held: list[Trade] = []
        """With the side as told, until it is known whose that is."""

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        told = [item for event in self._decode(raw).events for item in event.trades]
        mine = [item for item in told if item.product_id in self._products]
        for item in mine:
            if item.side not in SIDES or not (0.0 < item.price < INFINITY and 0.0 < item.size < INFINITY):
                raise ValueError(f"trade {item.trade_id} has an impossible side, price or size")
        timed = sorted((item.trade_id, iso_us(item.time), item) for item in mine)
        held = self._held
        for trade_id, ts, item in timed:
            if self.is_new(trade_id, trade_id, ts, recv_us, out):
                side, self._product = SIDES[item.side], item.product_id
                held.append(Trade(ts, recv_us, *self.where, side, item.price, item.size, str(trade_id)))
        if held:
            self._release(recv_us, out)
        return timed[-1][1] if timed else 0

    def _release(self, recv_us: int, out: list[Item]) -> None:
        if self._sides.takers is None:
            self._sides.look(self, self._product, len(self._held), recv_us, out)
        if self._sides.takers is not None:
            out += self._sides.turned(self._held)
            self._held.clear()

    def answer(self, body: bytes, recv_us: int, out: list[Item]) -> None:
        if self._sides.takers is None:
            with contextlib.suppress(BadAnswerError, KeyError, TypeError):
                makers = {str(item["trade_id"]): str(item["side"]) for item in decoded(body, list)}
                self._sides.compare(self, self._held, makers, out)
        if self._held:
            self._release(recv_us, out)

    def flush(self, recv_us: int, out: list[Item]) -> None:
        if self._held:
            self._release(recv_us, out)

    def drain(self, out: list[Item]) -> None:
        if self._held and self._sides.takers is None:
            self._sides.assume(self, out)
        if self._held:
            self._release(0, out)


class OrderBook(BookTopic):
    """`level2`: a snapshot, then absolute sizes; what is lost the connection's numbers tell."""

    message = BookMessage

    def __init__(self, feed: FeedConfig, symbol: str) -> None:
        super().__init__(feed, symbol, f"level2:{symbol}", KEPT_LEVELS)
        self._products = products(symbol)

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        super().subscribed(recv_us, out)
        if self.valid:
            self.waiting_since = 0

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: BookMessage = self._decode(raw)
        ts = iso_us(message.timestamp)
        for event in message.events:
            if event.product_id not in self._products:
                continue
            if not all(change.side in BOOK_SIDES for change in event.updates):
                raise ValueError("a side that is neither bid nor offer")
            bids, asks = (
                [(change.price, change.size) for change in event.updates if change.side == side]
                for side in ("bid", "offer")
            )
            self.arrived(ts, recv_us, out)
            if event.type == "snapshot":
                self.restart(ts, recv_us, 0, bids, asks, out)
            elif event.type != "update":
                raise ValueError(f"type {event.type!r}")
            elif self.valid:
                self.apply(ts, recv_us, 0, bids, asks, out)
        return ts


class TickerMerge(TickerTopic):
    message = TickerMessage

    def __init__(self, feed: FeedConfig, symbol: str) -> None:
        super().__init__(feed, symbol, f"ticker:{symbol}")
        self._products = products(symbol)

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: TickerMessage = self._decode(raw)
        ts = iso_us(message.timestamp)
        for item in (item for event in message.events for item in event.tickers):
            if item.get("product_id") in self._products:
                names = {"last": "price", "bid": "best_bid", "ask": "best_ask"}
                told = {name: price(item.get(theirs)) for name, theirs in names.items()}
                self.arrived(ts, recv_us, out)
                self.merge(ts, recv_us, told, out)
        return ts


def lost(topic: Topic, recv_us: int, out: list[Item]) -> None:
    """Messages of the connection are missing, of which nobody knows what they held."""
    if isinstance(topic, BookTopic):
        if topic.valid:
            topic.invalidate("sequence_gap", None, recv_us, out)
    elif not topic.broken and topic.last_recv:
        topic.broken = True
        out.append(Broken(topic.channel, topic.symbol, topic.last_ts or topic.last_recv, "sequence_gap"))


CHANNELS = frozenset({"trades", "orderbook", "tickers"})


def topics(feed: FeedConfig, streams: Sequence[Stream]) -> list[Topic]:
    """Of one connection."""
    sides = TradeSides()
    kinds: Mapping[str, Callable[[str], Topic]] = {
        "trades": lambda symbol: TradeTopic(feed, symbol, sides),
        "orderbook": lambda symbol: OrderBook(feed, symbol),
        "tickers": lambda symbol: TickerMerge(feed, symbol),
    }
    return [kinds[channel](symbol) for channel, symbol in streams]
