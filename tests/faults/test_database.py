"""Faults of QuestDB and of the way to it."""

from __future__ import annotations

import os
import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from collector.database import managed
from collector.database.endpoint import Endpoint
from tests.conftest import query
from tests.faults.rig import LONG, Rig, mount_small_disk, seconds
from tests.faulty_proxy import Fault
from tests.processes import wait_until


def finish(rig: Rig) -> None:
    """Heal, wait, compare: nothing may be missing at all."""
    rig.caught_up()
    rig.go_on(3000)
    rig.stop()
    totals = rig.verify()
    assert totals["missing"] == 0
    assert totals["stored"] > 1000


def test_server_killed_in_mid_flush_repeatedly(rig: Rig) -> None:
    """Nothing is lost: what its acknowledgement promised is sent again to the server that was started anew."""
    server = rig.own_server()
    rig.simulate()
    rig.configure()
    rig.record()
    rig.wait_recording()
    kills = 5 if LONG else 2
    for _ in range(kills):
        time.sleep(seconds(1.5, 10))
        server.signal(signal.SIGKILL)
        time.sleep(1)
        server.start()
    finish(rig)
    assert "sending again what the journal still holds" in rig.log.read_text()
    told = dict(
        query(
            server.endpoint,
            "SELECT event::string, count() FROM process_events WHERE program = 'questdb'",
        )
    )
    # One that was killed again before anybody reached it is part of the same outage.
    assert 1 <= told["away"] == told["started"] <= kills


def test_server_down_for_longer_than_every_retry_limit(rig: Rig, database: Endpoint) -> None:
    """Nothing is lost and nothing is given up: rows wait in the journal, and an alert says so."""
    proxy = rig.behind_proxy(database)
    proxy.fault = lambda number: 503
    rig.simulate()
    rig.configure()
    rig.record()
    wait_until(lambda: '"event": "alert"' in rig.log.read_text(), what="the alert")
    time.sleep(seconds(0, 140))
    proxy.fault = lambda number: None
    wait_until(lambda: "alert resolved" in rig.log.read_text(), what="the end of the alert")
    finish(rig)
    alerts = query(database, "SELECT rule::string, state::string FROM alerts ORDER BY ts")
    assert alerts == [("questdb_unavailable", "firing"), ("questdb_unavailable", "resolved")]


def test_server_stopped_by_a_signal(rig: Rig) -> None:
    """Nothing is lost: posts time out and are repeated, deduplication makes the repetition harmless."""
    server = rig.own_server()
    rig.simulate()
    rig.configure()
    rig.record()
    rig.wait_recording()
    server.signal(signal.SIGSTOP)
    time.sleep(seconds(3, 50))
    server.signal(signal.SIGCONT)
    finish(rig)


def test_errors_and_resets_from_a_proxy(rig: Rig, database: Endpoint) -> None:
    """Nothing is lost or doubled by 503, 429, 408, 502, resets before the server and answers lost after it."""
    faults: list[Fault] = [503, None, 429, "reset", None, "lost-answer", 502, None, 408]
    proxy = rig.behind_proxy(database)
    proxy.fault = lambda number: faults[number % len(faults)] if number < 36 else None
    rig.simulate()
    rig.configure()
    rig.record()
    wait_until(lambda: proxy.requests > 36, 120, "the end of the faults")
    finish(rig)


def test_table_suspended(rig: Rig) -> None:
    """Nothing is sent while the server takes rows that stay invisible; after RESUME WAL all are there."""
    server = rig.own_server(QDB_DEV_MODE_ENABLED="true")
    proxy = rig.behind_proxy(server.endpoint)
    rig.simulate()
    rig.configure()
    rig.record()
    rig.wait_recording()
    proxy.fault = lambda number: 503  # while rows are being applied, the statement is undone at once
    time.sleep(1.5)
    query(server.endpoint, "ALTER TABLE trades SUSPEND WAL")
    proxy.fault = lambda number: None
    wait_until(lambda: "RESUME WAL" in rig.log.read_text(), what="the detection")
    time.sleep(seconds(1, 20))
    query(server.endpoint, "ALTER TABLE trades RESUME WAL")
    finish(rig)


def test_schema_drifts_while_the_server_is_away(rig: Rig, database: Endpoint) -> None:
    """Rows that the changed schema can't take wait for the migration: none is put aside as bad."""
    proxy = rig.behind_proxy(database)
    rig.simulate()
    rig.configure()
    rig.record()
    rig.wait_recording()
    proxy.fault = lambda number: 503
    time.sleep(1)
    query(database, "ALTER TABLE trades RENAME COLUMN qty TO quantity")
    proxy.fault = lambda number: None
    wait_until(lambda: "collector migrate" in rig.log.read_text(), what="the hold")
    query(database, "ALTER TABLE trades RENAME COLUMN quantity TO qty")
    finish(rig)
    assert not (rig.journal / "dead-letters/rows.jsonl").exists()


def test_disk_of_the_server_is_full(rig: Rig, tmp_path: Path, stack: ExitStack) -> None:
    """Sending stops before the disk is full; when it has room again, everything is there."""
    disk = tmp_path / "disk"
    if not mount_small_disk(disk, 1400, stack):
        pytest.skip("mounting a small disk is not allowed here")
    server = rig.own_server(disk / "questdb")
    rig.simulate()
    rig.configure(questdb={"disk": str(disk), "min_free": "200MiB"})
    rig.record()
    rig.wait_recording()
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    filler = disk / "filler"
    with filler.open("wb") as file:
        # Below min_free; the server goes on writing meanwhile. Reserved, for a gigabyte written would stall all the others.
        os.posix_fallocate(file.fileno(), 0, max(1, free - (150 << 20)))
    wait_until(lambda: "MiB left" in rig.log.read_text(), what="the detection")
    time.sleep(seconds(2, 30))
    filler.unlink()
    if managed.status(server.config) is None:  # a full disk can crash it
        server.start()
    finish(rig)
