"""Long windows: how much memory they take, whether the result is that of one piece, and how fast bars and flow are.

The trades are made by the server itself, evenly over the window, 50 symbols taking turns.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from analyzer.passes import ANALYSES
from analyzer.windows import microseconds
from collector.database.endpoint import Endpoint
from tests.analyzer.fixtures import settings
from tests.conftest import query
from tests.processes import CLEAN_ENVIRONMENT

SYMBOLS = 50
END = datetime(2026, 3, 3, tzinfo=UTC)
CHUNK = 5_000_000
PATIENCE_S = 1800.0
RUNS = 3


class Ran(msgspec.Struct):
    """A side's process."""

    seconds: float
    """of the work"""
    rss_mb: float
    """peak, MB of 10⁶ bytes"""
    numbers: dict[str, dict[str, float]]


LEVELS = 10


def memory(endpoint: Endpoint, rows: int) -> dict[str, Any]:
    """A day of `rows` trades: each way in a process of its own, its peak RSS, how far its numbers are from the pass.

    Then all analyses, with a book an instrument and second beside the trades."""
    start = END - timedelta(days=1)
    figures: dict[str, Any] = {"rows": fill(endpoint, rows, start)}
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder), endpoint)
        in_pieces = side("pass", config, start)
        for name in ("pass", "stream", "duckdb", "whole"):
            ran = in_pieces if name == "pass" else side(name, config, start)
            figures |= {f"{name}_rss_mb": ran.rss_mb, f"{name}_s": round(ran.seconds, 2)}
            if name != "pass":
                figures[f"{name}_greatest_relative_difference"] = difference(ran, in_pieces)
            tell(name, rows, ran.seconds, ran.rss_mb)
        figures["books"] = fill_books(endpoint, start)
        seconds, rss_mb = run_once(config)
        tell(f"{len(ANALYSES)} analyses", rows, seconds, rss_mb)
        figures |= {"analyses_rss_mb": rss_mb, "analyses_s": round(seconds, 2), "analyses": len(ANALYSES)}
    return figures


def linear(endpoint: Endpoint, rows: int) -> dict[str, Any]:
    """bars and flow over a day of `rows` trades, and every trade through a stream: what a row costs."""
    start = END - timedelta(days=1)
    figures: dict[str, Any] = {"rows": fill(endpoint, rows, start)}
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder), endpoint)
        for name in ("pass", "stream"):
            ran = side(name, config, start)
            tell(name, rows, ran.seconds, ran.rss_mb)
            figures |= {f"{name}_rss_mb": ran.rss_mb, f"{name}_s": round(ran.seconds, 2)}
            figures[f"{name}_us_per_row"] = round(ran.seconds / rows * 1e6, 3)
    return figures


def speed(endpoint: Endpoint, rows: int) -> dict[str, Any]:
    """bars and flow over an hour of `rows` trades, by turns: ours, QuestDB's own SQL, psycopg to pandas in two ways; ours
    over a tenth of it as well."""
    start = END - timedelta(hours=1)
    figures: dict[str, Any] = {"rows": fill(endpoint, rows, start), "runs": RUNS}
    names = ("pass", "sql", "tenth", "pandas", "pandas_binary")
    times: dict[str, list[float]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder), endpoint)
        for turn in range(RUNS):
            for name in names:
                if name.startswith("pandas") and turn:
                    continue  # a minute or more each time
                tenth = name == "tenth"
                ran = side("pass" if tenth else name, config, END - timedelta(minutes=6) if tenth else start)
                times[name].append(ran.seconds)
                if name == "pass":
                    ours = ran
                elif name == "pandas":
                    figures["pandas_greatest_relative_difference"] = difference(ran, ours)
                    figures["pandas_rss_mb"] = ran.rss_mb
                if name == "pass":
                    figures["ours_rss_mb"] = ran.rss_mb
    best = {name: statistics.median(found) for name, found in times.items()}
    return figures | {
        "ours_s": round(best["pass"], 3),
        "questdb_sql_s": round(best["sql"], 3),
        "pandas_s": round(best["pandas"], 2),
        "pandas_binary_s": round(best["pandas_binary"], 2),
        "ours_by_sql": round(best["pass"] / best["sql"], 2),
        "pandas_by_ours": round(best["pandas"] / best["pass"], 1),
        "pandas_binary_by_ours": round(best["pandas_binary"] / best["pass"], 1),
        "ours_a_tenth_s": round(best["tenth"], 3),
        "us_per_row": round(best["pass"] / rows * 1e6, 3),
        "us_per_row_of_the_tenth": round(best["tenth"] / (rows / 10) * 1e6, 3),
    }


