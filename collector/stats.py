"""The process looked at from outside, every 10 s: rows of `collector_stats` and `stream_stats`."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import psutil

from collector.histogram import Spread
from collector.host import ControlGroup, pss_bytes, swap_bytes
from collector.journal import Journal
from collector.metrics import Metrics
from collector.rows import CollectorStats, StreamStats
from collector.store import JournalStore

INTERVAL = 10.0
LAG_SAMPLE = 0.25


def process_name() -> str:
    """host:pid, unique among running collectors."""
    return f"{socket.gethostname()}:{os.getpid()}"


class Facts(msgspec.Struct, frozen=True):
    """What takes longer to find out than the event loop may wait."""

    pss: int | None = None
    swap: int = 0
    memory_limit: int = 0
    journal_age_ms: float = 0.0
    journal_disk_free: int | None = None
    server_disk_free: int | None = None


class Sampler:
    """Writes the rows, and watches how late the event loop is."""

    def __init__(
        self,
        journal: Journal,
        store: JournalStore,
        metrics: Metrics,
        server_disk: Path | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """`server_disk`: a folder on the database's disk, if that is this machine's. `alive()` is called at each look, from
        another thread."""
        self._journal, self._store, self._metrics = journal, store, metrics
        self._server_disk, self._alive = server_disk, alive
        self._process = psutil.Process()
        self._group = ControlGroup()
        self._name = process_name()
        self._loop_lag = 0.0
        self.beat = time.monotonic()
        """When (monotonic) the event loop was last seen to run."""
        self._facts = Facts()
        figures = {
            "memory_pss_bytes": ("RSS with shared pages divided by those who share them", "pss"),
            "memory_swap_bytes": ("Swapped out", "swap"),
            "memory_limit_bytes": ("What the control group allows; 0: no limit", "memory_limit"),
            "journal_disk_free_bytes": ("Free on the journal's disk", "journal_disk_free"),
            "server_disk_free_bytes": ("Free on QuestDB's disk, where that is here", "server_disk_free"),
        }
        metrics.gauges["ship_lag_seconds"] = (
            "Age of the newest row that QuestDB has acknowledged, while some are pending",
            lambda: self.lag_ms() / 1000,
        )
        metrics.gauges["journal_age_seconds"] = (
            "Age of the oldest row that QuestDB has not acknowledged",
            lambda: self.journal_age_ms() / 1000,
        )
        metrics.gauges["wal_lag_transactions"] = (
            "Accepted by QuestDB and not yet applied, of the worst table",
            lambda: (metrics.wal() or (None, None))[0],
        )
        metrics.gauges["wal_suspended_tables"] = (
            "Tables that accept rows which stay invisible",
            lambda: (metrics.wal() or (None, None))[1],
        )
        for name, (text, field) in figures.items():
            metrics.gauges[name] = (text, lambda field=field: getattr(self._facts, field))  # type: ignore[misc]

    def lag_ms(self) -> float:
        """Milliseconds since the receipt of the newest acknowledged row; 0 when nothing is pending."""
        shipped = self._metrics.shipped_recv_us
        if not self._store.pending_bytes():
            return 0.0
        return _since_ms(shipped) if shipped else self.journal_age_ms()

    def journal_age_ms(self) -> float:
        """Milliseconds since the receipt of the oldest row that is not acknowledged. Reads the journal."""
        oldest = self._store.oldest_pending_us()
        return _since_ms(oldest) if oldest else 0.0

    async def run(self) -> None:
        """Until cancelled."""
        due = time.monotonic()
        while True:
            if time.monotonic() >= due:
                due += INTERVAL
                await asyncio.to_thread(self._look)
                self.write()
            self.beat = before = time.monotonic()
            await asyncio.sleep(LAG_SAMPLE)
            self._loop_lag = max(self._loop_lag, time.monotonic() - before - LAG_SAMPLE)

    def _look(self) -> None:
        self._facts = Facts(
            pss_bytes(),
            swap_bytes(),
            self._group.memory_limit(),
            self.journal_age_ms(),
            _free(self._store.folder),
            _free(self._server_disk),
        )
        self._alive()

    def write(self) -> None:
        metrics, process = self._metrics, self._process
        metrics.times.take()
        now = time.time_ns() // 1000
        wal_lag, wal_suspended = metrics.wal() or (None, None)
        generations = [one["collections"] for one in gc.get_stats()]
        with process.oneshot():
            cpu = process.cpu_times()
            row = CollectorStats(
                ts=now,
                process=self._name,
                rss=process.memory_info().rss,
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
                gc_gen0=generations[0],
                gc_gen1=generations[1],
                gc_gen2=generations[2],
                silences=sum(count.silences for count in metrics.streams().values()),
                wal_lag=wal_lag,
                wal_suspended=wal_suspended,
                **msgspec.structs.asdict(self._facts),
                **_columns("decode", metrics.times.decode_spread),
                **_columns("handle", metrics.times.handle_spread),
            )
        self._loop_lag = 0.0
        self._journal.add(row, now)
        for stream, count in metrics.streams().items():
            self._journal.add(StreamStats(now, self._name, *stream, **msgspec.structs.asdict(count)), now)


def _columns(prefix: str, spread: Spread | None) -> dict[str, Any]:
    return {f"{prefix}_{name}_us": value for name, value in spread._asdict().items()} if spread else {}


def _since_ms(at_us: int) -> float:
    return max(0.0, time.time() * 1e3 - at_us / 1e3)


def _free(folder: Path | None) -> int | None:
    try:
        return None if folder is None else shutil.disk_usage(folder).free
    except OSError:
        return None
