"""Rows for an audit, filled in by hand, and the audit of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from click.testing import CliRunner

from analyzer.cli import main
from collector.database.endpoint import Endpoint
from collector.rows import CollectorStats, FeedEvent, Gap
from tests.analyzer.fixtures import VENUE, at, settings

START = at("2026-03-02T00:00:00Z")
END = at("2026-03-02T12:00:00Z")
AS_OF = "2026-03-02T12:00:00Z"
HOUR = 3_600_000_000
MB = 1_000_000
IDLE = CollectorStats(
    ts=0,
    process="host:1",
    rss=100 * MB,
    swap=0,
    cpu=0.0,
    threads=5,
    fds=20,
    messages=0,
    rows=0,
    bad_messages=0,
    gaps=0,
    reconnects=0,
    journal_bytes=0,
    journal_pending_bytes=0,
    lag_ms=0.0,
    loop_lag_ms=0.0,
    dead_letters=0,
)


def samples(
    process: str,
    start_h: float,
    end_h: float,
    base_mb: float = 100.0,
    growth: float = 0.0,
    every_s: int = 10,
    **columns: Any,
) -> Iterator[CollectorStats]:
    """Of one process from `start_h` to `end_h` (hours after START), growing by `growth` MB/h. It receives 100 messages a
    second and takes a tenth of a core."""
    first, last = START + round(start_h * HOUR), START + round(end_h * HOUR)
    for ts in range(first, last, every_s * 1_000_000):
        age = (ts - first) / 1e6
        rss = round((base_mb + growth * age / 3600) * MB)
        counted = {"messages": round(age * 100), "rows": round(age * 100), "cpu": age / 10}
        yield msgspec.structs.replace(IDLE, ts=ts, process=process, rss=rss, **{**counted, **columns})


def subscribed(*symbols: str, channel: str = "trades", hour: float = -1.0) -> list[FeedEvent]:
    ts = START + round(hour * HOUR)
    return [FeedEvent(ts, ts, *VENUE, symbol, channel, "subscribed") for symbol in symbols]


def gap(symbol: str, from_h: float, to_h: float | None, cause: str = "disconnected", **columns: Any) -> Gap:
    start = START + round(from_h * HOUR)
    end = None if to_h is None else START + round(to_h * HOUR)
    channel = columns.pop("channel", "trades")
    return Gap(start, end, end or start, *VENUE, symbol, channel, cause, **columns)


def audit(
    folder: Path, database: Endpoint, *arguments: str, as_of: str = AS_OF, config: str = ""
) -> tuple[int, dict[str, Any]]:
    """Exit code and document of the twelve hours before `as_of`."""
    file = settings(folder, database, config)
    asked = ["audit", "--config", str(file), "--as-of", as_of, "--format", "json", *arguments]
    done = CliRunner().invoke(main, asked)
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return done.exit_code, document


def verdicts(document: dict[str, Any]) -> dict[str, str]:
    """By area."""
    return {area["area"]: area["verdict"] for area in document["areas"]}
