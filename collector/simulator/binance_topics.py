"""Binance's streams, from the market model's state to the venue's events. Sources: the documentation and recorded sessions,
whose order of keys is kept."""

from __future__ import annotations

from collections import deque
from typing import Any

from collector.simulator import ledger
from collector.simulator.listing import Listing, TopicBase
from collector.simulator.market import BOOK, LIQUIDATION, TICKER, TRADE, Fill
from collector.simulator.orderbook import Side, Window
from collector.simulator.wire import Message

DEPTH = 1000
RECENT_TRADES = 20_000
ENGINE_MS = 2
"""From the matching engine's time to the push."""
FUNDING_MS = 8 * 3_600_000


class TradeTopic(TopicBase):
    """`trade` on spot, `aggTrade` on futures."""

    kind = TRADE

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._id = started_ms % 10**9
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT_TRADES)
        """Oldest first, as REST shows them."""

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        listing, ts, texts, entries = self.listing, now_ms - ENGINE_MS, [], []
        spot = listing.market == "spot"
        for buys, tick, size in fills:
            self._id += 1
            price, qty, sold = listing.price[tick], listing.qty[size], "false" if buys else "true"
            if spot:
                text = (
                    f'{{"e":"trade","E":{now_ms},"s":"{listing.symbol}","t":{self._id},"p":"{price}","q":"{qty}",'
                    f'"T":{ts},"m":{sold},"M":true}}'
                )
            else:
                text = (
                    f'{{"e":"aggTrade","E":{now_ms},"a":{self._id},"s":"{listing.symbol}","p":"{price}","q":"{qty}",'
                    f'"nq":"{qty}","f":{self._id * 2},"l":{self._id * 2 + 1},"T":{ts},"m":{sold},"st":1}}'
                )
            texts.append(text)
            base, side = listing.base(qty, price), "buy" if buys else "sell"
            entries.append(ledger.trade(*self.where, ts, now_ms, str(self._id), side, price, base))
            self.recent.append({"id": self._id, "p": price, "q": qty, "T": ts, "m": not buys})
        return Message(texts[0], entries, tuple(texts[1:]))


class LiquidationTopic(TopicBase):
    """One a symbol and second at most: the largest of the second that begins with a first one, and no other is sent. The
    largest since 2026-04-14, says the venue's changelog; the latest before."""

    kind = LIQUIDATION

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._largest: tuple[int, Fill] | None = None
        """Its time, and itself."""
        self._due_ms = 0

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        message = self.repeat(now_ms)
        if self._largest is None:
            self._due_ms = now_ms + 1000
        lots = self.model.instrument.quantities
        for fill in fills:
            if self._largest is None or lots[fill[2]] > lots[self._largest[1][2]]:
                self._largest = now_ms - ENGINE_MS, fill
        return message

    def repeat(self, now_ms: int) -> Message | None:
        """What the second that is over has brought."""
        if self._largest is None or now_ms < self._due_ms:
            return None
        (ts, (buys, tick, size)), self._largest = self._largest, None
        listing = self.listing
        price, qty, side = listing.price[tick], listing.qty[size], "BUY" if buys else "SELL"
        text = (
            f'{{"e":"forceOrder","E":{now_ms},"o":{{"s":"{listing.symbol}","S":"{side}","o":"LIMIT","f":"IOC",'
            f'"q":"{qty}","p":"{price}","ap":"{price}","X":"FILLED","l":"{qty}","z":"{qty}","T":{ts}}}}}'
        )
        base = listing.base(qty, price)
        return Message(text, [ledger.liquidation(*self.where, ts, now_ms, side.lower(), price, base)])


