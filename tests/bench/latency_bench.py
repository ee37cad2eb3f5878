"""From receipt to queryable: trades polled as they become visible, and their time of receipt subtracted.

The latency of a row is the moment when an answer first held it, minus its `recv_ts`, by the same clock. It is too long by
at most the time between two answers, which is told as the resolution.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from collector.database.endpoint import Endpoint, connect
from tests.bench import sides

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
RATE = 10_000.0
SECONDS = 60.0
WARM_UP_S = 5.0
"""While the server's JVM compiles and tables get their first partition; told apart."""
AFTER_S = 2.0
POLL_S = 0.01
SLOW_MS = 500.0
LATE_S = 10
"""Event times reach back so far at most behind the newest row seen; older partitions need not be read."""


def summary(milliseconds: Sequence[float]) -> dict[str, float]:
    """p50, p99 (linear between ranks) and the greatest."""
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return {
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
        "max_ms": round(float(max(milliseconds)), 1),
    }


def slow_seconds(latencies: Sequence[tuple[float, float]]) -> int:
    """In how many seconds of receipt a row took longer than SLOW_MS: one stall, or many."""
    return len({int(received) for received, ms in latencies if ms > SLOW_MS})


class Poller:
    """Newly visible trades. Rows become visible in the order of receipt, so those after the newest seen are new."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._connection = connect(endpoint)
        self._cursor = self._connection.cursor(binary=True)
        self._newest = 0
        self.answered: list[float] = []
        """Seconds since the epoch."""
        self.latencies: list[tuple[float, float]] = []
        """(time of receipt in seconds, milliseconds)"""

    def poll(self) -> None:
        since = self._newest
        rows = self._cursor.execute(
            "SELECT cast(recv_ts AS LONG) FROM trades "
            f"WHERE ts > cast({since - LATE_S * 1_000_000} AS TIMESTAMP) AND recv_ts > cast({since} AS TIMESTAMP)"
        ).fetchall()
        now = time.time()
        self.answered.append(now)
        if rows:
            self.latencies += [(recv / 1e6, now * 1e3 - recv / 1e3) for (recv,) in rows]
            self._newest = max(recv for (recv,) in rows)

    def count(self) -> int:
        row = self._cursor.execute("SELECT count() FROM trades").fetchone()
        assert row is not None
        return int(row[0])

    def close(self) -> None:
        self._connection.close()


def run(endpoint: Endpoint, folder: Path) -> dict[str, Any]:
    """All channels of three symbols, books of 50 levels every 100 ms, as the configuration has them by default."""
    poller = Poller(endpoint)
    messages = round(RATE * SECONDS)
    with (
        sides.simulator(folder, SYMBOLS, RATE, "--messages", str(messages)) as exchange,
        sides.evenkeel(folder, endpoint, exchange, symbols=SYMBOLS) as ours,
    ):
        began = stopped = 0.0
        while not exchange.stopped.is_set() or time.time() - stopped < AFTER_S:
            started = time.monotonic()
            ours.check()
            poller.poll()
            if not began and poller.latencies:
                began = time.time()
            if not exchange.stopped.is_set():
                stopped = time.time()
            time.sleep(max(0.0, started + POLL_S - time.monotonic()))
        received = ours.received()
    count = poller.count()
    poller.close()
    warm = [(recv, ms) for recv, ms in poller.latencies if recv >= began + WARM_UP_S]
    late = [ms for _, ms in warm]
    early = [ms for recv, ms in poller.latencies if recv < began + WARM_UP_S]
    periods = np.diff(poller.answered) * 1e3
    return summary(late) | {
        "seconds_with_slower_than_500_ms": slow_seconds(warm),
        "first_5_s_max_ms": round(max(early), 1),
        "resolution_p50_ms": round(float(np.percentile(periods, 50)), 1),
        "resolution_p99_ms": round(float(np.percentile(periods, 99)), 1),
        "trades": len(late),
        "trades_not_seen_arriving": count - len(poller.latencies),
        "messages_per_second": round(received / (stopped - began)),
    }
