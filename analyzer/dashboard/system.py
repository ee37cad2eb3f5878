"""The charts of the recording itself: memory, messages, lag, gaps, journal."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from analyzer.audit.settings import IN_REACH, AuditConfig
from analyzer.collectors import process_names
from analyzer.dashboard.figures import (
    LIMIT,
    MAX_LINES,
    SERIES,
    Axis,
    Chart,
    Points,
    bars,
    broken,
    line,
    over_time,
    si,
)
from analyzer.dashboard.panels import SYSTEM
from analyzer.dashboard.ranges import Range
from analyzer.dashboard.reader import QueryError, Reader

STATS_S = 10
"""A living collector writes `collector_stats` this often."""
DASHES = ("solid", "dot")
NOT_RUNNING = "is `collector run` running?"
MIGRATE = "the table is not there, or an old one: run `collector migrate`"
BYTES, SECONDS, RATE = Axis("B"), Axis("s"), Axis("/s")


def guarded(chart: Callable[[], Chart]) -> Chart:
    """A query that the server refuses costs its own chart only."""
    try:
        return chart()
    except QueryError as error:
        return Chart(empty=f"{MIGRATE} ({error})")


class Sample(NamedTuple):
    """A process' row of `collector_stats`, or the worst of several in one step, at the time of the last."""

    step_ms: int
    """When its step began."""
    at_ms: int
    process: str
    """with its collector, where two have the same name"""
    rss: int
    limit: int
    """bytes; 0: none, or not known"""
    lag_s: float
    loop_lag_s: float
    pending: int
    on_disk: int
    messages: int


def charts(reader: Reader, span: Range, now: datetime, limits: AuditConfig) -> dict[str, Chart]:
    """Raises UnavailableError."""
    have = reader.columns("collector_stats")
    if not have:
        return dict.fromkeys((panel.name for panel in SYSTEM), Chart(empty=f"{MIGRATE} (collector_stats)"))
    limit = "coalesce(max(memory_limit), 0)" if "memory_limit" in have else "0"
    step = max(span.step_s, STATS_S)
    rows = reader.rows(
        "SELECT cast(ts AS LONG) / 1000, cast(last AS LONG) / 1000, process, collector, rss, memory_limit, lag, loop_lag, "  # noqa: S608
        f"pending, on_disk, messages FROM (SELECT ts, max(ts) last, process, collector, max(rss) rss, {limit} memory_limit, "
        "max(lag_ms) / 1000 lag, max(loop_lag_ms) / 1000 loop_lag, max(journal_pending_bytes) pending, "
        "max(journal_bytes) on_disk, max(messages) messages FROM collector_stats "
        f"WHERE {span.since(now)} SAMPLE BY {step}s) ORDER BY 1"
    )
    names = process_names({(row[2], row[3] or "") for row in rows})
    samples = [
        Sample(row[0], row[1], names[row[2], row[3] or ""], *(value or 0 for value in row[4:]))
        for row in rows
    ]
    drawn = ProcessCharts(samples, step, bounds(span, now))
    empty = Chart(empty=f"no figures of a collector in the last {span.words}; {NOT_RUNNING}")
    return {
        "memory": drawn.memory(limits.pair("memory")[1]) if rows else empty,
        "messages": guarded(lambda: _messages(reader, span, now, drawn)) if rows else empty,
        "lag": drawn.lag() if rows else empty,
        "gaps": guarded(lambda: _gaps(reader, span, now)),
        "journal": drawn.journal() if rows else empty,
    }


def bounds(span: Range, now: datetime) -> tuple[int, int]:
    """Milliseconds, both at full steps: the axis moves only as often as a point is added."""
    start, step = span.window(now).start_us // 1000, span.step_s * 1000
    return start, start + span.seconds * 1000 + step


