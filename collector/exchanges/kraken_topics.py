"""Kraken's channels: from a message of each kind to rows. Sources and doubts are told in `kraken.py`."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from collector.exchanges.base import Item
from collector.exchanges.isotime import iso_us
from collector.exchanges.kraken_digits import DigitBook
from collector.exchanges.states import BookTopic, NumberedTrades, TickerTopic
from collector.exchanges.topic import INFINITY, Price, Size, Topic, UpdateId
from collector.rows import Trade
from collector.settings import FeedConfig

DEPTHS = (10, 25, 100, 500, 1000)
SIDES = frozenset({"buy", "sell"})


class TradeItem(msgspec.Struct, gc=False):
    symbol: str
    side: str
    price: float
    qty: float
    trade_id: UpdateId
    timestamp: str


class TradeMessage(msgspec.Struct, gc=False):
    data: list[TradeItem]


class Level(msgspec.Struct, gc=False):
    price: Price
    qty: Size


class BookData(msgspec.Struct, gc=False):
    symbol: str
    bids: list[Level]
    asks: list[Level]
    checksum: int
    timestamp: str = ""


class BookMessage(msgspec.Struct, gc=False):
    type: str
    data: tuple[BookData]


class TickerItem(msgspec.Struct, gc=False):
    symbol: str
    bid: float | None = None
    ask: float | None = None
    last: float | None = None
    timestamp: str = ""


class TickerMessage(msgspec.Struct, gc=False):
    data: list[TickerItem]


class Trades(NumberedTrades):
    message = TradeMessage

    def __init__(self, feed: FeedConfig, symbol: str) -> None:
        super().__init__(feed, symbol, f"trade:{symbol}")

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        ts = 0
        for item in self._decode(raw).data:
            if (
                item.symbol != self.symbol
                or item.side not in SIDES
                or not (0.0 < item.price < INFINITY and 0.0 < item.qty < INFINITY)
            ):
                raise ValueError(f"trade {item.trade_id} has an impossible symbol, side, price or size")
            ts = iso_us(item.timestamp)
            if self.is_new(item.trade_id, item.trade_id, ts, recv_us, out):
                trade_id = str(item.trade_id)
                out.append(Trade(ts, recv_us, *self.where, item.side, item.price, item.qty, trade_id))
        return ts


class OrderBook(BookTopic):
    """A snapshot, then updates, which have no numbers: each must give the book the checksum that it tells."""

    message = BookMessage

    def __init__(self, feed: FeedConfig, symbol: str) -> None:
        self.depth = next((depth for depth in DEPTHS if depth >= feed.book_depth), DEPTHS[-1])
        super().__init__(feed, symbol, f"book:{symbol}", self.depth)
        self._digits = DigitBook(self.depth)

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        super().subscribed(recv_us, out)
        if self.valid:
            self.waiting_since = 0

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: BookMessage = self._decode(raw)
        (data,) = message.data
        if data.symbol != self.symbol:
            raise ValueError(f"symbol {data.symbol!r}")
        # Early snapshots had no time.
        ts = iso_us(data.timestamp) if data.timestamp else recv_us
        self.arrived(ts, recv_us, out)
        begins = message.type == "snapshot"
        if begins:
            self._digits.clear()
        elif message.type != "update":
            raise ValueError(f"type {message.type!r}")
        elif not self.valid:
            return ts  # what follows a break is of no use before the next snapshot
        try:
            right = self._digits.checksum(raw, len(data.bids), len(data.asks)) == data.checksum
        except KeyError as error:
            raise ValueError(f"no {error}") from error
        bids, asks = (
            [(level.price, level.qty) for level in data.bids],
            [(level.price, level.qty) for level in data.asks],
        )
        if not right:
            self.invalidate("checksum", None, recv_us, out)
        elif begins:
            self.restart(ts, recv_us, 0, bids, asks, out)
        else:
            self.book.before(ts, out)
            for side, changes in ((self.book.bids, bids), (self.book.asks, asks)):
                side.update(changes)
                side.settle()  # levels that leave the depth are not told
            self.stands(ts, recv_us, 0, out)
        return ts


class Tickers(TickerTopic):
    message = TickerMessage

    def __init__(self, feed: FeedConfig, symbol: str) -> None:
        super().__init__(feed, symbol, f"ticker:{symbol}")

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        ts = 0
        for item in self._decode(raw).data:
            if item.symbol != self.symbol:
                raise ValueError(f"symbol {item.symbol!r}")
            told = {"last": item.last, "bid": item.bid, "ask": item.ask}
            if not all(price is None or 0.0 <= price < INFINITY for price in told.values()):
                raise ValueError("an impossible price")
            ts = iso_us(item.timestamp) if item.timestamp else recv_us
            self.arrived(ts, recv_us, out)
            self.merge(ts, recv_us, {name: price or None for name, price in told.items()}, out)
        return ts


TOPICS: dict[str, Callable[[FeedConfig, str], Topic]] = {
    "trades": Trades,
    "orderbook": OrderBook,
    "tickers": Tickers,
}
