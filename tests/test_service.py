"""What the programs tell systemd, over a real datagram socket: ready, progress, how it goes, stopping."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from collector.database import ending, managed
from collector.database.endpoint import Endpoint
from collector.demo import free_port
from collector.settings import QuestDBConfig
from tests.conftest import query
from tests.processes import CLEAN_ENVIRONMENT, background, config_file, wait_until

STALL = Path(__file__).parent / "stall"
NOWHERE = Endpoint("http://127.0.0.1:9", "postgresql://127.0.0.1:9/qdb")


class Systemd:
    """Its end of the socket."""

    def __init__(self, folder: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(folder / "notify"))
        self._socket.settimeout(0.05)
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "2000000"}
        self.told: list[dict[str, str]] = []

    def listen(self) -> list[dict[str, str]]:
        """Take in what has come; all that was told so far."""
        while True:
            try:
                text = self._socket.recv(65536).decode()
            except TimeoutError:
                return self.told
            self.told.append(dict(line.split("=", 1) for line in text.splitlines()))

    def count(self, key: str) -> int:
        return sum(key in message for message in self.listen())

    def status(self) -> str:
        return next((m["STATUS"] for m in reversed(self.listen()) if "STATUS" in m), "")

    def await_more(self, key: str, more: int = 1) -> None:
        before = self.count(key)
        wait_until(lambda: self.count(key) >= before + more, what=f"{more} times {key}")

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    one = Systemd(tmp_path)
    yield one
    one.close()


@pytest.fixture
def exchange(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Addresses of a simulator."""
    with background(tmp_path / "simulate.log", "simulate", "--port", "0", "--rate", "300") as process:
        ready = process.line()
        yield {"ws": ready["ws_urls"]["linear"], "rest": ready["rest_url"]}


def test_a_recording_tells_how_it_goes(
    tmp_path: Path, database: Endpoint, exchange: dict[str, str], systemd: Systemd
) -> None:
    config = config_file(tmp_path, database, exchange["ws"], exchange["rest"])
    with background(tmp_path / "log", "run", "--config", str(config), **systemd.environment) as recording:
        wait_until(lambda: systemd.count("READY") == 1, what="READY")
        systemd.await_more("WATCHDOG", 4)
        wait_until(
            lambda: "1 of 1 connected; 0.0 MiB wait for QuestDB" in systemd.status(), what="the status"
        )
        assert recording.end(signal.SIGTERM) == 0
    told = systemd.listen()
    assert "READY" in told[0]
    assert [index for index, message in enumerate(told) if "STOPPING" in message] == [len(told) - 1]


def test_without_a_database_there_is_progress(
    tmp_path: Path, exchange: dict[str, str], systemd: Systemd
) -> None:
    config = config_file(tmp_path, NOWHERE, exchange["ws"], exchange["rest"])
    with background(tmp_path / "log", "run", "--config", str(config), **systemd.environment) as recording:
        wait_until(lambda: "MiB wait for QuestDB: it has not been reached yet" in systemd.status())
        systemd.await_more("WATCHDOG", 6)
        assert recording.end(signal.SIGTERM) == 0


