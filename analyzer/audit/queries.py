"""What an audit asks the tables. Placeholders as in `passes.base`; times as µs, as the answers are JSON."""

# ruff: noqa: S608 - every part of these is ours

from __future__ import annotations

from collections.abc import Collection

LATE = "CASE WHEN recv_ts > ts THEN datediff('u', ts, recv_ts) / 1000.0 ELSE 0.0 END"
DELAYS = f"approx_percentile({LATE}, 0.5, 3), approx_percentile({LATE}, 0.99, 3)"
COUNTERS = "min(messages), max(messages), min(bad), max(bad), min(silences), max(silences)"
MOST_GAPS = 10_000
MOST_EVENTS = 2_000
"""The newest of them are read: more a negative LIMIT does not allow."""

TABLES = "SELECT table_name FROM tables()"
GAPS = (
    "SELECT from_ts::long, to_ts::long, recv_ts::long, exchange, market, symbol, channel, cause, missing, "
    "repaired, repair, recovered, collector FROM gaps WHERE ts < {end} "
    f"AND (to_ts IS NULL OR to_ts >= {{start}}) ORDER BY ts LIMIT -{MOST_GAPS}"
)
EVENT_COUNTS = "SELECT exchange, market, symbol, channel, event, count() FROM feed_events WHERE {where}"
EVENTS = (
    "SELECT ts::long, exchange, market, symbol, channel, event, detail FROM feed_events "
    f"WHERE {{where}} AND event != 'subscribed' ORDER BY ts LIMIT -{MOST_EVENTS}"
)
RECEIVED = f"SELECT process, exchange, market, channel, {COUNTERS} FROM stream_stats WHERE {{where}}"
RUNS = "SELECT status, count() FROM analysis_runs WHERE {where}"
LAST_RUN = "SELECT max(ts)::long FROM analysis_runs WHERE ts < {end}"
ALERT = "SELECT ts::long, rule, severity, state, exchange, market, symbol, value, message FROM alerts"
ALERTS = f"{ALERT} WHERE {{where}} ORDER BY ts LIMIT -{MOST_EVENTS}"
FIRING = (
    "SELECT * FROM ("
    f"{ALERT} WHERE ts < {{end}} LATEST ON ts PARTITION BY rule, exchange, market, symbol) WHERE state = 'firing'"
)
OUTAGES = (
    "SELECT ts::long, until_ts::long, process, event, cause, detail, attempts, waiting_rows, caught_up_ts::long, log, "
    "collector FROM process_events WHERE ts < {end} AND until_ts >= {start} AND program = 'questdb' "
    f"ORDER BY ts LIMIT -{MOST_EVENTS}"
)
SUSPENDED = "SELECT name, errorMessage FROM wal_tables() WHERE suspended"


def columns(table: str) -> str:
    return f"SELECT \"column\" FROM table_columns('{table}')"


def process_events(there: Collection[str]) -> str:
    """`there`: the table's columns, which an older one has not all of."""
    more = "".join(f", {name if name in there else 'NULL'}" for name in ("log", "place"))
    return (
        f"SELECT ts::long, process, event, cause, detail{more} FROM process_events "
        f"WHERE {{where}} AND program = 'collector' ORDER BY ts LIMIT -{MOST_EVENTS}"
    )


def stored(table: str) -> str:
    """Rows of a market table by stream, and their delay."""
    return (
        f"SELECT exchange, market, symbol, count(), max(recv_ts)::long, {DELAYS} FROM {table} WHERE {{where}}"
    )


def delay(table: str) -> str:
    return f"SELECT {DELAYS} FROM {table} WHERE {{where}}"


def processes(collector: str) -> str:
    """`collector`: the column, or what stands for it where a table is older."""
    return f"SELECT process, {collector}, min(ts)::long, max(ts)::long FROM collector_stats WHERE {{where}}"


def samples(names: list[str]) -> str:
    return f"SELECT ts, process, {', '.join(names)} FROM collector_stats WHERE {{where}}"
