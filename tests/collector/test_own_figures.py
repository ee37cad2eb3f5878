"""What a process says of itself: durations, its control group, its starts and ends."""

from __future__ import annotations

import math
from array import array
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.histogram import Histogram
from collector.host import ControlGroup, OomKills, pss_bytes, swap_bytes
from collector.life import SERVICE_RESULT, Life
from collector.rows import ProcessEvent
from collector.segment import SEGMENT_HEADER, encode_record
from collector.state import State
from collector.stopwatch import Stopwatch, Times
from collector.store import Cursor, JournalStore

NS = st.integers(0, 1 << 39)


@given(st.lists(NS, min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1.0]))
def test_percentiles_are_those_of_the_sorted_list(durations: list[int], share: float) -> None:
    histogram = Histogram()
    for ns in durations:
        histogram.add(ns)
    true = sorted(durations)[math.ceil(share * len(durations)) - 1]
    assert true <= histogram.percentile(share) <= true * (1 + 1 / 32)


def test_an_interval_begins_anew() -> None:
    histogram = Histogram()
    assert histogram.take() is None
    for ns in range(1, 101):
        histogram.add(ns * 1000)
    spread = histogram.take()
    assert spread is not None
    assert spread.max == 100.0
    assert 50.0 <= spread.p50 <= 51.6
    assert 99.0 <= spread.p99 <= 100.0
    assert histogram.take() is None
    histogram.add(1 << 50)  # longer than the longest bucket
    spread = histogram.take()
    assert spread is not None
    assert spread.max == (1 << 50) / 1e3


