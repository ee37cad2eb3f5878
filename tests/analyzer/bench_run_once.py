"""`analyzer run-once` as a whole process over 15 minutes of 50 symbols at 1,000 messages a second."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from analyzer.windows import microseconds
from collector.database.endpoint import Endpoint
from tests.analyzer.fixtures import settings
from tests.conftest import query, wait_rows
from tests.processes import CLEAN_ENVIRONMENT

SYMBOLS = 50
SECONDS = 900
BOOKS, TRADES, TICKERS, LIQUIDATIONS = 450_000, 350_000, 95_000, 5_000
"""900,000 messages. A book is stored at most every 100 ms a symbol: 450,000 = 50 symbols × 10 a second × 900 s."""
LEVELS = 50
RUNS = 5


def run(endpoint: Endpoint) -> dict[str, Any]:
    """Fill the empty, migrated server, then measure. Seconds of wall clock, MB of 10⁶ bytes."""
    end = datetime.now(UTC).replace(second=0, microsecond=0)
    rows = fill(endpoint, end)
    walls, peaks = [], []
    with tempfile.TemporaryDirectory() as folder:
        config = settings(Path(folder), endpoint)
        for _ in range(RUNS):
            wall, peak = measure(config, end)
            walls.append(wall)
            peaks.append(peak)
    return {
        "rows": rows,
        "runs": RUNS,
        "min_s": round(min(walls), 3),
        "median_s": round(statistics.median(walls), 3),
        "peak_rss_mb": round(max(peaks) / 1e6, 1),
    }


def measure(config: Path, end: datetime) -> tuple[float, int]:
    """Wall seconds and peak RSS (bytes) of one process."""
    command = [sys.executable, "-m", "analyzer", "run-once", "--config", str(config), "--window", "15m"]
    command += ["--as-of", end.isoformat(), "--format", "json"]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env=CLEAN_ENVIRONMENT)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {process.returncode}")
    return wall, usage.ru_maxrss * 1024


def fill(endpoint: Endpoint, end: datetime) -> int:
    """The rows, made by the server itself; how many they are."""
    start = microseconds(end - timedelta(seconds=SECONDS))

    def common(count: int) -> str:
        """Evenly over the window; the symbols take turns, so that each gets its share of every moment."""
        step = SECONDS * 1_000_000 // count
        ts = f"cast({start} + (x - 1) * {step} AS TIMESTAMP)"
        return (
            f"{ts} ts, {ts} + 5000 recv_ts, 'bybit', 'linear', 'SYM' || lpad((x % {SYMBOLS})::string, 2, '0')"
        )

    side = "rnd_symbol('buy', 'sell')"
    price = "100 + rnd_double()"
    depth = ", ".join(["rnd_double() * 10"] * LEVELS)
    bid = ", ".join(f"{99.99 - level / 100:.2f}" for level in range(LEVELS))
    ask = ", ".join(f"{100.01 + level / 100:.2f}" for level in range(LEVELS))
    columns = {
        "trades": (TRADES, f"{side}, {price}, rnd_double(), x::varchar"),
        "orderbook": (BOOKS, f"ARRAY[[{bid}], [{depth}]], ARRAY[[{ask}], [{depth}]], x"),
        "liquidations": (LIQUIDATIONS, f"{side}, {price}, rnd_double(), x::varchar"),
        "tickers": (
            TICKERS,
            f"{price}, {price}, {price}, 0.0001, cast(null AS TIMESTAMP), 1e6, 99.99, 100.01",
        ),
    }
    for table, (count, values) in columns.items():
        query(endpoint, f"INSERT INTO {table} SELECT {common(count)}, {values} FROM long_sequence({count})")
    for channel in columns:
        query(
            endpoint,
            "INSERT INTO feed_events (ts, recv_ts, exchange, market, symbol, channel, event, detail) "
            f"SELECT cast({start - 1} AS TIMESTAMP), cast({start} AS TIMESTAMP), 'bybit', 'linear', "
            f"'SYM' || lpad((x - 1)::string, 2, '0'), '{channel}', 'subscribed', '' FROM long_sequence({SYMBOLS})",
        )
    query(
        endpoint,
        f"INSERT INTO collector_stats (ts, process) SELECT cast({start} + x * 10000000 AS TIMESTAMP), 'bench:1' "
        f"FROM long_sequence({SECONDS // 10})",
    )
    for table, (count, _) in columns.items():
        wait_rows(endpoint, table, count)
    wait_rows(endpoint, "feed_events", len(columns) * SYMBOLS)
    wait_rows(endpoint, "collector_stats", SECONDS // 10)
    return sum(count for count, _ in columns.values())
