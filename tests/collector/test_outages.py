"""What is told of a QuestDB that was away: when, how it ended, what waited, and never too much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from array import array
from pathlib import Path

import pytest

from collector import outages, whereabouts
from collector.database import ending
from collector.database.observed import Managed, OfUrl, Server, observed
from collector.outages import Outages
from collector.rows import ProcessEvent
from collector.segment import SEGMENT_HEADER, encode_record
from collector.settings import QuestDBConfig
from collector.store import Cursor, JournalStore

S = 1_000_000
T0 = 1_795_000_000 * S
FIRST, SECOND = "2026-11-18T11:00:00.000000Z", "2026-11-18T11:07:00.000000Z"
"""Identities: when a server was started."""
SECOND_US = T0 + 5 * S


class Clock:
    """Both clocks of the module, in seconds after T0."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        patch.setattr(outages, "_now_us", lambda: T0 + round(self.now * S))
        patch.setattr("collector.outages.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture
def store(tmp_path: Path) -> JournalStore:
    store = JournalStore(tmp_path)
    store.begin_segment(SEGMENT_HEADER)
    return store


def write(store: JournalStore, rows: int) -> tuple[tuple[int, int], int]:
    """One record; where it begins, and its rows."""
    begin = store.end()
    store.append(encode_record(b"x" * rows, array("I", range(1, rows + 1)), T0))
    return begin, rows


class Known:
    """A managed server, whose ends are known."""

    def __init__(self, ended: ending.Ended | None = None) -> None:
        self.found = ended

    def now(self) -> Server:
        return Server("host:2", 2, "9.3.4", "file:/log")

    def ended(self) -> tuple[Server, ending.Ended] | None:
        return (Server("host:1", 1, "9.3.4", "file:/log.1"), self.found) if self.found else None


def test_rows_that_waited_are_counted_once_and_told_when_the_last_of_them_is_stored(
    store: JournalStore, clock: Clock
) -> None:
    """A server that was started anew is sent again what it had: those rows did not wait."""
    had = write(store, 100)
    store.acknowledge(Cursor(1, store.end()[1], FIRST))
    told = Outages(store, OfUrl("http://db:9000"))
    told.identified(FIRST)
    assert told.take() == []
    in_flight = write(store, 10)
    clock.now = 2.0
    for _ in range(3):
        told.failed("refused")
    waiting = [in_flight, write(store, 7), write(store, 5)]
    clock.now = 12.5
    told.identified(SECOND)
    end, start = told.take()
    assert (end.ts, end.event, end.cause, end.until_ts, end.attempts) == (
        T0 + 2 * S, "away", "unreachable", T0 + round(12.5 * S), 3,
    )  # fmt: skip
    assert (end.process, end.pid, end.waiting_rows, end.caught_up_ts) == ("db:9000", None, None, None)
    assert "refused; another process answered then" in end.detail
    assert (start.event, start.cause, start.ts) == ("started", "away", outages._start_us(SECOND))
    later = write(store, 1000)
    told.delivered([had], in_flight[0])
    told.reached(in_flight[0])
    told.delivered(waiting[:2], waiting[2][0])
    told.reached(waiting[2][0])
    assert told.take() == []
    clock.now = 13.0
    told.delivered([waiting[2], later], store.end())
    told.reached(store.end())
    again, _ = told.take()
    assert (again.ts, again.event, again.waiting_rows, again.caught_up_ts) == (
        end.ts,
        "away",
        22,
        T0 + 13 * S,
    )
    assert told.take() == []
    assert store.load(outages.FILE) is None


@pytest.mark.parametrize(("seconds", "rows"), [(9.0, 0), (11.0, 1)])
def test_the_same_server_must_be_away_for_longer_than_a_blip(
    store: JournalStore, clock: Clock, seconds: float, rows: int
) -> None:
    told = Outages(store)
    told.identified(FIRST)
    told.failed("HTTP 503")
    clock.now = seconds
    told.answered()
    clock.now += 3  # until it is asked who it is
    told.identified(FIRST)
    found = told.take()
    assert [(one.event, one.until_ts) for one in found] == rows * [("away", T0 + round(seconds * S))]
    assert all("the same process answered again" in one.detail for one in found)


@pytest.mark.parametrize("looked", [True, False])
def test_how_it_ended_is_told_where_it_is_known(store: JournalStore, clock: Clock, looked: bool) -> None:
    """Where nobody looked, the time of the end is the one that was noted."""
    stopped = ending.Ended(1, "9.3.4", "stopped", "SIGTERM", "by hand", T0 + 6 * S, T0 + 5 * S)
    told = Outages(store, Known(stopped))
    told.identified(FIRST)
    if looked:
        clock.now = 4.0
        told.failed("refused")
    clock.now = 9.0
    told.identified(SECOND)
    end, start = told.take()
    assert (end.process, end.pid, end.event, end.cause, end.detail) == (
        "host:1", 1, "stopped", "SIGTERM", "by hand",
    )  # fmt: skip
    assert end.ts == T0 + (4 if looked else 5) * S
    assert (start.process, start.cause, start.log) == ("host:2", "stopped", "file:/log")
    assert (end.log, end.uptime_s) == ("file:/log.1", (end.ts - outages._start_us(FIRST)) / 1e6)  # type: ignore[operator]


def test_an_end_that_was_noted_before_is_of_another_server(store: JournalStore, clock: Clock) -> None:
    told = Outages(store, Known(ending.Ended(1, "", "stopped", "SIGTERM", "", T0 - S, T0 - S)))
    told.identified(FIRST)
    clock.now = 3.0
    told.failed("refused")
    told.identified(SECOND)
    assert [(one.event, one.cause) for one in told.take()] == [("away", "unreachable"), ("started", "away")]


def test_an_outage_goes_on_through_a_restart_of_the_collector(store: JournalStore, clock: Clock) -> None:
    told = Outages(store)
    told.identified(FIRST)
    store.acknowledge(Cursor(1, store.end()[1], FIRST))
    clock.now = 1.0
    told.failed("refused")
    waits = write(store, 3)
    again = Outages(store)
    clock.now = 50.0
    again.failed("refused")
    again.identified(SECOND)
    [end, _] = again.take()
    assert (end.ts, end.until_ts, end.attempts) == (T0 + S, T0 + 50 * S, 2)
    third = Outages(store)  # killed before the rows were sent, and after they were
    store.acknowledge(Cursor(*store.end(), SECOND))
    fourth = Outages(store)
    third.delivered([waits], store.end())
    for one, rows in ((third, 3), (fourth, None)):
        one.take()
        one.reached(store.end())
        [end, _] = one.take()
        assert (end.ts, end.waiting_rows, end.caught_up_ts) == (T0 + S, rows, T0 + 50 * S)


def test_a_server_that_comes_and_goes_writes_within_bounds(
    store: JournalStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hours of a server that is started anew every six seconds: four rows a minute at most, and each end is counted."""
    monkeypatch.setattr(outages, "AT_ONCE", 3)
    told = Outages(store)
    told.identified("0")
    rows: list[ProcessEvent] = []
    ends = 2 * 3600 // 6
    for number in range(1, ends + 1):
        told.failed("refused")
        clock.now += 3
        told.identified(str(number))
        told.reached(store.end())
        rows += told.take()
        clock.now += 3
    clock.now += 60
    rows += told.take()
    newest = {row.ts: row for row in rows if row.event == "away"}
    assert len(newest) <= 3 + 2 * 60
    assert len(rows) <= 4 * (3 + 2 * 60)
    times = [
        int(row.detail.rpartition("away ")[2].split()[0]) if "times" in row.detail else 1
        for row in newest.values()
    ]
    assert sum(times) == ends
    assert sum(row.attempts or 0 for row in newest.values()) == ends


def test_what_can_not_be_told_does_not_stop_the_sending(store: JournalStore, clock: Clock) -> None:
    class Unknowable(OfUrl):
        def now(self) -> Server:
            raise RuntimeError("no such thing")

    told = Outages(store, Unknowable("http://db:9000"))
    told.identified(FIRST)
    told.failed("refused")
    told.identified(SECOND)
    assert told.take() == []
    told.reached(store.end())
    told.identified(SECOND)


def test_an_ailing_server_is_there(store: JournalStore, clock: Clock) -> None:
    """It is asked who it is at each attempt, and the cursor does not yet say so."""
    store.acknowledge(Cursor(1, store.end()[1], FIRST))
    told = Outages(store)
    for _ in range(5):
        told.identified(SECOND)
        clock.now += 5
    assert len(told.take()) == 2
    assert told.take() == []


@pytest.mark.parametrize(
    ("code", "number", "expected"),
    [
        ("input", signal.SIGKILL, ("crashed", "killed")),
        ("input", signal.SIGTERM, ("stopped", "SIGTERM")),
        ("sys.exit(143)", 0, ("stopped", "SIGTERM")),
        ("input", signal.SIGABRT, ("crashed", "error")),
        ("sys.exit(55)", 0, ("crashed", "error")),
    ],
)
def test_a_childs_status_tells_how_it_ended(
    tmp_path: Path, code: str, number: int, expected: tuple[str, str]
) -> None:
    wait = "print(flush=True); time.sleep(60)" if code == "input" else code
    child = subprocess.Popen(
        [sys.executable, "-c", f"import sys, time; {wait}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert child.stdout is not None
    child.stdout.readline()
    if number:
        child.send_signal(number)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    ended = ending.note(tmp_path, child.pid, "9.3.4", "2100-01-01T00:00:00+00:00")
    child.returncode = 0  # its status is taken
    child.stdout.close()
    assert (ended.event, ended.cause) == expected
    assert ending.last(tmp_path) == ended


@pytest.mark.parametrize(
    ("log", "started", "expected"),
    [
        ("enjoy\n", "2100-01-01T00:00:00+00:00", ("crashed", "killed")),
        (
            "enjoy\nSIGTERM received\nQuestDB is shutting down...\n",
            "2100-01-01T00:00:00+00:00",
            ("stopped", "SIGTERM"),
        ),
        ("enjoy\n", "2001-01-01T00:00:00+00:00", ("crashed", "reboot")),
    ],
)
def test_its_log_tells_where_its_status_is_not_ours_to_see(
    tmp_path: Path, log: str, started: str, expected: tuple[str, str]
) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / ending.LOG).write_text(log)
    ended = ending.note(tmp_path, 1, "9.3.4", started)
    assert (ended.event, ended.cause) == expected
    (tmp_path / "hs_err_pid1.log").write_text("")
    assert ending.note(tmp_path, 1, "", started).cause == ("reboot" if expected[1] == "reboot" else "error")
    asked = ending.note(tmp_path, 1, "", started, "'collector db stop'", T0)
    assert (asked.event, asked.detail, asked.ended_us) == ("stopped", "'collector db stop'", T0)


def test_what_is_known_of_a_server(tmp_path: Path) -> None:
    assert observed(QuestDBConfig(url="http://[::1]:9000")).now() == Server("[::1]:9000", None, "")
    managed = observed(QuestDBConfig(data=str(tmp_path)))
    assert isinstance(managed, Managed)
    assert managed.ended() is None
    ending.note(tmp_path, 77, "9.3.4", "")
    found = managed.ended()
    assert found is not None
    who, ended = found
    assert who.process.endswith(":77")
    assert (who.pid, who.log, ended.pid) == (77, f"file:{tmp_path / ending.LAST_LOG}", 77)


def test_where_a_log_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    file = tmp_path / "collector.log"
    group = tmp_path / "cgroup"
    group.write_text("0::/system.slice/evenkeel-collector.service\n")
    with file.open("w") as target:
        assert whereabouts.log_of(target.fileno(), group) == f"file:{file}"
        status = os.fstat(target.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert whereabouts.log_of(target.fileno(), group) == "journal:evenkeel-collector.service"
        group.write_text("0::/user.slice/user-1000.slice/user@1000.service/app.slice/mine.service\n")
        assert whereabouts.log_of(target.fileno(), group) == "journal:--user mine.service"
        group.write_text("0::/\n")
        assert whereabouts.log_of(target.fileno(), group) == "journal:"
    reading, writing = os.pipe()
    main, terminal = os.openpty()
    assert whereabouts.log_of(writing) == ""
    assert whereabouts.log_of(terminal) == f"terminal:{os.ttyname(terminal)}"
    for descriptor in (reading, writing, main, terminal):
        os.close(descriptor)
    assert whereabouts.place().endswith(f"pid:[{Path('/proc/self/ns/pid').stat().st_ino}]")
