"""What the schedule has missed, by hand; cadences of their own; catching up; a server that is killed in mid-pass."""

from __future__ import annotations

import json
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from analyzer.config import AnalyzerConfig
from analyzer.jobs import Job, Past, jobs_of, missed
from analyzer.windows import Window, aligned, microseconds
from collector.database.endpoint import Endpoint
from collector.rows import Trade
from tests.analyzer.fixtures import VENUE, analyzer, settings, store
from tests.analyzer.test_schedule import scheduling
from tests.conftest import query, wait_rows
from tests.faults.rig import OwnServer
from tests.processes import wait_until

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
JOB = Job(("flow",), MINUTE, 15 * MINUTE)


def minutes(*numbers: int) -> frozenset[datetime]:
    return frozenset(NOON + n * MINUTE for n in numbers)


@pytest.mark.parametrize(
    ("done", "failed", "ends", "given_up"),
    [
        ((), (), [], None),  # never ran
        ((-3,), (), [-2, -1], None),  # began three minutes ago
        ((-30, -5, -4), (-3,), [-3, -2, -1], None),  # one failed, two were not run
        ((-5, -4, -3, -2, -1), (), [], None),
        ((-5, -4, -2), (), [-3, -1], None),
        ((-30,), (), [-4, -3, -2, -1], (-29, -5)),  # the limit cuts
        ((-30, -1), (), [-4, -3, -2], (-29, -5)),  # and was ended before it had caught up
        ((-6,), (), [-4, -3, -2, -1], (-5, -5)),
        ((), (-30, -20), [-4, -3, -2, -1], (-30, -5)),  # only ever failed
    ],
)
def test_what_was_missed(
    done: tuple[int, ...], failed: tuple[int, ...], ends: list[int], given_up: tuple[int, int] | None
) -> None:
    past = Past(minutes(*done), minutes(*done, *failed))
    found = missed(JOB, past, NOON - MINUTE, 4 * MINUTE)
    assert list(found.ends) == [NOON + n * MINUTE for n in ends]
    bounds = None if given_up is None else Window(*(NOON + n * MINUTE for n in given_up))
    assert found.given_up == bounds


