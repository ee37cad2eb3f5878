"""The figures of an audit, from the facts: what is judged, shown and written as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from analyzer.audit.facts import Declared, Delay, Facts
from analyzer.audit.memory import RunMemory, memory_of, representative
from analyzer.audit.outages import Absence, absences_of
from analyzer.audit.processes import (
    Restart,
    Run,
    down_by_collector,
    down_times,
    restarts_of,
    runs_of,
    tell_ends,
)
from analyzer.audit.samples import Samples
from analyzer.audit.settings import AuditConfig
from analyzer.audit.streams import (
    FeedHealth,
    StreamHealth,
    feed_health,
    lost_of,
    overall,
    recorded_of,
    stream_health,
)
from analyzer.passes.recorded import Interval, Stream, uncovered

ADJACENT_US = 5_000_000
DAY_S = 86_400.0


class Incident(msgspec.Struct):
    """Gaps of one collector and market with one cause, next to each other in time."""

    exchange: str
    market: str
    cause: str
    start: int
    end: int | None
    """µs; None: it lasts."""
    streams: set[str]
    gaps: int = 0
    repaired: int = 0
    recovered: int = 0
    collector: str = ""
    lost: int = 0
    """Of the gaps, those of which something is lost: neither another collector nor REST has it."""

    @property
    def elsewhere(self) -> int:
        """Of the gaps, those of which another collector has everything."""
        return self.gaps - self.lost - self.repaired


class Spread(msgspec.Struct, frozen=True):
    """Of the samples of all processes in the window; None without any."""

    now: float | None
    p50: float | None
    p99: float | None
    peak: float | None


class Figures(msgspec.Struct):
    facts: Facts
    audited_from: int
    """µs: the window's start, or the first sign of life of any collector."""
    silence_s: float | None
    """Since the last sign of life; None: there is none in the window."""
    restarts: list[Restart]
    restarts_per_day: float
    absences: list[Absence] | None
    """Of QuestDB; None: the tables don't tell."""
    days: float
    """What is audited; a shorter window counts as a day."""
    runs: list[RunMemory]
    representative: RunMemory | None
    coverage: float | None
    streams: list[StreamHealth]
    feeds: list[FeedHealth]
    incidents: list[Incident]
    lost_s: list[float]
    """Of each gap of the facts: how long of it nobody has, within the window."""
    messages: int | None
    """None where no process counted them."""
    reconnects: int
    bad_messages: int
    dead_letters: int
    """Counted in the window."""
    ship_lag_ms: Spread
    loop_lag_ms: Spread
    handle_max_us: Spread
    wal_lag: float | None
    disk_free: float | None
    """bytes, now, of the fuller of the watched disks"""
    suspended: list[tuple[str, str]]
    lacking: set[Stream]
    """Streams that at the window's end one living collector lacks, and another one records."""

    @property
    def several(self) -> bool:
        """Whether the gaps are of several collectors, or of one beside another."""
        whose = {one.collector for one in self.incidents}
        return len(whose) > 1 or any(one.elsewhere for one in self.incidents)


