"""What the audit makes of ends: of QuestDB's, and of a collector's just now; and where it sends people to read more."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from analyzer.audit import local
from analyzer.audit.facts import Declared, Outage, ProcessEvent
from analyzer.audit.figures import Figures, figures_of
from analyzer.audit.finding import Finding
from analyzer.audit.outages import absences_of
from analyzer.audit.sections import sections_of
from analyzer.audit.steps import steps_of
from analyzer.audit.timeline import timeline_of
from analyzer.audit.verdicts import judge
from analyzer.cli import main
from collector import whereabouts
from collector.database.endpoint import Endpoint
from tests.analyzer.audits import END, HOUR, START, samples
from tests.analyzer.fixtures import VENUE, settings
from tests.analyzer.test_audit_verdicts import CONFIG, S, facts

LOG = "file:/var/questdb/log/server.log.1"
KILLED = Outage(
    START + HOUR, START + HOUR + 10 * S, "h:7", "crashed", "killed", "by SIGKILL", 6, 1343, START + HOUR + 11 * S, LOG, "a"
)  # fmt: skip


def changed(one: Outage, **fields: Any) -> Outage:
    return msgspec.structs.replace(one, **fields)


def judged(**more: Any) -> tuple[Figures, dict[str, Finding]]:
    found = figures_of(facts(list(samples("h:1", 0, 12)), **more), CONFIG)
    return found, {finding.name: finding for finding in judge(found, CONFIG)}


def test_a_killed_questdb_is_told_exactly() -> None:
    figures, findings = judged(outages=[KILLED])
    finding = findings["questdb"]
    assert (finding.area, finding.verdict, finding.value) == ("restarts", "warning", 1.0)
    assert finding.text == (
        "QuestDB killed, away for 10.0 s; 1,343 rows waited in the journal, all of them are stored"
    )
    told = [
        (entry.at - START, entry.kind, entry.text)
        for entry in timeline_of(figures)
        if "questdb" in entry.kind
    ]
    assert told == [
        (HOUR, "questdb away", "h:7 killed: by SIGKILL"),
        (
            HOUR + 10 * S,
            "questdb back",
            "after 10.0 s, 6 attempts; 1,343 rows waited in the journal, all of them are stored",
        ),
        (HOUR + 11 * S, "questdb caught up", "it has every row that waited for it"),
    ]
    steps = steps_of(list(findings.values()), figures)
    assert [step.command for step in steps if "QuestDB killed" in step.text] == [
        "tail -n 40 /var/questdb/log/server.log.1; dmesg -T | grep -i 'killed process'"
    ]
    (section,) = [one for one in sections_of(figures, [], []) if one.title == "QuestDB"]
    (row,) = section.rows
    assert row[2:6] == ["10.0 s", "killed", "h:7", "1,343"]


def test_the_log_of_questdb_is_shown_while_it_is_there() -> None:
    """The next end replaces it. A server by URL has none that is known."""
    later = changed(KILLED, since=START + 2 * HOUR, until=START + 2 * HOUR + S)
    tail, kernel = f"tail -n 40 {LOG.removeprefix('file:')}", "dmesg -T | grep -i 'killed process'"
    for outages, command in (
        ([KILLED, changed(later, event="stopped", cause="SIGTERM")], kernel),
        ([changed(KILLED, cause="error")], tail),
        ([KILLED, changed(later, event="away", cause="unreachable", log="")], "collector db status"),
    ):
        figures, findings = judged(outages=outages)
        steps = steps_of(list(findings.values()), figures)
        assert [step.command for step in steps if step.area == "restarts"] == [command]


STOPPED = changed(KILLED, event="stopped", cause="SIGTERM")
UNSENT = changed(KILLED, event="stopped", cause="SIGTERM", waiting_rows=None, caught_up=None)


@pytest.mark.parametrize(
    ("outages", "gaps", "verdict", "words"),
    [
        ([], [], "ok", "never away"),
        ([STOPPED], [], "ok", "stopped (SIGTERM), away for 10.0 s; 1,343 rows waited"),
        ([UNSENT], [], "warning", "not all rows that waited in the journal are known to be stored"),
        ([changed(KILLED, since=START + n * HOUR, until=START + n * HOUR + S) for n in (1, 2, 3)], [], "critical",
         "3 times, 3 of them killed or crashed, for 3 s in all; 4,029 rows waited in the journal, all of them"),
        ([changed(KILLED, attempts=0)], [], "warning", "at most 10.0 s, unseen"),
        ([changed(KILLED, event="away", cause="unreachable")], [], "warning", "could not be reached"),
        ([STOPPED], ["journal_quota"], "critical", "1 gaps are declared for the journal's sake"),
        ([STOPPED], ["disconnected"], "ok", "all of them are stored"),
    ],
)  # fmt: skip
def test_verdicts_on_questdb(outages: list[Outage], gaps: list[str], verdict: str, words: str) -> None:
    holes = [
        Declared(
            START + HOUR + S,
            START + HOUR + 9 * S,
            0,
            *VENUE,
            "BTCUSDT",
            "trades",
            cause,
            None,
            False,
            None,
            None,
        )
        for cause in gaps
    ]
    _, findings = judged(outages=outages, gaps=holes)
    assert (findings["questdb"].verdict, words in findings["questdb"].text) == (verdict, True), findings[
        "questdb"
    ]


def test_tables_that_do_not_tell_are_not_judged() -> None:
    figures, findings = judged(outages=None)
    assert "questdb" not in findings
    (section,) = [one for one in sections_of(figures, [], []) if one.title == "QuestDB"]
    assert "collector migrate" in section.text[0]


def test_what_several_collectors_saw_is_one_absence() -> None:
    """One that manages it knows how it ended; rows waited in both journals. The same collector's next one is another."""
    seen = changed(
        KILLED, since=KILLED.since + S, until=KILLED.until + 2 * S, process="db:9000", event="away", cause="unreachable",
        waiting_rows=100, caught_up=KILLED.until + 5 * S, collector="b", log="",
    )  # fmt: skip
    again = changed(KILLED, since=KILLED.until + S, until=KILLED.until + 3 * S)
    first, second = absences_of([again, seen, KILLED], [])
    assert (first.since, first.until, first.process, first.how) == (KILLED.since, seen.until, "h:7", "killed")
    assert (first.waiting_rows, first.caught_up, first.log) == (1443, seen.caught_up, LOG)
    assert (second.since, second.seconds) == (again.since, 2.0)
    (unsent, _) = absences_of([again, changed(seen, caught_up=None), KILLED], [])
    assert (unsent.waiting_rows, unsent.caught_up) == (None, None)