def test_analyses_with_the_same_cadence_and_window_are_one_job() -> None:
    config = AnalyzerConfig(cadence={"walls": "5m"}, windows={"walls": "1h", "bars": "1h"})
    jobs = jobs_of(config, ["bars", "flow", "book", "walls"])
    assert jobs == [
        Job(("flow", "book"), MINUTE, 15 * MINUTE),
        Job(("bars",), MINUTE, 60 * MINUTE),
        Job(("walls",), 5 * MINUTE, 60 * MINUTE),
    ]
    assert jobs_of(config, ["flow", "walls"], every="2m", window="4h")[0] == Job(
        ("flow",), 2 * MINUTE, 240 * MINUTE
    )
    with pytest.raises(ValueError, match="wall"):
        jobs_of(AnalyzerConfig(cadence={"wall": "5m"}), ["flow"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[analyzer.cadence]\nwalls = '5'\n", "cadence.walls"),
        ("[analyzer.cadence]\nwals = '5m'\n", "wals"),
        ("[analyzer.windows]\nflow = 3\n", "analyzer.windows"),
        ("[analyzer]\ncatch_up = 'all'\n", "catch_up"),
    ],
)
def test_a_wrong_cadence_is_one_line_and_exit_2(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "evenkeel.toml"
    file.write_text(f'[questdb]\nurl = "http://127.0.0.1:1"\n{text}')
    done = analyzer("schedule", "--config", str(file), "--duration", "1s")
    assert (done.returncode, done.stdout, len(done.stderr.strip().splitlines())) == (2, "", 1)
    assert said in done.stderr


def add_runs(endpoint: Endpoint, analysis: str, ends: list[datetime], status: str = "ok") -> None:
    """As a schedule with windows of an hour recorded them, a moment after their end."""
    before = query(endpoint, "SELECT count() FROM analysis_runs")[0][0]
    for end in ends:
        at = microseconds(end)
        query(
            endpoint,
            "INSERT INTO analysis_runs (ts, run_id, analysis, window_from, window_to, started, status) VALUES "
            f"({at + 3}, 'x', '{analysis}', {at - 3_600_000_000}, {at}, {at + 3}, '{status}')",
        )
    wait_rows(endpoint, "analysis_runs", before + len(ends))


def runs(endpoint: Endpoint, analysis: str, status: str) -> list[tuple[datetime, datetime]]:
    rows = query(
        endpoint,
        "SELECT window_from, window_to FROM analysis_runs "
        f"WHERE analysis = '{analysis}' AND status = '{status}' AND run_id <> 'x'",
    )
    return sorted((start.replace(tzinfo=UTC), end.replace(tzinfo=UTC)) for start, end in rows)


def test_after_a_standstill_it_catches_up_and_declares_what_it_does_not(
    database: Endpoint, tmp_path: Path
) -> None:
    """The last passes were 11 hours ago; the limit is 4 hours. One analysis of two did its part up to an hour ago."""
    text = '[analyzer]\nsettle = "100ms"\nwindow = "1h"\nevery = "1h"\ncatch_up = "4h"\n'
    config = settings(tmp_path, database, text)
    if datetime.now(UTC).minute > 57:  # the hour must not turn meanwhile
        wait_until(lambda: datetime.now(UTC).minute < 57, timeout=300, what="the next hour")
    now = aligned(datetime.now(UTC), HOUR)
    add_runs(database, "flow", [now - 12 * HOUR, now - 11 * HOUR])
    add_runs(database, "bars", [now - n * HOUR for n in range(12, 0, -1)])
    shown = jobs(config)
    assert (shown["flow"]["missed"], shown["bars"]["missed"]) == (4, 0)  # the newest one is due, not missed
    with scheduling(config, log := tmp_path / "log", "--analyses", "flow,bars") as process:
        wait_until(
            lambda: len(runs(database, "flow", "empty")) >= 4, timeout=180, what="four windows caught up"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert [end for _, end in runs(database, "flow", "empty")] == [now - n * HOUR for n in (3, 2, 1, 0)]
    assert [end for _, end in runs(database, "bars", "empty")] == [now]
    assert runs(database, "flow", "skipped") == [(now - 11 * HOUR, now - 4 * HOUR)]
    assert runs(database, "bars", "skipped") == []
    assert "7 windows" in log.read_text()
    assert jobs(config)["flow"]["missed"] == 0


def jobs(config: Path) -> dict[str, dict[str, Any]]:
    done = analyzer("jobs", "--config", str(config), "--format", "json")
    assert done.returncode == 0, done.stderr
    return {row["analysis"]: row for row in json.loads(done.stdout)["jobs"]}


def test_jobs_tells_what_is_and_what_comes(database: Endpoint, tmp_path: Path) -> None:
    text = '[analyzer]\nwindow = "1h"\nevery = "1m"\n[analyzer.cadence]\nflow = "5m"\n'
    config = settings(tmp_path, database, text)
    end = aligned(datetime.now(UTC), 5 * MINUTE)
    add_runs(database, "flow", [end - 5 * MINUTE])
    add_runs(database, "flow", [end], "failed")
    shown = jobs(config)
    flow, book = shown["flow"], shown["book"]
    assert (flow["every_s"], flow["window_s"], book["every_s"]) == (300, 3600, 60)
    assert flow["last_status"] == "failed"
    assert datetime.fromisoformat(flow["last_window"]["to"]) == end
    assert (book["last_window"], book["last_status"], book["missed"]) == (None, None, 0)
    due = datetime.fromisoformat(flow["next_due"])
    assert due - aligned(due, 5 * MINUTE) == timedelta(seconds=2)
    assert timedelta() < due - datetime.now(UTC) + timedelta(seconds=30) < 6 * MINUTE
    table = analyzer("jobs", "--config", str(config))
    assert table.returncode == 0
    for word in ("flow", "300 s", "failed", "never run"):
        assert word in table.stdout


def test_each_analysis_at_its_cadence_over_its_window(database: Endpoint, tmp_path: Path) -> None:
    text = '[analyzer]\nsettle = "100ms"\nwindow = "1h"\nevery = "6s"\n'
    text += '[analyzer.cadence]\nbars = "4s"\n[analyzer.windows]\nbars = "30m"\n'
    config = settings(tmp_path, database, text)
    with scheduling(config, tmp_path / "log", "--analyses", "flow,bars"):
        wait_until(
            lambda: min(len(runs(database, name, "empty")) for name in ("flow", "bars")) >= 2,
            timeout=180,
            what="two passes of each",
        )
    for name, step, length in (("flow", 6, 60), ("bars", 4, 30)):
        for start, end in runs(database, name, "empty"):
            assert aligned(end, timedelta(seconds=step)) == end
            assert end - start == length * MINUTE


def test_a_server_that_is_killed_in_mid_pass(tmp_path: Path) -> None:
    """The pass fails and is recorded when the server is back, no number of it is stored, and its window is caught up."""
    server = OwnServer(tmp_path / "questdb")
    endpoint = server.endpoint
    try:
        now = int(time.time() * 1e6)
        rows = [
            Trade(now - n * 1_000_000, now, *VENUE, "BTCUSDT", "buy", 2.0, 1.0, str(n)) for n in range(60)
        ]
        store(endpoint, rows)
        file = settings(tmp_path, endpoint, '[analyzer]\nsettle = "100ms"\nwindow = "1h"\nevery = "5s"\n')
        with scheduling(file, log := tmp_path / "log", "--analyses", "flow") as process:
            wait_until(lambda: len(runs(endpoint, "flow", "ok")) >= 1, timeout=120, what="a pass")
            server.signal(signal.SIGSTOP)  # from now on every pass waits in the middle
            scheduler = psutil.Process(process.pid)
            wait_until(
                lambda: any(connected(child) for child in scheduler.children()), what="a pass that waits"
            )
            server.signal(signal.SIGKILL)
            wait_until(lambda: "pass failed" in log.read_text(), timeout=180, what="the failure in the log")
            server.start()
            wait_until(
                lambda: len(runs(endpoint, "flow", "failed")) >= 1, timeout=180, what="the recorded failure"
            )
            failed = runs(endpoint, "flow", "failed")[0]
            wait_until(
                lambda: failed in runs(endpoint, "flow", "ok"), timeout=180, what="the window caught up"
            )
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        assert "Traceback" not in log.read_text()
        counts = query(endpoint, "SELECT value FROM signals WHERE metric = 'trade_count'")
        assert {value for (value,) in counts} == {60.0}
        errors = query(endpoint, "SELECT DISTINCT error FROM analysis_runs WHERE status = 'failed'")
        assert all(endpoint.http_url in error for (error,) in errors)
    finally:
        server.close()


def connected(child: psutil.Process) -> bool:
    try:
        return bool(child.net_connections("tcp"))
    except psutil.Error:
        return False
