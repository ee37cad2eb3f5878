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
