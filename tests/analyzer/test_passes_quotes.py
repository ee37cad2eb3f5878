"""The touch: order-flow imbalance, its impact, persistence and micro-price, by hand and against plain loops."""

from __future__ import annotations

import math
import random
import statistics
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from analyzer.passes.microprice import BUCKETS, adjustment, mirrored, states
from analyzer.passes.quotes import COLUMNS, QUOTES, persistence
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot
from tests.analyzer.answers import Side, by_metric, of_server, of_tables, snapshot
from tests.analyzer.fixtures import store
from tests.analyzer.tables import table, window

END = datetime(2026, 11, 22, 0, 0, 30, tzinfo=UTC)  # over a day's partition
SPAN = 150
WINDOW = ending(END, timedelta(seconds=SPAN))
ROWS = ("exchange", "market", "symbol", *COLUMNS)


def touch(second: int, bid: float = 99.0, ask: float = 101.0, **more: float) -> dict[str, Any]:
    sizes = {"bid_size": 1.0, "ask_size": 1.0, "top_bid": 3.0, "top_ask": 1.0, "ofi": 0.0, "depth": 1.0}
    return {"ts": second, "bid": bid, "ask": ask} | sizes | more


def found(rows: list[dict[str, Any]]) -> dict[str, float]:
    return by_metric(of_tables(QUOTES, {"seconds": table(rows, ROWS)}, window()))


def test_by_hand() -> None:
    # Spreads of 2 at mid 100: 200 bps, and once 1 at 100: 100 bps; Σ ofi 6 of a mean size of 2.
    rows = [touch(n, ofi=2.0, depth=2.0) for n in (0, 1)] + [touch(2, 99.5, 100.5, ofi=2.0, depth=2.0)]
    numbers = found(rows)
    assert numbers == pytest.approx(
        {
            "spread_last_bps": 100.0,
            "spread_median_bps": 200.0,
            "spread_p95_bps": 200.0,
            "ofi": 6.0,
            "ofi_per_depth": 3.0,
            "imbalance_run_s": 3.0,
        }
    )  # 3 s are too few for the rest


def test_impact_by_hand() -> None:
    """13 intervals of 10 s, with one missing: its successor has no neighbour before it, and doesn't count."""
    rows, mid = [], 100.0
    for k in (*range(6), *range(7, 14)):
        flow = (-1.0) ** k * k
        mid *= 1 + flow * 3e-4  # 3 bps a unit
        rows += [touch(10 * k + 2, ofi=0.25 * flow), touch(10 * k + 7, mid - 1, mid + 1, ofi=0.75 * flow)]
    numbers = found(rows)
    assert numbers["ofi_impact"] == pytest.approx(3.0)
    assert numbers["ofi_r2"] == pytest.approx(1.0)
    assert "ofi_impact" not in found(rows[:20])  # 8 pairs of neighbours are too few


def test_impact_against_another_regression() -> None:
    rng = random.Random(6)
    rows = [touch(n, 99 + rng.random(), 101 + rng.random(), ofi=rng.gauss(0, 5)) for n in range(600)]
    x = [sum(row["ofi"] for row in rows[k : k + 10]) for k in range(10, 600, 10)]
    mids = [(row["bid"] + row["ask"]) / 2 for row in rows[9::10]]
    y = [(b / a - 1) * 1e4 for a, b in pairwise(mids)]
    numbers = found(rows)
    assert numbers["ofi_impact"] == pytest.approx(statistics.linear_regression(x, y).slope)
    assert numbers["ofi_r2"] == pytest.approx(statistics.correlation(x, y) ** 2)


def test_persistence() -> None:
    rng = random.Random(7)
    seconds = [n for n in range(400) if n % 50 not in (20, 21)]
    series, last = [], 0.0
    for _ in seconds:
        last = 0.8 * last + rng.gauss(0, 0.1)
        series.append(last)
    series[-4:] = [0.1, -0.1, -0.2, -0.3]
    pairs = [
        (a, b) for s, t, a, b in zip(seconds, seconds[1:], series, series[1:], strict=False) if t - s == 1
    ]
    rho = statistics.correlation(*(list(side) for side in zip(*pairs, strict=True)))
    numbers = persistence(np.array(seconds), np.array(series))
    assert numbers == pytest.approx(
        {
            "imbalance_autocorr": rho,
            "imbalance_half_life_s": math.log(0.5) / math.log(rho),
            "imbalance_run_s": -3.0,
        }
    )
    assert rho ** numbers["imbalance_half_life_s"] == pytest.approx(0.5)


