"""The first row of the page: is it recording, and is all well?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from analyzer.audit.settings import AuditConfig, Pair
from analyzer.collectors import OVERDUE_S, Life, gone, lives
from analyzer.dashboard.figures import si, span_text
from analyzer.dashboard.reader import QueryError, Reader
from analyzer.dashboard.system import MIGRATE, NOT_RUNNING
from analyzer.windows import microseconds

WAL_LAG = 1000
"""Transactions: more means that what is stored is not yet visible."""
STATES = ("ok", "warning", "critical")
NO_COLLECTOR = "no collector is running"


class Tile(msgspec.Struct):
    """One number of the first row."""

    title: str
    value: str = "–"
    detail: str = ""
    state: str = "unknown"
    """ok, warning, critical, unknown"""
    share: float | None = None
    """Of a limit, for a meter."""


def tiles(reader: Reader, now: datetime, limits: AuditConfig) -> list[Tile]:
    """`limits`: from where on a figure is a warning, or critical. Raises UnavailableError."""
    database = _database(reader)
    missed: list[Life] = []
    try:
        latest = _latest(reader, now)
        if latest:
            us = microseconds(now)
            missed = gone(lives(reader.rows, us), us, round(limits.pair("silence")[1] * 1e6))
    except QueryError:
        latest = []
    try:
        gaps = _gap_tile(reader)
    except QueryError:
        gaps = Tile("Gaps, last hour", detail=MIGRATE)
    alive = [one for one in latest if one.age_s < limits.pair("silence")[0]]
    return [
        _recording(latest, alive, missed),
        _lag_tile(alive, limits),
        gaps,
        _memory_tile(alive, limits),
        _journal_tile(alive, limits),
        database,
    ]


def judged(value: float, limits: Pair) -> str:
    warning, critical = limits
    return "critical" if value >= critical else "warning" if value >= warning else "ok"


def away() -> list[Tile]:
    """What can be said while QuestDB gives no answer."""
    unknown = "not known while QuestDB is away"
    titles = ("Recording", "Lag", "Gaps, last hour", "Memory", "Journal")
    return [
        *(Tile(title, detail=unknown) for title in titles),
        Tile("QuestDB", "away", "tried again every few seconds", "critical"),
    ]


class Process(NamedTuple):
    """A collector's newest row."""

    age_s: float
    rss: int
    limit: int
    """bytes; 0: none, or not known"""
    lag_s: float
    pending: int
    on_disk: int
    rate: float | None
    """messages a second, over the last minute"""


def _latest(reader: Reader, now: datetime) -> list[Process]:
    """Every process that wrote within a day, the newest row first."""
    limit = "memory_limit" if "memory_limit" in reader.columns("collector_stats") else "NULL"
    rows = reader.rows(
        f"SELECT cast(ts AS LONG), process, collector, rss, {limit}, lag_ms, journal_pending_bytes, journal_bytes, messages "  # noqa: S608
        "FROM collector_stats WHERE ts > dateadd('h', -24, now()) LATEST ON ts PARTITION BY process, collector"
    )
    before = {
        (process, collector): (at, messages)
        for at, process, collector, messages in reader.rows(
            "SELECT cast(first(ts) AS LONG), process, collector, first(messages) FROM collector_stats "
            "WHERE ts > dateadd('m', -1, now())"
        )
    }
    found = []
    for at, process, collector, rss, memory_limit, lag_ms, pending, on_disk, messages in rows:
        first_at, first = before.get((process, collector), (at, messages))
        rate = (messages - first) * 1e6 / (at - first_at) if at > first_at else None
        age = (microseconds(now) - at) / 1e6
        found.append(
            Process(age, rss or 0, memory_limit or 0, (lag_ms or 0.0) / 1e3, pending or 0, on_disk or 0, rate)
        )
    return sorted(found, key=lambda one: one.age_s)


