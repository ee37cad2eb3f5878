"""The first row of the page: is it recording, and is all well?"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import msgspec

from analyzer.dashboard.figures import si, span_text
from analyzer.dashboard.reader import QueryError, Reader
from analyzer.dashboard.system import MIGRATE, NOT_RUNNING
from analyzer.windows import microseconds

ALIVE_S = 30
"""Without a row for this long, a collector is not recording."""
LAG_WARNING_S, LAG_CRITICAL_S = 5.0, 60.0
MEMORY_WARNING, MEMORY_CRITICAL = 0.8, 0.95
"""Shares of the limit."""
WAL_LAG = 1000
"""Transactions: more means that what is stored is not yet visible."""


class Tile(msgspec.Struct):
    """One number of the first row."""

    title: str
    value: str = "–"
    detail: str = ""
    state: str = "unknown"
    """ok, warning, critical, unknown"""
    share: float | None = None
    """Of a limit, for a meter."""


def tiles(reader: Reader, now: datetime) -> list[Tile]:
    """Raises UnavailableError."""
    database = _database(reader)
    try:
        latest = _latest(reader, now)
    except QueryError:
        latest = []
    try:
        gaps = _gap_tile(reader)
    except QueryError:
        gaps = Tile("Gaps, last hour", detail=MIGRATE)
    return [
        _recording(latest),
        _lag_tile(latest),
        gaps,
        _memory_tile(latest),
        _journal_tile(latest),
        database,
    ]


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
        f"SELECT cast(ts AS LONG), process, rss, {limit}, lag_ms, journal_pending_bytes, journal_bytes, messages "  # noqa: S608
        "FROM collector_stats WHERE ts > dateadd('h', -24, now()) LATEST ON ts PARTITION BY process"
    )
    before = {
        process: (at, messages)
        for at, process, messages in reader.rows(
            "SELECT cast(first(ts) AS LONG), process, first(messages) FROM collector_stats "
            "WHERE ts > dateadd('m', -1, now())"
        )
    }
    found = []
    for at, process, rss, memory_limit, lag_ms, pending, on_disk, messages in rows:
        first_at, first = before.get(process, (at, messages))
        rate = (messages - first) * 1e6 / (at - first_at) if at > first_at else None
        age = (microseconds(now) - at) / 1e6
        found.append(
            Process(age, rss or 0, memory_limit or 0, (lag_ms or 0.0) / 1e3, pending or 0, on_disk or 0, rate)
        )
    return sorted(found)


def _alive(latest: Sequence[Process]) -> list[Process]:
    return [row for row in latest if row.age_s < ALIVE_S]


def _recording(latest: Sequence[Process]) -> Tile:
    alive = _alive(latest)
    if not latest:
        return Tile("Recording", "no", f"no sign of a collector within a day; {NOT_RUNNING}", "critical")
    if not alive:
        ago = span_text(latest[0].age_s)
        return Tile("Recording", "no", f"last sign of a collector {ago} ago; {NOT_RUNNING}", "critical")
    known = [row.rate for row in alive if row.rate is not None]
    processes = f"{len(alive)} process{'es' if len(alive) > 1 else ''}"
    rate = f"{si(sum(known), 'messages/s')}, " if known else ""
    silent = bool(known) and sum(known) == 0
    return Tile(
        "Recording", "nothing comes" if silent else "yes", rate + processes, "warning" if silent else "ok"
    )


def _lag_tile(latest: Sequence[Process]) -> Tile:
    alive = _alive(latest)
    if not alive:
        return Tile("Lag", detail="no collector is running")
    lag = max(row.lag_s for row in alive)
    state = "critical" if lag > LAG_CRITICAL_S else "warning" if lag > LAG_WARNING_S else "ok"
    return Tile("Lag", si(lag, "s"), "age of the oldest row that is not yet in QuestDB", state)


def _memory_tile(latest: Sequence[Process]) -> Tile:
    alive = _alive(latest)
    if not alive:
        return Tile("Memory", detail="no collector is running")
    fullest = max(alive, key=lambda row: row.rss / row.limit if row.limit else 0.0)
    total = si(sum(row.rss for row in alive), "B")
    if not fullest.limit:
        return Tile("Memory", total, "no limit is known (MemoryMax)", "ok")
    share = fullest.rss / fullest.limit
    state = "critical" if share > MEMORY_CRITICAL else "warning" if share > MEMORY_WARNING else "ok"
    return Tile("Memory", total, f"{share:.1%} of {si(fullest.limit, 'B')}", state, share)


def _journal_tile(latest: Sequence[Process]) -> Tile:
    alive = _alive(latest)
    if not alive:
        return Tile("Journal", detail="no collector is running")
    waiting, on_disk = sum(row.pending for row in alive), sum(row.on_disk for row in alive)
    state = "warning" if max(row.lag_s for row in alive) > LAG_WARNING_S else "ok"
    return Tile("Journal", si(waiting, "B"), f"wait for QuestDB; {si(on_disk, 'B')} on disk", state)


def _gap_tile(reader: Reader) -> Tile:
    title = "Gaps, last hour"
    ((count, still_open, repaired, longest),) = reader.rows(
        "SELECT count(), sum(CASE WHEN to_ts IS NULL THEN 1 ELSE 0 END), sum(CASE WHEN repaired THEN 1 ELSE 0 END), "
        "max(datediff('u', from_ts, to_ts)) FROM gaps WHERE ts > dateadd('h', -1, now())"
    )
    if not count:
        return Tile(title, "0", "nothing is missing", "ok")
    parts = [f"{still_open} open" if still_open else "", f"{repaired} repaired" if repaired else ""]
    if longest:
        parts.append(f"longest {si(longest / 1e6, 's') if longest < 1e6 else span_text(longest / 1e6)}")
    done = repaired == count
    return Tile(title, f"{count:,}", ", ".join(filter(None, parts)), "ok" if done else "warning")


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
