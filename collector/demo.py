"""What the demo is made of, and the tests: simulated exchanges, a configuration for them, child processes."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import click

from collector.errors import OperatorError
from collector.exchanges import EXCHANGES
from collector.simulator import SIMULATORS

STOP_SECONDS = 90.0


def write_config(folder: Path, feeds: str, health_port: int) -> Path:
    """The demo's configuration: a user's own, but for addresses and folders."""
    path = folder / "evenkeel.toml"
    path.write_text(
        f"""[questdb]
url = "managed"
data = "{folder / "questdb"}"
http_port = 0
pg_port = 0

[journal]
path = "{folder / "journal"}"

[http]
listen = "127.0.0.1:{health_port}"
{feeds}""",
        encoding="utf-8",
    )
    return path


def feed_table(
    venue: str, market: str, ready: dict[str, Any], symbols: list[str], connections: int = 1
) -> str:
    """The [[feeds]] table of all channels for a simulator that said it is `ready`. `symbols`: of the market model."""
    wire = SIMULATORS[venue]
    return f"""
[[feeds]]
exchange = "{venue}"
market = "{market}"
symbols = {json.dumps([wire.symbol(market, symbol) for symbol in symbols])}
channels = {json.dumps(sorted(EXCHANGES[venue].channels(market)))}
book_depth = 50
book_interval = "100ms"
ws_url = "{ready["ws_urls"][market]}"
rest_url = "{ready["rest_url"]}"
connections = {connections}
"""


@contextlib.contextmanager
def process(*arguments: str, log: Path, stdout: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """A Python module as a child process, ended with the block. Its stderr goes to `log`."""
    with log.open("w") as errors:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments], stdout=stdout or errors, stderr=errors, text=True
        )
        try:
            yield child
        finally:
            end(child, arguments[1])


def end(child: subprocess.Popen[str], name: str) -> int:
    """SIGTERM, and the exit code."""
    if child.poll() is None:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            click.echo(f"{name} did not stop within {STOP_SECONDS:g} s, killed", err=True)
            child.kill()
    return child.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Exchange:
    """A simulator that was started, and what it says on stdout."""

    def __init__(self, venue: str, child: subprocess.Popen[str], log: Path) -> None:
        assert child.stdout is not None
        self.venue, self.child = venue, child
        first = child.stdout.readline()
        if not first:
            raise OperatorError(f"demo: the simulator of {venue} did not start; its log is {log}")
        self.ready: dict[str, Any] = json.loads(first)
        self.stopped = threading.Event()
        threading.Thread(target=self._read, args=(child.stdout,), daemon=True).start()

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            if json.loads(line).get("stopped"):
                self.stopped.set()
