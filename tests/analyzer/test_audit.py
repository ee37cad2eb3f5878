"""`analyzer audit` over tables filled by hand, whose answers are known."""

from __future__ import annotations

import json
import signal
import time
from datetime import datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzer.cli import main
from analyzer.windows import microseconds
from collector.database.endpoint import Endpoint
from collector.rows import FeedEvent, Row, Trade
from tests.analyzer.audits import AS_OF, HOUR, MB, START, audit, gap, samples, subscribed, verdicts
from tests.analyzer.fixtures import VENUE, analyzer, settings, store
from tests.conftest import query
from tests.processes import background, config_file, wait_until


def test_steady_growth_is_found_exactly(database: Endpoint, tmp_path: Path) -> None:
    """500 MB at the start, 150 MB more every hour, for twelve hours."""
    store(database, [*samples("host:1", 0, 12, 500, 150, swap=300 * MB), *subscribed("BTCUSDT")])
    code, document = audit(tmp_path, database)
    assert (code, document["verdict"]) == (1, "warning")
    memory = document["memory"]
    assert memory["growth_mb_per_hour"] == pytest.approx(150, rel=1e-6)
    assert (memory["growth_low"], memory["growth_high"]) == pytest.approx((150, 150), rel=1e-6)
    last = 500 + 150 * (12 - 10 / 3600)
    assert memory["rss_mb"] == memory["peak_mb"] == pytest.approx(last, abs=1e-3)
    assert memory["hours_to_limit"] == pytest.approx((10_000 - last) / 150, rel=1e-6)
    assert (memory["swap_mb"], memory["cpu_cores"]) == (300.0, pytest.approx(0.1))
    assert document["restarts"]["count"] == 0
    assert document["coverage"] == 1.0
    assert document["counts"]["messages"] == 100 * (12 * 3600 - 10)
    found = verdicts(document)
    assert {area for area, verdict in found.items() if verdict != "ok"} == {"memory"}
    (step,) = document["next"]
    assert "collector memory" in step["command"]


def test_restarts_do_not_bend_the_line_and_are_told_apart(database: Endpoint, tmp_path: Path) -> None:
    """A saw: four hours of 60 MB/h each. The second process was killed, the first one stopped."""
    rows: list[Row] = [
        *samples("host:1", 0, 4, 500, 60),
        *samples("host:2", 4.01, 8, 500, 60),
        *samples("host:3", 8.1, 12, 500, 60),
        *subscribed("BTCUSDT"),
        gap("BTCUSDT", 4 - 1 / 3600, 4.01, "collector_stopped"),
        gap("BTCUSDT", 8 - 1 / 3600, 8.1, "collector_crashed"),
    ]
    store(database, rows)
    code, document = audit(tmp_path, database)
    memory, restarts = document["memory"], document["restarts"]
    assert memory["growth_mb_per_hour"] == pytest.approx(60, rel=1e-6)
    assert [run["growth_mb_per_hour"] for run in memory["processes"]] == pytest.approx([60] * 3, rel=1e-6)
    assert [run["running"] for run in memory["processes"]] == [False, False, True]
    assert (restarts["count"], restarts["crashes"], restarts["per_day"]) == (2, 1, 2.0)
    assert [(one["previous"], one["process"], one["cause"]) for one in restarts["list"]] == [
        ("host:1", "host:2", "stopped"),
        ("host:2", "host:3", "crashed"),
    ]
    assert restarts["list"][1]["down_s"] == 364
    missing = (0.01 + 0.1) * 3600 + 2
    assert document["coverage"] == pytest.approx(1 - missing / 43200, abs=1e-9)
    assert document["counts"]["messages"] == 100 * (14_390 + 14_360 + 14_030)
    assert [(one["cause"], one["repaired"]) for one in document["gaps"]] == [
        ("collector_stopped", False),
        ("collector_crashed", False),
    ]
    assert (code, verdicts(document)["restarts"], verdicts(document)["coverage"]) == (1, "warning", "warning")


