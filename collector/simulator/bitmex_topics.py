"""BitMEX's tables, from the market model's state to the venue's messages. Sources: recorded sessions, whose order of keys is
kept. One message has one action, so that a change of a book is up to three frames."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

from collector.simulator import ledger
from collector.simulator.listing import Listing, TopicBase
from collector.simulator.market import BOOK, LIQUIDATION, TICKER, TRADE, Fill
from collector.simulator.orderbook import Window
from collector.simulator.wire import Message

FULL_DEPTH = 100
"""Levels of `orderBookL2`: the real one has thousands."""
RECENT_TRADES = 20_000
FUNDING_MS = 8 * 3_600_000
NO_SIDE_EVERY = 50
"""One trade in this many has no side, as some have."""
FIELDS = [
    ("last", "lastPrice"),
    ("mark", "markPrice"),
    ("index", "indicativeSettlePrice"),
    ("funding_rate", "fundingRate"),
    ("open_interest", "openInterest"),
    ("bid", "bidPrice"),
    ("ask", "askPrice"),
]


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class BitmexTopic(TopicBase):
    table = ""

    def message(self, action: str, items: list[str]) -> str:
        head = f'{{"table":"{self.table}","action":"{action}"'
        if action == "partial":
            head += f',"keys":["symbol"],"types":{{"symbol":"symbol"}},"filter":{{"symbol":"{self.listing.symbol}"}}'
        return f'{head},"data":[{",".join(items)}]}}'


class TradeTopic(BitmexTopic):
    table, kind = "trade", TRADE

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        stamp = f"{started_ms:012x}"
        self._uuid = f"{stamp[:8]}-{stamp[8:]}-1{self.index % 4096:03x}-b{len(listing.market):03x}-"
        self._fills = 0
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT_TRADES)
        """Oldest first, as REST shows them."""
        self._last: list[str] = []

    def snapshot(self, now_ms: int) -> Message:
        """The newest trade once more, of which the ledger knows."""
        return Message(self.message("partial", self._last), [])

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        listing, items, entries = self.listing, [], []
        for buys, tick, size in fills:
            self._fills += 1
            trade_id, price, qty = f"{self._uuid}{self._fills:012x}", listing.price[tick], listing.qty[size]
            sided = self._fills % NO_SIDE_EVERY != 0
            told = f'"side":"{"Buy" if buys else "Sell"}",' if sided else ""
            items.append(
                f'{{"timestamp":"{iso(now_ms)}","symbol":"{listing.symbol}",{told}"size":{qty},"price":{price},'
                f'"tickDirection":"PlusTick","trdMatchID":"{trade_id}","trdType":"Regular"}}'
            )
            side = ("buy" if buys else "sell") if sided else ""
            entries.append(
                ledger.trade(*self.where, now_ms, now_ms, trade_id, side, price, listing.base(qty, price))
            )
            self.recent.append({"ms": now_ms, "text": items[-1]})
        self._last = items[-1:]
        return Message(self.message("insert", items), entries)


class LiquidationTopic(BitmexTopic):
    table, kind = "liquidation", LIQUIDATION

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._orders = 0

    def snapshot(self, now_ms: int) -> Message:
        return Message(self.message("partial", []), [])

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        """Inserted, worked, and gone."""
        listing, items, gone, entries = self.listing, [], [], []
        for buys, tick, size in fills:
            self._orders += 1
            order = f"{self.started_ms:012x}-{listing.symbol}-{self._orders}"
            side, price, qty = "Buy" if buys else "Sell", listing.price[tick], listing.qty[size]
            items.append(
                f'{{"orderID":"{order}","symbol":"{listing.symbol}","side":"{side}","price":{price},"leavesQty":{qty}}}'
            )
            gone.append(f'{{"orderID":"{order}","symbol":"{listing.symbol}"}}')
            base = listing.base(qty, price)
            entries.append(ledger.untimed_liquidation(*self.where, now_ms, order, side.lower(), price, base))
        return Message(self.message("insert", items), entries, (self.message("delete", gone),))


class BookTopic(BitmexTopic):
    kind = BOOK

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self.table = name.partition(":")[0]
        self.depth = 25 if self.table.endswith("_25") else FULL_DEPTH
        self._windows = Window(self.model.bids, self.depth), Window(self.model.asks, self.depth)
        self._shown = [
            {key: side.sizes[key] for key in side.keys[-self.depth :]}
            for side in (self.model.bids, self.model.asks)
        ]
        self._ms = 0

    def _level(self, sell: int, key: int, size: int | None, now_ms: int, with_price: bool) -> str:
        tick = -key if sell else key
        amount = "" if size is None else f'"size":{self.listing.qty[size]},'
        price = f'"price":{self.listing.price[tick]},' if with_price else ""
        return (
            f'{{"symbol":"{self.listing.symbol}","id":{60_000_000_000 - tick},"side":"{"Sell" if sell else "Buy"}",'
            f'{amount}{price}"timestamp":"{iso(now_ms)}"}}'
        )

    def snapshot(self, now_ms: int) -> Message:
        self._ms = self._ms or now_ms
        items = [
            self._level(sell, key, size, self._ms, True)
            for sell, shown in enumerate(self._shown)
            for key, size in shown.items()
        ]
        entry = self.book_entry(self._ms, now_ms, 0, self.depth, snap=True, rep=True)
        return Message(self.message("partial", items), [entry])

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        actions: dict[str, list[str]] = {"delete": [], "update": [], "insert": []}
        for sell, (window, side) in enumerate(
            zip(self._windows, (self.model.bids, self.model.asks), strict=True)
        ):
            shown = self._shown[sell]
            for key, size in window.changes(side):
                if size < 0:
                    if shown.pop(key, None) is not None:
                        actions["delete"].append(self._level(sell, key, None, now_ms, True))
                elif key in shown:
                    shown[key] = size
                    # Older messages leave out the price of an id that is known.
                    actions["update"].append(self._level(sell, key, size, now_ms, key % 2 == 0))
                else:
                    shown[key] = size
                    actions["insert"].append(self._level(sell, key, size, now_ms, True))
        texts = [self.message(action, items) for action, items in actions.items() if items]
        if not texts:
            return None
        self._ms = now_ms
        return Message(texts[0], [self.book_entry(now_ms, now_ms, 0, self.depth)], tuple(texts[1:]))


class TickerTopic(BitmexTopic):
    table, kind = "instrument", TICKER

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._told: dict[str, str] = {}
        self._ms = 0

    def _fields(self, now_ms: int) -> dict[str, str]:
        model, price = self.model, self.listing.price
        return {
            "lastPrice": price[model.last],
            "markPrice": price[round(model.fair)],
            "indicativeSettlePrice": price[round(model.fair * 0.9998)],
            "fundingRate": f"{model.funding / 1e6:.6f}",
            "fundingTimestamp": f'"{iso((now_ms // FUNDING_MS + 1) * FUNDING_MS)}"',
            "openInterest": self.listing.lots(model.open_interest),
            "bidPrice": price[model.bids.best],
            "askPrice": price[model.asks.best],
        }

    def _message(self, action: str, fields: dict[str, str], told: dict[str, str], now_ms: int) -> Message:
        self._told, self._ms = told, now_ms
        inside = "".join(f',"{name}":{text}' for name, text in fields.items())
        item = f'{{"symbol":"{self.listing.symbol}"{inside},"timestamp":"{iso(now_ms)}"}}'
        values = {name: told[field] for name, field in FIELDS if field in told}
        if self.listing.contract and not self.listing.inverse:
            values["open_interest"] = repr(float(values["open_interest"]) * self.listing.contract)
        return Message(self.message(action, [item]), [ledger.ticker(*self.where, now_ms, values)])

    def snapshot(self, now_ms: int) -> Message:
        # Another subscriber's partial must not hide a change from those who live on updates.
        fields = self._told or self._fields(now_ms)
        return self._message("partial", fields, fields, now_ms)

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        fields = self._fields(now_ms)
        changed = {name: text for name, text in fields.items() if self._told.get(name) != text}
        return self._message("update", changed, fields, now_ms) if changed else None


TOPICS: dict[str, type[BitmexTopic]] = {
    "trade": TradeTopic,
    "liquidation": LiquidationTopic,
    "orderBookL2": BookTopic,
    "orderBookL2_25": BookTopic,
    "instrument": TickerTopic,
}
