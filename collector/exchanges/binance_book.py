"""Binance's order book: updates that are joined to a snapshot by REST. Sources and doubts are told in `binance.py`."""

from __future__ import annotations

import msgspec

from collector.exchanges.base import Fetch, Instrument, Item, Notice, Request
from collector.exchanges.binance_rest import API
from collector.exchanges.binance_topics import stream
from collector.exchanges.states import JoinedBook, Snapshot, Update
from collector.exchanges.topic import Milliseconds, Price, Size, UpdateId
from collector.settings import FeedConfig

SNAPSHOT_LEVELS = 1000
SNAPSHOT_WEIGHT = {"linear": 20, "inverse": 20, "spot": 50}


class Depth(msgspec.Struct, gc=False):
    s: str
    first: UpdateId = msgspec.field(name="U")
    last: UpdateId = msgspec.field(name="u")
    pushed: Milliseconds = msgspec.field(name="E")
    b: list[tuple[Price, Size]]
    a: list[tuple[Price, Size]]
    before: UpdateId | None = msgspec.field(name="pu", default=None)
    traded: Milliseconds | None = msgspec.field(name="T", default=None)


class DepthSnapshot(msgspec.Struct, gc=False):
    last: UpdateId = msgspec.field(name="lastUpdateId")
    bids: list[tuple[Price, Size]]
    asks: list[tuple[Price, Size]]


class OrderBook(JoinedBook):
    """A snapshot by REST; then each event names the one before it, or begins where that ended."""

    message = Depth

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument | None) -> None:
        super().__init__(
            feed,
            symbol,
            stream(symbol, "depth@100ms"),
            2 * SNAPSHOT_LEVELS,
            quoted=instrument is not None and instrument.inverse,
            contract_size=instrument.contract_size if instrument is not None else 1.0,
        )
        self._chained = feed.market != "spot"
        path = f"{API[feed.market]}/depth?symbol={symbol}&limit={SNAPSHOT_LEVELS}"
        self.fetch = Fetch(Request(path, SNAPSHOT_WEIGHT[feed.market]), self.name)
        self._decode_snapshot = msgspec.json.Decoder(DepthSnapshot, strict=False).decode

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        super().subscribed(recv_us, out)
        self.waiting_since = 0  # REST is asked for ever, within its budget
        if not self.valid:
            self.ask(out)

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        event: Depth = self._decode(raw)
        if event.s != self.symbol:
            raise ValueError(f"symbol {event.s!r}")
        if event.first > event.last or (self._chained and event.before is None):
            raise ValueError("update ids that can't be")
        self.last_recv = recv_us
        ts = (event.traded or event.pushed) * 1000
        update = Update(ts, event.first, event.last, event.before, event.b, event.a)
        if self.valid:
            self.follow(update, recv_us, out)
        else:
            self.hold(update, recv_us, out)
        return event.pushed * 1000

    def follow(self, update: Update, recv_us: int, out: list[Item]) -> None:
        if update.last <= self.seq:
            out.append(Notice("stale_update", f"u {update.last} after {self.seq}", self.channel, self.symbol))
        elif update.before == self.seq if self._chained else update.first == self.seq + 1:
            self.apply(update.ts, recv_us, update.last, update.bids, update.asks, out)
        else:
            missing = None if self._chained else update.first - self.seq - 1
            self.invalidate("sequence_gap", missing, recv_us, out)
            self.held.append(update)

    def is_held(self, update: Update, last: int) -> bool:
        return update.last < last if self._chained else update.last <= last

    def joins(self, update: Update, last: int) -> bool:
        if self._chained:
            # Some continue directly: both are accepted.
            return update.first <= last <= update.last or update.before == last
        return update.first <= last + 1 <= update.last

    def snapshot(self, body: bytes) -> Snapshot:
        told: DepthSnapshot = self._decode_snapshot(body)
        return Snapshot(told.last, told.bids, told.asks)

    def invalidate(self, cause: str, missing: int | None, recv_us: int, out: list[Item]) -> None:
        super().invalidate(cause, missing, recv_us, out)
        self.resync, self.waiting_since = False, 0
        self.ask(out)
