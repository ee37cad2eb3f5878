"""`analyzer schedule` as a process: fresh processes at a cadence, and what failures do to it."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from analyzer.passes import ANALYSES
from collector.database.endpoint import Endpoint
from tests.analyzer.audits import samples
from tests.analyzer.fixtures import analyzer, settings, store
from tests.analyzer.receiver import receiving
from tests.conftest import query
from tests.processes import CLEAN_ENVIRONMENT, wait_until

SETTLED = '[analyzer]\nsettle = "100ms"\nwindow = "1h"\nevery = "1s"\n'


@contextmanager
def scheduling(config: Path, log: Path, *arguments: str, urls: str = "") -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "analyzer", "schedule", "--config", str(config), *arguments],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=CLEAN_ENVIRONMENT | {"EVENKEEL_ALERTS_URLS": urls},
        )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_passes_go_on_after_one_that_failed(database: Endpoint, tmp_path: Path) -> None:
    def runs(status: str) -> set[str]:
        found = query(
            database, f"SELECT run_id FROM analysis_runs WHERE analysis = 'book' AND status = '{status}'"
        )
        return {run_id for (run_id,) in found}

    query(database, "RENAME TABLE orderbook TO orderbook_lost")
    log = tmp_path / "log"
    with scheduling(settings(tmp_path, database, SETTLED), log) as process:
        wait_until(lambda: len(runs("failed")) >= 1, what="a failed pass")
        query(database, "RENAME TABLE orderbook_lost TO orderbook")
        wait_until(lambda: len(runs("empty")) >= 2, what="two passes after it")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, b"")
    text = log.read_text()
    assert "pass failed" in text
    assert "stopped" in text
    assert "Traceback" not in text
    ends = query(database, "SELECT DISTINCT run_id, window_from, window_to FROM analysis_runs")
    assert len(ends) == len({run_id for run_id, *_ in ends}) >= 3
    good = query(database, "SELECT window_to FROM analysis_runs WHERE analysis = 'book' AND status = 'empty'")
    assert len(set(good)) == len(good), "two good passes over one window"
    for _, start, end in ends:
        assert end.microsecond == 0
        assert (end - start).total_seconds() == 3600


def test_a_pass_that_hangs_is_ended_and_recorded(database: Endpoint, tmp_path: Path) -> None:
    def recorded() -> list[tuple[str, str]]:
        return [
            (name, error)
            for name, error in query(
                database, "SELECT analysis, error FROM analysis_runs WHERE status = 'failed'"
            )
        ]

    config = settings(tmp_path, database, SETTLED + 'time_limit = "10ms"\n')
    with scheduling(config, tmp_path / "log") as process:
        wait_until(lambda: len(recorded()) >= 2 * len(ANALYSES), what="two passes ended")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert {name for name, _ in recorded()} == set(ANALYSES)
    assert all("longer than" in error for _, error in recorded())


def test_it_ends_after_its_duration(database: Endpoint, tmp_path: Path) -> None:
    config = settings(tmp_path, database, SETTLED)
    done = analyzer("schedule", "--config", str(config), "--every", "1h", "--duration", "200ms")
    assert (done.returncode, done.stdout) == (0, "")
    assert "stopped" in done.stderr


def test_a_database_that_is_down_does_not_end_the_schedule(tmp_path: Path) -> None:
    config = settings(tmp_path, Endpoint("http://127.0.0.1:1", ""), SETTLED)
    with scheduling(config, log := tmp_path / "log") as process:
        wait_until(lambda: log.read_text().count("pass failed") >= 2, what="two failed passes")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert "Traceback" not in log.read_text()


def test_run_once_says_in_one_line_that_the_database_is_down(tmp_path: Path) -> None:
    config = settings(tmp_path, Endpoint("http://127.0.0.1:1", ""))
    done = analyzer("run-once", "--config", str(config))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.strip().splitlines()
    assert "http://127.0.0.1:1" in line
    assert "refused" in line


def test_alerts_and_health_of_a_schedule(database: Endpoint, tmp_path: Path) -> None:
    """Old rows: the collector is silent. A table that is not there: passes fail, and /health says so."""
    store(database, list(samples("h:1", 11.9, 12)))
    query(database, "RENAME TABLE orderbook TO orderbook_lost")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = settings(tmp_path, database, f'{SETTLED}listen = "127.0.0.1:{port}"\n[alerts]\nevery = "1h"\n')

    def ask(path: str) -> httpx.Response:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}")
        except httpx.TransportError:
            return httpx.Response(0)

    with (
        receiving() as receiver,
        scheduling(config, tmp_path / "log", "--analyses", "book", urls=receiver.url) as process,
    ):
        wait_until(lambda: "the last pass failed" in ask("/health").text, timeout=90, what="a failed pass")
        assert ask("/health").status_code == 503
        assert ask("/health/live").status_code == 200
        wait_until(lambda: receiver.titles == ["Evenkeel critical: silence"], timeout=90, what="the message")
        query(database, "RENAME TABLE orderbook_lost TO orderbook")
        wait_until(lambda: ask("/health").status_code == 200, timeout=90, what="readiness")
        text = ask("/metrics").text
        assert "evenkeel_analyzer_alerts_firing 1.0" in text
        assert "evenkeel_analyzer_alert_messages_total 1.0" in text
        found = re.search(r"^evenkeel_analyzer_alert_evaluations_total (.*)$", text, re.M)
        assert found is not None
        assert float(found[1]) >= 2  # at the start, and after passes: the cadence alone is an hour
        assert ask("/nowhere").status_code == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "secret-path" not in log
    assert len(receiver.titles) == 1
