"""Canaries: secrets that are set, errors that are provoked, and every output searched for them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from collector.database import managed
from collector.database.endpoint import Endpoint
from collector.demo import free_port
from collector.settings import QuestDBConfig
from tests.conftest import query
from tests.faults.wire_proxy import WireProxy
from tests.processes import CLEAN_ENVIRONMENT, background, wait_until

RIGHT = 'canary-Ri"ght p@ss/1'
WRONG = "canary-Wr0ng:p%ss"
USER = "keeper"


def spellings(secret: str) -> list[str]:
    return [
        secret,
        quote(secret),
        quote(secret, safe=""),
        secret.replace('"', '\\"'),
        secret[:12],
        secret[-8:],
    ]


def clean(text: str, where: str) -> None:
    for secret in (RIGHT, WRONG):
        for spelling in spellings(secret):
            assert spelling not in text, f"{where} tells a secret: {text[:2000]}"


def clean_folder(folder: Path) -> int:
    """How many files there were."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        clean(path.read_bytes().decode("latin-1"), str(path))
    return len(files)


def run(program: str, *arguments: str, **environment: str) -> str:
    """Its output, which must hold no canary; it must fail, and without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", program, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=CLEAN_ENVIRONMENT | environment,
        check=False,
    )
    clean(done.stdout + done.stderr, f"{program} {arguments}")
    assert done.returncode in (1, 2), done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, Path]]:
    """A server that asks for user and password, and its folder."""
    folder = tmp_path_factory.mktemp("guarded")
    config = QuestDBConfig(data=str(folder), http_port=0, pg_port=0, user=USER, password=RIGHT)
    server = managed.start(config)
    yield managed.endpoint_of(server, config), folder
    managed.stop(config)


def write_config(
    folder: Path, endpoint: Endpoint, pg_port: str, ws_url: str, rest_url: str = "", listen: int = 0
) -> Path:
    path = folder / "evenkeel.toml"
    path.write_text(
        f'[questdb]\nurl = "{endpoint.http_url}"\npg = "postgresql://{USER}@127.0.0.1:{pg_port}/qdb"\n'
        f'[journal]\npath = "{folder / "journal"}"\n[http]\nlisten = "127.0.0.1:{listen}"\n'
        f'[[feeds]]\nexchange = "bybit"\nmarket = "linear"\nsymbols = ["BTCUSDT"]\nws_url = "{ws_url}"\n'
        f'rest_url = "{rest_url}"\ncapture = "{folder / "capture"}"\n'
    )
    return path


def answers(port: int) -> str:
    """What the program's pages say."""
    pages = ("/health", "/health/live", "/health/ready", "/metrics")
    return "".join(httpx.get(f"http://127.0.0.1:{port}{page}").text for page in pages)


def says(log: Path, text: str) -> None:
    wait_until(lambda: text in log.read_text(), what=text)


def test_no_output_of_a_recording_tells_a_secret(tmp_path: Path, guarded: tuple[Endpoint, Path]) -> None:
    """First with the wrong password, then with the right one: log, pages, journal, dead letters, capture, every table."""
    endpoint, server = guarded
    port = endpoint.pg.rpartition(":")[2].partition("/")[0]
    secret = tmp_path / "password"
    simulate, listen = ["simulate", "--port", "0", "--rate", "500"], free_port()
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        wire = WireProxy(ready["ws_urls"]["linear"])
        wire.mutate = lambda payload: [payload, b'{"topic":"publicTrade.BTCUSDT"}']
        config = write_config(tmp_path, endpoint, port, wire.url, ready["rest_url"], listen)
        guard = {"EVENKEEL_QUESTDB_USER": USER, "EVENKEEL_QUESTDB_PASSWORD_FILE": str(secret)}
        for number, password in enumerate((WRONG, RIGHT)):
            secret.write_text(password + "\n")
            log = tmp_path / f"collector{number}.log"
            with background(log, "run", "--config", str(config), **guard) as recording:
                says(log, "connected")
                if password == RIGHT:
                    wait_until(lambda: _rows(endpoint) > 100, what="rows")
                else:
                    says(log, "rows wait")
                clean(answers(listen), "/health and /metrics")
                assert recording.end() == 0
        wire.close()
        exchange.end()
    assert clean_folder(tmp_path / "journal") > 3
    assert any((tmp_path / "journal/dead-letters").iterdir())
    assert clean_folder(tmp_path / "capture") > 0
    for log in tmp_path.glob("*.log"):
        clean(log.read_text(), str(log))
    for (table,) in query(endpoint, "SELECT table_name FROM tables()"):
        clean(repr(query(endpoint, f'SELECT * FROM "{table}"')), str(table))
    clean((server / "evenkeel-server.json").read_text(), "evenkeel-server.json")
    assert clean_folder(server / "log") > 0


def _rows(endpoint: Endpoint) -> int:
    if ("trades",) not in query(endpoint, "SELECT table_name FROM tables()"):
        return 0
    count: int = query(endpoint, "SELECT count() FROM trades")[0][0]
    return count


@pytest.mark.parametrize("address", ["unreachable", "wrong password"])
def test_no_command_tells_a_secret(tmp_path: Path, guarded: tuple[Endpoint, Path], address: str) -> None:
    endpoint, _ = guarded
    port = endpoint.pg.rpartition(":")[2].partition("/")[0]
    if address == "unreachable":
        endpoint, port = Endpoint("http://127.0.0.1:9", ""), "9"
    config = str(write_config(tmp_path, endpoint, port, "ws://127.0.0.1:9"))
    secrets = {"EVENKEEL_QUESTDB_USER": USER, "EVENKEEL_QUESTDB_PASSWORD": WRONG}
    secrets["EVENKEEL_QUESTDB_PG"] = f"postgresql://{USER}:{quote(WRONG, safe='')}@127.0.0.1:{port}/qdb"
    for arguments in (["check"], ["migrate"], ["db", "status"]):
        told = run("collector", *arguments, "--config", config, **secrets)
        assert "error: " in told or "WRONG" in told
    run("analyzer", "run-once", "--config", config, **secrets)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("questdb.password", f"{WRONG!r}"),
        ("questdb.url", f"'http://{USER}:{quote(WRONG, safe='')}@127.0.0.1:9000'"),
        ("questdb.url", f"'gopher://{USER}:{quote(WRONG, safe='')}@127.0.0.1:9000'"),
        ("questdb.pg", f"'postgresql://{USER}:{quote(WRONG, safe='')}@127.0.0.1:port/qdb'"),
        ("questdb.pg", f"'user={USER} password={WRONG} nonsense'"),
        ("feeds.ws_url", f"'ws://{USER}:{quote(WRONG, safe='')}@example.com/'"),
    ],
)
def test_no_complaint_about_the_configuration_tells_a_secret(tmp_path: Path, key: str, value: str) -> None:
    section, _, name = key.partition(".")
    head = (
        "[[feeds]]\nexchange = 'bybit'\nmarket = 'linear'\nsymbols = ['BTCUSDT']"
        if section == "feeds"
        else f"[{section}]"
    )
    url = "url = 'http://127.0.0.1:9'\n" if name == "pg" else ""
    path = tmp_path / "evenkeel.toml"
    path.write_text(f"{head}\n{url}{name} = {value}\n")
    told = run("collector", "check", "--config", str(path))
    assert name in told or name == "pg"
    if section == "questdb":
        run("analyzer", "run-once", "--config", str(path))
