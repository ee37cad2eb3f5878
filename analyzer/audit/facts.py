"""What the tables hold of a window, read once. A table or a column that is not there is empty: older ones can be audited."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from analyzer.alerts.record import Alert
from analyzer.audit import queries
from analyzer.audit.local import dead
from analyzer.audit.samples import Samples, read_samples
from analyzer.collectors import Life, Unreached, gone, lives, unreached
from analyzer.passes.coverage import CHANNELS
from analyzer.passes.recorded import QUERIES, Interval, Recorded, Stream, of_tables
from analyzer.source import Source, render
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

DAY = timedelta(days=1)
UNREACHED_US = 60_000_000
"""So long a market may take to be reached."""


class Declared(msgspec.Struct, frozen=True):
    """One row of `gaps`; times in µs."""

    start: int
    end: int | None
    noticed: int
    exchange: str
    market: str
    symbol: str
    channel: str
    cause: str
    missing: int | None
    repaired: bool
    repair: str | None
    recovered: int | None
    collector: str | None = None
    """whose gap it is: another one may have recorded what this one missed"""

    @property
    def stream(self) -> Stream:
        return (self.exchange, self.market, self.symbol), self.channel


class Event(msgspec.Struct, frozen=True):
    ts: int
    exchange: str
    market: str
    symbol: str
    channel: str
    event: str
    detail: str


class Stored(msgspec.Struct, frozen=True):
    """Rows of one stream in its table."""

    rows: int
    newest: int
    """time of receipt, µs"""
    p50_ms: float | None
    p99_ms: float | None
    """exchange's event to receipt"""


class Delay(msgspec.Struct, frozen=True):
    """From the exchange's event to the receipt here."""

    p50_ms: float
    p99_ms: float


class ProcessEvent(msgspec.Struct, frozen=True):
    """A start or an end, as the programs tell it."""

    ts: int
    process: str
    event: str
    """started, stopped or crashed"""
    cause: str
    detail: str
    log: str = ""
    """where it goes: journal:UNIT, file:PATH, terminal:DEVICE; "": not known"""
    place: str = ""
    """see `local`"""


class Outage(msgspec.Struct, frozen=True):
    """QuestDB was away, as one collector saw it; times in µs."""

    since: int
    until: int
    process: str
    event: str
    """crashed, stopped or away"""
    cause: str
    detail: str
    attempts: int
    """to reach it that failed; 0: nobody looked when it ended"""
    waiting_rows: int | None
    """in the journal when it answered again; None: not counted (yet)"""
    caught_up: int | None
    """when it had the last of them"""
    log: str
    collector: str


class Received(msgspec.Struct, frozen=True):
    """What one process counted of one channel in the window: (lowest, highest) value of each counter."""

    process: str
    exchange: str
    market: str
    channel: str
    messages: tuple[int, int]
    bad: tuple[int, int]
    silences: tuple[int, int]


class Facts(msgspec.Struct):
    window: Window
    samples: Samples
    earlier: dict[str, Interval]
    """Processes of the day before the window: first and last sample (µs)."""
    recorded: Recorded
    gaps: list[Declared]
    event_counts: Counter[tuple[str, str, str, str, str]]
    """(exchange, market, symbol, channel, event)"""
    events: list[Event]
    """The newest, but for subscriptions."""
    process_events: list[ProcessEvent]
    """Of the collectors, from a day before the window on."""
    received: list[Received]
    stored: dict[Stream, Stored]
    delays: dict[str, Delay]
    """Of all streams, by table."""
    runs: dict[str, int]
    """Analyses by status."""
    last_run: int
    """µs; 0: none"""
    alerts: list[Alert]
    firing: list[Alert]
    """At the window's end."""
    outages: list[Outage] | None
    """None: the tables are older than that."""
    dead: set[str]
    """Collectors of this machine whose process is no more, now."""
    suspended: list[tuple[str, str]] | None
    """Tables now, with the reason; None where the window does not end now."""
    gone: list[Life]
    """Of several collectors those that are silent at the window's end, while another one lives."""
    unreached: list[Unreached]
    """Markets that a collector which lives at the window's end has never reached."""


