"""Markouts by hand, at the window's end and with bad books, and the HORIZON JOIN on the real server against plain loops."""

from __future__ import annotations

import math
import random
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyzer.passes.markout import EVENTS, FRESH_US, MARKOUT
from analyzer.passes.whales import BEFORE_US, HORIZONS, TIMES
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, Liquidation, Row
from tests.analyzer.answers import by_metric, of_server, of_tables, snapshot
from tests.analyzer.fixtures import VENUE, store
from tests.analyzer.markets import bad, inside, made, walk
from tests.analyzer.tables import table, window

END = datetime(2026, 11, 22, 0, 1, 33, 250_000, tzinfo=UTC)  # over a day's partition
WINDOW = ending(END, timedelta(seconds=300))
COLUMNS = ("exchange", "market", "symbol", *EVENTS)


def event(ts: float, side: str, mids: list[float | None], age: float = 1.0) -> list[dict[str, Any]]:
    """`mids`: before the event and at the three horizons; None: there is no book."""
    rows = []
    for horizon, mid in zip((BEFORE_US, *(s * 1_000_000 for s in HORIZONS)), mids, strict=True):
        book = {} if mid is None else {"bid": mid - 1, "ask": mid + 1, "age": age * 1e6}
        rows.append({"ts": ts, "side": side, "horizon": horizon} | book)
    return rows


def found(large: list[dict[str, Any]], liq: list[dict[str, Any]] | None = None) -> dict[str, float]:
    return by_metric(
        of_tables(MARKOUT, {"large": table(large, COLUMNS), "liq": table(liq or [], COLUMNS)}, window(100))
    )


def test_markout_by_hand() -> None:
    rows = event(10, "sell", [100.0, 99.0, 98.0, 101.0]) + event(5, "buy", [100.0, 103.0, 101.0, 100.0])
    numbers = found(rows, event(5, "sell", [200.0, 198.0, None, 200.0]))
    assert numbers == pytest.approx(
        {
            "markout_large_1s_bps": (100 + 300) / 2,
            "markout_large_5s_bps": (200 + 100) / 2,
            "markout_large_30s_bps": (-100 + 0) / 2,
            **{f"markout_large_{s}s_events": 2.0 for s in HORIZONS},
            "markout_large_1s_stderr_bps": 100.0,
            "markout_large_5s_stderr_bps": 50.0,
            "markout_large_30s_stderr_bps": 50.0,
            "markout_liq_1s_bps": 100.0,
            "markout_liq_30s_bps": 0.0,
            "markout_liq_1s_events": 1.0,
            "markout_liq_30s_events": 1.0,
        }
    )


def test_a_buy_and_a_sell_at_the_same_time_are_told_apart() -> None:
    rows = event(5, "buy", [100.0, 101.0, 101.0, 101.0]) + event(5, "sell", [100.0, 101.0, 101.0, 101.0])
    random.Random(1).shuffle(rows)
    numbers = found(rows)
    assert (numbers["markout_large_5s_bps"], numbers["markout_large_5s_events"]) == (0.0, 2.0)
    assert numbers["markout_large_5s_stderr_bps"] == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("ts", "counted"), [(69.999_999, {1, 5, 30}), (70.0, {1, 5}), (98.0, {1}), (99.0, set())]
)
def test_a_horizon_past_the_end_isnt_counted(ts: float, counted: set[int]) -> None:
    """A window of 100 s. The last book before its end would be taken for the one at the horizon."""
    numbers = found(event(ts, "buy", [100.0, 101.0, 101.0, 101.0]))
    assert set(numbers) == {f"markout_large_{s}s_{what}" for s in counted for what in ("bps", "events")}


def test_old_crossed_and_missing_books_have_no_mid() -> None:
    old = FRESH_US / 1e6
    assert found(event(5, "buy", [100.0, 101.0, 101.0, 101.0], age=old))["markout_large_5s_events"] == 1.0
    assert found(event(5, "buy", [100.0, 101.0, 101.0, 101.0], age=old + 1e-6)) == {}
    assert found(event(5, "buy", [None, 101.0, 101.0, 101.0])) == {}
    crossed = [row | {"bid": 102.0, "ask": 102.0} for row in event(5, "buy", [100.0, 101.0, 101.0, 101.0])]
    assert found(crossed) == {}
    infinite = [row | {"ask": math.inf} for row in event(5, "buy", [100.0, 101.0, 101.0, 101.0])]
    assert found(infinite) == {}
    assert found([]) == {}


