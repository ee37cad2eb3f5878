"""Bybit v5 public topics: one class a kind, from the market model's state to the venue's messages.

Sources: bybit-exchange/docs v5 `websocket/public/*` and recorded sessions, whose order of keys is kept.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from collector.simulator import ledger
from collector.simulator.listing import Listing, TopicBase
from collector.simulator.market import BOOK, LIQUIDATION, TICKER, TRADE, Fill, SymbolMarket
from collector.simulator.orderbook import Window
from collector.simulator.wire import Message

REPEAT_MS = 3000
"""Level 1 is sent again after this long without a change."""
ENGINE_MS = 2
"""From the matching engine's time to the push."""
FUNDING_MS = 8 * 3_600_000
RECENT_TRADES = {"spot": (60, 60), "linear": (500, 1000), "inverse": (500, 1000)}
"""Market → default and greatest `limit` of REST's recent trades."""
TICKER_FIELDS = [
    ("last", "lastPrice"),
    ("mark", "markPrice"),
    ("index", "indexPrice"),
    ("index", "usdIndexPrice"),
    ("funding_rate", "fundingRate"),
    ("open_interest", "openInterest"),
    ("bid", "bid1Price"),
    ("ask", "ask1Price"),
]
"""The ledger's name of a field and Bybit's."""


def listing(market: str, model: SymbolMarket) -> Listing:
    item = model.instrument
    inverse = market == "inverse"
    symbol = f"{item.base}USD" if inverse and item.base != item.symbol else item.symbol
    return Listing(market, symbol, model, contract=float(inverse), inverse=inverse, strip=market == "spot")


class BybitBase(TopicBase):
    def __init__(self, listing: Listing, prefix: str, started_ms: int) -> None:
        super().__init__(listing, f"{prefix}.{listing.symbol}", started_ms)
        self.count = 0

    def seq(self, now_ms: int) -> int:
        """Rises with every message, never by one."""
        self.count += 1
        return now_ms * 4000 + self.count * 7 + self.index % 7


class TradeTopic(BybitBase):
    kind = TRADE

    def __init__(self, listing: Listing, prefix: str, started_ms: int) -> None:
        super().__init__(listing, prefix, started_ms)
        stamp = f"{started_ms:012x}"
        self._uuid = f"{stamp[:8]}-{stamp[8:]}-5{self.index % 4096:03x}-a{len(listing.market):03x}-"
        self._number = (2 * 10**6 + started_ms // 1000 % 10**6) * 10**12 + self.index * 10**8
        self._fills = 0
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT_TRADES[listing.market][1])
        """Oldest first, as REST shows them."""

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        listing, ts, seq = self.listing, now_ms - ENGINE_MS, self.seq(now_ms)
        spot = listing.market == "spot"
        items, entries = [], []
        for buys, tick, size in fills:
            self._fills += 1
            side, price, qty = "Buy" if buys else "Sell", listing.price[tick], listing.qty[size]
            if spot:
                trade_id = str(self._number + self._fills)
                items.append(
                    f'{{"i":"{trade_id}","T":{ts},"p":"{price}","v":"{qty}","S":"{side}","seq":{seq},'
                    f'"s":"{listing.symbol}","BT":false,"RPI":false}}'
                )
            else:
                trade_id = f"{self._uuid}{self._fills:012x}"
                items.append(
                    f'{{"T":{ts},"s":"{listing.symbol}","S":"{side}","v":"{qty}","p":"{price}",'
                    f'"L":"{"PlusTick" if buys else "MinusTick"}","i":"{trade_id}","BT":false,"RPI":false,"seq":{seq}}}'
                )
            taker, base = "buy" if buys else "sell", listing.base(qty, price)
            entries.append(ledger.trade(*self.where, ts, now_ms, trade_id, taker, price, base))
            self.recent.append({"i": trade_id, "p": price, "v": qty, "S": side, "T": ts, "seq": seq})
        kind = f'"ts":{now_ms},"type":"snapshot"' if spot else f'"type":"snapshot","ts":{now_ms}'
        return Message(f'{{"topic":"{self.name}",{kind},"data":[{",".join(items)}]}}', entries)


class LiquidationTopic(BybitBase):
    kind = LIQUIDATION

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        listing, ts = self.listing, now_ms - ENGINE_MS
        items, entries = [], []
        for buys, tick, size in fills:
            price, qty = listing.price[tick], listing.qty[size]
            # S is the position's side: a forced buy closes a short.
            items.append(
                f'{{"T":{ts},"s":"{listing.symbol}","S":"{"Sell" if buys else "Buy"}","v":"{qty}","p":"{price}"}}'
            )
            forced, base = "buy" if buys else "sell", listing.base(qty, price)
            entries.append(ledger.liquidation(*self.where, ts, now_ms, forced, price, base))
        text = f'{{"topic":"{self.name}","type":"snapshot","ts":{now_ms},"data":[{",".join(items)}]}}'
        return Message(text, entries)