def figures_of(facts: Facts, config: AuditConfig) -> Figures:
    samples, window = facts.samples, facts.window
    start, end = window.start_us, window.end_us
    runs = runs_of(samples, facts.earlier)
    first_life = min(
        [first for first, _ in facts.earlier.values()] + [run.start for run in runs], default=start
    )
    usual = min((run.grace for run in runs if run.start == first_life), default=0)
    audited_from = min(first_life, end) if first_life > start + usual else start
    seen = bool(runs or facts.earlier)
    since = max(start, first_life)
    recorded = recorded_of(facts, down_by_collector(runs, facts.earlier, samples.collectors, since, end))
    streams = stream_health(facts, recorded, audited_from)
    restarts = restarts_of(
        runs, facts.earlier, facts.gaps, facts.events, facts.process_events, samples.collectors
    )
    warmup, limit = config.seconds("warmup"), config.pair("memory")[1]
    succeeded = {(restart.previous, restart.ended_at) for restart in restarts}
    tell_ends(runs, facts.process_events, facts.dead)
    alive = [
        run
        for run in runs
        if end - run.last <= run.grace and not run.ended and (run.process, run.last) not in succeeded
    ]
    days = max(1.0, (end - audited_from) / 1e6 / DAY_S)
    memory = [memory_of(run, samples, run in alive, warmup, limit) for run in runs]
    coverage = overall(streams)
    if (
        coverage is None and seen and end > audited_from
    ):  # no stream is known: the time in which a collector was alive
        down = down_times(runs, since, end)
        coverage = 1.0 - uncovered(down, audited_from, end) / (end - audited_from)
    last = max((run.last for run in runs), default=None)
    disks = [
        value
        for run in alive
        for name in ("journal_disk_free", "server_disk_free")
        if (value := _latest(samples.columns[name][run.rows])) is not None
    ]
    lost = [lost_of(gap, recorded, window) for gap in facts.gaps]
    return Figures(
        facts=facts,
        audited_from=audited_from,
        silence_s=(end - last) / 1e6 if last is not None else None,
        restarts=restarts,
        restarts_per_day=len(restarts) / days,
        absences=None if facts.outages is None else absences_of(facts.outages, facts.gaps),
        days=days,
        runs=memory,
        representative=representative(memory, config.seconds("growth_after")),
        coverage=coverage,
        streams=streams,
        feeds=feed_health(facts, streams, runs, (end - audited_from) / 3.6e9),
        incidents=incidents_of(facts.gaps, lost),
        lost_s=[uncovered(parts, start, end) / 1e6 for parts in lost],
        messages=_grown(samples, runs, "messages")
        if not np.isnan(samples.columns["messages"]).all()
        else None,
        reconnects=_grown(samples, runs, "reconnects"),
        bad_messages=_grown(samples, runs, "bad_messages"),
        dead_letters=_grown(samples, runs, "dead_letters"),
        ship_lag_ms=_spread(samples, alive, "lag_ms"),
        loop_lag_ms=_spread(samples, alive, "loop_lag_ms"),
        handle_max_us=_spread(samples, alive, "handle_max_us"),
        wal_lag=max(
            (lag for run in alive if (lag := _latest(samples.columns["wal_lag"][run.rows])) is not None),
            default=None,
        ),
        disk_free=min(disks, default=None),
        suspended=_suspended(facts, samples, alive),
        lacking={
            gap.stream
            for gap, parts in zip(facts.gaps, lost, strict=True)
            if gap.end is None
            and not gap.repaired
            and gap.cause != "dropped"
            and gap.collector in {run.collector for run in alive}
            and (not parts or parts[-1][1] < end)
        },
    )


def delay(facts: Facts) -> Delay | None:
    """Books are never fetched later from REST, as trades are: their delay is the venue's and the network's alone."""
    return facts.delays.get("orderbook") or facts.delays.get("trades")


def incidents_of(gaps: Sequence[Declared], lost: Sequence[Sequence[Interval]]) -> list[Incident]:
    """In order of their beginnings. `lost`: what of each gap nobody has."""
    open_ones: dict[tuple[str, str, str, str], Incident] = {}
    found: list[Incident] = []
    for gap, nobody in sorted(zip(gaps, lost, strict=True), key=lambda one: one[0].start):
        key = (gap.collector or "", gap.exchange, gap.market, gap.cause)
        incident = open_ones.get(key)
        if incident is None or (incident.end is not None and gap.start > incident.end + ADJACENT_US):
            incident = open_ones[key] = Incident(*key[1:], gap.start, gap.end, set(), collector=key[0])
            found.append(incident)
        if incident.end is not None:
            incident.end = None if gap.end is None else max(incident.end, gap.end)
        incident.streams.add(f"{gap.symbol} {gap.channel}")
        incident.gaps += 1
        incident.lost += bool(nobody)
        incident.repaired += gap.repaired
        incident.recovered += gap.recovered or 0
    return found


def _grown(samples: Samples, runs: Sequence[Run], name: str) -> int:
    """Growth of a counter over all runs; one that began in the window counts from 0 on."""
    total = 0.0
    for run in runs:
        values = samples.columns[name][run.rows]
        values = values[~np.isnan(values)]
        if len(values):
            total += max(0.0, float(values[-1]) - (0.0 if run.began else float(values[0])))
    return round(total)


def _latest(values: Any) -> float | None:
    told = values[~np.isnan(values)]
    return float(told[-1]) if len(told) else None


def _spread(samples: Samples, alive: Sequence[Run], name: str) -> Spread:
    values = samples.columns[name]
    values = values[~np.isnan(values)]
    if not len(values):
        return Spread(None, None, None, None)
    now = [value for run in alive if (value := _latest(samples.columns[name][run.rows])) is not None]
    p50, p99 = np.percentile(values, (50, 99))
    return Spread(max(now, default=None), float(p50), float(p99), float(values.max()))


def _suspended(facts: Facts, samples: Samples, alive: Sequence[Run]) -> list[tuple[str, str]]:
    """What the server says now, else how many the collector saw at the window's end."""
    if facts.suspended is not None:
        return facts.suspended
    count = max((_latest(samples.columns["wal_suspended"][run.rows]) or 0 for run in alive), default=0)
    return [("?", "")] * round(count)
