"""A ledger held compactly: 64-bit fingerprints per stream, so that ten million events take some 300 MB.

Fingerprints are Python hashes: good within one process, and a collision among ten million has odds of about 3 in a million.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import msgspec
import numpy as np
import numpy.typing as npt

from collector.simulator.ledger import TICKER_FIELDS, Entry

Longs = npt.NDArray[np.int64]
Key = tuple[str, str, str]
"""(table, market, symbol)"""
TABLES = {"t": "trades", "l": "liquidations", "b": "orderbook", "k": "tickers"}


class Events:
    """One stream's events, sent or stored, in their order."""

    __slots__ = ("_full", "_id", "_ts")

    def __init__(self) -> None:
        self._ts, self._id, self._full = array("q"), array("q"), array("q")

    def add(self, ts: int, natural_id: int, full: int) -> None:
        """`natural_id`: fingerprint of what makes the event the same one; `full`: of that and all its content."""
        self._ts.append(ts)
        self._id.append(natural_id)
        self._full.append(full)

    def __len__(self) -> int:
        return len(self._ts)

    @property
    def ts(self) -> Longs:
        """µs"""
        return np.frombuffer(self._ts, dtype=np.int64)

    @property
    def ids(self) -> Longs:
        return np.frombuffer(self._id, dtype=np.int64)

    @property
    def full(self) -> Longs:
        return np.frombuffer(self._full, dtype=np.int64)


class SentBook(Events):
    """Book updates; those of a known state need not be stored."""

    __slots__ = ("depths", "repetition")

    def __init__(self) -> None:
        super().__init__()
        self.depths = array("h")
        self.repetition = array("b")


def trade(ts: int, side: str | None, price: float, qty: float, trade_id: str) -> tuple[int, int, int]:
    """(ts, natural id, full), as `Events.add` takes them; likewise below."""
    return ts, hash(trade_id), hash((trade_id, ts, side, price, qty))


def liquidation(ts: int, side: str, price: float, qty: float) -> tuple[int, int, int]:
    full = hash((ts, side, price, qty))
    return ts, full, full


Best = tuple[float | None, float | None]
"""(price, size) of the best level, (None, None) of an empty side."""


def book(ts: int, seq: int, bid: Best, ask: Best) -> tuple[int, int, int]:
    return ts, hash((ts, seq)), hash((ts, seq, bid, ask))


def ticker(ts: int, values: tuple[float | None, ...]) -> tuple[int, int, int]:
    return ts, ts, hash((ts, values))


def in_base(entry: Entry) -> Entry:
    """Inverse markets write sizes in quote units; rows are in base units."""
    if entry.m != "inverse":
        return entry
    if entry.p:
        entry = msgspec.structs.replace(entry, q=entry.q / entry.p)
    best = {
        side: (level[0], level[1] / level[0])
        for side in ("bid", "ask")
        if entry.k == "b" and isinstance(level := getattr(entry, side), tuple)
    }
    return msgspec.structs.replace(entry, **best)


def collect(entries: Iterable[Entry]) -> dict[Key, Events]:
    """All of a ledger."""
    streams: dict[Key, Events] = {}
    none: Best = (None, None)
    for e in map(in_base, entries):
        key = TABLES.get(e.k, ""), e.m, e.s
        stream = streams.get(key)
        if stream is None:
            stream = streams[key] = SentBook() if e.k == "b" else Events()
        if e.k == "t":
            stream.add(*trade(e.ts, e.side, e.p, e.q, e.id))
        elif e.k == "b" and isinstance(stream, SentBook):
            bid = e.bid if isinstance(e.bid, tuple) else none
            ask = e.ask if isinstance(e.ask, tuple) else none
            stream.add(*book(e.ts, e.seq, bid, ask))
            stream.depths.append(e.depth)
            stream.repetition.append(e.rep)
        elif e.k == "k":
            stream.add(*ticker(e.ts, tuple([getattr(e, name) for name in TICKER_FIELDS])))
        elif e.k == "l":
            stream.add(*liquidation(e.ts, e.side, e.p, e.q))
    streams.pop(("", "", ""), None)
    return streams