def _recording(latest: Sequence[Process], alive: Sequence[Process], missed: Sequence[Life]) -> Tile:
    """`missed`: of several collectors those that are gone."""
    if not latest:
        return Tile("Recording", "no", f"no sign of a collector within a day; {NOT_RUNNING}", "critical")
    if not alive:
        ago = span_text(latest[0].age_s)
        return Tile("Recording", "no", f"last sign of a collector {ago} ago; {NOT_RUNNING}", "critical")
    known = [row.rate for row in alive if row.rate is not None]
    processes = f"{len(alive)} process{'es' if len(alive) > 1 else ''}"
    rate = f"{si(sum(known), 'messages/s')}, " if known else ""
    silent = bool(known) and sum(known) == 0
    if missed:
        names = ", ".join(f"{one.collector} ({one.process})" for one in missed)
        processes += f"; no sign of {names}, which recorded beside"
    overdue = alive[0].age_s > OVERDUE_S
    if overdue:
        processes += f"; last sign {span_text(alive[0].age_s)} ago, one is due every 10 s"
    state = "warning" if silent or missed else "ok"
    word = "nothing comes" if silent else "overdue" if overdue else "yes"
    return Tile("Recording", word, rate + processes, state)


def _lag_tile(alive: Sequence[Process], limits: AuditConfig) -> Tile:
    if not alive:
        return Tile("Lag", detail=NO_COLLECTOR)
    lag = max(one.lag_s for one in alive)
    state = judged(lag, limits.pair("ship_lag"))
    return Tile("Lag", si(lag, "s"), "age of the oldest row that is not yet in QuestDB", state)


def _memory_tile(alive: Sequence[Process], limits: AuditConfig) -> Tile:
    """The process that is nearest to its limit, which is the audit's where its service has none."""
    if not alive:
        return Tile("Memory", detail=NO_COLLECTOR)
    critical = limits.pair("memory")[1]
    fullest = max(alive, key=lambda one: one.rss / (one.limit or critical))
    share = fullest.rss / (fullest.limit or critical)
    states = [judged(fullest.rss, limits.pair("memory"))]
    if fullest.limit:
        states.append(judged(share, limits.pair("memory_share")))
    detail = f"{share:.1%} of {si(fullest.limit or critical, 'B')}" + (
        "" if fullest.limit else ", then critical"
    )
    return Tile("Memory", si(fullest.rss, "B"), detail, max(states, key=STATES.index), share)


def _journal_tile(alive: Sequence[Process], limits: AuditConfig) -> Tile:
    if not alive:
        return Tile("Journal", detail=NO_COLLECTOR)
    waiting, on_disk = sum(one.pending for one in alive), sum(one.on_disk for one in alive)
    state = judged(max(one.lag_s for one in alive), limits.pair("ship_lag"))
    return Tile("Journal", si(waiting, "B"), f"wait for QuestDB; {si(on_disk, 'B')} on disk", state)


def _gap_tile(reader: Reader) -> Tile:
    title = "Gaps, last hour"
    ((count, kept, still_open, repaired, longest),) = reader.rows(
        "DECLARE @since := dateadd('h', -1, now()) SELECT sum(CASE WHEN lost OR repaired THEN 1 ELSE 0 END), "
        "sum(CASE WHEN lost OR repaired THEN 0 ELSE 1 END), sum(CASE WHEN lost_since IS NOT NULL THEN 1 ELSE 0 END), "
        "sum(CASE WHEN repaired THEN 1 ELSE 0 END), max(CASE WHEN to_ts IS NULL THEN NULL "
        "WHEN repaired THEN seconds WHEN lost THEN lost_s END) "
        "FROM holes WHERE ts > dateadd('h', -1, now())"
    )
    elsewhere = f"{kept} of one collector, which another one has" if kept else ""
    if not count:
        return Tile(title, "0", f"nothing is missing{f': {elsewhere}' if elsewhere else ''}", "ok")
    parts = [f"{still_open} open" if still_open else "", f"{repaired} repaired" if repaired else ""]
    if longest:
        parts.append(f"longest {si(longest, 's') if longest < 1 else span_text(longest)}")
    done = repaired == count
    return Tile(
        title, f"{count:,}", ", ".join(filter(None, [*parts, elsewhere])), "ok" if done else "warning"
    )


def _database(reader: Reader) -> Tile:
    began = time.monotonic()
    ((suspended, lag),) = reader.rows(
        "SELECT sum(CASE WHEN suspended THEN 1 ELSE 0 END), max(sequencerTxn - writerTxn) FROM wal_tables()"
    )
    took = si(time.monotonic() - began, "s")
    if suspended:
        tables = f"{suspended} table{'s' if suspended > 1 else ''} suspended: ALTER TABLE … RESUME WAL"
        return Tile("QuestDB", "suspended", tables, "critical")
    lag = lag or 0
    state = "warning" if lag > WAL_LAG else "ok"
    return Tile("QuestDB", "up", f"answers in {took}, {lag:,} transactions to apply", state)