def test_decoding_is_told_apart_from_handling(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = deque(
        [0, 10_000, 13_000, 20_000]
    )  # ns: message begins, decoder begins, decoder ends, message ends
    monkeypatch.setattr("collector.stopwatch.time.perf_counter_ns", clock.popleft)
    times = Times()
    stopwatch = Stopwatch(lambda raw, recv_us: [], times)
    stopwatch.time(lambda raw: [stopwatch.decode(raw, 0)].clear(), b"message")
    times.take()
    assert times.decode_spread == (3.0, 3.0, 3.0)
    assert times.handle_spread == (17.0, 17.0, 17.0)


@pytest.fixture
def group(tmp_path: Path) -> Path:
    """A folder in place of /sys/fs/cgroup, with the group of version 2 that `membership` names."""
    own = tmp_path / "cgroup/evenkeel.slice/collector.service"
    own.mkdir(parents=True)
    (tmp_path / "membership").write_text("0::/evenkeel.slice/collector.service\n")
    (own.parent / "memory.max").write_text("10737418240\n")
    (own / "memory.max").write_text("max\n")
    (own / "memory.events").write_text("low 0\nhigh 7\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n")
    return own


def of(folder: Path) -> ControlGroup:
    return ControlGroup(folder / "membership", folder / "cgroup")


def test_the_limit_is_the_least_of_all_groups_above(tmp_path: Path, group: Path) -> None:
    assert of(tmp_path).memory_limit() == 10 << 30
    (group / "memory.max").write_text("8589934592\n")
    assert of(tmp_path).memory_limit() == 8 << 30
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text("max\n")
    assert of(tmp_path).memory_limit() == 0
    assert of(tmp_path).oom_kills() == [OomKills(str(group), group.stat().st_ino, 1)]


def test_a_control_group_of_version_1(tmp_path: Path) -> None:
    own = tmp_path / "cgroup/memory/collector"
    own.mkdir(parents=True)
    (tmp_path / "membership").write_text("5:cpuset:/\n4:memory:/collector\n0::/\n")
    (own / "memory.limit_in_bytes").write_text("2147483648\n")
    (own.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    (own / "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert of(tmp_path).memory_limit() == 2 << 30
    assert [one.count for one in of(tmp_path).oom_kills()] == [4]


def test_none_at_all(tmp_path: Path) -> None:
    assert of(tmp_path).memory_limit() == 0
    assert of(tmp_path).oom_kills() == []


def test_the_share_of_memory_that_is_our_own() -> None:
    rss = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    assert 0 < (pss_bytes() or 0) <= rss * 1.05
    assert swap_bytes() >= 0


def test_the_oldest_row_that_waits(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    assert store.oldest_pending_us() == 0
    store.begin_segment(SEGMENT_HEADER)
    assert store.oldest_pending_us() == 0
    for recv_us in (1_000, 2_000):
        store.append(encode_record(b"row", array("I", [3]), recv_us))
    assert store.oldest_pending_us() == 1_000
    size = store.size()
    store.acknowledge(Cursor(1, (size - len(SEGMENT_HEADER)) // 2 + len(SEGMENT_HEADER)))
    assert store.oldest_pending_us() == 2_000
    store.acknowledge(Cursor(1, size))
    assert store.oldest_pending_us() == 0
    store.begin_segment(SEGMENT_HEADER)
    store.append(encode_record(b"row", array("I", [3]), 3_000))
    assert store.oldest_pending_us() == 3_000
    store.close()


AT = 1 << 60
"""µs, later than now."""


def next_start(store: JournalStore, group: ControlGroup, clean: bool = False) -> list[ProcessEvent]:
    return Life(store, "host:2", group).begun(State([], AT, clean))


def test_what_the_next_start_tells(tmp_path: Path, group: Path) -> None:
    store, groups = JournalStore(tmp_path / "journal"), of(tmp_path)
    life = Life(store, "host:1", groups)
    [first] = life.begun(None)
    assert (first.event, first.cause, first.process) == ("started", "first", "host:1")
    life.stop_cause = "SIGINT"
    ended = life.ended()
    assert (ended.event, ended.cause) == ("stopped", "SIGINT")
    assert ended.uptime_s == (ended.ts - first.ts) / 1e6
    [again] = next_start(store, groups, clean=True)
    assert (again.event, again.cause) == ("started", "stopped")
    once_more, crashed, started = next_start(store, groups)
    assert once_more == again  # should it have died before its row was written
    assert (crashed.event, crashed.cause, crashed.ts) == ("crashed", "killed", AT)
    assert crashed.uptime_s == (AT - again.ts) / 1e6
    assert (started.event, started.cause) == ("started", "crashed")
    before = State([], first.ts - 1, True)  # of a run before the one that was killed at once
    assert [row.event for row in Life(store, "host:3", groups).begun(before)] == [
        "started",
        "crashed",
        "started",
    ]
    store.close()


def test_the_cause_of_a_crash(tmp_path: Path, group: Path) -> None:
    store, groups = JournalStore(tmp_path / "journal"), of(tmp_path)
    Life(store, "host:1", groups).begun(None)
    (group / "memory.events").write_text("oom_kill 2\n")
    assert next_start(store, groups)[1].cause == "oom"
    assert next_start(store, groups)[1].cause == "killed"  # that kill was an earlier run's
    for told, cause in (
        ("oom-kill killed KILL", "oom"),
        ("watchdog killed ABRT", "watchdog"),
        ("exit-code exited 1", "error"),
        ("signal killed KILL", "killed"),
    ):
        store.save(SERVICE_RESULT, f"{told}\n".encode())
        _, crashed, started = next_start(store, groups)
        assert (crashed.cause, crashed.detail) == (cause, f"systemd: {told}")
        assert started.detail == told
    assert next_start(store, groups)[1].detail != "systemd: signal killed KILL"  # told once
    dying = Life(store, "host:1", groups)
    dying.begun(State([], AT, True))
    dying.died(RuntimeError("a mistake of ours"))
    _, crashed, _ = next_start(store, groups)
    assert (crashed.cause, crashed.detail) == ("error", "RuntimeError: a mistake of ours")
    store.close()


def test_a_reboot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JournalStore(tmp_path)
    monkeypatch.setattr("collector.life.boot_id", lambda: "yesterday")
    Life(store, "host:1").begun(None)
    monkeypatch.undo()
    assert next_start(store, ControlGroup())[1].cause == "reboot"
    store.close()
