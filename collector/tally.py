"""What came of a feed, by channel: counters that outlive connections, read every 10 s for `stream_stats` and by /metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

import msgspec

from collector.exchanges.base import Received, Stream


class Count(msgspec.Struct):
    """Of one channel, since the start of the process."""

    messages: int = 0
    bytes: int = 0
    rows: int = 0
    bad: int = 0
    """Messages, or parts of them, that could not be read or stored."""
    reconnects: int = 0
    silences: int = 0


class Tally:
    """Messages are counted by the decoders and rows by the recorder, as plain integers; here they are put together."""

    def __init__(self, exchange: str, market: str, channels: Iterable[str]) -> None:
        self.exchange, self.market, self._channels = exchange, market, tuple(channels)
        self.rows: defaultdict[str, int] = defaultdict(int)
        """By table, written to the journal."""
        self._counts: defaultdict[str, Count] = defaultdict(Count)
        self._open: dict[int, Callable[[], Iterable[Received]]] = {}

    def opened(self, number: int, received: Callable[[], Iterable[Received]]) -> None:
        """`received()` tells what a connection has brought so far."""
        self._open[number] = received

    def closed(self, number: int) -> None:
        if (received := self._open.pop(number, None)) is not None:
            _add(self._counts, received())

    def bad(self, channel: str) -> None:
        self._counts[channel].bad += 1

    def silent(self, channels: Iterable[str]) -> None:
        for channel in channels:
            self._counts[channel].silences += 1

    def reconnected(self, streams: Iterable[Stream]) -> None:
        for channel in {channel for channel, _ in streams}:
            self._counts[channel].reconnects += 1

    def counts(self) -> Iterator[tuple[str, Count]]:
        """By channel; "" has what is of no channel that can be told."""
        total: defaultdict[str, Count] = defaultdict(Count)
        for channel, count in list(self._counts.items()):
            total[channel] = msgspec.structs.replace(count)
        for received in list(self._open.values()):
            _add(total, received())
        for channel in (*self._channels, *(set(total) - set(self._channels))):
            total[channel].rows = self.rows.get(channel, 0)
            yield channel, total[channel]


def _add(counts: defaultdict[str, Count], received: Iterable[Received]) -> None:
    for channel, messages, size in received:
        counts[channel].messages += messages
        counts[channel].bytes += size