class ProcessCharts:
    """Lines of the processes that were seen last, at most MAX_LINES."""

    def __init__(self, samples: Sequence[Sample], step: int, bounds: tuple[int, int]) -> None:
        self.bounds, self.hole_ms = bounds, 3000 * step
        by_process: dict[str, list[Sample]] = defaultdict(list)
        for one in samples:
            by_process[one.process].append(one)
        newest = sorted(by_process, key=lambda name: -by_process[name][-1].at_ms)
        self.left_out = max(0, len(newest) - MAX_LINES)
        self.processes = {name: by_process[name] for name in sorted(newest[:MAX_LINES])}
        last = max((one.step_ms for one in samples), default=0)
        self.current = [of[-1] for of in by_process.values() if last - of[-1].step_ms <= 1000 * step]
        """The newest sample of each process that lives."""

    def lines(self, *columns: tuple[str, Callable[[Sample], float]], axis: Axis) -> list[dict[str, Any]]:
        """One a column and process: a column has a dash, a process a colour; the columns of one process have two."""
        found = []
        for i, (process, samples) in enumerate(self.processes.items()):
            for j, (what, value) in enumerate(columns):
                alone = len(self.processes) == 1
                name = " ".join(filter(None, (what, "" if alone and what else process)))
                points = broken([(one.at_ms, value(one)) for one in samples], self.hole_ms)
                color = SERIES[(j if alone else i) % len(SERIES)]
                found.append(line(name, points, color, axis, line={"dash": DASHES[j]}))
        return found

    def chart(self, caption: str, traces: list[dict[str, Any]], axis: Axis) -> Chart:
        more = f"; {self.left_out} older processes are not drawn" if self.left_out else ""
        return Chart(caption + more, figure=over_time(traces, axis, self.bounds, showlegend=True))

    def memory(self, critical: float) -> Chart:
        """Its share of the service's limit, else of what the audit calls critical, in words; as a line from IN_REACH on."""
        newest = sum(one.rss for one in self.current)
        peak = max(one.rss for samples in self.processes.values() for one in samples)
        limit = max((one.limit for one in self.current), default=0)
        name, height = ("limit", limit) if limit else ("critical", critical)
        traces = self.lines(("", lambda one: one.rss), axis=BYTES)
        if peak >= IN_REACH * height:
            ends: Points = [(at, height) for at in self.bounds]
            traces.append(line(name, ends, LIMIT, BYTES, line={"dash": "dash", "width": 1.5}))
        share = max((one.rss for one in self.current), default=peak) / height
        whole = f"the limit of {si(height, 'B')}" if limit else f"{si(height, 'B')}, which are critical"
        caption = f"last {si(newest, 'B')}, at most {si(peak, 'B')}; {share:.1%} of {whole}"
        return self.chart(caption, traces, BYTES)

    def lag(self) -> Chart:
        behind, loop = ("not yet in QuestDB", "event loop")
        traces = self.lines((behind, lambda one: one.lag_s), (loop, lambda one: one.loop_lag_s), axis=SECONDS)
        newest = max((one.lag_s for one in self.current), default=0.0)
        worst = max(one.lag_s for samples in self.processes.values() for one in samples)
        return self.chart(f"last {si(newest, 's')}, at most {si(worst, 's')}", traces, SECONDS)

    def journal(self) -> Chart:
        waits, disk = ("waiting for QuestDB", "on disk")
        traces = self.lines((waits, lambda one: one.pending), (disk, lambda one: one.on_disk), axis=BYTES)
        waiting, on_disk = sum(one.pending for one in self.current), sum(one.on_disk for one in self.current)
        return self.chart(f"{si(waiting, 'B')} waiting, {si(on_disk, 'B')} on disk", traces, BYTES)


def rates(counts: Sequence[tuple[int, int, int]]) -> list[tuple[int, float]]:
    """(step, ms, counter) → (step, growth per second). A counter begins anew at 0 with its process."""
    return [
        (step, (count - before if count >= before else count) * 1000 / (at - since))
        for (_, since, before), (step, at, count) in itertools.pairwise(counts)
    ]


