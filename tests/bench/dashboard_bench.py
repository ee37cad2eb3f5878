"""Ten browsers before one dashboard: real pages in Chromium and clients that ask as pages do, while rows come in.

RSS of the server is sampled every second. Growth is the Theil–Sen slope with its interval, without the warm-up (a third,
at least a minute).
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil

from analyzer.dashboard.page import POLL_MS
from analyzer.dashboard.ranges import RANGES
from analyzer.trend import trend
from collector.database.endpoint import Endpoint
from tests.analyzer import dashboard_tables as tables
from tests.analyzer.fixtures import settings
from tests.bench.scratch import LeftOutError

BROWSERS = 10
PAGES = int(os.environ.get("EVENKEEL_BENCH_PAGES", "2"))
"""Of the ten, how many are real pages: each takes half a core while it draws."""
MINUTES = float(os.environ.get("EVENKEEL_BENCH_DASHBOARD_MINUTES", "5"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SYMBOLS = (tables.BTC, tables.ETH)


class Client(threading.Thread):
    """Asks what a page asks, every 5 s, with the page's tags."""

    def __init__(self, url: str, number: int, ended: threading.Event) -> None:
        super().__init__(name=f"client{number}", daemon=True)
        span, symbol = list(RANGES)[number % len(RANGES)], ":".join(SYMBOLS[number % len(SYMBOLS)])
        self.took = array("d")
        """Seconds of each answer; days of them are some megabytes."""
        self.failed = self.unchanged = self.received = 0
        self._url, self._ended, self._first = url, ended, number * POLL_MS / 1000 / BROWSERS
        self._paths = (
            "data/status",
            f"data/system?range={span}",
            f"data/market?range={span}&symbol={symbol}",
            "data/symbols",
        )

    def run(self) -> None:
        tags: dict[str, str] = {}
        self._ended.wait(self._first)
        with httpx.Client(base_url=self._url, timeout=30) as client:
            while not self._ended.is_set():
                began = time.monotonic()
                for path in self._paths:
                    self._ask(client, path, tags)
                self._ended.wait(max(0.0, began + POLL_MS / 1000 - time.monotonic()))

    def _ask(self, client: httpx.Client, path: str, tags: dict[str, str]) -> None:
        began = time.monotonic()
        try:
            answer = client.get(path, headers={"If-None-Match": tags[path]} if path in tags else {})
        except httpx.HTTPError:
            self.failed += 1
            return
        self.took.append(time.monotonic() - began)
        self.received += answer.num_bytes_downloaded
        if answer.status_code == 304:
            self.unchanged += 1
        elif answer.status_code == 200:
            tags[path] = answer.headers.get("ETag", "")
        else:
            self.failed += 1


@contextmanager
def pages(url: str, folder: Path, count: int) -> Iterator[list[str]]:
    """Real pages, and what they complained of."""
    from playwright.sync_api import sync_playwright

    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    )
    flags += "--disable-component-update --disable-sync"
    said: list[str] = []
    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            folder / "profile", executable_path=CHROMIUM, args=flags.split(), headless=True
        )
        for number in range(count):
            page = context.new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("pageerror", lambda error: said.append(str(error)))
            page.goto(f"{url}?range=15m&symbol={':'.join(SYMBOLS[number % len(SYMBOLS)])}")
            page.wait_for_selector(".tile", timeout=60_000)
        try:
            yield said
        finally:
            for page in context.pages:
                page.wait_for_timeout(1)  # lets what they said arrive
            context.close()


def run(endpoint: Endpoint, folder: Path) -> dict[str, Any]:
    if CHROMIUM is None and PAGES:
        raise LeftOutError("no Chromium is installed: EVENKEEL_BENCH_PAGES=0 measures with clients alone")
    folder.mkdir(parents=True, exist_ok=True)
    tables.fill(endpoint, datetime.now(UTC))
    config = settings(folder, endpoint)
    ended = threading.Event()
    with ExitStack() as stack:
        child, url = stack.enter_context(tables.dashboard(config, folder / "log"))
        server = psutil.Process(child.pid)
        began_rss, began_cpu = server.memory_info().rss, sum(server.cpu_times()[:2])
        said = stack.enter_context(pages(url, folder, PAGES)) if PAGES else []
        clients = [Client(url, number, ended) for number in range(PAGES, BROWSERS)]
        for client in clients:
            client.start()
        began = time.monotonic()
        t: list[float] = []
        rss: list[float] = []
        threads = 0
        while (now := time.monotonic() - began) < MINUTES * 60:
            if len(t) % 10 == 0:  # rows come in, as while recording
                tables.trades(endpoint, tables.BTC, datetime.now(UTC), 5)
            t.append(now)
            rss.append(server.memory_info().rss / 1e6)
            threads = max(threads, server.num_threads())
            time.sleep(1.0)
        ended.set()
        for client in clients:
            client.join()
        cpu = sum(server.cpu_times()[:2]) - began_cpu
    seconds = MINUTES * 60
    after = max(60.0, seconds / 3)
    warm = np.array(t) >= after
    growth = trend(np.array(t)[warm] / 3600, np.array(rss)[warm])
    took = np.array([one for client in clients for one in client.took]) * 1e3
    return {
        "minutes": MINUTES,
        "pages": PAGES,
        "clients": len(clients),
        "rss_mb_start": round(began_rss / 1e6, 1),
        "rss_mb_after_warm_up": round(float(np.median(np.array(rss)[warm][:30])), 1),
        "rss_mb_end": round(float(np.median(rss[-30:])), 1),
        "rss_mb_peak": round(max(rss), 1),
        "growth_mb_per_hour": round(growth.slope, 2),
        "growth_interval": f"{growth.low:.2f} to {growth.high:.2f}",
        "cpu_percent_of_a_core": round(100 * cpu / seconds, 1),
        "threads": threads,
        "answers": len(took),
        "unchanged": sum(client.unchanged for client in clients),
        "failed": sum(client.failed for client in clients),
        "answer_p50_ms": round(float(np.percentile(took, 50)), 1),
        "answer_p99_ms": round(float(np.percentile(took, 99)), 1),
        "kb_per_second_and_client": round(sum(c.received for c in clients) / 1e3 / seconds / len(clients), 1),
        "complaints_of_pages": len(said),
    }
