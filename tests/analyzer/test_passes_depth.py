"""Depth by band and slippage: by hand, and on a real server against plain loops over the levels."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest

from analyzer.passes.books import BANDS, SIZES
from analyzer.passes.depth import COLUMNS, DEPTH
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot
from tests.analyzer.answers import Side, by_metric, of_server, of_tables, snapshot
from tests.analyzer.fixtures import store
from tests.analyzer.tables import table, window

END = datetime(2026, 11, 22, 0, 0, 30, tzinfo=UTC)  # over a day's partition
Levels = list[tuple[float, float]]
WINDOW = ending(END, timedelta(seconds=60))
ROWS = ("ts", "exchange", "market", "symbol", *COLUMNS)
THIN = {"bid": 99.0, "ask": 101.0, "bid_deepest": 98.0, "ask_deepest": 102.0, "bid_notional": 300.0} | {
    "ask_notional": 500.0
}


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


def cost(side: Side, base: float) -> float | None:
    """Mean price of taking `base` level by level; None where the side holds less."""
    left, paid = base, 0.0
    for price, size in side:
        taken = min(left, size)
        left -= taken
        paid += taken * price
        if left <= 0:
            return paid / base
    return None


def test_by_hand() -> None:
    # mid 100. 1st second: bids down to 98 (200 bps), so that every band is reached, and nothing is in it; asks likewise.
    # 2nd: asks end at 100.2 (20 bps): the bands of 5 and 10 are known, those of 25 and 50 are not.
    second = {
        "bid": 99.95,
        "ask": 100.05,
        "bid_deepest": 98.0,
        "ask_deepest": 100.2,
        "bid_5": 300.0,
        "ask_5": 100.0,
    }
    second |= {
        "bid_10": 300.0,
        "ask_10": 100.0,
        "bid_25": 300.0,
        "ask_25": 999.0,
        "bid_50": 400.0,
        "ask_50": 999.0,
    }
    second |= {
        "bid_notional": 500.0,
        "ask_notional": 999.0,
        "bid_1k": 99.9,
        "ask_1k": 100.3,
        "ask_10k": 101.0,
    }
    found = by_metric(
        of_tables(DEPTH, {"seconds": table([{"ts": 0} | THIN, {"ts": 1} | second], ROWS)}, window())
    )
    assert found == pytest.approx(
        {
            "reach_bid_bps": 200.0,
            "reach_ask_bps": (200 + 20) / 2,
            "depth_bid_notional": 400.0,
            "depth_ask_notional": (500 + 999) / 2,
            "depth_bid_5bps_notional": 150.0,
            "depth_ask_5bps_notional": 50.0,
            "imbalance_5bps": 0.5,  # (300 − 100) / 400 of the one second with any
            "depth_bid_10bps_notional": 150.0,
            "depth_ask_10bps_notional": 50.0,
            "imbalance_10bps": 0.5,
            "depth_bid_25bps_notional": 150.0,
            "depth_ask_25bps_notional": 0.0,  # of the first second alone
            "depth_bid_50bps_notional": 200.0,
            "depth_ask_50bps_notional": 0.0,
            "slippage_sell_1k_bps": 10.0,
            "slippage_buy_1k_bps": 30.0,
            "slippage_buy_10k_bps": 100.0,
            "fillable_sell_1k": 0.5,
            "fillable_sell_10k": 0.0,
            "fillable_sell_100k": 0.0,
            "fillable_buy_1k": 0.5,
            "fillable_buy_10k": 0.5,
            "fillable_buy_100k": 0.0,
        }
    )


def test_no_book_no_numbers() -> None:
    assert of_tables(DEPTH, {"seconds": table([], ROWS)}, window()) == []


def test_against_plain_loops(database: Endpoint) -> None:
    rng = random.Random(5)
    rows: list[BookSnapshot] = []
    books: list[tuple[Levels, Levels]] = []
    for second in range(60):
        for part in (100, 900):  # the later one of the second counts
            bids, asks = (
                [
                    (1000 + sign * (0.01 + step / 16), rng.choice((0.01, 1.0, 40.0)) * rng.randint(1, 9))
                    for step in sorted(rng.sample(range(82), rng.randint(1, 25)))
                ]
                for sign in (-1, 1)
            )
            ts = WINDOW.start_us + second * 1_000_000 + part * 1000
            rows.append(snapshot(ts, bids, asks, len(rows)))
        books.append((bids, asks))
    store(database, rows)
    wanted: dict[str, list[float]] = {}
    for bids, asks in books:
        mid = (bids[0][0] + asks[0][0]) / 2
        for name, taker, sign, levels in (("bid", "sell", -1, bids), ("ask", "buy", 1, asks)):
            reach = sign * (levels[-1][0] / mid - 1) * 1e4
            wanted.setdefault(f"reach_{name}_bps", []).append(reach)
            wanted.setdefault(f"depth_{name}_notional", []).append(sum(p * q for p, q in levels))
            for band in BANDS:
                near = sum(p * q for p, q in levels if sign * (p / mid - 1) * 1e4 <= band)
                if reach >= band:
                    wanted.setdefault(f"depth_{name}_{band}bps_notional", []).append(near)
            for label, size in SIZES.items():
                price = cost(levels, size / mid)
                wanted.setdefault(f"fillable_{taker}_{label}", []).append(price is not None)
                if price is not None:
                    slippage = sign * (price / mid - 1) * 1e4
                    wanted.setdefault(f"slippage_{taker}_{label}_bps", []).append(slippage)
    found = by_metric(of_server(DEPTH, database, WINDOW))
    for name in [name for name in wanted if name.startswith("depth") and len(wanted[name]) < len(books) / 2]:
        del wanted[name]
    assert "depth_bid_5bps_notional" in wanted
    assert "depth_bid_50bps_notional" not in wanted  # most books end before
    shares = {f"imbalance_{band}bps" for band in (5, 10, 25)}
    assert {name for name in found if name.startswith("imbalance")} == shares
    without = {name: value for name, value in found.items() if name not in shares}
    assert without == pytest.approx({name: mean(numbers) for name, numbers in wanted.items()})


def test_the_edges_of_a_band_are_in_and_reached(database: Endpoint) -> None:
    # mid 1000: 5 bps are 999.5 … 1000.5, exact in binary; the asks end short of it.
    bids: Side = [(999.75, 1.0), (999.5, 2.0)]
    asks: Side = [(1000.25, 4.0), (1000.375, 8.0)]
    store(database, [snapshot(WINDOW.start_us, bids, asks, 1)])
    found = by_metric(of_server(DEPTH, database, WINDOW))
    assert found["depth_bid_5bps_notional"] == 999.75 + 2 * 999.5
    assert "depth_ask_5bps_notional" not in found
    assert "imbalance_5bps" not in found
    assert "depth_bid_10bps_notional" not in found


def test_books_without_a_mid_yield_nothing(database: Endpoint) -> None:
    sides: list[tuple[Side, Side]] = [
        ([], []),
        ([], [(5.0, 1.0)]),
        ([(5.0, 1.0)], []),
        ([(6.0, 1.0)], [(5.0, 1.0)]),
        ([(5.0, 1.0)], [(5.0, 1.0)]),
        ([(float("nan"), 1.0)], [(5.0, 1.0)]),
    ]
    rows = [snapshot(WINDOW.start_us + n * 1_000_000, *both, n) for n, both in enumerate(sides)]
    store(database, rows)
    assert of_server(DEPTH, database, WINDOW) == []
