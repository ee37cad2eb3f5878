"""The programs as processes, for tests that go the whole way."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from collector.cli import main
from collector.database.endpoint import Endpoint

CLEAN_ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("EVENKEEL_")}


def collector(*arguments: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run to the end."""
    return subprocess.run(
        [sys.executable, "-m", "collector", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=CLEAN_ENVIRONMENT,
        check=False,
    )


def judged(ledger: Path, config: Path, *more: str) -> dict[str, Any]:
    """What `collector verify` says, as JSON. In this process: it is the judge here, not what is judged."""
    unset = dict.fromkeys(os.environ.keys() - CLEAN_ENVIRONMENT.keys())
    arguments = ["verify", "--ledger", str(ledger), "--config", str(config), "--format", "json", *more]
    done = CliRunner(env=unset).invoke(main, arguments)
    assert done.stdout, (done.stderr[-2000:], done.exception)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def known_streams(journal: Path, since_us: int = 0) -> int:
    """How many streams a collector's state names, which it writes beside its journal; 0: it was not written since then."""
    file = journal / "state.json"
    if not file.exists():
        return 0
    state = json.loads(file.read_text())
    return sum(len(feed["streams"]) for feed in state["feeds"]) if state["at_us"] >= since_us else 0


def disconnected(log: Path) -> set[str]:
    """Feeds ("bybit/linear") of which a collector's log says that a connection has ended: what came before is taken in."""
    lines = [line for line in log.read_text().splitlines() if '"event": "disconnected"' in line]
    return {json.loads(line)["feed"] for line in lines}


class Background:
    """A process that goes on; its stdout can be read, its stderr is in a file."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        with log.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "collector", *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=CLEAN_ENVIRONMENT | environment,
            )

    def line(self) -> dict[str, Any]:
        """The next line of JSON on stdout."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, f"no output; stderr: {self.log.read_text()[-2000:]}"
        answer: dict[str, Any] = json.loads(text)
        return answer

    def end(self, number: int = signal.SIGTERM, timeout: float = 120) -> int:
        """Send a signal; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout)


@contextlib.contextmanager
def background(log: Path, *arguments: str, **environment: str) -> Iterator[Background]:
    child = Background(log, *arguments, **environment)
    try:
        yield child
    finally:
        if child.process.poll() is None:
            child.process.kill()
        child.process.wait()
        if child.process.stdout is not None:
            child.process.stdout.close()


def config_file(
    folder: Path, endpoint: Endpoint, ws_url: str, rest_url: str = "", market: str = "linear", **feed: Any
) -> Path:
    """A configuration for one feed; `feed` adds or changes keys of it."""
    settings = {"exchange": "bybit", "market": market, "symbols": ["BTCUSDT", "ETHUSDT", "SOLUSDT"]}
    settings |= {"ws_url": ws_url, "rest_url": rest_url} | feed
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
    path = folder / "evenkeel.toml"
    path.write_text(
        f'[questdb]\nurl = "{endpoint.http_url}"\npg = "{endpoint.pg}"\n'
        f'[journal]\npath = "{folder / "journal"}"\n[http]\nlisten = ""\n[[feeds]]\n{lines}'
    )
    return path


def wait_until(condition: Callable[[], bool], timeout: float = 120, what: str = "the condition") -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about within {timeout} s"
        time.sleep(0.05)
