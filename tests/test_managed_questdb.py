"""The managed server: its life, its settings, and what it says when it can't start."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import psycopg
import pytest
from click.testing import CliRunner

from analyzer import config as analyzer_config
from collector.cli import main
from collector.database import launch, managed, runtime
from collector.database.endpoint import (
    DatabaseError,
    Endpoint,
    UnsupportedServerError,
    of_url,
    require_supported,
    resolve,
    wait_until_ready,
)
from collector.database.migrate import migrations
from collector.database.record import ManagedServer
from collector.settings import QuestDBConfig, Size
from tests.conftest import query


def config_in(folder: Path, http_port: int = 0, **users: Any) -> QuestDBConfig:
    return QuestDBConfig(
        data=str(folder / "db"), http_port=http_port, pg_port=0, memory=Size(256 << 20), **users
    )


@pytest.fixture
def config(tmp_path: Path) -> Iterator[QuestDBConfig]:
    config = config_in(tmp_path)
    yield config
    managed.stop(config)


@pytest.fixture
def said() -> list[str]:
    return []


def test_one_life(config: QuestDBConfig, said: list[str]) -> None:
    """Two starts at once give one server; the state file finds it; it is bound to loopback; stop ends it."""
    assert managed.status(config) is None
    servers: list[ManagedServer] = []
    threads = [
        threading.Thread(target=lambda: servers.append(managed.start(config, said.append))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first, second = servers
    assert first == second == managed.status(config)

    state = json.loads((Path(config.data) / "evenkeel-server.json").read_text())
    assert state == {
        "pid": first.pid,
        "http": first.http,
        "pg": first.pg,
        "version": "9.3.4",
        "started": first.started,
    }
    assert query(Endpoint(state["http"], state["pg"]), "SELECT 42") == [(42,)]

    endpoint = resolve(config)
    assert endpoint.http_url == first.http
    assert require_supported(endpoint) == "9.3.4"
    listening = {
        c.laddr for c in psutil.Process(first.pid).net_connections("inet") if c.status == psutil.CONN_LISTEN
    }
    assert {ip for ip, _ in listening} == {"127.0.0.1"}
    assert len(listening) == 2  # HTTP and PGWire: neither ILP/TCP nor the health server

    process = psutil.Process(first.pid)
    assert managed.stop(config, said.append)
    assert not process.is_running()
    assert managed.status(config) is None
    assert not (Path(config.data) / "evenkeel-server.json").exists()
    assert not managed.stop(config, said.append)


def test_a_password_guards_http_and_pgwire_and_server_conf_does_not_win(tmp_path: Path) -> None:
    config = config_in(tmp_path, user="eve", password="p@ss/word", reader="adam", reader_password="l@ok only")
    conf = Path(config.data) / "conf"
    conf.mkdir(parents=True)
    (conf / "server.conf").write_text("line.tcp.enabled=true\nhttp.bind.to=0.0.0.0:1\nquery.timeout=77s\n")
    try:
        endpoint = resolve(config)
        assert query(endpoint, "SELECT 42") == [(42,)]
        with pytest.raises(DatabaseError, match="EVENKEEL_QUESTDB_USER"):
            query(
                of_url(QuestDBConfig(url=endpoint.http_url, pg=endpoint.pg.replace("word", "ward"))),
                "SELECT 42",
            )
        assert httpx.get(f"{endpoint.http_url}/exec", params={"query": "SELECT 42"}).status_code == 401
        assert (
            httpx.get(
                f"{endpoint.http_url}/exec", params={"query": "SELECT 42"}, auth=("eve", "no")
            ).status_code
            == 401
        )
        parameters = "SELECT property_path, value FROM (SHOW PARAMETERS) WHERE property_path IN "
        keys = "('line.tcp.enabled', 'query.timeout', 'telemetry.enabled') ORDER BY 1"
        assert query(endpoint, parameters + keys) == [
            ("line.tcp.enabled", "false"),
            ("query.timeout", "77s"),
            ("telemetry.enabled", "false"),
        ]
        query(endpoint, "CREATE TABLE apples (ts TIMESTAMP) TIMESTAMP(ts) PARTITION BY DAY WAL")
        # As the analyzer asks, and Grafana.
        settings = analyzer_config.QuestDBConfig(
            url=endpoint.http_url,
            pg=f"postgresql://127.0.0.1:{urlsplit(endpoint.pg).port}/qdb",
            user="eve",
            password="p@ss/word",
            reader="adam",
            reader_password="l@ok only",
        )
        with psycopg.connect(analyzer_config.endpoint(settings).pg, autocommit=True) as reading:
            assert reading.execute("SELECT count() FROM apples").fetchall() == [(0,)]
            for forbidden in (
                "INSERT INTO apples VALUES (now())",
                "DROP TABLE apples",
                "TRUNCATE TABLE apples",
            ):
                with pytest.raises(psycopg.Error):
                    reading.execute(forbidden)
        assert "p@ss" not in repr(endpoint)
        assert "p@ss" not in (Path(config.data) / "evenkeel-server.json").read_text()
    finally:
        managed.stop(config)


def test_a_killed_server_is_noticed_and_started_again(config: QuestDBConfig, said: list[str]) -> None:
    first = managed.start(config, said.append)
    os.kill(first.pid, signal.SIGKILL)
    psutil.Process(first.pid).wait(10)
    assert managed.status(config) is None
    second = managed.start(config, said.append)
    assert second.pid != first.pid
    assert any(re.search("ended without 'collector db stop'", line) for line in said)


def test_a_process_that_the_kernel_is_about_to_run_has_not_ended(
    config: QuestDBConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a fork and what it runs there are no arguments: taken for dead, the server would go on without us."""
    server = managed.start(config)
    told = psutil.Process.cmdline
    looks: list[int] = []

    def cmdline(self: psutil.Process) -> list[str]:
        looks.append(self.pid)
        return told(self) if len(looks) > 3 else []

    monkeypatch.setattr(psutil.Process, "cmdline", cmdline)
    assert managed.status(config) == server
    assert looks == 4 * [server.pid]


