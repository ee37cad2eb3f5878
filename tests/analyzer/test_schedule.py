"""`analyzer schedule` as a process: fresh processes at a cadence, and what failures do to it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from collector.database.endpoint import Endpoint
from tests.analyzer.fixtures import analyzer, settings
from tests.conftest import query
from tests.processes import CLEAN_ENVIRONMENT, wait_until

SETTLED = '[analyzer]\nsettle = "100ms"\nwindow = "1h"\nevery = "1s"\n'


@contextmanager
def scheduling(config: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", "analyzer", "schedule", "--config", str(config)],
            stdout=subprocess.PIPE,
            stderr=errors,
            env=CLEAN_ENVIRONMENT,
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
    assert len({end for *_, end in ends}) == len(ends), "two passes over one window"
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
        wait_until(lambda: len(recorded()) >= 2, what="two passes ended")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    for name, error in recorded():
        assert name == "*"
        assert "longer than" in error


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