class BookTopic(TopicBase):
    kind, is_delta = BOOK, True

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._windows = Window(self.model.bids, DEPTH), Window(self.model.asks, DEPTH)
        self.last = (self.index + 1) * 10**9 + started_ms % 10**6
        self._ts = 0

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        bids, asks = (
            window.changes(side)
            for window, side in zip(self._windows, (self.model.bids, self.model.asks), strict=True)
        )
        if not bids and not asks:
            return None
        before, spot = self.last, self.listing.market == "spot"
        self.last += 1 + before % 4
        price, qty = self.listing.price, self.listing.qty
        b = ",".join([f'["{price[key]}","{qty[size]}"]' for key, size in bids])
        a = ",".join([f'["{price[-key]}","{qty[size]}"]' for key, size in asks])
        ts = now_ms if spot else now_ms - ENGINE_MS
        engine, chain = ("", "") if spot else (f'"T":{ts},', f'"pu":{before},')
        # On futures the first id need not follow the last one: `pu` tells.
        first = before + 1 if spot else before + 1 + before % 2 * (self.last - before > 1)
        text = (
            f'{{"e":"depthUpdate","E":{now_ms},{engine}"s":"{self.listing.symbol}","U":{first},"u":{self.last},{chain}'
            f'"b":[{b}],"a":[{a}]}}'
        )
        return Message(text, [self.book_entry(ts, now_ms, self.last, DEPTH)])

    def levels(self, side: Side, limit: int) -> list[list[str]]:
        """As REST shows them."""
        keys = side.keys[: -limit - 1 : -1]
        return [[self.listing.price[key * side.sign], self.listing.qty[side.sizes[key]]] for key in keys]


class TickerTopic(TopicBase):
    kind = TICKER

    def publish(self, fills: list[Fill], now_ms: int) -> Message:
        model, price = self.model, self.listing.price
        values = {"last": price[model.last]}
        more = ""
        if self.listing.market == "spot":
            values |= {"bid": price[model.bids.best], "ask": price[model.asks.best]}
            more = f',"b":"{values["bid"]}","B":"1","a":"{values["ask"]}","A":"1"'
        text = (
            f'{{"e":"24hrTicker","E":{now_ms},"s":"{self.listing.symbol}","p":"1.0","P":"0.1","c":"{values["last"]}"'
            f'{more},"v":"{self.listing.lots(model.volume)}"}}'
        )
        return Message(text, [ledger.ticker(*self.where, now_ms, values)])


class MarkTopic(TopicBase):
    kind = TICKER

    def publish(self, fills: list[Fill], now_ms: int) -> Message:
        model, price = self.model, self.listing.price
        values = {
            "mark": price[round(model.fair)],
            "index": price[round(model.fair * 0.9998)],
            "funding_rate": f"{model.funding / 1e6:.6f}",
        }
        text = (
            f'{{"e":"markPriceUpdate","E":{now_ms},"s":"{self.listing.symbol}","p":"{values["mark"]}",'
            f'"ap":"{values["mark"]}","i":"{values["index"]}","P":"{values["mark"]}","r":"{values["funding_rate"]}",'
            f'"T":{(now_ms // FUNDING_MS + 1) * FUNDING_MS},"st":1}}'
        )
        return Message(text, [ledger.ticker(*self.where, now_ms, values)])


BinanceTopic = TradeTopic | LiquidationTopic | BookTopic | TickerTopic | MarkTopic
STREAMS: dict[str, type[BinanceTopic]] = {
    "trade": TradeTopic,
    "aggTrade": TradeTopic,
    "forceOrder": LiquidationTopic,
    "depth@100ms": BookTopic,
    "ticker": TickerTopic,
    "markPrice@1s": MarkTopic,
}
FUTURES = frozenset(STREAMS) - {"trade"}
OFFERED = {"linear": FUTURES, "inverse": FUTURES, "spot": frozenset({"trade", "depth@100ms", "ticker"})}
EVENTS = {
    "aggTrade": "aggTrade",
    "trade": "trade",
    "depthUpdate": "depth@100ms",
    "forceOrder": "forceOrder",
    "markPriceUpdate": "markPrice@1s",
    "24hrTicker": "ticker",
}