def read(source: Source, window: Window, live: bool, silence_s: float = 60.0) -> Facts:
    """Everything of the window. `live`: it ends now, so that what the server tells of itself belongs to it. `silence_s`: a
    collector that gives no sign of life for longer is gone.

    Raises SourceError."""
    there = {name for (name,) in source.rows(queries.TABLES)}
    day_before = Window(window.start - DAY, window.start)
    since_then = Window(window.start - DAY, window.end)

    def rows(template: str, table: str, span: Window = window) -> list[list[Any]]:
        return source.rows(render(template, span)) if table in there else []

    streams: dict[str, pa.Table] = {}
    if {"feed_events", "gaps"} <= there:
        for name in QUERIES.keys() - (set() if "collector_stats" in there else {"alive"}):
            streams[name] = source.fetch(render(QUERIES[name], window))
    columns = _columns(source, "collector_stats", there)
    before = rows(
        queries.processes("collector" if "collector" in columns else "''"), "collector_stats", day_before
    )
    samples, earlier = read_samples(source, window, columns, before)
    found = lives(source.rows, window.end_us) if "collector" in columns else []
    silence_us = round(silence_s * 1e6)
    last_run = rows(queries.LAST_RUN, "analysis_runs")
    known = _columns(source, "process_events", there)
    process_events = [
        ProcessEvent(row[0], *_texts(row[1:]))
        for row in rows(queries.process_events(known), "process_events", since_then)
    ]
    return Facts(
        window=window,
        samples=samples,
        earlier=earlier,
        recorded=of_tables(streams, window.end_us) if streams else Recorded({}),
        gaps=[Declared(*row) for row in rows(queries.GAPS, "gaps")],
        event_counts=Counter(
            {
                (exchange, market, symbol or "", channel or "", event): count
                for exchange, market, symbol, channel, event, count in rows(
                    queries.EVENT_COUNTS, "feed_events"
                )
            }
        ),
        events=[Event(row[0], *_texts(row[1:])) for row in rows(queries.EVENTS, "feed_events")],
        process_events=process_events,
        received=[
            Received(process, exchange, market, channel or "", (a, b), (c, d), (e, f))
            for process, exchange, market, channel, a, b, c, d, e, f in rows(queries.RECEIVED, "stream_stats")
        ],
        stored={
            ((exchange, market, symbol), table): Stored(count, newest or 0, p50, p99)
            for table in CHANNELS
            for exchange, market, symbol, count, newest, p50, p99 in rows(queries.stored(table), table)
        },
        delays={
            table: Delay(p50, p99)
            for table in ("trades", "orderbook")
            for p50, p99 in rows(queries.delay(table), table)
            if p50 is not None
        },
        runs=dict(rows(queries.RUNS, "analysis_runs")),
        last_run=(last_run[0][0] or 0) if last_run else 0,
        alerts=[Alert(*row) for row in rows(queries.ALERTS, "alerts")],
        firing=[Alert(*row) for row in rows(queries.FIRING, "alerts")],
        outages=[_outage(row) for row in rows(queries.OUTAGES, "process_events")]
        if "until_ts" in known
        else None,
        dead=dead(process_events) if live else set(),
        suspended=[(name, reason) for name, reason in source.rows(queries.SUSPENDED)] if live else None,
        gone=gone(found, window.end_us, silence_us),
        unreached=unreached(source.rows, found, window.end_us, silence_us, UNREACHED_US) if streams else [],
    )


def _columns(source: Source, table: str, there: set[str]) -> set[str]:
    return {name for (name,) in source.rows(queries.columns(table))} if table in there else set()


def _texts(values: list[Any]) -> list[str]:
    return [value or "" for value in values]


def _outage(row: list[Any]) -> Outage:
    since, until, process, event, cause, detail, attempts, waiting, caught_up, log, collector = row
    return Outage(
        since,
        until,
        process or "",
        event,
        cause or "",
        detail or "",
        attempts or 0,
        waiting,
        caught_up,
        log or "",
        collector or "",
    )
