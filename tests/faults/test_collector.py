"""The collector killed and stopped."""

from __future__ import annotations

import signal
import time

import pytest

from collector.database.endpoint import Endpoint
from tests.conftest import wait_rows
from tests.faults.rig import LONG, Rig, seconds


def test_killed_in_a_loop(rig: Rig, database: Endpoint) -> None:
    """What a kill -9 costs is declared by the next start, and nothing else is missing."""
    rig.behind_proxy(database)
    rig.simulate()
    rig.configure()
    for _ in range(6 if LONG else 2):
        rig.record()
        rig.wait_recording()
        time.sleep(seconds(0, 5))
        assert rig.collector.end(signal.SIGKILL) == -signal.SIGKILL
    rig.record()
    rig.wait_recording()
    rig.stop()
    assert rig.verify()["missing"] > 0
    assert rig.causes()["collector_crashed"] >= 12


@pytest.mark.parametrize("server", ["up", "down"])
def test_stopped(rig: Rig, database: Endpoint, server: str) -> None:
    """SIGTERM drains and exits 0; with the server down the rows wait for the next start, which declares the pause."""
    proxy = rig.behind_proxy(database)
    rig.simulate()
    rig.configure()
    rig.record()
    rig.wait_recording()
    time.sleep(seconds(0, 10))
    if server == "down":
        proxy.fault = lambda number: 503
        time.sleep(1)
    assert rig.collector.end(signal.SIGTERM) == 0
    proxy.fault = lambda number: None
    rig.record()
    rig.wait_recording()
    rig.stop()
    rig.verify()
    assert rig.causes()["collector_stopped"] >= 12


def test_second_sigterm(rig: Rig, database: Endpoint) -> None:
    """The drain is cut short, the exit code stays 0, and the rows are in the journal for the next start."""
    proxy = rig.behind_proxy(database)
    rig.simulate()
    rig.configure()
    rig.record()
    rig.wait_recording()
    proxy.delay = 1.0
    time.sleep(2)
    rig.collector.process.send_signal(signal.SIGTERM)
    time.sleep(1)
    assert rig.collector.end(signal.SIGTERM, timeout=15) == 0
    assert "stopping at once" in rig.log.read_text()
    proxy.delay = 0.0
    rig.record()
    rig.wait_recording()
    rig.stop()
    rig.verify()


def test_burst_with_a_slow_server(rig: Rig, database: Endpoint) -> None:
    """Ten times the rate into a server that takes a second a post: nothing is lost, and memory does not grow with it."""
    proxy = rig.behind_proxy(database)
    proxy.delay = 1.0
    messages = int(seconds(60_000, 600_000))
    rig.simulate(15_000, "--messages", str(messages))
    rig.configure()
    rig.record()
    assert rig.exchange.line()["stopped"] is True
    assert rig.rss_mb() < 130
    proxy.delay = 0.0
    wait_rows(database, "trades", messages // 10)
    rig.stop()
    assert rig.verify()["missing"] == 0
