"""Every hole in a stream becomes a `gaps` row: written when it opens and again, under the same key, when it closes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Set

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
    """The gaps of some streams that one or several connections carry: a hole is what none of them has whole.

    Bounds are closed: events at `from_ts` or `to_ts` may be missing too. `source` numbers the connection."""

    def __init__(self, exchange: str, market: str, emit: Callable[[Gap, bool], None]) -> None:
        """`emit(gap, new)`: `new` is False for a row that completes one written before."""
        self._where = (exchange, market)
        self._emit = emit
        self.open: dict[Stream, OpenGap] = {}
        self.begun: set[Stream] = set()
        """Streams that have been recorded before: only these can have a hole."""
        self.given_up: dict[Stream, OpenGap] = {}
        """Streams whose rows we give up ourselves, whatever the connections carry."""
        self._whole: defaultdict[Stream, dict[int, int]] = defaultdict(dict)
        """Connections that have the stream whole, and since when (event time)."""
        self.awaiting: dict[int, dict[Stream, int]] = {}
        """Connection → acknowledged streams that are whole from its next message on, and when they were acknowledged."""

    def broken(
        self, stream: Stream, from_ts: int, cause: str, missing: int | None, recv_us: int, source: int = 0
    ) -> None:
        """A connection has lost the stream. If none carries it a hole begins; one that is open goes on under its first
        cause."""
        self._no_longer_awaited(stream, source)
        carriers = self._whole[stream]
        carriers.pop(source, None)
        if carriers:
            since = min(carriers.values())
            if since > from_ts:
                self.declare(stream, from_ts, since, cause, missing, recv_us)
        elif stream not in self.open:
            self.begun.add(stream)
            shed = self.given_up.get(stream)
            if shed is not None and shed.from_ts == from_ts:
                from_ts -= 1  # rows of `gaps` are told apart by their beginning
            gap = self.open[stream] = OpenGap(from_ts, cause, missing)
            self._write(stream, gap, None, recv_us, new=True)

    def disconnected(
        self,
        streams: Iterable[Stream],
        cause: str,
        last_ts: Callable[[Stream], int],
        last_push: int,
        recv_us: int,
        source: int = 0,
        asked_us: int = 0,
    ) -> None:
        """The connection is gone: a hole begins in every stream that was being recorded and that no other carries; and in
        those that it has subscribed for the first time: the acknowledgement and what followed may have been on the way.

        `last_ts(stream)` and `last_push` are event times (µs) of the stream's and of the connection's newest message.
        `asked_us`: when it asked for its streams; 0: it did not."""
        for stream in streams:
            if asked_us and stream not in self.begun:
                self.broken(stream, asked_us, cause, None, recv_us, source)
                continue
            others = self._whole[stream].keys() - {source}
            mine = source in self._whole[stream]
            if stream in self.begun and stream not in self.open and (mine or not others):
                # A quiet stream has missed nothing up to the connection's newest message.
                newest = max(last_ts(stream), last_push - QUIET_MARGIN_US)
                self.broken(stream, newest if newest > 0 else recv_us, cause, None, recv_us, source)
        self.awaiting.pop(source, None)

    def left(self, source: int) -> None:
        """The connection ends in good order: what others have too is whole without it."""
        for carriers in self._whole.values():
            if source in carriers and len(carriers) > 1:
                del carriers[source]

    def subscribed(self, stream: Stream, recv_us: int, source: int = 0) -> None:
        """The venue sends the stream from now on."""
        self.begun.add(stream)
        self.awaiting.setdefault(source, {})[stream] = recv_us

    def received(self, push_us: int, recv_us: int, source: int = 0) -> None:
        """A message has come, pushed at `push_us` (event time, µs; 0: nothing but silence has)."""
        for stream, acknowledged in self.awaiting.pop(source, {}).items():
            if not push_us:
                since = acknowledged
            elif abs(acknowledged - push_us) < SAME_CLOCK_US:
                since = max(push_us, acknowledged)
            else:
                since = push_us
            self.resynced(stream, since, recv_us, source)

    def acknowledged(self, source: int) -> int:
        """When the first of the streams was acknowledged that await the connection's next message; 0: none does."""
        return min(self.awaiting[source].values()) if source in self.awaiting else 0

    def _no_longer_awaited(self, stream: Stream, source: int) -> None:
        streams = self.awaiting.get(source)
        if streams and streams.pop(stream, None) is not None and not streams:
            del self.awaiting[source]

    def resynced(self, stream: Stream, ts: int, recv_us: int, source: int = 0) -> None:
        """A connection has the stream whole from `ts` on."""
        self._no_longer_awaited(stream, source)
        self.begun.add(stream)
        self._whole[stream][source] = ts
        gap = self.open.pop(stream, None)
        if gap is not None:
            self._write(stream, gap, max(ts, gap.from_ts), recv_us)

    def carries(self, source: int, stream: Stream) -> bool:
        """Whether the connection has the stream whole."""
        return source in self._whole[stream]

    def carried_besides(self, source: int, stream: Stream, ts: int) -> bool:
        """Whether another connection has had the stream whole since `ts` (event time, µs) or before."""
        return any(other != source and since <= ts for other, since in self._whole.get(stream, {}).items())

    def carried_by(self, source: int) -> list[Stream]:
        return [stream for stream, carriers in self._whole.items() if source in carriers]

    def covers(self, new: Set[int], old: Set[int], without: Set[str] = frozenset()) -> bool:
        """Whether the connections `new` have all that `old` have whole, but for the symbols in `without`."""
        return all(
            carriers.keys() & new
            for (_, symbol), carriers in self._whole.items()
            if symbol not in without and carriers.keys() & old
        )

    def dropped(self, stream: Stream, ts: int, recv_us: int | None = None) -> None:
        """The stream is no longer recorded, from `ts` (µs) on: an open hole, of which nothing more is known."""
        recv_us = ts if recv_us is None else recv_us
        self._whole.pop(stream, None)
        for source in list(self.awaiting):
            self._no_longer_awaited(stream, source)
        self.given_up.pop(stream, None)
        if stream in self.begun and self.open.pop(stream, None) is None:
            self._write(stream, OpenGap(ts, "dropped", None), None, recv_us, new=True)
        self.begun.discard(stream)

    def declare(
        self, stream: Stream, from_ts: int, to_ts: int, cause: str, missing: int | None, recv_us: int
    ) -> None:
        """A hole of known bounds, whoever carries the stream."""
        self.begun.add(stream)
        self._write(stream, OpenGap(from_ts, cause, missing), max(from_ts, to_ts), recv_us, new=True)

    def shed(self, stream: Stream, from_ts: int, cause: str, recv_us: int) -> None:
        """Rows of the stream are given up from `from_ts` on, until `kept`."""
        if stream not in self.given_up:
            self.begun.add(stream)
            gap = self.given_up[stream] = OpenGap(from_ts, cause, None)
            self._write(stream, gap, None, recv_us, new=True)

    def kept(self, stream: Stream, ts: int, recv_us: int) -> None:
        gap = self.given_up.pop(stream, None)
        if gap is not None:
            self._write(stream, gap, max(ts, gap.from_ts), recv_us)

    def all_open(self) -> Iterator[tuple[Stream, OpenGap]]:
        yield from self.open.items()
        yield from ((stream, gap) for stream, gap in self.given_up.items() if stream not in self.open)

    def _write(
        self, stream: Stream, gap: OpenGap, to_ts: int | None, recv_us: int, new: bool = False
    ) -> None:
        channel, symbol = stream
        row = Gap(gap.from_ts, to_ts, recv_us, *self._where, symbol, channel, gap.cause, gap.missing)
        self._emit(row, new)
