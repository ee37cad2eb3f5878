"""Faults of the journal's disk and files."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from collector.database.endpoint import Endpoint
from tests.conftest import query
from tests.faults.rig import Rig, mount_small_disk, seconds
from tests.processes import wait_until


def record_without_database(rig: Rig, database: Endpoint, fill: float) -> None:
    """Record some rows, then for `fill` seconds more while nothing can be sent."""
    proxy = rig.behind_proxy(database)
    rig.simulate()
    rig.configure()
    rig.record()
    rig.wait_recording()
    proxy.fault = lambda number: 503
    time.sleep(fill)


def newest_segment(rig: Rig) -> Path:
    return max(rig.journal.glob("*.journal"))


def resolved(log: str, rule: str) -> bool:
    return any("alert resolved" in line and rule in line for line in log.splitlines())


def test_disk_of_the_journal_is_full(rig: Rig, database: Endpoint, tmp_path: Path, stack: ExitStack) -> None:
    """Books are given up first, then tickers, then the rest; every interval is declared and alerted."""
    disk = tmp_path / "disk"
    if not mount_small_disk(disk, 20, stack):
        pytest.skip("mounting a small disk is not allowed here")
    rig.journal = disk / "journal"
    proxy = rig.behind_proxy(database)
    rig.simulate(4000)
    rig.configure(journal={"segment_bytes": "1MiB", "retain_bytes": "1MiB"}, book_interval="0ms")
    rig.record()
    rig.wait_recording()
    proxy.fault = lambda number: 503
    wait_until(lambda: "Trade" in rig.log.read_text().split("given up")[-1], 180, "the last kind's shedding")
    time.sleep(seconds(2, 20))
    proxy.fault = lambda number: None
    wait_until(lambda: resolved(rig.log.read_text(), "journal_quota"), what="the end of the shedding")
    rig.go_on(4000)
    rig.stop()
    totals = rig.verify()
    assert totals["missing"] > 0
    first = query(
        database, "SELECT channel::string, min(ts) at FROM gaps WHERE cause = 'journal_quota' ORDER BY at"
    )
    assert next(channel for channel, _ in first) == "orderbook"
    assert {channel for channel, _ in first} >= {"orderbook", "tickers", "trades"}
    states = query(database, "SELECT DISTINCT state::string FROM alerts WHERE rule = 'journal_quota'")
    assert sorted(states) == [("firing",), ("resolved",)]


def test_torn_tail(rig: Rig, database: Endpoint) -> None:
    """The tail is cut at the last whole record; what it held is declared, all before it is sent."""
    record_without_database(rig, database, seconds(2, 10))
    rig.collector.end(signal.SIGKILL)
    path = newest_segment(rig)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 3 // 4)
    assert rig.http is not None
    rig.http.fault = lambda number: None
    rig.record()
    rig.wait_recording()
    rig.stop()
    totals = rig.verify()
    assert totals["missing"] > 0
    assert "journal tail was torn, cut" in rig.log.read_text()


def test_bit_flip(rig: Rig, database: Endpoint) -> None:
    """The record is put aside and counted, the time that it covers is declared, the later ones are kept."""
    record_without_database(rig, database, seconds(3, 10))
    path = newest_segment(rig)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size * 9 // 10)
        byte = file.read(1)
        file.seek(size * 9 // 10)
        file.write(bytes([byte[0] ^ 4]))
    assert rig.http is not None
    rig.http.fault = lambda number: None
    rig.caught_up()
    rig.go_on()
    rig.stop()
    totals = rig.verify()
    assert totals["missing"] > 0
    assert (rig.journal / "dead-letters/damaged.jsonl").exists()
    assert rig.causes()["journal_damaged"] == 12


def test_two_collectors_on_one_journal(rig: Rig, database: Endpoint) -> None:
    """The second says so and ends with a clear error; the first goes on undisturbed."""
    rig.behind_proxy(database)
    rig.simulate()
    rig.configure()
    first = rig.record()
    rig.wait_recording()
    second = rig.record()
    assert second.process.wait(120) == 1
    assert "in use by another collector" in rig.log.read_text()
    rig.collector = first
    rig.go_on()
    rig.stop()
    assert rig.verify()["missing"] == 0
