"""How long messages take. Timed are those of one read of the socket now and then, so that all others cost nothing more."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from collector.exchanges.base import Item
from collector.histogram import Histogram, Spread


class Times:
    """Of the whole process."""

    def __init__(self) -> None:
        self.decode, self.handle = Histogram(), Histogram()
        self.decode_spread: Spread | None = None
        self.handle_spread: Spread | None = None

    def take(self) -> None:
        """Begin a new interval; the spreads are those of the one before."""
        self.decode_spread, self.handle_spread = self.decode.take(), self.handle.take()


class Stopwatch:
    """Of one connection: `decode` takes the place of the decoder's while `time` runs."""

    def __init__(self, decode: Callable[[bytes, int], Sequence[Item]], times: Times) -> None:
        self._decode, self._times = decode, times
        self._decoding = 0

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        began = time.perf_counter_ns()
        try:
            return self._decode(raw, recv_us)
        finally:
            self._decoding = time.perf_counter_ns() - began

    def time(self, hear: Callable[[bytes], None], raw: bytes) -> None:
        """`hear` the message, from bytes to the journal's batch."""
        self._decoding = 0
        began = time.perf_counter_ns()
        hear(raw)
        took = time.perf_counter_ns() - began
        if self._decoding:
            self._times.decode.add(self._decoding)
            self._times.handle.add(took - self._decoding)
