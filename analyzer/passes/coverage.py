"""Coverage: the share of the window that was really recorded, per channel, from what the collectors declared.

A collector records a stream from its first subscription on, except in its gaps, and except after its last sign of life, with
15 s of grace: one that was killed declares its hole only at its next start. An open gap lasts until its collector subscribes
the stream again after it was noticed. Where a collector gave no sign of life at all, as in tables filled by hand, the
declared gaps alone count. A stream is recorded when any of its collectors records it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.groups import Instrument, instruments, microseconds
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

CHANNELS = ("trades", "orderbook", "liquidations", "tickers")
GRACE_US = 15_000_000
"""A living collector writes `collector_stats` every 10 s."""

Interval = tuple[int, int]
Stream = tuple[Instrument, str]
"""with the channel"""
FOR_EVER = 1 << 62


def union(intervals: Iterable[Interval], start: int, end: int) -> list[Interval]:
    """What they cover of [start, end), in order, as intervals that don't meet."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        low, high = max(low, merged[-1][1] if merged else start), min(high, end)
        if high > low:
            merged.append((low, high))
    return merged


def uncovered(intervals: Iterable[Interval], start: int, end: int) -> int:
    """Length of the union of `intervals` within [start, end)."""
    return sum(high - low for low, high in union(intervals, start, end))


def overlap(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """What two unions have in common."""
    common: list[Interval] = []
    i = j = 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low < high:
            common.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return common


class Recording:
    """One collector's part in one stream."""

    def __init__(self, last: int) -> None:
        self.first = FOR_EVER
        """The first subscription, µs; FOR_EVER: no row tells of one."""
        self.last = last
        """The last sign of life and some grace; FOR_EVER: it gave none at all."""
        self.holes: list[Interval] = []
        """Those that it declared, in no order."""

    def lacks(self) -> list[Interval]:
        """When it did not record, as a union."""
        return union([(0, self.first), *self.holes, (self.last, FOR_EVER)], 0, FOR_EVER)


def recordings(tables: Tables, end: int) -> dict[Stream, dict[str, Recording]]:
    """By stream and collector. `subscribed`: one row each with `first`; `gaps`: from_ts, to_ts; `resumed`: one row an open
    gap with `again`; `alive`, where there is one: one row a collector with `last`."""
    found: dict[Stream, dict[str, Recording]] = defaultdict(dict)
    alive = tables.get("alive")
    last = dict(zip(collectors(alive), microseconds(alive, "last"), strict=True)) if alive is not None else {}

    def recording(stream: Stream, collector: str) -> Recording:
        seen = int(last.get(collector, 0))
        return found[stream].setdefault(collector, Recording(seen + GRACE_US if seen > 0 else FOR_EVER))

    subscribed, gaps, resumed = tables["subscribed"], tables["gaps"], tables["resumed"]
    for key, first in zip(streams(subscribed), microseconds(subscribed, "first"), strict=True):
        recording(*key).first = int(first)
    opened, subscribed_again = microseconds(resumed, "from_ts"), microseconds(resumed, "again")
    again = {
        (key, low): int(at) for key, low, at in zip(streams(resumed), opened, subscribed_again, strict=True)
    }
    lows, highs = microseconds(gaps, "from_ts"), microseconds(gaps, "to_ts")
    for key, low, high in zip(streams(gaps), lows, highs, strict=True):
        recording(*key).holes.append((int(low), int(high) if high > 0 else again.get((key, low), end)))
    return found


def holes_of(tables: Tables, end: int) -> dict[Stream, list[Interval]]:
    """What is declared missing, in µs: the holes of each collector, as far as no other has recorded the stream then."""
    return {
        stream: [
            part
            for name, own in there.items()
            for hole in own.holes
            for part in _left(hole, [other.lacks() for key, other in there.items() if key != name])
        ]
        for stream, there in recordings(tables, end).items()
    }


def _left(hole: Interval, lacking: Sequence[Sequence[Interval]]) -> Sequence[Interval]:
    parts: Sequence[Interval] = [hole]
    for other in lacking:
        parts = overlap(parts, other)
    return parts


def begun(tables: Tables) -> dict[Stream, int]:
    """Since when each stream has been recorded by any collector, in µs. `subscribed`: one row each with `first`."""
    first: dict[Stream, int] = {}
    table = tables["subscribed"]
    for (stream, _), at in zip(streams(table), microseconds(table, "first"), strict=True):
        first[stream] = min(int(at), first.get(stream, int(at)))
    return first


def compute(tables: Tables, window: Window) -> list[Value]:
    """Of the tables that `recordings` names."""
    start, end = window.start_us, window.end_us
    known = begun(tables)
    shares: dict[Instrument, dict[str, float]] = defaultdict(dict)
    for (name, channel), there in recordings(tables, end).items():
        if (name, channel) in known:
            nobody: Sequence[Interval] = [(start, end)]
            for one in there.values():
                nobody = overlap(nobody, one.lacks())
            shares[name][channel] = 1.0 - uncovered(nobody, start, end) / (end - start)
    values = []
    for name, by_channel in shares.items():
        for channel, share in by_channel.items():
            values.append(Value(*name, f"coverage_{channel}", share))
        values.append(Value(*name, "coverage", sum(by_channel.values()) / len(by_channel)))
    return values


def collectors(table: pa.Table) -> list[str]:
    """ "" where the rows are older than the column."""
    return [name or "" for name in table.column("collector").to_pylist()]


def streams(table: pa.Table) -> Iterator[tuple[Stream, str]]:
    """Stream and collector of each row."""
    names = zip(instruments(table), table.column("channel").to_pylist(), strict=True)
    return zip(names, collectors(table), strict=True)


COVERAGE = Analysis(
    name="coverage",
    metrics=(
        Metric("coverage", "share", "mean of the recorded channels' coverage"),
        *(
            Metric(f"coverage_{channel}", "share", f"share of the window in which {channel} were recorded")
            for channel in CHANNELS
        ),
    ),
    channels=(),
    queries={
        "subscribed": "SELECT exchange, market, symbol, channel, collector, min(ts) first FROM feed_events "
        "WHERE event = 'subscribed' AND ts < {end}{instruments}",
        "gaps": "SELECT exchange, market, symbol, channel, collector, from_ts, to_ts FROM gaps "
        "WHERE ts < {end} AND (to_ts IS NULL OR to_ts > {start}) AND NOT repaired{instruments}",
        "resumed": "SELECT g.exchange exchange, g.market market, g.symbol symbol, g.channel channel, g.collector collector, "
        "g.from_ts from_ts, min(s.ts) again FROM (SELECT * FROM gaps WHERE to_ts IS NULL AND ts < {end}{instruments}) g "
        "JOIN (SELECT * FROM feed_events WHERE event = 'subscribed' AND ts < {end}) s "
        "ON (exchange, market, symbol, channel, collector) WHERE s.ts > g.recv_ts",
        "alive": "SELECT collector, max(ts) last FROM collector_stats WHERE ts < {end}",
    },
    compute=compute,
)