def _messages(reader: Reader, span: Range, now: datetime, drawn: ProcessCharts) -> Chart:
    """Per venue, where the collector tells; else per process."""
    counters: dict[tuple[str, str], list[tuple[int, int, int]]] = defaultdict(list)
    if reader.columns("stream_stats"):
        step = max(span.step_s, STATS_S)
        rows = reader.rows(
            "SELECT cast(ts AS LONG) / 1000, cast(max(last) AS LONG) / 1000, exchange, process, sum(messages) FROM "  # noqa: S608
            "(SELECT ts, max(ts) last, exchange, process, market, channel, max(messages) messages "
            f"FROM stream_stats WHERE {span.since(now)} SAMPLE BY {step}s) GROUP BY ts, exchange, process ORDER BY 1"
        )
        for step_ms, at, exchange, process, count in rows:
            counters[exchange, process].append((step_ms, at, count or 0))
    else:
        for process, samples in drawn.processes.items():
            counters[process, process] = [(one.step_ms, one.at_ms, one.messages) for one in samples]
    sums: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for (name, _), counts in counters.items():
        for step_ms, rate in rates(counts):
            sums[name][step_ms] += rate
    lines: dict[str, list[tuple[int, float]]] = {
        name: sorted(of.items()) for name, of in sorted(sums.items())
    }
    if not lines:
        return Chart(empty="fewer than two figures yet; a collector writes them every 10 s")
    traces = [
        line(name, broken(points, drawn.hole_ms), SERIES[i % len(SERIES)], RATE)
        for i, (name, points) in enumerate(list(lines.items())[:MAX_LINES])
    ]
    last = max(points[-1][0] for points in lines.values())
    total = sum(points[-1][1] for points in lines.values() if points[-1][0] == last)
    return drawn.chart(f"last {si(total, 'messages/s')}", traces, RATE)


def _gaps(reader: Reader, span: Range, now: datetime) -> Chart:
    rows = reader.rows(
        f"DECLARE @since := {span.window(now).start_us} "  # noqa: S608
        "SELECT cast(ts AS LONG) / 1000, cause, kept, n, collectors FROM (SELECT ts, cause, "
        "NOT lost AND NOT repaired kept, count() n, count_distinct(collector) collectors FROM holes "
        f"WHERE {span.since(now)} SAMPLE BY {span.bar_s}s) ORDER BY 1"
    )
    if not rows:
        return Chart(empty=f"no gap was declared in the last {span.words}")
    elsewhere = sum(count for _, _, kept, count, _ in rows if kept)
    several = elsewhere or max(row[4] for row in rows) > 1
    note = f"; {elsewhere:,} more of one collector are none, as another one has the rows" if elsewhere else ""
    rows = [(at, cause, count) for at, cause, kept, count, _ in rows if not kept]
    if not rows:
        return Chart(empty=f"no hole in the last {span.words}{note}")
    by_cause: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
    for at, cause, count in rows:
        by_cause[cause or "unknown"].append((at, count))
    largest = sorted(by_cause, key=lambda cause: -sum(count or 0 for _, count in by_cause[cause]))
    highest = max(
        sum(row[2] for row in together) for _, together in itertools.groupby(rows, lambda row: row[0])
    )
    axis = Axis("", ",d", step=1.0 if highest <= 5 else 0.0)
    traces = [
        bars(cause, by_cause[cause], SERIES[i % len(SERIES)], axis, span.bar_s * 1000)
        for i, cause in enumerate(largest[:MAX_LINES])
    ]
    total = sum(row[2] for row in rows)
    each = "stream and collector" if several else "stream"
    return Chart(
        f"{total:,} in the last {span.words}, one for each {each} that has a hole{note}",
        figure=over_time(traces, axis, bounds(span, now), barmode="stack", showlegend=True),
    )