def test_persistence_of_what_does_not_change_or_is_not_known() -> None:
    same = persistence(np.arange(30), np.full(30, 0.25))
    assert same == {"imbalance_run_s": 30.0}  # no variance, no correlation
    assert persistence(np.arange(3), np.full(3, np.nan)) == {}
    broken = persistence(np.array([0, 1, 5, 6]), np.array([1.0, 1.0, 1.0, 1.0]))
    assert broken == {"imbalance_run_s": 2.0}  # seconds without a book end the run


def test_micro_price_by_hand() -> None:
    # From "many bids" (4): 4 of 8 steps stay without a move, 3 go to "many asks" (0) with +1, 1 stays with +1.
    # G1 = (1 − 1/2)⁻¹ · 1/2 = 1, and −1 from 0. B: 3/4 to the other, 1/4 to itself: B G1 = 1/4 − 3/4 = −1/2.
    # Σ (−1/2)ⁱ = 2/3.
    steps = [(4, 4, 0.0)] * 4 + [(4, 0, 1.0)] * 3 + [(4, 4, 1.0)]
    before, after, moves = (np.array(column) for column in zip(*steps * 2, strict=True))
    assert adjustment(before, after, moves, 4) == pytest.approx(2 / 3)
    assert adjustment(before, after, moves, 0) == pytest.approx(-2 / 3)  # mirrored
    assert adjustment(before, after, moves, 2) is None  # never seen
    assert adjustment(before[:8], after[:8], moves[:8], 4) is None  # 8 steps are too few
    assert adjustment(before, after, moves * 0, 4) is None  # the mid never moves


def test_micro_price_against_summing_the_expected_moves() -> None:
    """E[mid at infinity − mid] = Σ Pᵏ r over the chain of all steps, moves or not: another way to the same."""
    rng = np.random.default_rng(8)
    state = rng.integers(0, 2 * BUCKETS, 3000)
    lean = (state[:-1] % BUCKETS - 2) / 4
    moves = np.where(rng.random(2999) < 0.4, np.where(rng.random(2999) < (1 + lean) / 2, 1.0, -1.0), 0.0)
    x = np.concatenate((state[:-1], mirrored(state[:-1])))
    y = np.concatenate((state[1:], mirrored(state[1:])))
    m = np.concatenate((moves, -moves))
    chain = np.array([[np.mean(y[x == a] == b) for b in range(2 * BUCKETS)] for a in range(2 * BUCKETS)])
    expected = np.array([np.mean(m[x == a]) for a in range(2 * BUCKETS)])
    total, term = np.zeros(2 * BUCKETS), expected
    for _ in range(200):
        total, term = total + term, chain @ term
    for one in range(2 * BUCKETS):
        assert adjustment(state[:-1], state[1:], moves, one) == pytest.approx(total[one], abs=1e-9)
    assert total[4] > 0.1 > 0 > total[0]


def test_states() -> None:
    bid, ask = np.array([1.0, 9.0, 5.0, 0.0, 1.0]), np.array([9.0, 1.0, 5.0, 1.0, 0.0])
    spread = np.array([0.1, 0.1, 0.1, 0.2, 0.1])
    assert states(bid, ask, spread).tolist() == [0, 4, 2, 5, 4]
    assert mirrored(np.array([0, 1, 2, 4, 5, 9])).tolist() == [4, 3, 2, 0, 9, 5]


def test_the_micro_price_lies_where_the_mid_goes() -> None:
    """More bids than asks, drawn anew each second, and the mid goes the way of the larger side half of the time, by 1."""
    rng = random.Random(10)
    rows, mid = [], 1000.0
    for n in range(500):
        large = rng.choice((1.0, 9.0))
        rows.append(touch(n, mid - 1, mid + 1, bid_size=large, ask_size=10 - large))
        mid += rng.choice((0, 1 if large > 5 else -1))
    numbers = found(rows)
    last = 1 if rows[-1]["bid_size"] > 5 else -1
    moved = numbers["microprice_stoikov"] - (rows[-1]["bid"] + 1)
    assert moved * last == pytest.approx(0.5, abs=0.1)
    assert numbers["microprice_stoikov_bps"] == pytest.approx(moved / (rows[-1]["bid"] + 1) * 1e4)