@pytest.mark.parametrize(
    ("age_s", "more", "verdict", "words"),
    [
        (4, {}, "ok", ["1 collector running; the last sign of life is 4 s old"]),
        (22, {}, "ok", ["as far as is known", "22 s old", "a new one is due every 10 s"]),
        (22, {"dead": {"h:1"}}, "warning", ["no collector runs: h:1, its process is no more", "22 s old"]),
        (70, {"dead": {"h:1"}}, "critical", ["its process is no more"]),
        (4, {"process_events": [ProcessEvent(END - 3 * S, "h:1", "stopped", "SIGTERM", "")]}, "ok",
         ["no collector runs: h:1, it stopped (SIGTERM); the last sign of life is 4 s old"]),
        (40, {}, "warning", ["no collector runs, as far as is known"]),
    ],
)  # fmt: skip
def test_whether_a_collector_runs(age_s: int, more: dict[str, Any], verdict: str, words: list[str]) -> None:
    rows = [row for row in samples("h:1", 0, 12) if row.ts <= END - age_s * S]
    rows = [*rows, msgspec.structs.replace(rows[-1], ts=END - age_s * S)]
    figures = figures_of(facts(rows, **more), CONFIG)
    (finding,) = [one for one in judge(figures, CONFIG) if one.name == "silence"]
    assert finding.verdict == verdict
    for word in words:
        assert word in finding.text


def test_one_that_crashed_and_was_followed_is_no_longer_missed() -> None:
    """The next start has told how it ended."""
    rows = [*samples("h:1", 0, 6), *samples("h:2", 6.01, 12)]
    told = [ProcessEvent(START + 6 * HOUR, "h:1", "crashed", "killed", "")]
    figures = figures_of(facts(rows, dead={"h:1"}, process_events=told), CONFIG)
    (finding,) = [one for one in judge(figures, CONFIG) if one.name == "silence"]
    assert (finding.verdict, "h:1" in finding.text) == ("ok", False)
    assert [run.ended for run in figures.runs] == ["it crashed (killed)", ""]