def test_no_sign_of_life_is_critical(database: Endpoint, tmp_path: Path) -> None:
    code, document = audit(tmp_path, database)
    assert (code, document["verdict"]) == (2, "critical")
    assert verdicts(document)["life"] == "critical"
    assert document["coverage"] is None
    assert (document["streams"], document["gaps"], document["restarts"]["count"]) == ([], [], 0)
    assert document["memory"]["rss_mb"] is None
    assert "collector run" in document["next"][0]["command"]


def test_a_collector_that_has_died_and_holes_that_nobody_declared(database: Endpoint, tmp_path: Path) -> None:
    """It ran for nine of the twelve hours; the day before it ran too."""
    rows: list[Row] = [*samples("host:1", -1, 9), *subscribed("BTCUSDT", "ETHUSDT")]
    store(database, [*rows, gap("BTCUSDT", 2, 2.5), gap("BTCUSDT", 2.25, 2.75, "silent", repaired=True)])
    code, document = audit(tmp_path, database)
    assert code == 2
    found = {one["name"]: one["verdict"] for one in document["thresholds"]}
    assert (found["silence"], found["undeclared"], found["restarts"]) == ("critical", "warning", "ok")
    dead = 3 * 3600 + 10 - 30  # the last sample is 10 s before its end, and 30 s are allowed after it
    shares = {one["symbol"]: one["coverage"] for one in document["streams"]}
    assert shares["ETHUSDT"] == pytest.approx(1 - dead / 43200, abs=1e-9)
    assert shares["BTCUSDT"] == pytest.approx(1 - (dead + 1800) / 43200, abs=1e-9)
    assert document["coverage"] == pytest.approx(sum(shares.values()) / 2, abs=1e-9)
    assert [one["undeclared_s"] for one in document["streams"]] == [dead, dead]
    assert [one["repaired"] for one in document["gaps"]] == [False, True]


def test_the_kinds_of_gaps(database: Endpoint, tmp_path: Path) -> None:
    """An open one lasts until the end; what was dropped from the configuration is no loss; a repaired one neither; a
    stream that began within the window counts from then on."""
    late = subscribed("DOTUSDT", hour=6)
    rows: list[Row] = [
        *samples("host:1", 0, 12, every_s=60),
        *subscribed("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"),
        *late,
        gap("BTCUSDT", 11, None),
        gap("ETHUSDT", 3, None, "dropped"),
        gap("SOLUSDT", 1, 2, repaired=True, repair="complete", recovered=7),
        gap("XRPUSDT", -1, 1),
        gap("DOTUSDT", 9, 10.5),
        gap("BTCUSDT", -3, -2),
    ]
    store(database, rows)
    _, document = audit(tmp_path, database)
    shares = {one["symbol"]: (one["coverage"], one["expected_s"] / 3600) for one in document["streams"]}
    assert shares == {
        "BTCUSDT": (pytest.approx(11 / 12), 12),
        "ETHUSDT": (1.0, 3),
        "SOLUSDT": (1.0, 12),
        "XRPUSDT": (pytest.approx(11 / 12), 12),
        "DOTUSDT": (pytest.approx(0.75), 6),
    }
    assert document["coverage"] == pytest.approx(1 - 3.5 / 45)
    assert len(document["gaps"]) == 5
    (sol,) = [one for one in document["gaps"] if one["symbol"] == "SOLUSDT"]
    assert (sol["repair"], sol["recovered"], sol["seconds"]) == ("complete", 7, 3600)


