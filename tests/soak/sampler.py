"""The collector looked at from outside, once a second."""

from __future__ import annotations

import re
import threading
import time

import httpx
import msgspec
import psutil

METRIC = re.compile(r"^evenkeel_(\w+?)(?:_total)?(?:\{[^}]*\})? (\S+)$", re.M)
INTERVAL = 1.0


class Sample(msgspec.Struct, frozen=True):
    """Sizes in bytes. Counters run from the start of the collector."""

    t: float
    """seconds since the first sample"""
    rss: int
    pss: int
    swap: int
    cpu: float
    """CPU seconds, user + system"""
    threads: int
    fds: int
    messages: int = 0
    rows: int = 0
    posted_rows: int = 0
    journal_bytes: int = 0
    pending_bytes: int = 0
    lag_s: float = 0.0
    gaps: int = 0
    dead_letters: int = 0
    shed: int = 0
    database_up: bool = True


class Sampler(threading.Thread):
    """Samples until stopped, or until the process is gone."""

    def __init__(self, pid: int, port: int) -> None:
        super().__init__(name="sampler", daemon=True)
        self.samples: list[Sample] = []
        self.database_up = True
        """Set by whoever kills the database."""
        self.unanswered = 0
        """Times that /metrics gave no answer."""
        self._process = psutil.Process(pid)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5)
        self._ended = threading.Event()
        self._began = time.monotonic()

    @property
    def latest(self) -> Sample | None:
        return self.samples[-1] if self.samples else None

    def stop(self) -> None:
        self._ended.set()
        self.join()
        self._client.close()

    def run(self) -> None:
        due = time.monotonic()
        while not self._ended.wait(max(0.0, due - time.monotonic())):
            due = max(due + INTERVAL, time.monotonic())
            try:
                figures = self._read_metrics()
                self.samples.append(self._sample(figures))
            except httpx.HTTPError:
                self.unanswered += 1
            except psutil.Error:
                return

    def _read_metrics(self) -> dict[str, float]:
        figures: dict[str, float] = {}
        for name, value in METRIC.findall(self._client.get("/metrics").raise_for_status().text):
            figures[name] = figures.get(name, 0.0) + float(value)
        return figures

    def _sample(self, figures: dict[str, float]) -> Sample:
        with self._process.oneshot():
            memory, cpu = self._process.memory_full_info(), self._process.cpu_times()
            return Sample(
                t=time.monotonic() - self._began,
                rss=memory.rss,
                pss=memory.pss,
                swap=memory.swap,
                cpu=cpu.user + cpu.system,
                threads=self._process.num_threads(),
                fds=self._process.num_fds(),
                messages=int(figures.get("messages", 0)),
                rows=int(figures.get("rows", 0)),
                posted_rows=int(figures.get("posted_rows", 0)),
                journal_bytes=int(figures.get("journal_bytes", 0)),
                pending_bytes=int(figures.get("journal_pending_bytes", 0)),
                lag_s=figures.get("ship_lag_seconds", 0.0),
                gaps=int(figures.get("gaps", 0)),
                dead_letters=int(figures.get("dead_letters", 0)),
                shed=int(figures.get("shed", 0)),
                database_up=self.database_up,
            )