def test_one_of_two_that_is_gone_is_named() -> None:
    rows = sorted([*samples("h:1", 0, 12), *samples("h:2", 0, 12)], key=lambda row: row.ts)
    figures = figures_of(facts(rows, dead={"h:1"}), CONFIG)
    (finding,) = [one for one in judge(figures, CONFIG) if one.name == "silence"]
    assert finding.verdict == "warning"
    assert finding.text.startswith("1 collector running;")
    assert "h:1 is gone without a word" in finding.text


def test_a_process_of_this_machine_is_looked_for() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        name, now, here = f"h:{child.pid}", time.time_ns() // 1000, whereabouts.place()
        start = ProcessEvent(now, name, "started", "first", "", place=here)
        assert here
        assert local.dead([start]) == set()
        before = msgspec.structs.replace(start, ts=now - 2 * HOUR)  # of another one, whose pid this has now
        assert local.dead([before]) == {name}
        child.kill()
        child.wait()
        assert local.dead([start]) == {name}
        assert local.dead([msgspec.structs.replace(start, place="elsewhere pid:[1]")]) == set()
        assert local.dead([msgspec.structs.replace(start, place="")]) == set()
    finally:
        child.kill()
        child.wait()
        assert child.stdin is not None
        child.stdin.close()


@pytest.mark.parametrize(
    ("log", "command", "words"),
    [
        ("journal:evenkeel-collector.service",
         'journalctl -u evenkeel-collector.service -n 40 --until "2026-03-02 06:00:36 UTC"', ""),
        ("journal:--user mine.service",
         'journalctl --user -u mine.service -n 40 --until "2026-03-02 06:00:36 UTC"', ""),
        ("file:/home/me/my log", "tail -n 40 '/home/me/my log'", ""),
        ("terminal:/dev/pts/3", "collector run 2>> collector.log", "it went to the terminal /dev/pts/3"),
        ("", "collector run 2>> collector.log", "nothing tells where it went"),
    ],
)  # fmt: skip
def test_the_log_that_there_is(log: str, command: str, words: str) -> None:
    rows = [*samples("h:1", 0, 6), *samples("h:2", 6.01, 12)]
    told = [ProcessEvent(START + 6 * HOUR, "h:1", "crashed", "killed", "", log)]
    figures = figures_of(facts(rows, process_events=told), CONFIG)
    (step,) = [one for one in steps_of(judge(figures, CONFIG), figures) if one.area == "restarts"]
    assert step.command == command
    assert words in step.text


def test_where_systemd_keeps_it_systemd_is_asked() -> None:
    rows = list(samples("h:1", 0, 9))
    for log, command in (
        ("journal:evenkeel-collector.service", "systemctl status evenkeel-collector.service"),
        ("file:/log", "collector check && collector run"),
    ):
        told = [ProcessEvent(START, "h:1", "started", "first", "", log)]
        figures = figures_of(facts(rows, process_events=told), CONFIG)
        steps = steps_of(judge(figures, CONFIG), figures)
        assert command in [step.command for step in steps if step.area == "life"]


@pytest.mark.parametrize(("form", "told_apart"), [("md", False), ("html", True), ("json", True)])
def test_a_database_that_is_down_is_said_once_where_it_is_read(
    tmp_path: Path, form: str, told_apart: bool
) -> None:
    file = settings(tmp_path, Endpoint("http://127.0.0.1:1", ""))
    done = CliRunner().invoke(main, ["audit", "--config", str(file), "--format", form])
    assert done.exit_code == 2
    assert ("refused" in done.stderr) == told_apart
    assert done.stdout.count("refused") == 1
    if form == "json":
        assert json.loads(done.stdout)["questdb"] == {"outages": []}
    done = CliRunner().invoke(
        main, ["audit", "--config", str(file), "--format", form, "--output", str(tmp_path / "out")]
    )
    assert (done.stdout, done.stderr.count("refused")) == ("", 1)