def tell(what: str, rows: int, seconds: float, rss_mb: float) -> None:
    """At once: a long window takes minutes, and what was measured is not to be lost with the rest."""
    print(f"{what}: {rows:,} trades, {seconds:.2f} s, {rss_mb:.0f} MB", file=sys.stderr, flush=True)


def side(name: str, config: Path, start: datetime) -> Ran:
    """Raises RuntimeError when it fails."""
    command = [sys.executable, "-m", "tests.bench.window_sides", name, str(config)]
    command += [start.isoformat(), END.isoformat()]
    with tempfile.TemporaryFile() as out:
        process = subprocess.Popen(command, stdout=out, env=CLEAN_ENVIRONMENT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
        out.seek(0)
        found = json.loads(out.read())
    return Ran(found["seconds"], round(usage.ru_maxrss * 1024 / 1e6, 1), found["numbers"])


def run_once(config: Path) -> tuple[float, float]:
    """`analyzer run-once` over the day: seconds as a whole process, peak RSS in MB."""
    command = [sys.executable, "-m", "analyzer", "run-once", "--config", str(config), "--window", "24h"]
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "--as-of", END.isoformat(), "--format", "json"],
        stdout=subprocess.DEVNULL,
        env=CLEAN_ENVIRONMENT,
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    return time.perf_counter() - began, round(usage.ru_maxrss * 1024 / 1e6, 1)


def difference(one: Ran, other: Ran) -> float:
    """The greatest, relative, of the numbers that both have; infinite where they have none or not the same symbols."""
    if one.numbers.keys() != other.numbers.keys() or not one.numbers:
        return math.inf
    found = [
        abs(value - other.numbers[symbol][metric]) / max(abs(other.numbers[symbol][metric]), 1e-9)
        for symbol, metrics in one.numbers.items()
        for metric, value in metrics.items()
        if metric in other.numbers[symbol]
    ]
    return max(found, default=math.inf)


def fill(endpoint: Endpoint, rows: int, start: datetime) -> int:
    """Into the empty, migrated tables; how many there are when all can be read and the views have them."""
    step = microseconds(END) - microseconds(start)
    for first in range(0, rows, CHUNK):
        count = min(CHUNK, rows - first)
        n = f"({first} + x - 1)"
        ts = f"cast({microseconds(start)} + {n} * {step / rows} AS LONG)::timestamp"
        query(
            endpoint,
            f"INSERT INTO trades SELECT {ts}, {ts}, 'bybit', 'linear', 'SYM' || lpad(({n} % {SYMBOLS})::string, 2, '0'), "
            f"rnd_symbol('buy', 'sell'), 100 + rnd_double(), rnd_double() + 0.01, {n}::varchar FROM long_sequence({count})",
        )
    wait(endpoint, "trades", rows)
    return rows


def wait(endpoint: Endpoint, table: str, rows: int) -> None:
    """Until all can be read and the views have them. Raises TimeoutError."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        found = int(query(endpoint, f"SELECT count() FROM {table}")[0][0])
        behind = query(
            endpoint,
            "SELECT count() FROM materialized_views() WHERE refresh_base_table_txn <> base_table_txn",
        )
        if found >= rows and not behind[0][0]:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{found:,} of {rows:,} {table} after {PATIENCE_S:g} s")
        time.sleep(0.5)


def fill_books(endpoint: Endpoint, start: datetime) -> int:
    """A snapshot of LEVELS levels an instrument and second, whose mid swings; how many."""
    rows = round((END - start).total_seconds()) * SYMBOLS
    for first in range(0, rows, CHUNK):
        count = min(CHUNK, rows - first)
        sides = ", ".join(
            f"ARRAY[[{', '.join(f'm {sign} {0.01 * level:.2f}' for level in range(1, LEVELS + 1))}], "
            f"[{', '.join(['0.1 + rnd_double()'] * LEVELS)}]]"
            for sign in "-+"
        )
        query(
            endpoint,
            "INSERT INTO orderbook (ts, recv_ts, exchange, market, symbol, bids, asks, seq) "
            f"SELECT ts, ts, 'bybit', 'linear', 'SYM' || lpad((n % {SYMBOLS})::string, 2, '0'), {sides}, n FROM ("
            f"SELECT n, cast({microseconds(start)} + (n / {SYMBOLS}) * 1000000 AS LONG)::timestamp ts, "
            f"100 + sin(n / 5000.0) + 0.01 * rnd_double() m FROM (SELECT {first} + x - 1 n FROM long_sequence({count})))",
        )
    wait(endpoint, "orderbook", rows)
    return rows