def test_events_rows_and_delays_are_counted(database: Endpoint, tmp_path: Path) -> None:
    def event(hour: float, name: str, detail: str = "") -> FeedEvent:
        ts = START + round(hour * HOUR)
        return FeedEvent(ts, ts, *VENUE, "", "", name, detail)

    rows: list[Row] = [
        *samples("host:1", -2, 12, every_s=60, reconnects=3, bad_messages=5),
        *subscribed("BTCUSDT"),
        *(event(hour, "disconnected", "ConnectionClosedError") for hour in (1, 2, 3)),
        *(event(hour, "connect_failed", "refused") for hour in (1.01, 2.01)),
        event(1.02, "connected"),
        event(-1, "disconnected"),
        *(
            Trade(START + n * MB, START + n * MB + late * 1000, *VENUE, "BTCUSDT", "buy", 1.0, 1.0, str(n))
            for n, late in enumerate([100] * 98 + [1500] * 2)
        ),
    ]
    store(database, rows)
    query(database, "UPDATE collector_stats SET reconnects = 8 WHERE ts > '2026-03-02T06:00:00Z'")
    wait_until(lambda: audit(tmp_path, database)[1]["counts"]["reconnects"] == 5, what="the update")
    code, document = audit(tmp_path, database)
    assert code == 0
    (feed,) = document["feeds"]
    assert (feed["network_errors"], feed["connections"]) == (5, 1)
    assert feed["network_errors_per_hour"] == pytest.approx(5 / 12)
    assert document["counts"]["bad_messages"] == 0  # all of them before the window
    (stream,) = document["streams"]
    assert (stream["rows"], stream["rows_per_hour"]) == (100, pytest.approx(100 / 12))
    assert stream["latency_p50_ms"] == pytest.approx(100, rel=0.01)
    assert stream["latency_p99_ms"] == pytest.approx(1500, rel=0.01)
    assert document["latency"]["exchange"]["p99_ms"] == pytest.approx(1500, rel=0.01)
    assert [entry["kind"] for entry in document["timeline"]] == ["connect_failed"] * 2


def test_tables_of_an_older_version_are_audited_too(database: Endpoint, tmp_path: Path) -> None:
    store(database, [*samples("host:1", 0, 12, 500, 250, every_s=60), *subscribed("BTCUSDT")])
    for table in ("stream_stats", "process_events", "analysis_runs", "alerts", "orderbook"):
        query(database, f"DROP TABLE IF EXISTS {table}")
    for column in ("memory_limit", "loop_lag_ms", "bad_messages"):
        query(database, f"ALTER TABLE collector_stats DROP COLUMN {column}")
    code, document = audit(tmp_path, database)
    assert (code, document["memory"]["growth_mb_per_hour"]) == (2, pytest.approx(250))


def test_it_can_be_read_in_a_terminal_and_in_a_browser(database: Endpoint, tmp_path: Path) -> None:
    hostile = "<script>|x"
    store(
        database, [*samples("host:1", 0, 12, 500, 150, every_s=60), gap(hostile, 1, 2), *subscribed(hostile)]
    )
    config = settings(tmp_path, database)
    text = analyzer("audit", "--config", str(config), "--as-of", AS_OF)
    assert text.returncode == 2
    assert text.stdout.startswith(
        "# Audit: CRITICAL\n\n2026-03-02 00:00:00 – 2026-03-02 12:00:00 UTC (12 h)\n"
    )
    for words in (
        "| growth ",
        "+150.0 MB/h",
        "▁▁▂▂",
        "collector repair",
        "disconnected, 1 streams, 3,600.0 s",
    ):
        assert words in text.stdout
    rows = [line for line in text.stdout.splitlines() if line.startswith("| ")]
    assert all(line.endswith(" |") for line in rows)
    file = tmp_path / "audit.html"
    done = analyzer(
        "audit", "--config", str(config), "--as-of", AS_OF, "--format", "html", "--output", str(file)
    )
    assert (done.returncode, done.stdout) == (2, "")
    page = file.read_text()
    assert "plotly" in page
    assert "https://cdn" not in page.split("</script>")[-1]
    assert 'src="http' not in page
    assert hostile not in page


def test_a_database_that_is_down_is_critical_and_says_so(tmp_path: Path) -> None:
    code, document = audit(tmp_path, Endpoint("http://127.0.0.1:1", ""))
    assert (code, document["verdict"]) == (2, "critical")
    assert "refused" in document["areas"][0]["summary"]
    assert "collector db" in document["next"][0]["command"]


