"""What the collectors recorded together: a gap that one of them declares is a hole only where no other has the rows.

A collector records a stream from its first subscription on, except in its gaps, and except after its last sign of life, with
15 s of grace: one that was killed declares its hole only at its next start. An open gap lasts until its collector subscribes
the stream again after it was noticed. Where a collector gave no sign of life at all, as in tables filled by hand, the
declared gaps alone count. A stream is recorded when any of its collectors records it.

The view `holes` (`sql/0010_holes.sql`) is the same in SQL, for the console, Grafana and counts over all streams; a test
holds the two against each other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from analyzer.passes.groups import NULL, Instrument, microseconds
from analyzer.source import render
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

GRACE_US = 15_000_000
"""A living collector writes `collector_stats` every 10 s."""

Interval = tuple[int, int]
Stream = tuple[Instrument, str]
"""with the channel"""
FOR_EVER = 1 << 62

QUERIES = {
    "subscribed": "SELECT exchange, market, symbol, channel, collector, min(ts)::long first FROM feed_events "
    "WHERE event = 'subscribed' AND ts < {end}{instruments}",
    "gaps": "SELECT exchange, market, symbol, channel, collector, from_ts::long from_ts, to_ts::long to_ts FROM gaps "
    "WHERE ts < {end} AND (to_ts IS NULL OR to_ts > {start}) AND NOT repaired{instruments}",
    "resumed": "SELECT g.exchange exchange, g.market market, g.symbol symbol, g.channel channel, g.collector collector, "
    "g.from_ts::long from_ts, min(s.ts)::long again "
    "FROM (SELECT * FROM gaps WHERE to_ts IS NULL AND ts < {end}{instruments}) g "
    "JOIN (SELECT * FROM feed_events WHERE event = 'subscribed' AND ts < {end}) s "
    "ON (exchange, market, symbol, channel, collector) WHERE s.ts > g.recv_ts",
    "alive": "SELECT collector, max(ts)::long last FROM collector_stats WHERE ts < {end}",
}
"""Of a window; placeholders as in `passes.base`, times in µs."""
COLUMNS = {
    name: ("exchange", "market", "symbol", "channel", "collector", *times)
    for name, times in (
        ("subscribed", ("first",)),
        ("gaps", ("from_ts", "to_ts")),
        ("resumed", ("from_ts", "again")),
    )
} | {"alive": ("collector", "last")}
TIMES = frozenset({"first", "from_ts", "to_ts", "again", "last"})
Rows = Iterable[Sequence[Any]]


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

    def __init__(self, last: int = FOR_EVER) -> None:
        self.first = FOR_EVER
        """The first subscription, µs; FOR_EVER: no row tells of one."""
        self.last = last
        """The last sign of life and some grace; FOR_EVER: it gave none at all."""
        self.holes: list[Interval] = []
        """Those that it declared, in no order."""
        self.down: list[Interval] = []
        """When it was not alive, where that is known besides."""

    def lacks(self) -> list[Interval]:
        """When it did not record, as a union."""
        return union([(0, self.first), *self.holes, *self.down, (self.last, FOR_EVER)], 0, FOR_EVER)


class Recorded:
    """All collectors' parts in all streams."""

    def __init__(self, parts: Mapping[Stream, Mapping[str, Recording]]) -> None:
        """By stream and collector."""
        self.parts = parts
        self._lacks: dict[tuple[Stream, str], list[Interval]] = {}
        self._others: dict[tuple[Stream, str], list[Interval]] = {}

    def begun(self) -> dict[Stream, int]:
        """Since when each stream has been recorded by any collector, in µs; not those of which no subscription is known."""
        first = {
            stream: min((one.first for one in there.values()), default=FOR_EVER)
            for stream, there in self.parts.items()
        }
        return {stream: at for stream, at in first.items() if at < FOR_EVER}

    def missing(self, stream: Stream) -> list[Interval]:
        """When no collector recorded it, declared or not, as a union; all time where nobody is known to."""
        return self._nobody(stream, self.parts.get(stream, ()))

    def lost(self, stream: Stream, collector: str, low: int, high: int) -> list[Interval]:
        """Of a gap of `collector` what no other one has recorded, as a union. Bounds of gaps are closed, so that one
        without a length can be lost, too: its length is 1 µs then."""
        key = stream, collector
        if key not in self._others:
            self._others[key] = self._nobody(
                stream, [name for name in self.parts.get(stream, ()) if name != collector]
            )
        lacking = self._others[key]
        first = max(0, bisect_right(lacking, (low, FOR_EVER)) - 1)
        found = []
        for start, end in lacking[first:]:
            if start >= max(high, low + 1):
                break
            if end > low:
                found.append((max(low, start), min(max(high, low + 1), end)))
        return found

    def holes(self, stream: Stream) -> list[Interval]:
        """What is declared missing: the gaps of each collector, as far as no other has recorded the stream then."""
        return [
            part
            for name, own in self.parts.get(stream, {}).items()
            for low, high in own.holes
            for part in self.lost(stream, name, low, high)
        ]

    def _nobody(self, stream: Stream, names: Iterable[str]) -> list[Interval]:
        nobody: list[Interval] = [(0, FOR_EVER)]
        for name in names:
            key = stream, name
            if key not in self._lacks:
                self._lacks[key] = self.parts[stream][name].lacks()
            nobody = overlap(nobody, self._lacks[key])
        return nobody


def recorded(rows: Mapping[str, Rows], end: int) -> Recorded:
    """From the rows of `QUERIES`, with the columns of COLUMNS, of which `alive` may be missing. An open gap of a stream that
    was not subscribed again lasts until `end`."""
    last = {name or "": at for name, at in rows.get("alive", ()) if at}
    parts: dict[Stream, dict[str, Recording]] = defaultdict(dict)

    def part(exchange: str, market: str, symbol: str, channel: str, collector: str | None) -> Recording:
        """ "": the rows are older than the column."""
        name = collector or ""
        seen = last.get(name)
        return parts[(exchange, market, symbol), channel].setdefault(
            name, Recording(seen + GRACE_US if seen else FOR_EVER)
        )

    for *who, first in rows["subscribed"]:
        part(*who).first = first
    again = {(*who, low): at for *who, low, at in rows["resumed"]}
    for *who, low, high in rows["gaps"]:
        part(*who).holes.append((low, again.get((*who, low), end) if high is None else high))
    return Recorded(dict(parts))


def of_tables(tables: Mapping[str, pa.Table], end: int) -> Recorded:
    """The same from Arrow tables."""
    return recorded({name: _rows(tables[name], name) for name in QUERIES if name in tables}, end)


def _rows(table: pa.Table, name: str) -> Rows:
    columns = [
        [None if at == NULL else at for at in microseconds(table, column).tolist()]
        if column in TIMES
        else table.column(column).to_pylist()
        for column in COLUMNS[name]
    ]
    return zip(*columns, strict=True)


def read(
    ask: Callable[[str], Rows], window: Window, symbols: Sequence[str] = (), exchange: str = ""
) -> Recorded:
    """Of the window, by small answers. `ask`: a query's rows; what it raises is raised."""
    rows = {name: ask(render(query, window, symbols, exchange)) for name, query in QUERIES.items()}
    return recorded(rows, window.end_us)