def books_of(rng: random.Random) -> list[BookSnapshot]:
    """Two a second but for a hole; some at an event's own microsecond; some crossed, one-sided, or without a number."""
    books, mid = [], 100.0
    times = sorted(rng.sample(range(-20_000_000, 320_000_000), 640))
    times += [40_000_000, 50_000_000]
    for n, us in enumerate(sorted(times)):
        if 120_000_000 <= us < 150_000_000:
            continue
        mid += rng.choice((-0.5, -0.25, 0.0, 0.25, 0.5))
        bids, asks = [(mid - 0.25, 1.0)], [(mid + 0.25, 2.0)]
        kind = rng.random()
        if kind < 0.03:
            bids, asks = asks, bids
        elif kind < 0.06:
            asks = []
        elif kind < 0.08:
            bids = [(float("nan"), 1.0)]
        books.append(snapshot(WINDOW.start_us + us, bids, asks, n))
    return books


def looped(books: list[BookSnapshot], events: list[tuple[int, str]]) -> dict[int, list[float]]:
    def mid(at: int) -> float | None:
        before = [one for one in books if WINDOW.start_us <= one.ts <= at]
        if not before or at - before[-1].ts > 10_000_000:
            return None
        bids, asks = before[-1].bids, before[-1].asks
        if not bids.size or not asks.size or not bids[0, 0] < asks[0, 0]:
            return None
        return float(bids[0, 0] + asks[0, 0]) / 2

    found: dict[int, list[float]] = {seconds: [] for seconds in HORIZONS}
    for at, side in events:
        for seconds in HORIZONS:
            first, then = mid(at - 1), mid(at + seconds * 1_000_000)
            if first and then and at + seconds * 1_000_000 < WINDOW.end_us:
                found[seconds].append((1 if side == "buy" else -1) * (then / first - 1) * 1e4)
    return found


def test_markout_on_the_server_against_loops(database: Endpoint) -> None:
    rng = random.Random(51)
    books = books_of(rng)
    trades = walk(rng, WINDOW, 700)
    for n, us in enumerate((40_000_000, 50_000_000, 130_000_000, 294_000_000, 299_500_000)):
        trades.append(made(WINDOW, us, rng.choice(("buy", "sell")), 100.0, 400.0, f"large{n}", "BTCUSDT"))
    forced = [
        Liquidation(
            WINDOW.start_us + us,
            0,
            *VENUE,
            "BTCUSDT",
            rng.choice(("buy", "sell", "none")),
            100.0,
            2.0,
            str(n),
        )
        for n, us in enumerate(rng.choices(range(-5_000_000, 305_000_000), k=60))
    ]
    twice = [
        Liquidation(WINDOW.start_us + 77, 0, *VENUE, "BTCUSDT", "buy", 9.0, 2.0, f"burst{n}")
        for n in range(3)
    ]
    unpriced = Liquidation(WINDOW.start_us + 90, 0, *VENUE, "BTCUSDT", "buy", float("nan"), 2.0, "no price")
    unbooked = Liquidation(WINDOW.start_us + 90, 0, *VENUE, "ETHUSDT", "buy", 9.0, 2.0, "no book")
    rows: list[Row] = [*books, *trades, *bad(WINDOW), *forced, *twice, unpriced, unbooked]
    store(database, rows)
    orders: dict[tuple[int, str], float] = {}
    for one in inside(trades, WINDOW):
        if one.side:
            orders[one.ts, one.side] = orders.get((one.ts, one.side), 0.0) + one.price * one.qty
    mean = statistics.fmean(orders.values())
    large = [key for key, notional in orders.items() if notional >= TIMES * mean]
    liquidated = {
        (one.ts, one.side)
        for one in [*forced, *twice]
        if one.side != "none" and WINDOW.start_us <= one.ts < WINDOW.end_us
    }
    wanted = {}
    for kind, events in (("large", large), ("liq", list(liquidated))):
        for seconds, moves in looped(books, events).items():
            assert len(moves) > 1
            assert len(moves) < len(events)
            wanted[f"markout_{kind}_{seconds}s_bps"] = statistics.fmean(moves)
            wanted[f"markout_{kind}_{seconds}s_events"] = len(moves)
            wanted[f"markout_{kind}_{seconds}s_stderr_bps"] = statistics.stdev(moves) / math.sqrt(len(moves))
    values = of_server(MARKOUT, database, WINDOW)
    assert by_metric(values) == pytest.approx(wanted)
    assert by_metric(values, "ETHUSDT") == {}


def test_no_events_and_no_books(database: Endpoint) -> None:
    assert of_server(MARKOUT, database, WINDOW) == []
    store(database, [made(WINDOW, 5, "buy", 8.0, 2.0, "one", "BTCUSDT"), *bad(WINDOW)])
    assert of_server(MARKOUT, database, WINDOW) == []