class BookTopic(BybitBase):
    """`orderbook.N`: chained deltas, but for level 1, which has snapshots only."""

    kind = BOOK

    def __init__(self, listing: Listing, prefix: str, started_ms: int) -> None:
        super().__init__(listing, prefix, started_ms)
        self.depth = int(prefix.removeprefix("orderbook."))
        self.is_delta = self.depth > 1
        self._windows = Window(self.model.bids, self.depth), Window(self.model.asks, self.depth)
        self._u = (self.index + 1) * 1_000_000
        self._cts = self._sent = 0
        self._spot = listing.market == "spot"

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        bids, asks = (
            window.changes(side)
            for window, side in zip(self._windows, (self.model.bids, self.model.asks), strict=True)
        )
        if not bids and not asks:
            return None
        self._u += 1
        self._cts, self._sent = now_ms - ENGINE_MS, now_ms
        if self.depth == 1:
            return self.snapshot(now_ms)
        return self._message("delta", bids, asks, now_ms)

    def snapshot(self, now_ms: int) -> Message:
        self._cts, self._sent = self._cts or now_ms - ENGINE_MS, now_ms
        bids, asks = (
            [(key, side.sizes[key]) for key in reversed(side.keys[-self.depth :])]
            for side in (self.model.bids, self.model.asks)
        )
        return self._message("snapshot", bids, asks, now_ms)

    def repeat(self, now_ms: int) -> Message | None:
        if self.depth > 1 or now_ms - self._sent < REPEAT_MS:
            return None
        return self.snapshot(now_ms)

    def _message(
        self, kind: str, bids: list[tuple[int, int]], asks: list[tuple[int, int]], now_ms: int
    ) -> Message:
        price, qty = self.listing.price, self.listing.qty
        b = ",".join([f'["{price[key]}","{qty[size]}"]' for key, size in bids])
        a = ",".join([f'["{price[-key]}","{qty[size]}"]' for key, size in asks])
        head = f'"ts":{now_ms},"type":"{kind}"' if self._spot else f'"type":"{kind}","ts":{now_ms}'
        text = (
            f'{{"topic":"{self.name}",{head},"data":{{"s":"{self.listing.symbol}","b":[{b}],"a":[{a}],'
            f'"u":{self._u},"seq":{self.seq(now_ms)}}},"cts":{self._cts}}}'
        )
        entry = self.book_entry(self._cts, now_ms, self._u, self.depth, kind == "snapshot")
        return Message(text, [entry])


class TickerTopic(BybitBase):
    """Derivatives: a snapshot, then what has changed. Spot: snapshots."""

    kind = TICKER

    def __init__(self, listing: Listing, prefix: str, started_ms: int) -> None:
        super().__init__(listing, prefix, started_ms)
        self._told: dict[str, str] = {}

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        if self.listing.market == "spot":
            return self.snapshot(now_ms)
        told, fields = self._told, self._fields(now_ms)
        changed = {name: text for name, text in fields.items() if told.get(name) != text}
        return self._message("delta", changed, fields, now_ms) if changed else None

    def snapshot(self, now_ms: int) -> Message:
        # Another subscriber's snapshot must not hide a change from those who live on deltas.
        fields = self._told if self._told and self.listing.market != "spot" else self._fields(now_ms)
        return self._message("snapshot", fields, fields, now_ms)

    def _fields(self, now_ms: int) -> dict[str, str]:
        model, price, lots = self.model, self.listing.price, self.listing.lots
        fields = {
            "lastPrice": price[model.last],
            "highPrice24h": price[model.high],
            "lowPrice24h": price[model.low],
            "prevPrice24h": price[model.instrument.first_tick],
            "volume24h": lots(model.volume),
        }
        fair = round(model.fair)
        if self.listing.market == "spot":
            return fields | {"usdIndexPrice": price[fair]}
        return fields | {
            "markPrice": price[fair],
            "indexPrice": price[round(model.fair * 0.9998)],
            "openInterest": lots(model.open_interest),
            "fundingRate": f"{model.funding / 1e6:.6f}",
            "nextFundingTime": str((now_ms // FUNDING_MS + 1) * FUNDING_MS),
            "fundingIntervalHour": "8",
            "bid1Price": price[model.bids.best],
            "bid1Size": self.listing.qty[model.bids.sizes[model.bids.keys[-1]]],
            "ask1Price": price[model.asks.best],
            "ask1Size": self.listing.qty[model.asks.sizes[model.asks.keys[-1]]],
        }

    def _message(self, kind: str, sent: dict[str, str], merged: dict[str, str], now_ms: int) -> Message:
        self._told = merged
        listing = self.listing
        data = "".join(f',"{name}":"{text}"' for name, text in sent.items())
        text = (
            f'{{"topic":"{self.name}","type":"{kind}","data":{{"symbol":"{listing.symbol}"{data}}},'
            f'"cs":{self.seq(now_ms)},"ts":{now_ms}}}'
        )
        values = {name: merged[field] for name, field in TICKER_FIELDS if field in merged}
        return Message(text, [ledger.ticker(*self.where, now_ms, values)])


BybitTopic = TradeTopic | LiquidationTopic | BookTopic | TickerTopic
KINDS: dict[str, type[BybitTopic]] = {
    "publicTrade": TradeTopic,
    "allLiquidation": LiquidationTopic,
    "tickers": TickerTopic,
}


def make_topic(listing: Listing, prefix: str, started_ms: int) -> BybitTopic:
    return KINDS.get(prefix, BookTopic)(listing, prefix, started_ms)
