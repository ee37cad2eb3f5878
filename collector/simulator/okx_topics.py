"""OKX's channels, from the market model's state to the venue's messages. Sources: the documentation as others quote it, and
recorded sessions, whose order of keys is kept."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from collector.simulator import ledger
from collector.simulator.listing import Listing, TopicBase
from collector.simulator.market import BOOK, LIQUIDATION, TICKER, TRADE, Fill
from collector.simulator.orderbook import Window
from collector.simulator.wire import Message, Topic

DEPTH = 400
RECENT_TRADES = 20_000
BACKLOG = 3
"""Liquidations that a new subscriber is sent first."""
FUNDING_MS = 8 * 3_600_000
WITHOUT_SNAPSHOT = frozenset({"inverse"})
"""Markets whose books begin with updates: both beginnings are documented."""


class OkxTopic(TopicBase):
    def message(self, data: str, action: str = "") -> str:
        channel, _, symbol = self.name.partition(":")
        told = f',"action":"{action}"' if action else ""
        return f'{{"arg":{{"channel":"{channel}","instId":"{symbol}"}}{told},"data":[{data}]}}'


class TradeTopic(OkxTopic):
    """`trades-all`: one fill a message."""

    kind = TRADE

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._id = started_ms % 10**9
        self.recent: deque[dict[str, Any]] = deque(maxlen=RECENT_TRADES)
        """Oldest first, as REST shows them."""

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        listing, texts, entries = self.listing, [], []
        for buys, tick, size in fills:
            self._id += 1
            price, qty, side = listing.price[tick], listing.qty[size], "buy" if buys else "sell"
            texts.append(
                self.message(
                    f'{{"instId":"{listing.symbol}","tradeId":"{self._id}","px":"{price}","sz":"{qty}","side":"{side}",'
                    f'"ts":"{now_ms}","source":"0"}}'
                )
            )
            entries.append(
                ledger.trade(
                    *self.where, now_ms, now_ms, str(self._id), side, price, listing.base(qty, price)
                )
            )
            self.recent.append(
                {
                    "instId": listing.symbol,
                    "tradeId": str(self._id),
                    "px": price,
                    "sz": qty,
                    "side": side,
                    "ts": str(now_ms),
                }
            )
        return Message(texts[0], entries, tuple(texts[1:]))


class LiquidationTopic(TopicBase):
    """One symbol's part of a channel for all; no more than one order a second. The first one's backlog is everybody's."""

    kind = LIQUIDATION

    def __init__(self, listing: Listing, name: str, started_ms: int, backlog: deque[str]) -> None:
        super().__init__(listing, name, started_ms)
        self._backlog, self._next_ms = backlog, 0
        self.recent: deque[dict[str, str]] = deque(maxlen=RECENT_TRADES)
        """Oldest first, as REST shows them."""

    def snapshot(self, now_ms: int) -> Message | None:
        """What the ledger has already."""
        return Message(self._backlog[0], [], tuple(self._backlog)[1:]) if self._backlog else None

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        if now_ms < self._next_ms:
            return None
        self._next_ms = now_ms + 1000
        listing, (buys, tick, size) = self.listing, fills[0]
        price, qty, side = listing.price[tick], listing.qty[size], "buy" if buys else "sell"
        kind = self.name.partition(":")[2]
        family = listing.symbol.removesuffix("-SWAP")
        text = (
            f'{{"arg":{{"channel":"liquidation-orders","instType":"{kind}"}},"data":[{{"details":[{{"bkLoss":"0",'
            f'"bkPx":"{price}","ccy":"","posSide":"{"short" if buys else "long"}","side":"{side}","sz":"{qty}",'
            f'"ts":"{now_ms}"}}],"instFamily":"{family}","instId":"{listing.symbol}","instType":"{kind}","uly":"{family}"}}]}}'
        )
        self._backlog.append(text)
        told = {"bkPx": price, "posSide": "short" if buys else "long", "side": side, "sz": qty}
        self.recent.append({"bkLoss": "0", "ccy": "", "ts": str(now_ms)} | told)
        return Message(
            text,
            [ledger.liquidation(*self.where, now_ms, now_ms, side, price, listing.base(qty, price))],
        )


def liquidations(listings: Sequence[Listing], name: str, started_ms: int) -> LiquidationTopic:
    """The channel of all symbols: a chain, of which the first one is subscribed."""
    backlog: deque[str] = deque(maxlen=BACKLOG)
    following: Topic | None = None
    for listing in reversed(listings):
        made = LiquidationTopic(listing, name, started_ms, backlog)
        made.also, following = following, made
    return made


