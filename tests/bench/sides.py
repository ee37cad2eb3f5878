"""The programs that are compared, as processes: started, looked at from outside, ended."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import httpx
import msgspec
import psutil

from collector.database.endpoint import Endpoint
from collector.demo import Exchange, end, free_port, process

METRIC = re.compile(r"^evenkeel_(\w+?)(?:_total)?(?:\{[^}]*\})? (\S+)$", re.M)
PATIENCE_S = 180.0
"""How long a program may take over what it was sent."""


class Side(Protocol):
    """One program under test."""

    child: subprocess.Popen[str]

    def check(self) -> None:
        """Raises RuntimeError when it has ended."""

    def received(self) -> int:
        """Messages, since its start."""

    def waiting(self) -> int:
        """What it still has to store, in its own unit; 0: nothing."""


class Program:
    """A process with a log."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        self.child, self._log = child, log

    def check(self) -> None:
        if self.child.poll() is not None:
            raise RuntimeError(f"exit code {self.child.returncode}: {self._log.read_text()[-2000:]}")


class Evenkeel(Program):
    """`collector run`, asked by its /metrics."""

    def __init__(self, child: subprocess.Popen[str], log: Path, port: int) -> None:
        super().__init__(child, log)
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5)

    def metrics(self) -> dict[str, float]:
        """Summed over labels; empty while it does not answer."""
        figures: dict[str, float] = {}
        with contextlib.suppress(httpx.HTTPError):
            for name, value in METRIC.findall(self._client.get("/metrics").raise_for_status().text):
                figures[name] = figures.get(name, 0.0) + float(value)
        return figures

    def received(self) -> int:
        return int(self.metrics().get("messages", 0))

    def waiting(self) -> int:
        now = self.metrics()
        return int(now.get("journal_pending_bytes", 1)) + int(now.get("journal_queue_bytes", 0))


class Cryptofeed(Program):
    """`cryptofeed_runner`, which tells of itself on stdout."""

    def __init__(self, child: subprocess.Popen[str], log: Path) -> None:
        super().__init__(child, log)
        self.latest: dict[str, int] = {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.latest = json.loads(line)

    def received(self) -> int:
        return self.latest.get("received", 0)

    def waiting(self) -> int:
        now = self.latest
        stored = ("written", "dropped_overflow", "dropped_failed")
        return now.get("qsize", 1) or int(not any(now.get(name) for name in stored))


@contextlib.contextmanager
def simulator(folder: Path, symbols: list[str], rate: float, *more: str) -> Iterator[Exchange]:
    """The exchange, its ledger (with --ledger among `more`) where it was told."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "simulate.log"
    arguments = ["simulate", "--exchange", "bybit", "--port", "0", "--symbols", ",".join(symbols)]
    arguments += ["--rate", f"{rate:g}", *more]
    with process("collector", *arguments, log=log, stdout=subprocess.PIPE) as child:
        yield Exchange("bybit", child, log)


@contextlib.contextmanager
def evenkeel(
    folder: Path,
    endpoint: Endpoint,
    exchange: Exchange,
    module: str = "collector",
    http_url: str = "",
    **feed: Any,
) -> Iterator[Evenkeel]:
    """`http_url`: instead of the server's, for example a proxy's. `feed`: keys of [[feeds]]."""
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"exchange": "bybit", "market": "linear"} | feed
    settings |= {
        "ws_url": f"{exchange.ready['ws_url_base']}/v5/public/linear",
        "rest_url": exchange.ready["rest_url"],
    }
    port = free_port()
    config = folder / "evenkeel.toml"
    config.write_text(
        f'[questdb]\nurl = "{http_url or endpoint.http_url}"\npg = "{endpoint.pg}"\n'
        f'[journal]\npath = "{folder / "journal"}"\n[http]\nlisten = "127.0.0.1:{port}"\n[[feeds]]\n'
        + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    )
    log = folder / "collector.log"
    with process(module, "run", "--config", str(config), log=log) as child:
        yield Evenkeel(child, log, port)


@contextlib.contextmanager
def cryptofeed(
    folder: Path, python: Path, http_url: str, exchange: Exchange, **options: Any
) -> Iterator[Cryptofeed]:
    """`options`: those of `cryptofeed_runner`."""
    folder.mkdir(parents=True, exist_ok=True)
    host, port = http_url.removeprefix("http://").split(":")
    settings = {
        "ws_url": f"{exchange.ready['ws_url_base']}/v5/public/linear",
        "questdb": [host, int(port)],
        "books": 0,
        "trades_key": "cryptofeed_trades",
        "books_key": "cryptofeed_books",
        "queue": {},
        "attempts": 0,
    } | options
    runner = Path(__file__).with_name("cryptofeed_runner.py")
    log = folder / "cryptofeed.log"
    with log.open("w") as errors:
        child = subprocess.Popen(
            [str(python), str(runner), json.dumps(settings)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        try:
            yield Cryptofeed(child, log)
        finally:
            end(child, "cryptofeed")


class Work(msgspec.Struct, frozen=True):
    """What one program did between its first message and the last row stored."""

    messages: int
    cpu_s: float
    wall_s: float
    peak_rss_mb: float
    """MB of 10⁶ bytes, since its start"""

    @property
    def per_cpu_second(self) -> float:
        return self.messages / self.cpu_s


def watch(side: Side, exchange: Exchange) -> Work:
    """Wait until the exchange has sent all and the program has stored it. Raises TimeoutError, psutil.Error."""
    process = psutil.Process(side.child.pid)
    first: tuple[float, int, float] | None = None
    seen, deadline = -1, time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.25)
        side.check()
        received, cpu = side.received(), process.cpu_times()
        now = (time.monotonic(), received, cpu.user + cpu.system)
        if received and first is None:
            first = now
        if first and exchange.stopped.is_set() and received == seen and not side.waiting():
            return Work(now[1] - first[1], now[2] - first[2], now[0] - first[0], peak_rss(process.pid) / 1e6)
        seen = received
    raise TimeoutError(f"{seen:,} messages after {PATIENCE_S:g} s, and not all of them stored")


def peak_rss(pid: int) -> int:
    """Bytes; of a running process."""
    status = Path(f"/proc/{pid}/status").read_text()
    match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)
    assert match is not None
    return int(match[1]) * 1024
