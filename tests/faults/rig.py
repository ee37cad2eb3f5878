"""The fault suite's harness: simulator, collector and a real QuestDB as processes, faults between them, and the verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx

from collector.database import managed
from collector.database.endpoint import Endpoint
from collector.database.migrate import migrate
from collector.demo import free_port
from collector.settings import CHANNELS, QuestDBConfig, RetentionConfig
from tests.anew import settle
from tests.conftest import query
from tests.faults.wire_proxy import WireProxy
from tests.faulty_proxy import FaultyProxy
from tests.processes import CLEAN_ENVIRONMENT, Background, background, judged, known_streams, wait_until

LONG = bool(os.environ.get("EVENKEEL_FAULTS_LONG"))
"""Set by `make faults`; `make test` runs the short form of every case."""
SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
QUIET = {"silence": "5s"}


def seconds(short: float, long: float) -> float:
    return long if LONG else short


class OwnServer:
    """A QuestDB of its own on ports that stay, to be killed, stopped and started."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.config = QuestDBConfig(data=str(folder), http_port=free_port(), pg_port=free_port())
        self._environment = environment
        self.start()
        migrate(self.endpoint, RetentionConfig())

    def start(self) -> None:
        os.environ.update(self._environment)
        try:
            server = managed.start(self.config, lambda text: None)
        finally:
            for name in self._environment:
                del os.environ[name]
        self.pid = server.pid
        self.endpoint = managed.endpoint_of(server, self.config)

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)
        if number == signal.SIGKILL:
            wait_until(lambda: managed.status(self.config) is None, what="the server's death")

    def close(self) -> None:
        server = managed.status(self.config)
        if server is not None:
            os.kill(server.pid, signal.SIGCONT)
        managed.stop(self.config, lambda text: None)