@pytest.mark.parametrize(("form", "begin"), [("md", "# Audit: CRITICAL"), ("html", "<!doctype html>")])
def test_a_database_that_is_down_is_said_in_the_format_that_was_asked_for(
    tmp_path: Path, form: str, begin: str
) -> None:
    file = settings(tmp_path, Endpoint("http://127.0.0.1:1", ""))
    done = CliRunner().invoke(main, ["audit", "--config", str(file), "--format", form])
    assert (done.exit_code, done.stdout.startswith(begin)) == (2, True)
    assert "refused" in done.stdout
    assert "collector db start" in done.stdout


@pytest.mark.parametrize(
    ("config", "arguments", "words"),
    [
        ("[audit]\nmemory_warnin = '1GB'\n", (), ["audit.memory_warnin", "unknown"]),
        ("[audit]\nmemory_warning = '1'\n", (), ["memory_warning", "size"]),
        ("[audit]\ngrowth_critical = 50.0\n", (), ["growth_critical", "at least"]),
        ("[audit]\ncoverage_critical = 0.9999\n", (), ["coverage_critical", "at most"]),
        ("[audit]\nsilence_warning = 'soon'\n", (), ["silence_warning", "duration"]),
        ("", ("--since", "soon"), ["--since", "duration"]),
        ("", ("--as-of", "noon"), ["--as-of", "2026-11-23T12:00:00Z"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_3(
    tmp_path: Path, config: str, arguments: tuple[str, ...], words: list[str]
) -> None:
    """2 would be taken for a critical state."""
    file = settings(tmp_path, Endpoint("http://127.0.0.1:1", ""), config)
    done = CliRunner().invoke(main, ["audit", "--config", str(file), *arguments])
    assert (done.exit_code, done.stdout) == (3, "")
    (line,) = done.stderr.strip().splitlines()
    for word in words:
        assert word in line


def test_a_collector_that_was_killed_is_told_exactly(database: Endpoint, tmp_path: Path) -> None:
    """The whole way: simulator, collector, kill -9, a second start."""
    with background(tmp_path / "simulate.log", "simulate", "--port", "0", "--rate", "500") as exchange:
        ready = exchange.line()
        config = config_file(tmp_path, database, ready["ws_urls"]["linear"], ready["rest_url"], repair=False)

        def count(sql: str) -> int:
            return int(query(database, f"SELECT count() FROM {sql}")[0][0])

        def known() -> int:
            """Streams whose hole the next start can declare."""
            file = tmp_path / "journal" / "state.json"
            return (
                sum(len(feed["streams"]) for feed in json.loads(file.read_text())["feeds"])
                if file.exists()
                else 0
            )

        closed = "gaps WHERE cause = 'collector_crashed' AND to_ts IS NOT NULL"
        with background(tmp_path / "1.log", "run", "--config", str(config)) as recording:
            wait_until(lambda: known() == 12 and count("trades") > 100, what="recorded streams")
            assert recording.end(signal.SIGKILL) == -signal.SIGKILL
            killed_at = time.time_ns() // 1000
        with background(tmp_path / "2.log", "run", "--config", str(config)):
            wait_until(lambda: count(closed) == 12, what="closed gaps")
            done = CliRunner().invoke(main, ["audit", "--config", str(config), "--format", "json"])
        exchange.end()
    assert done.exit_code == 2  # most of this minute is lost
    document = json.loads(done.stdout)
    restarts = document["restarts"]
    assert (restarts["count"], restarts["crashes"]) == (1, 1)
    (restart,) = restarts["list"]
    first, second = document["memory"]["processes"]
    assert (restart["cause"], restart["detail"]) == ("crashed", "killed")
    assert (restart["previous"], restart["process"]) == (first["process"], second["process"])
    assert (first["running"], second["running"]) == (False, True)
    assert len(document["gaps"]) == 12
    for one in document["gaps"]:
        assert one["cause"] == "collector_crashed"
        low, high = (microseconds(datetime.fromisoformat(one[key])) for key in ("from", "to"))
        assert low < killed_at < high
    assert 0 < document["coverage"] < 1
    assert [entry["kind"] for entry in document["timeline"] if entry["kind"] == "restart"] == ["restart"]
    assert {one["undeclared_s"] for one in document["streams"]} == {0.0}
