"""Deribit's channels, from the market model's state to the venue's notifications.

Sources: docs.deribit.com, and recorded sessions, whose order of keys is kept. Trades and forced orders share one channel and
one sequence.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from collector.simulator import ledger
from collector.simulator.listing import Listing, TopicBase
from collector.simulator.market import BOOK, LIQUIDATION, TICKER, TRADE, Fill
from collector.simulator.orderbook import Window
from collector.simulator.wire import Message

DEPTH = 200
"""Levels of a book: the real one is whole."""
RECENT_TRADES = 20_000
FIELDS = [
    ("last", "last_price"),
    ("mark", "mark_price"),
    ("index", "index_price"),
    ("funding_rate", "current_funding"),
    ("open_interest", "open_interest"),
    ("bid", "best_bid_price"),
    ("ask", "best_ask_price"),
]


class DeribitTopic(TopicBase):
    def notification(self, data: str) -> str:
        return (
            f'{{"jsonrpc":"2.0","method":"subscription","params":{{"channel":"{self.name}","data":{data}}}}}'
        )


class TradeTopic(DeribitTopic):
    kind = TRADE

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._seq = started_ms % 10**9
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT_TRADES)
        """Oldest first, as REST shows them."""
        self.also = None if listing.market == "spot" else Forced(self)

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        return self.traded(fills, now_ms, "")

    def traded(self, fills: list[Fill], now_ms: int, forced: str) -> Message | None:
        listing, items, entries = self.listing, [], []
        for buys, tick, size in fills:
            self._seq += 1
            side, other = ("buy", "sell") if buys else ("sell", "buy")
            price, qty, trade_id = (
                listing.price[tick],
                listing.qty[size],
                f"{self.model.instrument.base}-{self._seq}",
            )
            mark = f',"liquidation":"{forced}"' if forced else ""
            items.append(
                f'{{"trade_seq":{self._seq},"trade_id":"{trade_id}","timestamp":{now_ms},"tick_direction":2,'
                f'"price":{price},"mark_price":{price},"instrument_name":"{listing.symbol}","index_price":{price},'
                f'"direction":"{side}","amount":{qty}{mark}}}'
            )
            base = listing.base(qty, price)
            entries.append(ledger.trade(*self.where, now_ms, now_ms, trade_id, side, price, base))
            for who in forced:
                liquidated = side if who == "T" else other
                entries.append(ledger.liquidation(*self.where, now_ms, now_ms, liquidated, price, base))
            self.recent.append({"ms": now_ms, "seq": self._seq, "text": items[-1]})
        return Message(self.notification(f"[{','.join(items)}]"), entries)


class Forced(TopicBase):
    """Those trades of which one side, or every third time both, are liquidated."""

    kind = LIQUIDATION

    def __init__(self, trades: TradeTopic) -> None:
        super().__init__(trades.listing, trades.name, trades.started_ms)
        self._trades, self._count = trades, 0

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        self._count += 1
        return self._trades.traded(fills, now_ms, ("T", "M", "MT")[self._count % 3])


class BookTopic(DeribitTopic):
    kind, is_delta = BOOK, True

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._windows = Window(self.model.bids, DEPTH), Window(self.model.asks, DEPTH)
        self._change = (self.index + 1) * 10**9 + started_ms % 10**6
        self._ms = 0

    def snapshot(self, now_ms: int) -> Message:
        self._ms = self._ms or now_ms
        sides = [
            [("new", key, side.sizes[key]) for key in reversed(side.keys[-DEPTH:])]
            for side in (self.model.bids, self.model.asks)
        ]
        return self._message("snapshot", sides, "", now_ms)

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        sides = [
            [("delete" if size < 0 else "change", key, size) for key, size in window.changes(side)]
            for window, side in zip(self._windows, (self.model.bids, self.model.asks), strict=True)
        ]
        if not any(sides):
            return None
        before, self._ms = self._change, now_ms
        self._change += 3 + before % 5
        return self._message("change", sides, f',"prev_change_id":{before}', now_ms)

    def _message(
        self, kind: str, sides: list[list[tuple[str, int, int]]], before: str, now_ms: int
    ) -> Message:
        price, qty = self.listing.price, self.listing.qty
        bids, asks = (
            ",".join(f'["{action}",{price[abs(key)]},{qty[size]}]' for action, key, size in side)
            for side in sides
        )
        data = (
            f'{{"type":"{kind}","timestamp":{self._ms}{before},"instrument_name":"{self.listing.symbol}",'
            f'"change_id":{self._change},"bids":[{bids}],"asks":[{asks}]}}'
        )
        entry = self.book_entry(self._ms, now_ms, self._change, DEPTH, kind == "snapshot")
        return Message(self.notification(data), [entry])


class TickerTopic(DeribitTopic):
    kind = TICKER

    def snapshot(self, now_ms: int) -> Message:
        return self.publish([], now_ms)

    def publish(self, fills: list[Fill], now_ms: int) -> Message:
        model, price = self.model, self.listing.price
        values = {
            "last": price[model.last],
            "mark": price[round(model.fair)],
            "index": price[round(model.fair * 0.9998)],
            "open_interest": self.listing.lots(model.open_interest),
            "funding_rate": f"{model.funding / 1e6:.6f}",
            "bid": price[model.bids.best],
            "ask": price[model.asks.best],
        }
        if self.listing.market == "spot":
            del values["open_interest"], values["funding_rate"]
        inside = "".join(f',"{field}":{values[name]}' for name, field in FIELDS if name in values)
        data = f'{{"timestamp":{now_ms},"state":"open","instrument_name":"{self.listing.symbol}"{inside}}}'
        return Message(self.notification(data), [ledger.ticker(*self.where, now_ms, values)])


TOPICS: dict[str, type[DeribitTopic]] = {"trades": TradeTopic, "book": BookTopic, "ticker": TickerTopic}
