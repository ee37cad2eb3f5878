"""The process looked at from outside, every 10 s: one `collector_stats` row."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from pathlib import Path

import msgspec
import psutil

from collector.journal import Journal
from collector.metrics import Metrics
from collector.rows import CollectorStats, StreamStats
from collector.store import JournalStore

INTERVAL = 10.0
LAG_SAMPLE = 0.25


class Sampler:
    """Writes the rows, and watches how late the event loop is."""

    def __init__(self, journal: Journal, store: JournalStore, metrics: Metrics) -> None:
        self._journal, self._store, self._metrics = journal, store, metrics
        self._process = psutil.Process()
        self._name = f"{socket.gethostname()}:{os.getpid()}"
        self._loop_lag = 0.0
        metrics.gauges["ship_lag_seconds"] = (
            "Age of the newest row that QuestDB has acknowledged, while some are pending",
            lambda: self.lag_ms() / 1000,
        )

    def lag_ms(self) -> float:
        """Milliseconds since the receipt of the newest acknowledged row; 0 when nothing is pending."""
        shipped = self._metrics.shipped_recv_us
        if not shipped or not self._store.pending_bytes():
            return 0.0
        return max(0.0, time.time() * 1e3 - shipped / 1e3)

    async def run(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                due += INTERVAL
                self.write()
            before = time.monotonic()
            await asyncio.sleep(LAG_SAMPLE)
            self._loop_lag = max(self._loop_lag, time.monotonic() - before - LAG_SAMPLE)

    def write(self) -> None:
        metrics, process = self._metrics, self._process
        now = time.time_ns() // 1000
        with process.oneshot():
            cpu = process.cpu_times()
            row = CollectorStats(
                ts=now,
                process=self._name,
                rss=process.memory_info().rss,
                swap=_swap_bytes(),
                cpu=cpu.user + cpu.system,
                threads=process.num_threads(),
                fds=process.num_fds(),
                messages=metrics.messages,
                rows=sum(metrics.rows.values()),
                bad_messages=metrics.bad_messages,
                gaps=metrics.gaps,
                reconnects=metrics.reconnects,
                journal_bytes=self._store.total_bytes(),
                journal_pending_bytes=self._store.pending_bytes(),
                lag_ms=self.lag_ms(),
                loop_lag_ms=self._loop_lag * 1e3,
                dead_letters=metrics.dead_letters,
            )
        self._loop_lag = 0.0
        self._journal.add(row, now)
        for stream, count in metrics.streams().items():
            self._journal.add(StreamStats(now, self._name, *stream, **msgspec.structs.asdict(count)), now)


def _swap_bytes() -> int:
    """VmSwap of this process; 0 where the kernel does not tell."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmSwap:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