def test_a_mid_that_goes_to_and_fro_has_no_micro_price() -> None:
    """Its expected value has no limit."""
    sizes = ({"bid_size": 9.0}, {"ask_size": 9.0})
    assert "microprice_stoikov" not in found(
        [touch(n, 99.0 + n % 2, 101.0 + n % 2, **sizes[n % 2]) for n in range(60)]
    )


def test_ofi_against_plain_loops(database: Endpoint) -> None:
    rng = random.Random(9)
    rows: list[BookSnapshot] = []
    for n, ms in enumerate(sorted(rng.sample(range(-5000, SPAN * 1000 + 5000), 900))):
        bid = 1000 + rng.randint(-2, 2) / 4
        ask = bid + rng.choice((0.25, 0.25, 0.5, 0.0, -0.25))  # some crossed
        bids: Side = [(bid - k / 4, float(rng.randint(1, 9))) for k in range(rng.randint(0, 7))]
        asks: Side = [(ask + k / 4, float(rng.randint(1, 9))) for k in range(rng.randint(1, 7))]
        rows.append(snapshot(WINDOW.start_us + ms * 1000, bids, asks, n))
    store(database, rows)
    ofi = 0.0
    depths: dict[int, list[float]] = {}
    seconds: dict[int, BookSnapshot] = {}
    before = None
    for row in rows:
        if (
            not WINDOW.start_us <= row.ts < WINDOW.end_us
            or not row.bids.size
            or row.bids[0, 0] >= row.asks[0, 0]
        ):
            continue
        (bid, q), (ask, r) = row.bids[:, 0], row.asks[:, 0]
        if before is not None:
            bid_was, q_was, ask_was, r_was = before
            ofi += (
                (bid >= bid_was) * q
                - (bid <= bid_was) * q_was
                - (ask <= ask_was) * r
                + (ask >= ask_was) * r_was
            )
        before = bid, q, ask, r
        depths.setdefault(row.ts // 1_000_000, []).append((q + r) / 2)
        seconds[row.ts // 1_000_000] = row
    spreads = [
        2e4 * (row.asks[0, 0] - row.bids[0, 0]) / (row.asks[0, 0] + row.bids[0, 0])
        for row in seconds.values()
    ]
    tops = [(row.bids[1, :5].sum(), row.asks[1, :5].sum()) for row in seconds.values()]
    numbers = by_metric(of_server(QUOTES, database, WINDOW))
    assert numbers["ofi"] == pytest.approx(ofi)
    assert numbers["ofi_per_depth"] == pytest.approx(
        ofi / statistics.mean(map(statistics.mean, depths.values()))
    )
    assert numbers["spread_median_bps"] == pytest.approx(statistics.median(spreads))
    assert numbers["spread_last_bps"] == pytest.approx(spreads[-1])
    wanted = persistence(np.array(list(seconds)), np.array([(a - b) / (a + b) for a, b in tops]))
    assert {name: numbers[name] for name in wanted} == pytest.approx(wanted)
    assert "imbalance_autocorr" in wanted


def test_nothing_one_snapshot_and_bad_ones(database: Endpoint) -> None:
    assert of_tables(QUOTES, {"seconds": table([], ROWS)}, window()) == []
    bad: list[tuple[Side, Side]] = [
        ([], []),
        ([(6.0, 1.0)], [(5.0, 1.0)]),
        ([(5.0, float("nan"))], [(6.0, 1.0)]),
        ([(5.0, 0.0)], [(6.0, 1.0)]),
        ([(float("nan"), 1.0)], [(6.0, 1.0)]),
    ]
    rows = [snapshot(WINDOW.start_us + n * 1_000_000, *both, n) for n, both in enumerate(bad)]
    store(database, [*rows, snapshot(WINDOW.start_us, [(99.0, 3.0)], [(101.0, 1.0)], 0, "ETHUSDT")])
    values = of_server(QUOTES, database, WINDOW)
    assert by_metric(values) == {}
    assert by_metric(values, "ETHUSDT") == pytest.approx(
        {f"spread_{what}_bps": 200.0 for what in ("last", "median", "p95")}
        | {"ofi": 0.0, "ofi_per_depth": 0.0, "imbalance_run_s": 1.0}
    )