def test_a_journal_that_hangs_is_no_progress(
    tmp_path: Path, exchange: dict[str, str], systemd: Systemd
) -> None:
    """The event loop runs and messages come, but a write to the disk does not return. A failing disk, which is tried again,
    is progress."""
    config = config_file(tmp_path, NOWHERE, exchange["ws"], exchange["rest"])
    path = os.pathsep.join([str(STALL), str(Path(__file__).parents[1])])
    environment = systemd.environment | {"PYTHONPATH": path, "EVENKEEL_STALL": str(tmp_path)}
    log = tmp_path / "log"
    with background(log, "run", "--config", str(config), **environment) as recording:
        systemd.await_more("WATCHDOG", 2)
        (tmp_path / "full").touch()
        wait_until(lambda: "journal write failed, retrying" in log.read_text(), what="the full disk")
        systemd.await_more("WATCHDOG", 4)
        (tmp_path / "full").unlink()
        systemd.await_more("WATCHDOG", 3)
        systemd.told.clear()
        (tmp_path / "hang").touch()
        wait_until(lambda: "stuck: the journal's writer stands still" in systemd.status(), what="the verdict")
        before = systemd.count("WATCHDOG")
        stuck = systemd.count("STATUS")
        wait_until(lambda: systemd.count("STATUS") >= stuck + 4, what="further looks")
        assert systemd.count("WATCHDOG") == before
        (tmp_path / "hang").unlink()
        systemd.await_more("WATCHDOG", 2)
        (tmp_path / "hang").touch()
        wait_until(lambda: "stuck" in systemd.status(), what="the verdict")
        recording.process.send_signal(signal.SIGABRT)  # as systemd's watchdog does
        assert recording.process.wait(30) == -signal.SIGABRT
    assert "_write" in log.read_text().partition("Fatal Python error: Aborted")[2]  # where it stood


def test_a_foreground_server(tmp_path: Path, systemd: Systemd) -> None:
    """`collector db run`: others find its server and use it, none starts another, and a crash is the supervisor's affair."""
    data = tmp_path / "questdb"
    ports = {"http_port": free_port(), "pg_port": free_port()}
    config = tmp_path / "evenkeel.toml"
    config.write_text(
        f'[questdb]\ndata = "{data}"\nhttp_port = {ports["http_port"]}\npg_port = {ports["pg_port"]}\n'
    )
    settings = QuestDBConfig(data=str(data), **ports)  # type: ignore[arg-type]
    arguments = ["db", "run", "--config", str(config)]
    with background(tmp_path / "first.log", *arguments, **systemd.environment) as server:
        wait_until(lambda: systemd.count("READY") == 1, 120, "READY")
        systemd.await_more("WATCHDOG", 2)
        found = managed.start(settings)
        assert query(managed.endpoint_of(found, settings), "SELECT 1") == [(1,)]
        os.kill(found.pid, signal.SIGKILL)
        assert server.process.wait(30) == 1
        assert not managed.crashed(settings)
        ended = ending.last(data)
        assert ended is not None
        assert (ended.pid, ended.event, ended.cause) == (found.pid, "crashed", "killed")
        assert "by SIGKILL" in ended.detail  # its child: the status tells
        with pytest.raises(Exception, match="systemctl start evenkeel-questdb"):
            managed.start(settings)
    with background(tmp_path / "second.log", *arguments, **systemd.environment) as server:
        wait_until(lambda: systemd.count("READY") == 2, 120, "READY")
        again = managed.status(settings)
        assert again is not None
        assert server.end(signal.SIGTERM) == 0
        ended = ending.last(data)
        assert ended is not None
        assert (ended.pid, ended.event, ended.cause) == (again.pid, "stopped", "SIGTERM")
        assert managed.status(settings) is None
        with pytest.raises(httpx.ConnectError):
            httpx.get(again.http)
    managed.stop(settings)
    assert not (data / managed.SUPERVISED_FILE).exists()


def test_the_schedule(tmp_path: Path, database: Endpoint, systemd: Systemd) -> None:
    config = config_file(tmp_path, database, "ws://127.0.0.1:9")
    command = [sys.executable, "-m", "analyzer", "schedule", "--config", str(config), "--every", "2s"]
    environment = CLEAN_ENVIRONMENT | systemd.environment
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen([*command, "--analyses", "coverage"], stderr=log, env=environment)
        try:
            wait_until(lambda: systemd.count("READY") == 1, what="READY")
            wait_until(lambda: systemd.status().startswith("1 passes, 0 failed"), 120, "a pass")
            systemd.await_more("WATCHDOG", 2)
            child.send_signal(signal.SIGTERM)
            assert child.wait(30) == 0
        finally:
            child.kill()
            child.wait()
    assert "STOPPING" in systemd.listen()[-1]
