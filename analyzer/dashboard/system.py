"""The charts of the recording itself: memory, messages, lag, gaps, journal."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import datetime

from analyzer.audit.settings import AuditConfig
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
from analyzer.dashboard.ranges import Range
from analyzer.dashboard.reader import QueryError, Reader, Row

STATS_S = 10
"""A living collector writes `collector_stats` this often."""
NOT_RUNNING = "is `collector run` running?"
MIGRATE = "the table is not there, or an old one: run `collector migrate`"
BYTES, SECONDS, RATE = Axis("B"), Axis("s"), Axis("/s")


def guarded(chart: Callable[[], Chart]) -> Chart:
    """A query that the server refuses costs its own chart only."""
    try:
        return chart()
    except QueryError as error:
        return Chart(empty=f"{MIGRATE} ({error})")


def charts(reader: Reader, span: Range, now: datetime, limits: AuditConfig) -> dict[str, Chart]:
    """Raises UnavailableError."""
    have = reader.columns("collector_stats")
    limit = "max(memory_limit)" if "memory_limit" in have else "NULL"
    step = max(span.step_s, STATS_S)
    rows: list[Row] = []
    refused = f"{MIGRATE} (collector_stats)" if not have else ""
    if have:
        rows = reader.rows(
            "SELECT cast(ts AS LONG) / 1000, process, rss, memory_limit, lag, loop_lag, pending, on_disk, messages "  # noqa: S608
            f"FROM (SELECT ts, process, max(rss) rss, {limit} memory_limit, max(lag_ms) / 1000 lag, "
            "max(loop_lag_ms) / 1000 loop_lag, max(journal_pending_bytes) pending, max(journal_bytes) on_disk, "
            f"max(messages) messages FROM collector_stats WHERE {span.since(now)} SAMPLE BY {step}s) ORDER BY 1"
        )
    drawn = ProcessCharts(rows, step, bounds(span, now))
    empty = Chart(empty=refused or f"no figures of a collector in the last {span.words}; {NOT_RUNNING}")
    return {
        "memory": drawn.memory(limits.pair("memory")[1]) if rows else empty,
        "messages": guarded(lambda: _messages(reader, span, now, drawn)) if rows else empty,
        "lag": drawn.lag() if rows else empty,
        "journal": drawn.journal() if rows else empty,
        "gaps": guarded(lambda: _gaps(reader, span, now)),
    }


def bounds(span: Range, now: datetime) -> tuple[int, int]:
    """Milliseconds, both at full steps: the axis moves only as often as a point is added."""
    start, step = span.window(now).start_us // 1000, span.step_s * 1000
    return start, start + span.seconds * 1000 + step


class ProcessCharts:
    """Lines of processes from one query: (ms, process, rss, limit, lag, loop lag, pending, on disk, messages)."""

    def __init__(self, rows: Sequence[Row], step: int, bounds: tuple[int, int]) -> None:
        self.bounds, self.hole_ms = bounds, 3000 * step
        by_process: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            by_process[row[1]].append(row)
        newest = sorted(by_process, key=lambda name: -by_process[name][-1][0])
        self.left_out = max(0, len(newest) - MAX_LINES)
        self.processes = {name: by_process[name] for name in sorted(newest[:MAX_LINES])}
        last = max((rows[-1][0] for rows in by_process.values()), default=0)
        self.current = [rows[-1] for rows in by_process.values() if last - rows[-1][0] <= self.hole_ms]
        """The newest row of each process that lives."""

    def points(self, rows: Sequence[Row], column: int) -> list[tuple[float, float | None]]:
        return broken([(row[0], row[column]) for row in rows], self.hole_ms)

    def lines(self, column: int, axis: Axis) -> list[dict[str, object]]:
        return [
            line(name, self.points(rows, column), SERIES[i % len(SERIES)], axis)
            for i, (name, rows) in enumerate(self.processes.items())
        ]

    def chart(self, caption: str, traces: list[dict[str, object]], axis: Axis) -> Chart:
        more = f"; {self.left_out} older processes are not drawn" if self.left_out else ""
        return Chart(caption + more, figure=over_time(traces, axis, self.bounds))

    def memory(self, critical: float) -> Chart:
        """Beside the limit of the service, or else what the audit calls critical."""
        newest = sum(row[2] or 0 for row in self.current)
        peak = max(row[2] or 0 for rows in self.processes.values() for row in rows)
        limit = max((row[3] or 0 for row in self.current), default=0)
        name, height = ("limit", limit) if limit else ("critical", critical)
        ends: Points = [(at, height) for at in self.bounds]
        traces = self.lines(2, BYTES)
        traces.append(line(name, ends, LIMIT, BYTES, line={"dash": "dash", "width": 1.5}))
        caption = f"last {si(newest, 'B')}, at most {si(peak, 'B')}, {name} {si(height, 'B')}"
        return self.chart(caption, traces, BYTES)

    def lag(self) -> Chart:
        traces, worst = [], 0.0
        for i, (name, rows) in enumerate(self.processes.items()):
            of = "" if len(self.processes) == 1 else f" {name}"
            color = SERIES[i % len(SERIES)]
            traces.append(line(f"not yet in QuestDB{of}", self.points(rows, 4), color, SECONDS))
            dotted = {"dash": "dot"}
            other = SERIES[1] if not of else color
            traces.append(line(f"event loop{of}", self.points(rows, 5), other, SECONDS, line=dotted))
            worst = max(worst, *(row[4] or 0.0 for row in rows))
        now = max((row[4] or 0.0 for row in self.current), default=0.0)
        return self.chart(f"last {si(now, 's')}, at most {si(worst, 's')}", traces, SECONDS)

    def journal(self) -> Chart:
        traces = []
        for i, (name, rows) in enumerate(self.processes.items()):
            of = "" if len(self.processes) == 1 else f" {name}"
            color = SERIES[i % len(SERIES)]
            traces.append(line(f"waiting for QuestDB{of}", self.points(rows, 6), color, BYTES))
            other = SERIES[1] if not of else color
            dotted = {"dash": "dot"}
            traces.append(line(f"on disk{of}", self.points(rows, 7), other, BYTES, line=dotted))
        waiting, on_disk = (sum(row[column] or 0 for row in self.current) for column in (6, 7))
        return self.chart(f"{si(waiting, 'B')} waiting, {si(on_disk, 'B')} on disk", traces, BYTES)


def rates(points: Sequence[tuple[int, int | None]]) -> list[tuple[float, float | None]]:
    """Per second, from a counter that begins anew at 0 with its process."""
    found: list[tuple[float, float | None]] = []
    before: tuple[int, int] | None = None
    for at, count in points:
        if count is None:
            continue
        if before is not None:
            grown = count - before[1] if count >= before[1] else count
            found.append((at, grown * 1000 / (at - before[0])))
        before = (at, count)
    return found


def _messages(reader: Reader, span: Range, now: datetime, drawn: ProcessCharts) -> Chart:
    """Per venue, where the collector tells; else per process."""
    step = max(span.step_s, STATS_S)
    lines: dict[str, list[tuple[float, float | None]]]
    if reader.columns("stream_stats"):
        rows = reader.rows(
            "SELECT cast(ts AS LONG) / 1000, exchange, process, messages FROM (SELECT ts, exchange, process, "  # noqa: S608
            "sum(messages) messages FROM (SELECT ts, exchange, process, market, channel, last(messages) messages "
            f"FROM stream_stats WHERE {span.since(now)} SAMPLE BY {step}s) TIMESTAMP(ts) SAMPLE BY {step}s) ORDER BY 1"
        )
        counters: dict[tuple[str, str], list[tuple[int, int | None]]] = defaultdict(list)
        for at, exchange, process, count in rows:
            counters[exchange, process].append((at, count))
        sums: dict[str, dict[float, float]] = defaultdict(lambda: defaultdict(float))
        for (exchange, _), points in counters.items():
            for at, rate in rates(points):
                sums[exchange][at] += rate or 0.0
        lines = {exchange: sorted(points.items()) for exchange, points in sorted(sums.items())}
    else:
        lines = {name: rates([(row[0], row[8]) for row in rows]) for name, rows in drawn.processes.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return Chart(empty="fewer than two figures yet; a collector writes them every 10 s")
    shown = dict(list(lines.items())[:MAX_LINES])
    traces = [
        line(name, broken(points, drawn.hole_ms), SERIES[i % len(SERIES)], RATE)
        for i, (name, points) in enumerate(shown.items())
    ]
    last = max(points[-1][0] for points in lines.values())
    total = sum(points[-1][1] or 0 for points in lines.values() if last - points[-1][0] <= drawn.hole_ms)
    return drawn.chart(f"last {si(total, 'messages/s')}", traces, RATE)


def _gaps(reader: Reader, span: Range, now: datetime) -> Chart:
    rows = reader.rows(
        "SELECT cast(ts AS LONG) / 1000, cause, n FROM (SELECT ts, cause, count() n FROM gaps "  # noqa: S608
        f"WHERE {span.since(now)} SAMPLE BY {span.bar_s}s) ORDER BY 1"
    )
    if not rows:
        return Chart(empty=f"no gap was declared in the last {span.words}")
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
    return Chart(
        f"{total:,} in the last {span.words}, one for each stream that has a hole",
        figure=over_time(traces, axis, bounds(span, now), barmode="stack"),
    )
