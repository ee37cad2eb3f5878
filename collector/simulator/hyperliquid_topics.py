"""Hyperliquid's topics, from the market model's state to the venue's messages. Sources: a recorded session, and the
venue's pages as others quote them."""

from __future__ import annotations

from collections import deque

from collector.simulator import ledger
from collector.simulator.listing import Listing, TopicBase
from collector.simulator.market import BOOK, TICKER, TRADE, Fill
from collector.simulator.orderbook import Side
from collector.simulator.wire import Message

DEPTH = 20
HISTORY = 30
"""Trades that a new subscriber is sent once more."""
RECENT_TRADES = 500
"""That REST shows: more than the real venue, so that there is something to repair."""
ZERO_HASH = "0x" + 64 * "0"
USERS = '["0x' + 40 * "1" + '","0x' + 40 * "2" + '"]'


class HyperliquidTopic(TopicBase):
    channel = ""

    def message(self, data: str) -> str:
        return f'{{"channel":"{self.channel}","data":{data}}}'


class TradeTopic(HyperliquidTopic):
    channel, kind = "trades", TRADE

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._fills = 0
        self.recent: deque[str] = deque(maxlen=RECENT_TRADES)
        """Oldest first."""

    def snapshot(self, now_ms: int) -> Message | None:
        newest = list(self.recent)[-HISTORY:]
        return Message(self.message(f"[{','.join(newest)}]"), []) if newest else None

    def publish(self, fills: list[Fill], now_ms: int) -> Message:
        listing, items, entries = self.listing, [], []
        for buys, tick, size in fills:
            self._fills += 1
            # Not ordered, as the venue's are not, and unique for 2**50 fills.
            tid = (self.started_ms + self._fills * 0x9E3779B97F4A7) % 2**50
            price, qty = listing.price[tick], listing.qty[size]
            items.append(
                f'{{"coin":"{listing.symbol}","side":"{"B" if buys else "A"}","px":"{price}","sz":"{qty}",'
                f'"time":{now_ms},"hash":"{ZERO_HASH}","tid":{tid},"users":{USERS}}}'
            )
            side = "buy" if buys else "sell"
            entries.append(ledger.trade(*self.where, now_ms, now_ms, str(tid), side, price, qty))
        self.recent.extend(items)
        return Message(self.message(f"[{','.join(items)}]"), entries)


class BookTopic(HyperliquidTopic):
    """Whole books, at most one a time."""

    channel, kind = "l2Book", BOOK

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._ms = 0
        self._pending = False
        """The book has changed since the newest message."""
        self._text, self._entry = "", ""

    def _side(self, side: Side) -> str:
        price, qty = self.listing.price, self.listing.qty
        levels = (
            f'{{"px":"{price[key * side.sign]}","sz":"{qty[side.sizes[key]]}","n":1}}'
            for key in side.keys[: -DEPTH - 1 : -1]
        )
        return f"[{','.join(levels)}]"

    def _show(self, now_ms: int) -> Message:
        self._ms, self._pending = now_ms, False
        levels = f"[{self._side(self.model.bids)},{self._side(self.model.asks)}]"
        self._text = self.message(f'{{"coin":"{self.listing.symbol}","time":{now_ms},"levels":{levels}}}')
        self._entry = self.book_entry(now_ms, now_ms, 0, DEPTH, rep=True)
        return Message(self._text, [self.book_entry(now_ms, now_ms, 0, DEPTH)])

    def snapshot(self, now_ms: int) -> Message:
        """The newest message once more."""
        return Message(self._text, [self._entry]) if self._text else self._show(now_ms)

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        self._pending = True
        return self.repeat(now_ms)

    def repeat(self, now_ms: int) -> Message | None:
        return self._show(now_ms) if self._pending and now_ms > self._ms else None


class ContextTopic(HyperliquidTopic):
    kind = TICKER

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self.channel = "activeSpotAssetCtx" if listing.market == "spot" else "activeAssetCtx"
        self._text, self._values = "", dict[str, str]()

    def snapshot(self, now_ms: int) -> Message:
        """The newest message once more."""
        if not self._text:
            return self.publish([], now_ms)
        return Message(self._text, [ledger.untimed_ticker(*self.where, now_ms, self._values)])

    def publish(self, fills: list[Fill], now_ms: int) -> Message:
        model, price = self.model, self.listing.price
        values = {"mark": price[round(model.fair)]}
        fields = {"prevDayPx": price[model.low], "dayNtlVlm": f"{turnover(self.listing):.4f}"}
        if self.listing.market == "linear":
            values["index"] = price[round(model.fair * 0.9998)]
            values["funding_rate"] = f"{model.funding / 1e7:.7f}"
            values["open_interest"] = self.listing.lots(model.open_interest)
            fields["funding"] = values["funding_rate"]
            fields["openInterest"] = values["open_interest"]
            fields["oraclePx"] = values["index"]
        fields["markPx"], fields["midPx"] = values["mark"], price[model.bids.best]
        ctx = ",".join(f'"{name}":"{text}"' for name, text in fields.items())
        self._text, self._values = self.message(f'{{"coin":"{self.listing.symbol}","ctx":{{{ctx}}}}}'), values
        return self.snapshot(now_ms)


def turnover(listing: Listing) -> float:
    """Of 24 hours, in USDC."""
    item = listing.model.instrument
    return item.price(item.first_tick) * (10_000 + listing.model.volume / 10.0**item.lot_decimals)


TOPICS: dict[str, type[HyperliquidTopic]] = {
    "trades": TradeTopic,
    "l2Book": BookTopic,
    "activeAssetCtx": ContextTopic,
}
