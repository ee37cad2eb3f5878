"""Coverage: the share of the window that was really recorded, per channel, from what the collector declared.

A stream is recorded from its first subscription on, except in its gaps, and except after the last sign of life of any
collector, with 15 s of grace: a collector that was killed declares its hole only at its next start. An open gap lasts until
the stream is subscribed again, after it was noticed, by a collector that did not know of it (with another journal). Where
there is no sign of life at all, as in tables filled by hand, the declared gaps alone count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.groups import Instrument, instruments, microseconds
from analyzer.windows import Window

CHANNELS = ("trades", "orderbook", "liquidations", "tickers")
GRACE_US = 15_000_000
"""A living collector writes `collector_stats` every 10 s."""

Interval = tuple[int, int]
Stream = tuple[Instrument, str]
"""with the channel"""


def uncovered(intervals: Sequence[Interval], start: int, end: int) -> int:
    """Length of the union of `intervals` within [start, end)."""
    total, reached = 0, start
    for low, high in sorted(intervals):
        low, high = max(low, reached), min(high, end)
        if high > low:
            total += high - low
            reached = high
    return total


def holes_of(tables: Tables, end: int) -> dict[Stream, list[Interval]]:
    """What the collector declared as missing, in µs. `gaps`: from_ts, to_ts; `resumed`: one row an open gap with `again`."""
    holes: dict[Stream, list[Interval]] = defaultdict(list)
    resumed = tables["resumed"]
    again = {
        (name, channel, low): int(at)
        for name, channel, low, at in zip(
            instruments(resumed),
            resumed.column("channel").to_pylist(),
            microseconds(resumed, "from_ts"),
            microseconds(resumed, "again"),
            strict=True,
        )
    }
    gaps = tables["gaps"]
    channels = gaps.column("channel").to_pylist()
    for name, channel, low, high in zip(
        instruments(gaps), channels, microseconds(gaps, "from_ts"), microseconds(gaps, "to_ts"), strict=True
    ):
        closed = int(high) if high > 0 else again.get((name, channel, low), end)
        holes[name, channel].append((int(low), closed))
    return holes


def begun(tables: Tables) -> dict[Stream, int]:
    """Since when each stream has been recorded, in µs. `subscribed`: one row a stream with `first`."""
    table = tables["subscribed"]
    channels = table.column("channel").to_pylist()
    return {
        (name, channel): int(first)
        for name, channel, first in zip(
            instruments(table), channels, microseconds(table, "first"), strict=True
        )
    }


def compute(tables: Tables, window: Window) -> list[Value]:
    """`subscribed`, `gaps`, `resumed` as above; `alive`: one row with `last`."""
    start, end = window.start_us, window.end_us
    holes = holes_of(tables, end)
    alive = microseconds(tables["alive"], "last")
    last = int(alive[0]) if len(alive) else 0
    dead = [(last + GRACE_US, end)] if last > 0 else []
    shares: dict[Instrument, dict[str, float]] = defaultdict(dict)
    for (name, channel), first in begun(tables).items():
        missing = uncovered([(start, first), *holes.get((name, channel), []), *dead], start, end)
        shares[name][channel] = 1.0 - missing / (end - start)
    values = []
    for name, by_channel in shares.items():
        for channel, share in by_channel.items():
            values.append(Value(*name, f"coverage_{channel}", share))
        values.append(Value(*name, "coverage", sum(by_channel.values()) / len(by_channel)))
    return values


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
        "subscribed": "SELECT exchange, market, symbol, channel, min(ts) first FROM feed_events "
        "WHERE event = 'subscribed' AND ts < {end}{instruments}",
        "gaps": "SELECT exchange, market, symbol, channel, from_ts, to_ts FROM gaps "
        "WHERE ts < {end} AND (to_ts IS NULL OR to_ts > {start}) AND NOT repaired{instruments}",
        "resumed": "SELECT g.exchange exchange, g.market market, g.symbol symbol, g.channel channel, g.from_ts from_ts, "
        "min(s.ts) again FROM (SELECT * FROM gaps WHERE to_ts IS NULL AND ts < {end}{instruments}) g "
        "JOIN (SELECT * FROM feed_events WHERE event = 'subscribed' AND ts < {end}) s "
        "ON (exchange, market, symbol, channel) WHERE s.ts > g.recv_ts",
        "alive": "SELECT max(ts) last FROM collector_stats",
    },
    compute=compute,
)