def test_a_process_that_has_taken_over_the_pid_is_left_alone(config: QuestDBConfig) -> None:
    stranger = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        folder = Path(config.data)
        folder.mkdir(parents=True)
        state = {
            "pid": stranger.pid,
            "http": "http://127.0.0.1:1",
            "pg": "",
            "version": "9.3.4",
            "started": "",
        }
        (folder / "evenkeel-server.json").write_text(json.dumps(state))
        assert managed.status(config) is None
        assert not managed.stop(config)
        assert stranger.poll() is None
    finally:
        stranger.communicate(b"\n")


def test_a_server_that_hangs_is_killed_and_it_is_said(
    config: QuestDBConfig, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    server = managed.start(config, said.append)
    os.kill(server.pid, signal.SIGSTOP)
    monkeypatch.setattr(managed, "STOP_TIMEOUT", 0.2)
    assert managed.stop(config, said.append)
    assert any("SIGKILL" in line for line in said)
    assert not psutil.pid_exists(server.pid)


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def test_a_port_in_use_is_named_with_its_holder(tmp_path: Path, taken_port: int) -> None:
    with pytest.raises(DatabaseError) as caught:
        managed.start(config_in(tmp_path, http_port=taken_port))
    assert f"port {taken_port} (questdb.http_port): in use by" in str(caught.value)
    assert f"pid {os.getpid()}" in str(caught.value)
    assert "set questdb.http_port to another port" in str(caught.value)


def test_a_port_held_by_a_questdb_is_offered_as_url(tmp_path: Path, questdb: Endpoint) -> None:
    port = int(questdb.http_url.rpartition(":")[2])
    with pytest.raises(DatabaseError, match=rf'questdb\.url = "http://127\.0\.0\.1:{port}"'):
        managed.start(config_in(tmp_path, http_port=port))


def test_a_server_that_dies_at_start_shows_its_last_lines(config: QuestDBConfig) -> None:
    conf = Path(config.data) / "conf"
    conf.mkdir(parents=True)
    (conf / "server.conf").write_text("config.validation.strict=true\nno.such.setting=1\n")
    with pytest.raises(DatabaseError, match=r"(?s)ended at once.*no\.such\.setting.*server\.log"):
        managed.start(config)
    assert managed.status(config) is None
    assert not (Path(config.data) / "evenkeel-server.json").exists()


def test_a_folder_that_another_server_uses_is_refused(config: QuestDBConfig, said: list[str]) -> None:
    server = managed.start(config, said.append)
    state = Path(config.data) / "evenkeel-server.json"
    kept = state.read_bytes()
    state.unlink()  # as if something else had started that server
    try:
        with pytest.raises(DatabaseError, match="another server seems to use"):
            managed.start(config, said.append)
    finally:
        state.write_bytes(kept)
    assert managed.status(config) == server


def test_a_full_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "MIN_FREE", 1 << 60)
    with pytest.raises(DatabaseError, match=r"MiB are free on its disk.*point questdb\.data"):
        managed.start(config_in(tmp_path))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "db").write_text("a file")
    with pytest.raises(DatabaseError, match=r"make it writable or change questdb\.data"):
        managed.start(config_in(tmp_path))


def test_no_java(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setattr(runtime, "find_spec", lambda name: None)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatabaseError, match=r"bin/java is version 11; .*Java 17 or newer"):
        runtime.java()
    monkeypatch.delenv("JAVA_HOME")
    with pytest.raises(DatabaseError, match="there is none"):
        runtime.java()


