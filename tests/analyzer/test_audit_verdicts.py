"""The thresholds, from just below to just above; runs of processes, restarts and down times, without a database."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
import msgspec
import numpy as np
import pytest

from analyzer.alerts.record import Alert
from analyzer.audit.facts import Declared, Delay, Event, Facts, ProcessEvent
from analyzer.audit.figures import figures_of, incidents_of
from analyzer.audit.memory import memory_of
from analyzer.audit.processes import down_times, restarts_of, runs_of
from analyzer.audit.samples import STATS, Samples
from analyzer.audit.sections import sparkline
from analyzer.audit.settings import AuditConfig
from analyzer.audit.steps import NEXT, steps_of
from analyzer.audit.timeline import timeline_of
from analyzer.audit.verdicts import judge
from analyzer.cli import main as analyzer_main
from analyzer.passes.recorded import Recorded, Recording
from analyzer.windows import Window, ending, parse_time
from collector.cli import main as collector_main
from collector.rows import CollectorStats
from tests.analyzer.audits import AS_OF, END, HOUR, MB, START, samples
from tests.analyzer.fixtures import VENUE

CONFIG = AuditConfig()
HALF_DAY = parse_time(AS_OF) - parse_time("2026-03-02T00:00:00Z")
S = 1_000_000
US = (parse_time("2026-03-02T00:00:01Z") - parse_time("2026-03-02T00:00:00Z")) / 1_000_000
WHO = (*VENUE, "BTCUSDT", "trades")


def arrays(rows: Sequence[CollectorStats], **more: float) -> Samples:
    """As they are read; `more`: columns that the rows may not have."""
    columns = {name: np.array([_float(getattr(row, name, None)) for row in rows]) for name in STATS}
    columns |= {name: np.full(len(rows), value) for name, value in more.items()}
    return Samples(np.array([row.ts for row in rows], np.int64), [row.process for row in rows], columns)


def _float(value: float | None) -> float:
    return float("nan") if value is None else float(value)


def facts(rows: Sequence[CollectorStats], window: Window | None = None, **more: Any) -> Facts:
    """Of one stream, recorded from the start on."""
    given: dict[str, Any] = {
        "window": window or ending(parse_time(AS_OF), HALF_DAY),
        "samples": arrays(rows),
        "earlier": {},
        "recorded": recorded(),
        "gaps": [],
        "event_counts": Counter(),
        "events": [],
        "process_events": [],
        "received": [],
        "stored": {},
        "delays": {},
        "runs": {},
        "last_run": 0,
        "alerts": [],
        "firing": [],
        "outages": [],
        "dead": set(),
        "suspended": [],
        "gone": [],
        "unreached": [],
    }
    return Facts(**given | more)


def recorded(first: int = START, holes: Sequence[tuple[int, int]] = ()) -> Recorded:
    """One stream by one collector."""
    one = Recording()
    one.first, one.holes = first, list(holes)
    return Recorded({(WHO[:3], "trades"): {"": one}})


def verdict(found: Facts, name: str, config: AuditConfig = CONFIG) -> str:
    figures = figures_of(found, config)
    findings = judge(figures, config)
    assert {finding.name for finding in findings} <= NEXT.keys()
    (finding,) = [finding for finding in findings if finding.name == name]
    advised = any(finding.text in step.text for step in steps_of(findings, figures))
    assert advised == (finding.verdict in ("warning", "critical"))
    return finding.verdict


@pytest.mark.parametrize(
    ("name", "key", "below", "warning", "above", "critical"),
    [
        ("memory", "base_mb", 7_999.9, 8_000, 9_999.9, 10_000),
        ("swap", "swap", 2_000 * MB - 1, 2_000 * MB, 3_500 * MB - 1, 3_500 * MB),
        ("growth", "growth", 99.9, 100.1, 199.9, 200.1),
        ("ship_lag", "lag_ms", 29_999.0, 30_000.0, 299_999.0, 300_000.0),
        ("loop_lag", "loop_lag_ms", 999.0, 1_000.0, 4_999.0, 5_000.0),
    ],
)
def test_each_threshold_of_a_process(
    name: str, key: str, below: float, warning: float, above: float, critical: float
) -> None:
    expected = ((below, "ok"), (warning, "warning"), (above, "warning"), (critical, "critical"))
    for value, word in expected:
        assert verdict(facts(list(samples("h:1", 0, 12, every_s=60, **{key: value}))), name) == word, value


@pytest.mark.parametrize(
    ("name", "column", "values"),
    [
        ("memory_share", "memory_limit", (126e6, 125e6, 106e6, 105e6)),  # of 100 MB in use
        ("disk_free", "journal_disk_free", (5e9, 4.999e9, 1e9, 0.999e9)),
        ("disk_free", "server_disk_free", (5e9, 4.999e9, 1e9, 0.999e9)),
        ("suspended", "wal_suspended", (0, 1)),
    ],
)
def test_each_threshold_of_the_newer_columns(name: str, column: str, values: tuple[float, ...]) -> None:
    rows = list(samples("h:1", 0, 12, every_s=60))
    words = ("ok", "warning", "warning", "critical") if len(values) == 4 else ("ok", "critical")
    for value, word in zip(values, words, strict=True):
        found = facts(rows, samples=arrays(rows, **{column: value}), suspended=None)
        assert verdict(found, name) == word, value


@pytest.mark.parametrize(
    ("cpu", "word"), [(0.79, "ok"), (0.8, "warning"), (0.94, "warning"), (0.95, "critical")]
)
def test_cpu_is_the_growth_of_its_seconds(cpu: float, word: str) -> None:
    rows = [
        msgspec.structs.replace(row, cpu=5 + cpu * number * 64)
        for number, row in enumerate(samples("h:1", 0, 4, every_s=64))
    ]
    assert verdict(facts(rows), "cpu") == word


@pytest.mark.parametrize(
    ("missing_s", "word"), [(43, "ok"), (44, "warning"), (432, "warning"), (433, "critical")]
)
def test_coverage(missing_s: int, word: str) -> None:
    """43.2 s of twelve hours are a thousandth."""
    told = recorded(holes=[(START + HOUR, START + HOUR + missing_s * S)])
    assert verdict(facts(list(samples("h:1", 0, 12)), recorded=told), "coverage") == word


@pytest.mark.parametrize(("count", "word"), [(0, "ok"), (1, "warning"), (2, "warning"), (3, "critical")])
def test_restarts(count: int, word: str) -> None:
    rows = [row for number in range(count + 1) for row in samples(f"h:{number}", 2 * number, 2 * number + 2)]
    end = START + 2 * (count + 1) * HOUR
    window = Window(parse_time("2026-03-02T00:00:00Z"), parse_time(AS_OF) + (end - END) * US)
    assert verdict(facts(rows, window), "restarts") == word


def test_restarts_of_two_days_count_half() -> None:
    rows = [
        row
        for number in range(5)
        for row in samples(f"h:{number}", 9.6 * number, 9.6 * (number + 1), every_s=60)
    ]
    window = Window(parse_time("2026-03-02T00:00:00Z"), parse_time("2026-03-04T00:00:00Z"))
    figures = figures_of(facts(rows, window), CONFIG)
    assert (len(figures.restarts), figures.restarts_per_day) == (4, 2.0)


@pytest.mark.parametrize(("age_s", "word"), [(29, "ok"), (31, "warning"), (59, "warning"), (61, "critical")])
def test_silence(age_s: int, word: str) -> None:
    rows = [row for row in samples("h:1", 0, 12) if row.ts <= END - age_s * S]
    rows = [*rows, msgspec.structs.replace(rows[-1], ts=END - age_s * S)]
    assert verdict(facts(rows), "silence") == word


def test_the_rest_of_the_findings() -> None:
    rows = list(samples("h:1", 0, 12, every_s=60))
    assert verdict(facts(rows, delays={"trades": Delay(10, 1_999)}), "latency") == "ok"
    assert verdict(facts(rows, delays={"trades": Delay(10, 2_000)}), "latency") == "warning"
    both = {"trades": Delay(10, 60_000), "orderbook": Delay(10, 20)}  # trades may come from REST, much later
    assert verdict(facts(rows, delays=both), "latency") == "ok"
    assert verdict(facts(rows, suspended=[("trades", "disk full")]), "suspended") == "critical"
    assert verdict(facts(rows, runs={"ok": 9}), "failed_runs") == "ok"
    assert verdict(facts(rows, runs={"ok": 9, "failed": 1}), "failed_runs") == "warning"
    told = ("critical", "firing", "*", "*", "*", 1.0, "QuestDB is away")
    assert verdict(facts(rows, firing=[Alert(START, "questdb_unavailable", *told)]), "firing") == "critical"
    assert verdict(facts(rows, firing=[Alert(START, "whale", *told)]), "firing") == "ok"
    counts = Counter({(*WHO, "rejected"): 1})
    assert verdict(facts(rows, event_counts=counts), "rejected") == "warning"
    quiet = [msgspec.structs.replace(row, messages=0) for row in rows]
    assert verdict(facts(quiet, recorded=Recorded({})), "messages") == "critical"
    assert verdict(facts(quiet), "messages") == "ok"
    uncounted = facts(rows, recorded=Recorded({}), samples=arrays(rows, messages=float("nan")))
    assert verdict(uncounted, "messages") == "ok"
    letters = arrays(rows, dead_letters=3.0)
    assert verdict(facts(rows, samples=letters), "dead_letters") == "warning"
    before = {"h:1": (START - HOUR, START - S)}
    assert verdict(facts(rows, samples=letters, earlier=before), "dead_letters") == "ok"


def test_a_lag_that_is_over_is_a_warning() -> None:
    rows = list(samples("h:1", 0, 12, every_s=60))
    rows[5] = msgspec.structs.replace(rows[5], lag_ms=400_000.0)
    assert verdict(facts(rows), "ship_lag") == "warning"


def test_growth_over_a_short_time_is_told_and_not_judged() -> None:
    window = Window(parse_time("2026-03-02T00:00:00Z"), parse_time("2026-03-02T00:09:00Z"))
    found = facts(list(samples("h:1", 0, 0.15, growth=900)), window)
    assert verdict(found, "growth") == "unknown"
    grown = figures_of(found, CONFIG).representative
    assert grown is not None
    assert grown.growth_mb_per_hour == pytest.approx(900, rel=1e-6)


def test_growth_leaves_out_how_a_process_fills_its_buffers() -> None:
    """80 MB in the first five minutes, then 12 MB an hour."""
    rows = [
        msgspec.structs.replace(row, rss=round((min(age, 300) / 300 * 80 + age / 300) * MB))
        for row in samples("h:1", 0, 1)
        for age in [(row.ts - START) / S]
    ]
    found = arrays(rows)
    (run,) = runs_of(found, {})
    assert memory_of(run, found, True, 300, 1e10).growth_mb_per_hour == pytest.approx(12, rel=1e-3)


def test_the_current_run_stands_for_growth_once_it_is_long_enough() -> None:
    old, new = samples("h:1", 0, 11, growth=150), samples("h:2", 11.05, 12, growth=3)
    young = samples("h:2", 11.9, 12, growth=3000)
    for rows, expected in (([*old, *new], 3), ([*samples("h:1", 0, 11, growth=150), *young], 150)):
        grown = figures_of(facts(rows), CONFIG).representative
        assert grown is not None
        assert grown.growth_mb_per_hour == pytest.approx(expected, rel=1e-5)


def test_a_process_that_grew_until_it_ended_is_not_forgotten() -> None:
    rows = [*samples("h:1", 0, 4, growth=220), *samples("h:2", 4.05, 12, growth=3)]
    assert verdict(facts(rows), "growth") == "ok"
    assert verdict(facts(rows), "growth_before") == "warning"
    first, second = figures_of(facts(rows), CONFIG).runs
    assert first.hours_to_limit is None
    assert second.hours_to_limit == pytest.approx((10_000 - 100) / 3, rel=0.01)


def test_every_step_has_a_command_that_there_is() -> None:
    for name, (text, commands) in NEXT.items():
        assert text
        for program, command in re.findall(r"(?:^|[;&] )(collector|analyzer) ([a-z-]+)", commands):
            group = collector_main if program == "collector" else analyzer_main
            assert group.get_command(click.Context(group), command) is not None, (name, command)


def test_processes_beside_each_other_are_no_restarts() -> None:
    rows = sorted(
        [*samples("a:1", 0, 12, growth=10), *samples("b:1", 3, 12, growth=20)], key=lambda row: row.ts
    )
    figures = figures_of(facts(rows), CONFIG)
    assert figures.restarts == []
    assert [run.growth_mb_per_hour for run in figures.runs] == pytest.approx([10, 20], rel=1e-5)
    assert figures.representative is not None
    assert figures.representative.process == "b:1"


def test_a_process_of_the_same_name_is_another_one_when_its_counters_begin_anew() -> None:
    rows = [*samples("box:1", 0, 6, growth=50), *samples("box:1", 6.01, 12, growth=50)]
    figures = figures_of(facts(rows), CONFIG)
    assert [round(restart.down_s) for restart in figures.restarts] == [46]
    assert [run.growth_mb_per_hour for run in figures.runs] == pytest.approx([50, 50], rel=1e-5)


def test_a_process_may_begin_at_the_very_moment_of_the_last_sample() -> None:
    rows = [*samples("h:1", 0, 6), *samples("h:2", 6, 12)]
    moved = [
        msgspec.structs.replace(row, ts=row.ts - 10 * S) if row.process == "h:2" else row for row in rows
    ]
    figures = figures_of(facts(moved), CONFIG)
    assert [(one.previous, one.process, one.down_s) for one in figures.restarts] == [("h:1", "h:2", 0)]


def test_the_first_process_of_a_window_is_a_restart_of_one_before_it() -> None:
    rows = arrays(list(samples("h:2", 1, 12)))
    earlier = {"h:1": (START - 5 * HOUR, START - HOUR)}
    (restart,) = restarts_of(runs_of(rows, earlier), earlier, [], [])
    assert (restart.previous, restart.cause, restart.down_s) == ("h:1", "unknown", 7200)
    assert restarts_of(runs_of(rows, {}), {}, [], []) == []
    goes_on = {"h:2": (START - HOUR, START - S)}
    assert restarts_of(runs_of(rows, goes_on), goes_on, [], []) == []


def test_causes_of_quick_restarts_are_not_mixed_up() -> None:
    """Killed, and 20 s after its start stopped by hand."""

    def declared(start_s: int, end_s: int, cause: str) -> Declared:
        return Declared(
            START + start_s * S, START + end_s * S, START + end_s * S, *WHO, cause, None, False, None, None
        )

    rows = arrays([*samples("h:1", 0, 1), *samples("h:2", 1.001, 1.007), *samples("h:3", 1.05, 2)])
    gaps = [declared(3595, 3605, "collector_crashed"), declared(3622, 3782, "collector_stopped")]
    restarts = restarts_of(runs_of(rows, {}), {}, gaps, [])
    assert [restart.cause for restart in restarts] == ["crashed", "stopped"]
    stop = Event(START + 3623 * S, *VENUE, "", "", "collector_stopped", "cancelled")
    assert [one.cause for one in restarts_of(runs_of(rows, {}), {}, gaps[:1], [stop])] == [
        "crashed",
        "stopped",
    ]
    told = [ProcessEvent(START + 3590 * S, "h:1", "crashed", "oom", "")]
    restarts = restarts_of(runs_of(rows, {}), {}, [], [], told)
    assert [(one.cause, one.detail) for one in restarts] == [("crashed", "oom"), ("unknown", "")]


def test_down_times_allow_for_the_usual_interval() -> None:
    found = runs_of(arrays([*samples("h:1", 0, 1), *samples("h:2", 2, 3, every_s=600)]), {})
    assert down_times(found, START, START + 4 * HOUR) == [
        (START + HOUR + 20 * S, START + 2 * HOUR),
        (START + 3 * HOUR - 600 * S + 1800 * S, START + 4 * HOUR),
    ]


def test_a_window_may_begin_between_two_samples() -> None:
    rows = [msgspec.structs.replace(row, ts=row.ts + 7 * S) for row in samples("h:1", 0, 12)]
    for earlier in ({}, {"h:1": (START - HOUR, START - 3 * S)}):
        figures = figures_of(facts(rows, earlier=earlier), CONFIG)
        assert (figures.coverage, figures.audited_from) == (1.0, START)
    late = figures_of(facts(list(samples("h:1", 1, 12))), CONFIG)
    assert (late.coverage, late.audited_from) == (1.0, START + HOUR)


def test_a_line_in_eight_steps() -> None:
    found = arrays(list(samples("h:1", 0, 1, growth=80, every_s=450)))
    (run,) = runs_of(found, {})
    assert sparkline(memory_of(run, found, True, 0, 1e10)) == "▁▂▃▄▅▆▇█"
    flat = arrays(list(samples("h:1", 0, 1, every_s=900)))
    (run,) = runs_of(flat, {})
    assert sparkline(memory_of(run, flat, True, 0, 1e10)) == "▁▁▁▁"


def test_gaps_of_two_collectors_are_two_incidents() -> None:
    """They begin together and end apart: neither end hides the other."""

    def declared(collector: str, end: int | None) -> Declared:
        return Declared(START, end, START, *WHO, "disconnected", None, False, None, None, collector)

    found = incidents_of([declared("a", START + 1), declared("b", None)], [[], [(START, END)]])
    assert [(one.collector, one.end, one.gaps, one.lost) for one in found] == [
        ("a", START + 1, 1, 0),
        ("b", None, 1, 1),
    ]


def test_what_a_feed_repeats_is_one_entry_of_the_timeline() -> None:
    """A venue that refuses for minutes must not crowd out the rest; what comes between divides."""

    def event(minute: int, name: str, detail: str = "refused", market: str = "linear") -> Event:
        return Event(START + minute * 60_000_000, "bybit", market, "", "", name, detail)

    events = [event(minute, "connect_failed") for minute in range(3)]
    events += [
        event(3, "connect_failed", market="spot"),
        event(4, "connect_failed"),
        event(5, "connected", ""),
    ]
    events += [event(6, "connect_failed"), event(7, "connect_failed", "timed out")]
    entries = timeline_of(figures_of(facts([], events=events), CONFIG))
    assert [((entry.at - START) // 60_000_000, entry.text) for entry in entries] == [
        (0, "bybit linear: refused (4 times in 4.0 min)"),
        (3, "bybit spot: refused"),
        (6, "bybit linear: refused"),
        (7, "bybit linear: timed out"),
    ]
