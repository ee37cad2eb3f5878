"""What the benchmarks compute from what they measured, against tables worked out by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from collector.simulator.ledger import Entry
from tests.bench import catch_up_bench, cryptofeed_bench, latency_bench, outage_bench, scratch, sides
from tests.bench.catch_up_bench import CatchUp, Sample


def entry(kind: str, number: int, receivers: int) -> Entry:
    return Entry(k=kind, m="linear", s="BTCUSDT", ts=number, n=receivers, id=f"t{number}")


def test_percentiles_are_linear_between_ranks() -> None:
    # Ranks of 1 … 101 are 0 … 100: p50 is the 51st value, p99 the 100th.
    assert latency_bench.summary([float(n) for n in range(101, 0, -1)]) == {
        "p50_ms": 51.0,
        "p99_ms": 100.0,
        "max_ms": 101.0,
    }
    assert latency_bench.summary([10.0, 20.0]) == {"p50_ms": 15.0, "p99_ms": 19.9, "max_ms": 20.0}


def test_seconds_with_a_slow_row_count_once() -> None:
    rows = [(7.0, 499.0), (8.1, 501.0), (8.9, 900.0), (9.0, 500.0), (10.5, 700.0)]
    assert latency_bench.slow_seconds(rows) == 2


def test_trades_count_from_the_first_that_all_were_sent() -> None:
    entries = [
        entry("t", 1, 0),
        entry("t", 2, 2),
        entry("b", 3, 3),
        entry("t", 4, 3),
        entry("b", 5, 3),
        entry("t", 6, 2),  # a socket was lost: its owner lost this trade
        entry("t", 7, 3),
    ]
    assert outage_bench.sent_to_all(entries, 3) == ["t4", "t6", "t7"]


def test_lost_are_those_sent_and_not_stored_however_often_others_are() -> None:
    result = outage_bench.account(["a", "b", "c", "d"], ["a", "a", "c", "earlier"])
    assert (result.sent, result.stored, result.lost, result.rows) == (4, 2, 2, 4)
    assert outage_bench.account(["a"], ["a"]).lost == 0


def test_catch_up_is_timed_from_the_last_sample_before_an_acknowledgement() -> None:
    samples = [
        Sample(t=9.0, rows=100, posted_rows=50, lag_s=8.0),
        Sample(t=10.0, rows=110, posted_rows=50, lag_s=9.0),  # healed at 10
        Sample(t=12.0, rows=130, posted_rows=50, lag_s=11.0),
        Sample(t=12.5, rows=135, posted_rows=100, lag_s=5.0),
        Sample(t=13.0, rows=140, posted_rows=139, lag_s=0.1),
        Sample(t=14.0, rows=150, posted_rows=149, lag_s=0.1),
    ]
    assert catch_up_bench.catch_up(samples, 10.0) == CatchUp(waited_s=2.0, drained_s=1.0, rows=89)
    assert catch_up_bench.catch_up(samples[:4], 10.0) is None
    assert catch_up_bench.catch_up(samples[:1], 10.0) is None


def test_rounds_together_weigh_by_cpu() -> None:
    # 300 messages in 2 s of CPU, not the mean of 100/s and 200/s.
    works = [sides.Work(100, 1.0, 5.0, 50.0), sides.Work(200, 1.0, 5.0, 50.0), sides.Work(0, 1.0, 5.0, 50.0)]
    assert cryptofeed_bench.together(works) == 100.0


def test_an_interpreter_that_is_too_old_or_none_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(scratch.INTERPRETER_VARIABLE, sys.executable)
    assert scratch.newer_python((3, 11)) == Path(sys.executable)
    with pytest.raises(scratch.LeftOutError, match=scratch.INTERPRETER_VARIABLE):
        scratch.newer_python((3, 99))
    monkeypatch.setenv(scratch.INTERPRETER_VARIABLE, "/nowhere/python")
    with pytest.raises(scratch.LeftOutError):
        scratch.newer_python((3, 11))


def test_the_peak_of_memory_stays_after_it_was_freed() -> None:
    code = "import sys; a = b'x' * (64 << 20); del a; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert sides.peak_rss(child.pid) >= 64 << 20
        child.communicate()