class Rig:
    """One case. Its parts start in the order of the methods; all end with the case."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder, self._stack = folder, stack
        self.ledger = folder / "ledger.jsonl"
        self.config = folder / "evenkeel.toml"
        self.journal = folder / "journal"
        self.log = folder / "collector.log"
        self.exchange: Background
        self.collector: Background
        self.wire: WireProxy
        self.http: FaultyProxy | None = None
        self.endpoint: Endpoint

    def own_server(self, folder: Path | None = None, **environment: str) -> OwnServer:
        server = OwnServer(folder or self.folder / "questdb", **environment)
        self._stack.callback(server.close)
        self.endpoint = server.endpoint
        return server

    def behind_proxy(self, endpoint: Endpoint) -> FaultyProxy:
        """Posts go through a proxy that can fail."""
        self.http = FaultyProxy(endpoint.http_url, lambda number: None)
        self._stack.callback(self.http.close)
        self.endpoint = endpoint
        return self.http

    def simulate(self, rate: int = 1500, *more: str) -> WireProxy:
        """The exchange, behind a wire proxy."""
        arguments = ["simulate", "--port", "0", "--rate", str(rate), "--symbols", ",".join(SYMBOLS)]
        arguments += ["--ledger", str(self.ledger), *more]
        self.exchange = self._stack.enter_context(background(self.folder / "simulate.log", *arguments))
        self._ready = self.exchange.line()
        self.wire = WireProxy(self._ready["ws_urls"]["linear"])
        self._stack.callback(self.wire.close)
        return self.wire

    def configure(
        self,
        journal: dict[str, Any] | None = None,
        questdb: dict[str, Any] | None = None,
        ws_url: str = "",
        **feed: Any,
    ) -> None:
        database = {"url": self.http.url if self.http else self.endpoint.http_url, "pg": self.endpoint.pg}
        database |= questdb or {}
        one = {"exchange": "bybit", "market": "linear", "symbols": SYMBOLS} | QUIET
        one |= {"ws_url": ws_url or self.wire.url, "rest_url": self._ready["rest_url"]} | feed
        sections = {"questdb": database, "journal": {"path": str(self.journal)} | (journal or {})}
        text = "".join(f"[{name}]\n{toml(table)}" for name, table in sections.items())
        self.port = free_port()
        self.config.write_text(f'{text}[http]\nlisten = "127.0.0.1:{self.port}"\n[[feeds]]\n{toml(one)}')

    def record(self, **environment: str) -> Background:
        """Start the collector, and wait until rows are coming in."""
        self.collector = self._stack.enter_context(
            background(self.log, "run", "--config", str(self.config), **environment)
        )
        return self.collector

    def go_on(self, messages: int = 1000) -> None:
        """Until the collector has taken in so many messages more."""
        before = self.messages()
        wait_until(lambda: self.messages() >= before + messages, 120, "more messages")

    def wait_recording(self, messages: int = 500) -> None:
        """Until the collector that was started last has taken in so many messages, and its state names all streams."""
        wait_until(lambda: self.messages() > messages, 120, "the first messages")
        since = time.time_ns() // 1000
        streams = len(SYMBOLS) * len(CHANNELS)
        wait_until(lambda: known_streams(self.journal, since) == streams, 120, "the state of all streams")

    def messages(self) -> int:
        """What the collector has taken in since its start; 0 while it doesn't answer."""
        return int(self.health().get("messages", 0))

    def health(self) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=2).json()
        except (httpx.HTTPError, ValueError):
            return {}
        return answer

    def caught_up(self) -> None:
        """Until QuestDB takes rows again and has all but the newest: after a long outage it is asked every few seconds."""

        def shipped() -> bool:
            health = self.health()
            waits = any("QuestDB" in reason for reason in health.get("reasons", ["QuestDB"]))
            return not waits and health["journal_pending_bytes"] < 256 << 10

        wait_until(shipped, 180, "the journal's backlog")

    def stop(self) -> None:
        """The exchange ends, so that nothing more is sent; then the collector, which must end well."""
        self.exchange.end()
        # The end of a connection comes after all that was sent over it.
        wait_until(
            lambda: "not connected" in str(self.health().get("reasons")), what="the end of the connection"
        )
        assert self.collector.end(signal.SIGTERM) == 0, self.log.read_text()[-3000:]

    def verify(self) -> dict[str, int]:
        """What was sent against what is stored. Nothing may be missing undeclared."""
        settle(self.endpoint)
        answer = judged(self.ledger, self.config)
        totals: dict[str, int] = answer["totals"]
        bad = {name: totals[name] for name in ("undeclared", "duplicated", "wrong") if totals[name]}
        assert not bad, (bad, [one for one in answer["streams"] if one["undeclared"]][:3])
        record_totals(totals)
        return totals

    def causes(self) -> dict[str, int]:
        return dict(query(self.endpoint, "SELECT cause::string, count() FROM gaps"))

    def events(self) -> dict[str, int]:
        return dict(query(self.endpoint, "SELECT event::string, count() FROM feed_events"))

    def rss_mb(self) -> float:
        status = Path(f"/proc/{self.collector.process.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0]) / 1024


def toml(table: dict[str, Any]) -> str:
    return "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())


REPORT: dict[str, dict[str, int]] = {}
"""Case → its totals."""


def record_totals(totals: dict[str, int]) -> None:
    case = os.environ.get("PYTEST_CURRENT_TEST", "").split("::")[-1].split(" ")[0]
    REPORT[case] = totals


def mount_small_disk(folder: Path, megabytes: int, stack: ExitStack) -> bool:
    """A disk that fills up. False where mounting is not allowed."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return False
    stack.callback(lambda: subprocess.run(["umount", "-l", str(folder)], check=False))
    return True


def python_path(folder: Path) -> dict[str, str]:
    """Environment in which a `sitecustomize` module from `folder` is loaded first."""
    root = str(Path(__file__).parents[2])
    before = CLEAN_ENVIRONMENT.get("PYTHONPATH", "")
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), root, before]))}
