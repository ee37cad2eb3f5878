"""A ledger held compactly: 64-bit fingerprints per stream, so that ten million events take some 300 MB.

Fingerprints are Python hashes: good within one process, and a collision among ten million has odds of about 3 in a million.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from collector.simulator.ledger import TICKER_FIELDS, Entry

Longs = npt.NDArray[np.int64]
Key = tuple[str, str, str]
"""(table, market, symbol)"""
TABLES = {
    "t": "trades",
    "l": "liquidations",
    "u": "liquidations",
    "b": "orderbook",
    "r": "orderbook",
    "k": "tickers",
    "v": "tickers",
}


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
    """Book updates; those of a known state, and those before the first state that was told, need not be stored."""

    __slots__ = ("depths", "repetition", "told")

    def __init__(self) -> None:
        super().__init__()
        self.depths = array("h")
        self.repetition = array("b")
        self.told = False
        """Whether anybody can know the book: from its first snapshot on, be it of the stream or over REST."""

    def tell_over_rest(self) -> None:
        if not self.told:
            self.told = True
            self.repetition = array("b", [1] * len(self))


class Tickers(Events):
    """States, or parts of them: what a message does not tell is None, and may be anything in the row."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        super().__init__()
        self._values = array("d")

    def tell(self, ts: int, values: Sequence[float | None]) -> None:
        """`values`: of TICKER_FIELDS."""
        self.add(ts, ts, 0)
        self._values.extend([math.nan if value is None else value for value in values])

    @property
    def values(self) -> npt.NDArray[np.float64]:
        """float64, shape (states, fields); NaN: not told."""
        return np.frombuffer(self._values, dtype=np.float64).reshape(-1, len(TICKER_FIELDS))


class Untimed(Events):
    """Events of which the venue does not say when: a row has the time of its receipt."""


class UntimedStates(Untimed):
    """Tickers of which the venue does not say when. A state that is told again need not be stored again."""


KINDS: dict[str, type[Events]] = {
    "b": SentBook,
    "r": SentBook,
    "k": Tickers,
    "u": Untimed,
    "v": UntimedStates,
}


def trade(ts: int, side: str | None, price: float, qty: float, trade_id: str) -> tuple[int, int, int]:
    """(ts, natural id, full), as `Events.add` takes them; likewise below."""
    return ts, hash(trade_id), hash((trade_id, ts, side, price, qty))


def liquidation(ts: int, side: str, price: float, qty: float) -> tuple[int, int, int]:
    full = hash((ts, side, price, qty))
    return ts, full, full


def untimed(ts: int, side: str, price: float, qty: float, liq_id: str) -> tuple[int, int, int]:
    full = hash((liq_id, side, price, qty))
    return ts, full, full


def untimed_state(ts: int, values: Sequence[float | None]) -> tuple[int, int, int]:
    """`values`: of TICKER_FIELDS."""
    full = hash(tuple(values))
    return ts, full, full


Best = tuple[float | None, float | None]
"""(price, size) of the best level, (None, None) of an empty side."""


def book(ts: int, seq: int, bid: Best, ask: Best) -> tuple[int, int, int]:
    return ts, hash((ts, seq)), hash((ts, seq, bid, ask))


def collect(entries: Iterable[Entry]) -> dict[Key, Events]:
    """All of a ledger."""
    streams: dict[Key, Events] = {}
    none: Best = (None, None)
    for e in entries:
        key = TABLES.get(e.k, ""), e.m, e.s
        stream = streams.get(key)
        if stream is None:
            stream = streams[key] = KINDS.get(e.k, Events)()
        if e.k == "t":
            stream.add(*trade(e.ts, e.side or None, e.p, e.q, e.id))
        elif e.k == "b" and isinstance(stream, SentBook):
            stream.told = stream.told or bool(e.snap)
            bid = e.bid if isinstance(e.bid, tuple) else none
            ask = e.ask if isinstance(e.ask, tuple) else none
            stream.add(*book(e.ts, e.seq, bid, ask))
            stream.depths.append(e.depth)
            stream.repetition.append(e.rep)
        elif isinstance(stream, SentBook):
            stream.tell_over_rest()
        elif isinstance(stream, Tickers):
            stream.tell(e.ts, [getattr(e, name) for name in TICKER_FIELDS])
        elif e.k == "v":
            stream.add(*untimed_state(e.ts, [getattr(e, name) for name in TICKER_FIELDS]))
        elif e.k == "u":
            stream.add(*untimed(e.ts, e.side, e.p, e.q, e.id))
        elif e.k == "l":
            stream.add(*liquidation(e.ts, e.side, e.p, e.q))
    streams.pop(("", "", ""), None)
    return {key: stream for key, stream in streams.items() if len(stream)}
