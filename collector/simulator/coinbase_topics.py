"""Coinbase's channels, from the market model's state to the venue's messages. Sources: the documentation as others quote it,
and messages that others recorded, whose order of keys is kept. A connection puts its number where 0 is."""

from __future__ import annotations

from collections import deque

from collector.simulator import ledger
from collector.simulator.listing import Listing, TopicBase, iso
from collector.simulator.market import BOOK, TICKER, TRADE, Fill
from collector.simulator.orderbook import Window
from collector.simulator.wire import Message

DEPTH = 1000
"""Levels of a book: the real one is whole."""
RECENT_TRADES = 20_000
BACKLOG = 5
"""Trades that a new subscriber is sent first."""
RecentTrade = tuple[int, str, str, bool, int]
"""(ms, price, size, the taker buys, id)"""


class CoinbaseTopic(TopicBase):
    is_delta = True

    def message(self, channel: str, now_ms: int, event: str) -> str:
        return f'{{"channel":"{channel}","client_id":"","timestamp":"{iso(now_ms)}","sequence_num":0,"events":[{event}]}}'


class TradeTopic(CoinbaseTopic):
    kind = TRADE

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._id = started_ms % 10**9
        self.recent: deque[RecentTrade] = deque(maxlen=RECENT_TRADES)
        """Oldest first."""

    def snapshot(self, now_ms: int) -> Message | None:
        """What the ledger has already."""
        newest = list(self.recent)[-BACKLOG:]
        return self._message("snapshot", newest, now_ms, []) if newest else None

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        new: list[RecentTrade] = []
        for buys, tick, size in fills:
            self._id += 1
            new.append((now_ms, self.listing.price[tick], self.listing.qty[size], buys, self._id))
        self.recent.extend(new)
        entries = [
            ledger.trade(*self.where, ms, now_ms, str(number), "buy" if buys else "sell", price, qty)
            for ms, price, qty, buys, number in new
        ]
        return self._message("update", new, now_ms, entries)

    def _message(self, kind: str, trades: list[RecentTrade], now_ms: int, entries: list[str]) -> Message:
        """Newest first."""
        items = ",".join(
            f'{{"trade_id":"{number}","product_id":"{self.listing.symbol}","price":"{price}","size":"{qty}",'
            f'"side":"{"BUY" if buys else "SELL"}","time":"{iso(ms)}"}}'
            for ms, price, qty, buys, number in reversed(trades)
        )
        event = f'{{"type":"{kind}","trades":[{items}]}}'
        return Message(self.message("market_trades", now_ms, event), entries)


class BookTopic(CoinbaseTopic):
    kind = BOOK

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._windows = Window(self.model.bids, DEPTH), Window(self.model.asks, DEPTH)
        self._ms = 0

    def snapshot(self, now_ms: int) -> Message:
        self._ms = self._ms or now_ms
        sides = [
            [(key, side.sizes[key]) for key in reversed(side.keys[-DEPTH:])]
            for side in (self.model.bids, self.model.asks)
        ]
        return self._message("snapshot", sides, now_ms)

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        sides = [
            window.changes(side)
            for window, side in zip(self._windows, (self.model.bids, self.model.asks), strict=True)
        ]
        if not any(sides):
            return None
        self._ms = now_ms
        return self._message("update", sides, now_ms)

    def _message(self, kind: str, sides: list[list[tuple[int, int]]], now_ms: int) -> Message:
        price, qty, at = self.listing.price, self.listing.qty, iso(self._ms)
        updates = ",".join(
            f'{{"side":"{name}","event_time":"{at}","price_level":"{price[abs(key)]}","new_quantity":"{qty[size]}"}}'
            for name, side in zip(("bid", "offer"), sides, strict=True)
            for key, size in side
        )
        event = f'{{"type":"{kind}","product_id":"{self.listing.symbol}","updates":[{updates}]}}'
        entry = self.book_entry(self._ms, now_ms, 0, DEPTH, kind == "snapshot")
        return Message(self.message("l2_data", self._ms, event), [entry])


class TickerTopic(CoinbaseTopic):
    kind = TICKER

    def snapshot(self, now_ms: int) -> Message:
        return self._message("snapshot", now_ms)

    def publish(self, fills: list[Fill], now_ms: int) -> Message:
        return self._message("update", now_ms)

    def _message(self, kind: str, now_ms: int) -> Message:
        model, price = self.model, self.listing.price
        values = {"last": price[model.last], "bid": price[model.bids.best], "ask": price[model.asks.best]}
        event = (
            f'{{"type":"{kind}","tickers":[{{"type":"ticker","product_id":"{self.listing.symbol}",'
            f'"price":"{values["last"]}","best_bid":"{values["bid"]}","best_ask":"{values["ask"]}"}}]}}'
        )
        return Message(self.message("ticker", now_ms, event), [ledger.ticker(*self.where, now_ms, values)])


TOPICS: dict[str, type[CoinbaseTopic]] = {
    "market_trades": TradeTopic,
    "level2": BookTopic,
    "ticker": TickerTopic,
}
