"""A venue's limits: bans, their length, and that they hold for everybody."""

from __future__ import annotations

import asyncio
import time
from email.utils import formatdate

import pytest

from collector.exchanges.base import Limits
from collector.gate import Gates, retry_after

LIMITS = Limits(connects=5, connects_per=60.0)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (429, {"Retry-After": "7"}, 7),
        (429, {}, 60),
        (418, {}, 600),
        (403, {}, 600),
        (503, {"Retry-After": "3"}, 3),
        (503, {}, 0),
        (404, {}, 0),
        (200, {"Retry-After": "7"}, 0),
        (429, {"Retry-After": "999999999"}, 86400),
    ],
)
def test_how_long_a_venue_is_left_alone(status: int, headers: dict[str, str], seconds: float) -> None:
    gate = Gates().of("wss://venue.example/x", LIMITS)
    assert gate.refused(status, headers) == seconds
    assert gate.banned() == pytest.approx(seconds, abs=1)


def test_retry_after_as_a_date() -> None:
    assert retry_after(formatdate(time.time() + 30, usegmt=True)) == pytest.approx(30, abs=2)
    assert retry_after(formatdate(time.time() - 30, usegmt=True)) == 0
    assert retry_after("soon") == retry_after("") == 0


def test_one_gate_a_host() -> None:
    gates = Gates()
    first = gates.of("wss://venue.example/a", LIMITS)
    assert gates.of("wss://venue.example/b", LIMITS) is first
    assert gates.of("wss://other.example/a", LIMITS) is not first


def test_connections_beyond_the_budget_wait() -> None:
    async def count() -> int:
        gate = Gates().of("wss://venue.example", LIMITS)
        waiting = [asyncio.create_task(gate.connect()) for _ in range(8)]
        done, pending = await asyncio.wait(waiting, timeout=0.5)
        for task in pending:
            task.cancel()
        return len(done)

    assert asyncio.run(count()) == 5