class BookTopic(OkxTopic):
    kind, is_delta = BOOK, True

    def __init__(self, listing: Listing, name: str, started_ms: int) -> None:
        super().__init__(listing, name, started_ms)
        self._windows = Window(self.model.bids, DEPTH), Window(self.model.asks, DEPTH)
        self.seq = (self.index + 1) * 10**9 + started_ms % 10**6
        self._ms = 0

    def snapshot(self, now_ms: int) -> Message | None:
        self._ms = self._ms or now_ms
        if self.listing.market in WITHOUT_SNAPSHOT:
            return None
        entry = self.book_entry(self._ms, now_ms, self.seq, DEPTH, snap=True)
        return Message(self.message(self.whole(-1), "snapshot"), [entry])

    def whole(self, before: int | None = None) -> str:
        """The book, as a snapshot and as REST have it."""
        sides = [
            [(key, side.sizes[key]) for key in reversed(side.keys[-DEPTH:])]
            for side in (self.model.bids, self.model.asks)
        ]
        return self._data(sides, before)

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        sides = [
            window.changes(side)
            for window, side in zip(self._windows, (self.model.bids, self.model.asks), strict=True)
        ]
        if not any(sides):
            return None
        before, self._ms = self.seq, now_ms
        self.seq += 3 + before % 5
        entry = self.book_entry(now_ms, now_ms, self.seq, DEPTH)
        return Message(self.message(self._data(sides, before), "update"), [entry])

    def _data(self, sides: list[list[tuple[int, int]]], before: int | None) -> str:
        price, qty = self.listing.price, self.listing.qty
        bids, asks = (
            ",".join(f'["{price[abs(key)]}","{qty[size]}","0","{int(size >= 0)}"]' for key, size in side)
            for side in sides
        )
        chain = "" if before is None else f',"prevSeqId":{before}'
        return f'{{"asks":[{asks}],"bids":[{bids}],"ts":"{self._ms}","checksum":0,"seqId":{self.seq}{chain}}}'


class StateTopic(OkxTopic):
    """Part of what `tickers` shows."""

    kind = TICKER

    def told(self, now_ms: int) -> tuple[dict[str, str], dict[str, str]]:
        """What the message says besides instrument and time, and the fields of the ledger."""
        raise NotImplementedError

    def publish(self, fills: list[Fill], now_ms: int) -> Message:
        members, values = self.told(now_ms)
        symbol = self.name.partition(":")[2]
        inside = "".join(f',"{key}":"{value}"' for key, value in members.items())
        text = self.message(f'{{"instId":"{symbol}"{inside},"ts":"{now_ms}"}}')
        return Message(text, [ledger.ticker(*self.where, now_ms, values)])


class TickerTopic(StateTopic):
    def told(self, now_ms: int) -> tuple[dict[str, str], dict[str, str]]:
        price, model = self.listing.price, self.model
        values = {"last": price[model.last], "bid": price[model.bids.best], "ask": price[model.asks.best]}
        return {"last": values["last"], "askPx": values["ask"], "bidPx": values["bid"]}, values


class MarkTopic(StateTopic):
    def told(self, now_ms: int) -> tuple[dict[str, str], dict[str, str]]:
        mark = self.listing.price[round(self.model.fair)]
        return {"markPx": mark}, {"mark": mark}


class IndexTopic(StateTopic):
    def told(self, now_ms: int) -> tuple[dict[str, str], dict[str, str]]:
        index = self.listing.price[round(self.model.fair * 0.9998)]
        return {"idxPx": index}, {"index": index}


class InterestTopic(StateTopic):
    def told(self, now_ms: int) -> tuple[dict[str, str], dict[str, str]]:
        amount = self.listing.lots(self.model.open_interest)
        value = float(amount) * self.listing.contract
        return {"oi": amount, "oiCcy": "0"}, {"open_interest": repr(value)}


class FundingTopic(StateTopic):
    def told(self, now_ms: int) -> tuple[dict[str, str], dict[str, str]]:
        rate = f"{self.model.funding / 1e6:.6f}"
        due = (now_ms // FUNDING_MS + 1) * FUNDING_MS
        members = {"fundingRate": rate, "nextFundingRate": "", "fundingTime": str(due)}
        return members, {"funding_rate": rate}


TOPICS: dict[str, type[OkxTopic]] = {
    "trades-all": TradeTopic,
    "books": BookTopic,
    "tickers": TickerTopic,
    "mark-price": MarkTopic,
    "index-tickers": IndexTopic,
    "open-interest": InterestTopic,
    "funding-rate": FundingTopic,
}
SPOT = frozenset({"trades-all", "books", "tickers"})