def test_a_damaged_jar_is_fetched_again_and_a_wrong_one_refused(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    jar = tmp_path / "evenkeel" / runtime.JAR
    jar.parent.mkdir()
    jar.write_bytes(b"half a download")

    def fetch(folder: Path, target: Path, say: runtime.Say) -> Path:
        (folder / "fetched").write_bytes(b"not the jar")
        return folder / "fetched"

    monkeypatch.setattr(runtime, "_fetch", fetch)
    with pytest.raises(DatabaseError, match=rf"SHA-256 is [0-9a-f]{{64}}, expected {runtime.SHA256}"):
        runtime.questdb_jar(said.append)
    assert said == [f"{jar} is damaged: fetching it again"]
    assert jar.read_bytes() == b"half a download"
    assert list(jar.parent.iterdir()) == [jar]


def test_no_network_while_fetching(tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, dead)
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DatabaseError, match=r"can't be read .*put that jar at .*questdb-9\.3\.4\.jar"):
        runtime.questdb_jar(said.append)


class OldServer(BaseHTTPRequestHandler):
    """Answers /settings as servers before 9.0 do."""

    def do_GET(self) -> None:
        body = b'{"release.version":"8.2.3"}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base's name
        pass


def test_a_server_that_is_too_old_is_told_from_one_that_is_down() -> None:
    with HTTPServer(("127.0.0.1", 0), OldServer) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        endpoint = of_url(QuestDBConfig(url=url))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        with pytest.raises(UnsupportedServerError, match=r"it is 8\.2\.3, and 9\.0 or newer is needed"):
            require_supported(endpoint)
        server.shutdown()
        thread.join()
    with pytest.raises(DatabaseError, match=r"start it .* or correct questdb\.url") as caught:
        require_supported(endpoint)
    assert not isinstance(caught.value, UnsupportedServerError)
    with pytest.raises(DatabaseError, match=r"no answer within 0\.1 s"):
        wait_until_ready(endpoint, 0.1)


def test_addresses_and_credentials() -> None:
    plain = of_url(QuestDBConfig(url="http://db.example:9000/"))
    assert (plain.http_url, plain.pg, plain.auth) == (
        "http://db.example:9000",
        "postgresql://admin:quest@db.example:8812/qdb",
        None,
    )
    secret = of_url(QuestDBConfig(url="https://db.example", user="eve", password="p@ss/word"))
    assert secret.pg == "postgresql://eve:p%40ss%2Fword@db.example:8812/qdb"
    assert secret.auth == ("eve", "p@ss/word")
    given = of_url(
        QuestDBConfig(url="https://db.example", pg="postgresql://bob@pg.example:1234/qdb", password="x y")
    )
    parts = dict(part.split("=", 1) for part in re.split(r" (?=\w+=)", given.pg))
    assert parts == {
        "user": "bob",
        "password": "'x y'",
        "host": "pg.example",
        "port": "1234",
        "dbname": "qdb",
    }
    with pytest.raises(DatabaseError, match=r"questdb\.pg"):
        of_url(QuestDBConfig(url="https://db.example", pg="nonsense"))


def test_commands(tmp_path: Path) -> None:
    file = tmp_path / "evenkeel.toml"
    file.write_text(f'[questdb]\ndata = "{tmp_path / "db"}"\nhttp_port = 0\npg_port = 0\nmemory = "256MiB"\n')
    option = ["--config", str(file)]
    runner = CliRunner()

    down = runner.invoke(main, ["db", "status", *option])
    assert (down.exit_code, "not running" in down.output) == (1, True)
    try:
        assert runner.invoke(main, ["migrate", *option]).exit_code == 0  # starts the server
        again = runner.invoke(main, ["db", "start", *option])
        assert (again.exit_code, "running already" in again.output) == (0, True)
        status = json.loads(runner.invoke(main, ["db", "status", "--format", "json", *option]).stdout)
        assert (status["version"], status["running"], status["disk_bytes"] > 0) == ("9.3.4", True, True)
        rows = {table["name"]: table["rows"] for table in status["tables"]}
        assert (rows["schema_migrations"], rows["trades"]) == (len(migrations()), 0)
        shown = runner.invoke(main, ["db", "status", *option])
        assert (shown.exit_code, "schema_migrations" in shown.output) == (0, True)
    finally:
        stopped = runner.invoke(main, ["db", "stop", *option])
    assert (stopped.exit_code, "QuestDB stopped" in stopped.output) == (0, True)


def test_commands_with_a_bad_configuration(tmp_path: Path) -> None:
    file = tmp_path / "evenkeel.toml"
    file.write_text('[questdb]\nurll = "managed"\n')
    for command in (["db", "start"], ["db", "stop"], ["db", "status"], ["migrate"]):
        result = CliRunner().invoke(main, [*command, "--config", str(file)])
        assert result.exit_code == 2
        assert "questdb.urll" in result.stderr
        assert "Traceback" not in result.output
    file.write_text('[questdb]\nurl = "http://127.0.0.1:1"\n')
    for command, told in ((["db", "start"], "not ours to start"), (["migrate"], "correct questdb.url")):
        result = CliRunner().invoke(main, [*command, "--config", str(file)])
        assert (result.exit_code, told in result.stderr) == (1, True)
