"""The analyzer's reading of the common configuration file, and what it says when that can't be used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from analyzer.config import ConfigError, UnreachableError, endpoint, load
from analyzer.quantities import duration
from tests.analyzer.fixtures import analyzer, invoked

ROOT = Path(__file__).parents[2]


def write(folder: Path, text: str) -> str:
    path = folder / "evenkeel.toml"
    path.write_text(text)
    return str(path)


def test_the_shipped_file_is_read_by_both_programs() -> None:
    assert load(str(ROOT / "evenkeel.toml"), {}).questdb.url == "managed"


def test_file_then_environment_then_secret_files(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("pa:ss@\n")
    file = write(
        tmp_path,
        '[questdb]\nurl = "http://h:1"\n[analyzer]\nwindow = "4h"\nevery = "5m"\n[journal]\nanything = 1\n'
        "[[feeds]]\n[http]\n[retention]\n",
    )
    environ = {
        "EVENKEEL_CONFIG": file,
        "EVENKEEL_ANALYZER_EVERY": "90s",
        "EVENKEEL_QUESTDB_USER": "reader",
        "EVENKEEL_QUESTDB_PASSWORD_FILE": str(secret),
        "EVENKEEL_QUESTDB_HTTP_PORT": "7",
        "EVENKEEL_CONFLUENCE_VOLUME": "0.25",
        "EVENKEEL_CONFLUENCE_LONG": "65",
    }
    config = load(None, environ)
    assert (config.analyzer.window, config.analyzer.every, config.analyzer.settle) == ("4h", "90s", "2s")
    assert config.questdb.http_port == 7
    assert (config.confluence.volume, config.confluence.long, config.confluence.short) == (0.25, 65.0, 35.0)
    server = endpoint(config.questdb)
    assert (server.http_url, server.user, server.password) == ("http://h:1", "reader", "pa:ss@")
    assert server.pg == "postgresql://reader:pa%3Ass%40@h:8812/qdb"
    assert "pa" not in repr(server)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("[confluence]\nflow = 0.3\n", ["confluence.flow", "unknown"]),
        ("[confluence]\nvolume = -1\n", ["confluence", "volume", "between 0 and 1000"]),
        ("[confluence]\nvolume = nan\n", ["confluence", "volume", "between 0 and 1000"]),
        ("[confluence]\nvolume = '0.3'\n", ["confluence.volume", "float"]),
        ("[confluence]\nlong = 30\n", ["confluence", "short must be below long"]),
        ("[confluence]\nmin_coverage = 1.1\n", ["confluence", "min_coverage", "between 0 and 1"]),
        (
            "[confluence]\n"
            + "".join(f"{n} = 0\n" for n in ("order_flow", "order_book", "volume"))
            + "structure = 0\ntechnical = 0\nsentiment = 0\n",
            ["confluence", "above 0"],
        ),
        ("[analyser]\n", ["analyser", "unknown"]),
        ("[analyzer]\nwindoes = '15m'\n", ["analyzer.windoes", "unknown"]),
        ("[analyzer]\nwindow = 'soon'\n", ["analyzer", "window", "15m"]),
        ("[analyzer]\nwindow = 15\n", ["analyzer.window", "str"]),
        ("[analyzer]\ntime_limit = '0s'\n", ["analyzer", "time_limit"]),
        ("[questdb]\nhttp_port = 'x'\n", ["questdb.http_port", "int"]),
        ("[questdb]\npassword = 'x'\n", ["questdb.password", "EVENKEEL_QUESTDB_PASSWORD"]),
        ("[questdb]\nurl = 'ftp://x'\n", ["questdb.url", "http"]),
        ("[questdb\n", ["TOML"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(tmp_path: Path, text: str, parts: list[str]) -> None:
    done = invoked("run-once", "--config", write(tmp_path, text))
    assert (done.exit_code, done.stdout) == (2, "")
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    for part in parts:
        assert part in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--window", "soon"),
        ("--window", "0s"),
        ("--window", "99999999999d"),
        ("--as-of", "yesterday"),
        ("--as-of", "0001-01-01T00:00:00+05:00"),
        ("--analyses", "flow,nonsense"),
        ("--format", "xml"),
        ("--config", "nowhere.toml"),
    ],
)
def test_wrong_usage_is_exit_2(tmp_path: Path, arguments: tuple[str, str]) -> None:
    done = invoked("run-once", *arguments, EVENKEEL_CONFIG=write(tmp_path, ""))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
    assert arguments[1].split(",")[-1] in done.stderr


def test_durations() -> None:
    assert [duration(text) for text in ("500ms", "90s", "15m", "4h", "1d", "1.5h")] == [
        timedelta(seconds=seconds) for seconds in (0.5, 90, 900, 14400, 86400, 5400)
    ]
    for wrong in ("", "15", "m", "-1s", "1w", "1s2", "inf s"):
        with pytest.raises(ValueError, match="duration"):
            duration(wrong)


def test_the_managed_server_is_found_by_its_file_while_its_process_lives(tmp_path: Path) -> None:
    file = write(tmp_path, f'[questdb]\ndata = "{tmp_path}"\n')
    config = load(file, {}).questdb
    with pytest.raises(UnreachableError, match="collector db start"):
        endpoint(config)
    state = {
        "http": "http://127.0.0.1:5",
        "pg": "postgresql://127.0.0.1:6/qdb",
        "version": "9",
        "started": "",
    }
    server = tmp_path / "evenkeel-server.json"
    server.write_text(json.dumps({"pid": os.getpid()} | state))
    found = endpoint(config)
    assert (found.http_url, found.pg) == ("http://127.0.0.1:5", "postgresql://admin:quest@127.0.0.1:6/qdb")
    with subprocess.Popen([sys.executable, "-c", ""]) as dead:
        dead.wait()
    for text in (json.dumps({"pid": dead.pid} | state), "{", "[]", "{}"):
        server.write_text(text)
        with pytest.raises(UnreachableError, match="collector db start"):
            endpoint(config)
    done = analyzer("run-once", "--config", file)
    assert (done.returncode, done.stdout) == (1, "")
    assert "collector db start" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere.toml.*--config"):
        load(str(tmp_path / "nowhere.toml"), {})
    with pytest.raises(ConfigError, match="EVENKEEL_QUESTDB_USER_FILE"):
        load(None, {"EVENKEEL_QUESTDB_USER_FILE": str(tmp_path / "nowhere")})


def test_metrics_lists_what_is_registered() -> None:
    from analyzer.passes import ANALYSES

    rows = json.loads(analyzer("metrics", "--format", "json").stdout)
    assert [(row["analysis"], row["name"]) for row in rows] == [
        (one.name, metric.name) for one in ANALYSES.values() for metric in one.metrics
    ]
    assert all(row["unit"] and row["definition"] for row in rows)
    shown = analyzer("metrics")
    assert shown.returncode == 0
    assert "realized_vol" in shown.stdout
