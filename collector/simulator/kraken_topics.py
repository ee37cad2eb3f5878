"""Kraken's channels, from the market model's state to the venue's messages. Sources: docs.kraken.com, and messages that
others recorded, whose order of keys is kept."""

from __future__ import annotations

import zlib
from collections import deque

from collector.simulator import ledger
from collector.simulator.listing import Listing, TopicBase, iso
from collector.simulator.market import BOOK, TICKER, TRADE, Fill
from collector.simulator.orderbook import Side, Window
from collector.simulator.wire import Message

DEPTHS = (10, 25, 100, 500, 1000)
CHECKED = 10
RECENT_TRADES = 20_000
RecentTrade = tuple[int, str, str, bool, int]
"""(ms, price, size, the taker buys, id)"""


class KrakenTopic(TopicBase):
    def message(self, channel: str, kind: str, data: str) -> str:
        return f'{{"channel":"{channel}","type":"{kind}","data":[{data}]}}'


class TradeTopic(KrakenTopic):
    kind = TRADE

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._id = started_ms % 10**9
        self.recent: deque[RecentTrade] = deque(maxlen=RECENT_TRADES)
        """Oldest first, as REST shows them."""

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        listing, items, entries, at = self.listing, [], [], iso(now_ms)
        for buys, tick, size in fills:
            self._id += 1
            price, qty, side = listing.price[tick], listing.qty[size], "buy" if buys else "sell"
            items.append(
                f'{{"symbol":"{listing.symbol}","side":"{side}","price":{price},"qty":{qty},"ord_type":"limit",'
                f'"trade_id":{self._id},"timestamp":"{at}"}}'
            )
            entries.append(ledger.trade(*self.where, now_ms, now_ms, str(self._id), side, price, qty))
            self.recent.append((now_ms, price, qty, buys, self._id))
        return Message(self.message("trade", "update", ",".join(items)), entries)


class BookTopic(KrakenTopic):
    """`book-100:BTC/USD`: what a subscription with that depth brings."""

    kind, is_delta = BOOK, True

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._depth = int(name.partition(":")[0].removeprefix("book-"))
        self._windows = Window(self.model.bids, self._depth), Window(self.model.asks, self._depth)
        self._ms = 0

    def snapshot(self, now_ms: int) -> Message:
        self._ms = self._ms or now_ms
        sides = [
            [(key, side.sizes[key]) for key in reversed(side.keys[-self._depth :])]
            for side in (self.model.bids, self.model.asks)
        ]
        return self._message("snapshot", sides, now_ms)

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        sides = []
        for window, side in zip(self._windows, (self.model.bids, self.model.asks), strict=True):
            # What others push out of the depth is not told.
            sides.append(
                [
                    (key, size)
                    for key, size in window.changes(side)
                    if size >= 0 or (key in side.touched and key not in side.sizes)
                ]
            )
        if not any(sides):
            return None
        self._ms = now_ms
        return self._message("update", sides, now_ms)

    def _message(self, kind: str, sides: list[list[tuple[int, int]]], now_ms: int) -> Message:
        price, qty = self.listing.price, self.listing.qty
        bids, asks = (
            ",".join(f'{{"price":{price[abs(key)]},"qty":{qty[size]}}}' for key, size in side)
            for side in sides
        )
        checksum = zlib.crc32((self._checked(self.model.asks) + self._checked(self.model.bids)).encode())
        data = (
            f'{{"symbol":"{self.listing.symbol}","bids":[{bids}],"asks":[{asks}],"checksum":{checksum},'
            f'"timestamp":"{iso(self._ms)}"}}'
        )
        entry = self.book_entry(self._ms, now_ms, 0, self._depth, kind == "snapshot")
        return Message(self.message("book", kind, data), [entry])

    def _checked(self, side: Side) -> str:
        """The digits of the best levels."""
        digits = ""
        for key in side.keys[: -CHECKED - 1 : -1]:
            for number in (self.listing.price[key * side.sign], self.listing.qty[side.sizes[key]]):
                digits += number.replace(".", "").lstrip("0")
        return digits


class TickerTopic(KrakenTopic):
    kind = TICKER

    def snapshot(self, now_ms: int) -> Message:
        return self._message("snapshot", now_ms)

    def publish(self, fills: list[Fill], now_ms: int) -> Message:
        return self._message("update", now_ms)

    def _message(self, kind: str, now_ms: int) -> Message:
        model, price = self.model, self.listing.price
        values = {"bid": price[model.bids.best], "ask": price[model.asks.best], "last": price[model.last]}
        inside = "".join(f',"{name}":{value}' for name, value in values.items())
        data = f'{{"symbol":"{self.listing.symbol}"{inside},"timestamp":"{iso(now_ms)}"}}'
        return Message(self.message("ticker", kind, data), [ledger.ticker(*self.where, now_ms, values)])


TOPICS: dict[str, type[KrakenTopic]] = {
    "trade": TradeTopic,
    "ticker": TickerTopic,
    **{f"book-{depth}": BookTopic for depth in DEPTHS},
}
