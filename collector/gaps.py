"""Every hole in a stream becomes a `gaps` row: written when it opens and again, under the same key, when it closes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from collector.exchanges.base import Stream
from collector.rows import Gap

QUIET_MARGIN_US = 5_000_000
"""How far event times of one connection may lag behind its newest: venues batch and stamp streams separately."""
SAME_CLOCK_US = 10_000_000
"""Event and receive time that differ by less are taken as clocks that agree; a replay's do not."""


class OpenGap:
    __slots__ = ("cause", "from_ts", "missing")

    def __init__(self, from_ts: int, cause: str, missing: int | None) -> None:
        self.from_ts, self.cause, self.missing = from_ts, cause, missing


class GapTracker:
    """The gaps of one connection's streams. Bounds are closed: events at `from_ts` or `to_ts` may be missing too."""

    def __init__(self, exchange: str, market: str, emit: Callable[[Gap], None]) -> None:
        self._where = (exchange, market)
        self._emit = emit
        self.open: dict[Stream, OpenGap] = {}
        self.begun: set[Stream] = set()
        """Streams that have been recorded before: only these can have a hole."""
        self._closing: dict[Stream, int] = {}
        """Acknowledged streams whose gap ends with the connection's next message, and when that was."""

    def broken(self, stream: Stream, from_ts: int, cause: str, missing: int | None, recv_us: int) -> None:
        """A hole begins. If one is open already it goes on, under its first cause."""
        self._closing.pop(stream, None)
        if stream in self.open:
            return
        self.begun.add(stream)
        gap = self.open[stream] = OpenGap(from_ts, cause, missing)
        self._write(stream, gap, None, recv_us)

    def disconnected(
        self,
        streams: Iterable[Stream],
        cause: str,
        last_ts: Callable[[Stream], int],
        last_push: int,
        recv_us: int,
    ) -> None:
        """The connection is gone: a hole begins in every stream that was being recorded.

        `last_ts(stream)` and `last_push` are event times (µs) of the stream's and of the connection's newest message."""
        self._closing.clear()
        for stream in streams:
            if stream in self.begun and stream not in self.open:
                # A quiet stream has missed nothing up to the connection's newest message.
                newest = max(last_ts(stream), last_push - QUIET_MARGIN_US)
                self.broken(stream, newest if newest > 0 else recv_us, cause, None, recv_us)

    def subscribed(self, stream: Stream, recv_us: int) -> None:
        """The venue sends the stream from now on."""
        self.begun.add(stream)
        if stream in self.open:
            self._closing[stream] = recv_us

    def received(self, push_us: int, recv_us: int) -> None:
        """A message has come, pushed at `push_us` (event time, µs; 0: nothing but silence has)."""
        for stream, acknowledged in self._closing.items():
            if not push_us:
                self._close(stream, acknowledged, recv_us)
            else:
                same_clock = abs(acknowledged - push_us) < SAME_CLOCK_US
                self._close(stream, max(push_us, acknowledged) if same_clock else push_us, recv_us)
        self._closing.clear()

    @property
    def closing(self) -> bool:
        return bool(self._closing)

    def closing_since(self) -> int:
        return min(self._closing.values(), default=0)

    def resynced(self, stream: Stream, ts: int, recv_us: int) -> None:
        self._closing.pop(stream, None)
        self._close(stream, ts, recv_us)

    def _close(self, stream: Stream, to_ts: int, recv_us: int) -> None:
        gap = self.open.pop(stream, None)
        if gap is not None:
            self._write(stream, gap, max(to_ts, gap.from_ts), recv_us)

    def _write(self, stream: Stream, gap: OpenGap, to_ts: int | None, recv_us: int) -> None:
        channel, symbol = stream
        self._emit(Gap(gap.from_ts, to_ts, recv_us, *self._where, symbol, channel, gap.cause, gap.missing))
