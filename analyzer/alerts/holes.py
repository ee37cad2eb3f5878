"""The rules on what is not recorded. A gap of one of several collectors is a hole only where no other has the rows."""

# ruff: noqa: S608 - every part of the queries is ours: numbers and names of tables

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from analyzer.alerts.base import HOUR_US, Firing
from analyzer.collectors import gone, lives, unreached
from analyzer.source import Source
from analyzer.windows import Window, moment

if TYPE_CHECKING:
    from analyzer.alerts.settings import AlertsConfig
    from analyzer.passes.recorded import Stream


class _Open(NamedTuple):
    """A gap that is open."""

    stream: Stream
    collector: str
    cause: str
    start: int
    lost_since: int | None
    """µs: since when nobody records the stream; None: another collector does."""


def _open_gaps(source: Source, now: int) -> list[_Open]:
    """Those of a week, but for what is wanted no more."""
    found = source.rows(
        "SELECT exchange, market, symbol, channel, collector, cause, from_ts::long FROM gaps WHERE to_ts IS NULL "
        f"AND NOT repaired AND cause != 'dropped' AND ts > {now - 168 * HOUR_US} AND ts <= {now}"
    )
    if not found:
        return []
    from analyzer.passes.recorded import read

    # Of the others' gaps those that are open, or ended within the hour, tell who records now.
    recorded = read(source.rows, Window(moment(now - HOUR_US), moment(now)))
    opened = []
    for exchange, market, symbol, channel, collector, cause, start in found:
        stream = (exchange, market, symbol), channel
        lost = recorded.lost(stream, collector or "", start, now)
        since = lost[-1][0] if lost and lost[-1][1] >= now else None
        opened.append(_Open(stream, collector or "", cause, start, since))
    return opened


def gap_open(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    """Streams that nobody records."""
    holes: dict[tuple[str, str, str], dict[Stream, int]] = {}
    for gap in _open_gaps(source, now):
        if gap.lost_since is not None and now - gap.lost_since >= config.us("gap"):
            (exchange, market, _), _ = gap.stream
            streams = holes.setdefault((exchange, market, gap.cause), {})
            streams[gap.stream] = min(gap.lost_since, streams.get(gap.stream, now))
    for (exchange, market, cause), streams in holes.items():
        age = (now - min(streams.values())) / 1e6
        text = (
            f"{len(streams)} streams of {exchange} {market} have a hole ({cause}) open for {age:,.0f} s; "
            "next: analyzer audit"
        )
        yield Firing(exchange, market, cause, age, text)


def redundancy(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    """One of several collectors is gone, or lacks streams that another one records: no hole yet, and no reserve any more."""
    found = lives(source.rows, now)
    silence = config.us("silence")
    for one in gone(found, now, silence):
        age = (now - one.last) / 1e6
        text = (
            f"no sign of life of the collector {one.collector} ({one.process}) for {age:,.0f} s, while another one records; "
            "next: start it, or nothing if it was taken away (told for a day)"
        )
        yield Firing("*", "*", one.collector, age, text)
    living = {one.collector: one.process for one in found if now - one.last < silence}
    lacking: dict[str, dict[Stream, int]] = {}
    for gap in _open_gaps(source, now) if len(living) > 1 else ():
        if gap.lost_since is None and gap.collector in living and now - gap.start >= config.us("gap"):
            lacking.setdefault(gap.collector, {})[gap.stream] = gap.start
    for collector, streams in lacking.items():
        age = (now - min(streams.values())) / 1e6
        text = (
            f"{len(streams)} streams have not been recorded by the collector {collector} ({living[collector]}) for "
            f"{age:,.0f} s; another one has them; next: analyzer sql run gaps_open"
        )
        yield Firing("*", "*", collector, age, text)


def never_reached(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    found = lives(source.rows, now)
    for one in unreached(source.rows, found, now, config.us("silence"), config.us("gap")):
        age = (now - one.since) / 1e6
        who = f" by the collector {one.collector}" if len(found) > 1 else ""
        text = (
            f"{one.exchange} {one.market} has not been reached{who} since its start {age:,.0f} s ago, and no gap can "
            "say so; next: collector check"
        )
        yield Firing(one.exchange, one.market, one.collector or "*", age, text)
