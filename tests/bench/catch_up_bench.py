"""How fast the journal is emptied after an outage, while the market goes on."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from collector.database.endpoint import Endpoint
from tests.bench import sides
from tests.faulty_proxy import FaultyProxy

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
RATE = 2000.0
BEFORE_S, OUTAGE_S, MOST_S = 10.0, 60.0, 60.0
SAMPLE_S = 0.02
CAUGHT_UP_S = 1.0
"""Lag below which the outage counts as caught up."""


class Sample(msgspec.Struct, frozen=True):
    """Counters of the collector, at a time in seconds."""

    t: float
    rows: float
    """Written to the journal."""
    posted_rows: float
    lag_s: float


class CatchUp(msgspec.Struct, frozen=True):
    waited_s: float
    """From the healing until rows were acknowledged again: what was left of the back-off."""
    drained_s: float
    """From then until the lag was below CAUGHT_UP_S."""
    rows: float
    """Acknowledged in that time."""


def catch_up(samples: Sequence[Sample], healed: float) -> CatchUp | None:
    """None when it was not caught up. Its clock starts with the last sample before a row was acknowledged."""
    after = [one for one in samples if one.t >= healed]
    if not after:
        return None
    stalled = [one for one in after if one.posted_rows == after[0].posted_rows][-1]
    for one in after:
        if one.t > stalled.t and one.lag_s < CAUGHT_UP_S:
            return CatchUp(stalled.t - healed, one.t - stalled.t, one.posted_rows - stalled.posted_rows)
    return None


def run(endpoint: Endpoint, folder: Path) -> dict[str, Any]:
    """Connections of the posts are reset during the outage."""
    healed_at = [0.0]
    proxy = FaultyProxy(endpoint.http_url, lambda _: "reset" if time.monotonic() < healed_at[0] else None)
    try:
        with (
            sides.simulator(folder, SYMBOLS, RATE, "--duration", "10m") as exchange,
            sides.evenkeel(folder, endpoint, exchange, http_url=proxy.url, symbols=SYMBOLS) as ours,
        ):
            while not ours.received():
                ours.check()
                time.sleep(0.1)
            first = _sample(ours)
            time.sleep(BEFORE_S)
            healed_at[0] = time.monotonic() + OUTAGE_S
            time.sleep(OUTAGE_S - 1)
            last = _sample(ours)
            pending = ours.metrics()["journal_pending_bytes"]
            samples: list[Sample] = []
            deadline = healed_at[0] + MOST_S
            while time.monotonic() < deadline and catch_up(samples, healed_at[0]) is None:
                samples.append(_sample(ours))
                time.sleep(SAMPLE_S)
            outcome = catch_up(samples, healed_at[0])
    finally:
        proxy.close()
    live = (last.rows - first.rows) / (last.t - first.t)
    figures: dict[str, Any] = {
        "outage_s": OUTAGE_S,
        "live_rows_per_second": round(live),
        "pending_mb": round(pending / 1e6, 1),
        "lag_at_the_end_s": round(last.lag_s, 1),
    }
    if outcome is None:
        return figures | {"caught_up": f"not within {MOST_S:g} s"}
    rate = outcome.rows / outcome.drained_s
    return figures | {
        "waited_s": round(outcome.waited_s, 2),
        "drained_s": round(outcome.drained_s, 2),
        "drained_rows": int(outcome.rows),
        "drained_rows_per_second": round(rate),
        "times_the_live_rate": round(rate / live, 1),
    }


def _sample(ours: sides.Evenkeel) -> Sample:
    now = ours.metrics()
    return Sample(
        time.monotonic(),
        now.get("rows", 0.0),
        now.get("posted_rows", 0.0),
        now.get("ship_lag_seconds", 0.0),
    )
