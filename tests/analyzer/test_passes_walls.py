"""Spoofed walls and layers: planted in books on a real server, found or left alone, and against plain loops."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyzer.passes.walls import AWAY, COLUMNS, HUGE, LARGE, LIFE_US, WALLS
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, Row, Trade
from tests.analyzer.answers import by_metric, of_server, of_tables, snapshot
from tests.analyzer.fixtures import VENUE, store
from tests.analyzer.tables import table, window

END = datetime(2026, 11, 22, 0, 0, 30, tzinfo=UTC)  # over a day's partition
SPAN = 100
WINDOW = ending(END, timedelta(seconds=SPAN))
LEVELS = 15
Planted = dict[tuple[str, int], tuple[float, int, int]]
"""(side, level from 1) → size, first second, first second without it"""


def book(second: int, planted: Planted, move: float = 0.0, levels: int = LEVELS) -> BookSnapshot:
    """A tick of 0.5 around 100; ordinary sizes are 2 and 3 in turns, their median 2 or 3."""
    sides = []
    for side, sign in (("bid", -1), ("ask", 1)):
        rows = []
        for level in range(1, levels + 1):
            size, since, until = planted.get((side, level), (0.0, 0, 0))
            ordinary = 2.0 + level % 2
            rows.append((100 + move + sign * 0.5 * level, size if since <= second < until else ordinary))
        sides.append(rows)
    return snapshot(WINDOW.start_us + second * 1_000_000 + 300_000, sides[0], sides[1], second)


def traded(second: float, price: float = 100.0) -> Trade:
    ts = WINDOW.start_us + round(second * 1e6)
    return Trade(ts, ts, *VENUE, "BTCUSDT", "sell", price, 1.0, f"{second}")


def found(database: Endpoint, planted: Planted, trades: list[Trade], **more: Any) -> dict[str, Any]:
    rows: list[Row] = [book(second, planted, **more) for second in range(SPAN)]
    store(database, [*rows, *trades])
    values = of_server(WALLS, database, WINDOW)
    return by_metric(values) | {f"{value.metric} rows": value.detail for value in values}


def counts(numbers: dict[str, Any]) -> dict[str, float]:
    names = [f"{kind}_{side}" for kind in ("spoof", "layering") for side in ("bid", "ask")]
    return {name: numbers[name] for name in names if numbers.get(name)}


def test_a_spoofed_wall_with_its_evidence(database: Endpoint) -> None:
    numbers = found(database, {("ask", 6): (40.0, 20, 35)}, [traded(0), traded(25, 102.5)])
    assert counts(numbers) == {"spoof_ask": 1.0}
    assert numbers["spoof_ask_notional"] == 40 * 103.0
    assert numbers["spoof_bid"] == 0.0  # looked for, and not found
    (row,) = json.loads(numbers["spoof_ask rows"])["rows"]
    assert row["from"] == "2026-11-21T23:59:10.000000Z"
    assert row["to"] == "2026-11-21T23:59:25.000000Z"
    (order,) = row["orders"]
    assert order == pytest.approx(
        {
            "price": 103.0,
            "size": 40.0,
            "level": 6,
            "times_median": 40 / 3,  # of 15 levels 8 have 3 before it
            "from_best_bps": (103 / 100.5 - 1) * 1e4,
            "stood_s": 15.0,
            "nearest_trade": 102.5,
        }
    )


@pytest.mark.parametrize(
    ("planted", "trades"),
    [
        ({("bid", 6): (40.0, 20, 35)}, [traded(30, 97.0)]),  # traded at its price
        ({("bid", 6): (40.0, 20, 35)}, [traded(35.9, 96.5)]),  # through it, in the second in which it went
        ({("bid", 6): (40.0, 20, 85)}, [traded(0)]),  # stood for 65 s
        ({("bid", 6): (40.0, 0, 35)}, [traded(0)]),  # there from the start
        ({("bid", 6): (40.0, 20, 900)}, [traded(0)]),  # still there
        ({("bid", 3): (40.0, 20, 35)}, [traded(0)]),  # near the touch
        ({("bid", 6): (29.0, 20, 35)}, [traded(0)]),  # not large enough
        ({("bid", 6): (40.0, 20, 35)}, []),  # no trades known: nobody can say that it was untraded
    ],
    ids=["traded", "swept", "old", "before", "stays", "near", "small", "unknown"],
)
def test_walls_that_are_no_suspicion(database: Endpoint, planted: Planted, trades: list[Trade]) -> None:
    assert counts(found(database, planted, trades)) == {}


def test_a_trade_before_it_came_or_after_it_went_does_not_excuse_it(database: Endpoint) -> None:
    trades = [traded(19.5, 97.0), traded(36.5, 97.0)]
    assert counts(found(database, {("bid", 6): (40.0, 20, 35)}, trades)) == {"spoof_bid": 1.0}


def test_equal_layers_are_told_apart_and_are_one_finding(database: Endpoint) -> None:
    planted: Planted = {("bid", level): (50.0, 40, 50 + level % 2) for level in (5, 7, 8)}
    numbers = found(database, planted | {("ask", 9): (60.0, 40, 50)}, [traded(0)])
    assert counts(numbers) == {"layering_bid": 1.0, "spoof_ask": 1.0}
    (row,) = json.loads(numbers["layering_bid rows"])["rows"]
    assert sorted(order["price"] for order in row["orders"]) == [96.0, 96.5, 97.5]
    assert numbers["layering_bid_notional"] == 50 * (96.0 + 96.5 + 97.5)


def test_two_walls_at_different_times_are_no_layers(database: Endpoint) -> None:
    planted: Planted = {("bid", 5): (50.0, 10, 20), ("bid", 7): (50.0, 30, 40), ("bid", 8): (50.0, 30, 40)}
    assert counts(found(database, planted, [traded(0)])) == {"spoof_bid": 3.0}


def test_a_wall_that_scrolls_into_the_book_and_out_of_it_is_unknown(database: Endpoint) -> None:
    rows: list[Row] = []
    for second in range(SPAN):
        deep = 10 if second < 20 or second >= 40 else LEVELS
        rows.append(book(second, {("bid", 13): (40.0, 0, SPAN)}, levels=deep))
    store(database, [*rows, traded(0)])
    assert counts(by_metric(of_server(WALLS, database, WINDOW))) == {}


def test_a_wall_over_a_hole_has_no_known_age(database: Endpoint) -> None:
    rows: list[Row] = [book(s, {("bid", 6): (40.0, 20, 35)}) for s in range(SPAN) if not 18 <= s < 24]
    store(database, [*rows, traded(0)])
    assert counts(by_metric(of_server(WALLS, database, WINDOW))) == {}


def test_against_plain_loops(database: Endpoint) -> None:
    """Books that move, walls of several sizes that come and go; at most three large levels a side."""
    rng = random.Random(11)
    planted: dict[str, list[tuple[float, float, int, int]]] = {"bid": [], "ask": []}
    for side, sign in (("bid", -1), ("ask", 1)):
        for slot in range(3):
            second = slot
            while second < SPAN:
                stays = rng.choice((1, 5, 20, 65))
                price = 100 + sign * 0.5 * rng.randint(3, 14)
                if all(price != other[0] for other in planted[side]):
                    planted[side].append((price, rng.choice((18.0, 40.0, 80.0)), second, second + stays))
                second += stays + rng.randint(1, 10)
    books: list[dict[str, dict[float, float]]] = []
    rows: list[Row] = []
    lows: list[float] = []
    move = 0.0
    for second in range(SPAN):
        move += rng.choice((-0.5, 0.0, 0.0, 0.5))
        both: dict[str, dict[float, float]] = {}
        for side, sign in (("bid", -1), ("ask", 1)):
            prices = [100 + move + sign * 0.5 * level for level in range(1, rng.randint(13, 16))]
            sizes = {price: rng.choice((2.0, 2.5, 3.0)) for price in prices}
            for price, size, since, until in planted[side]:
                if price in sizes and since <= second < until:
                    sizes[price] = size
            both[side] = sizes
        books.append(both)
        sides = [list(both[side].items()) for side in ("bid", "ask")]
        rows.append(snapshot(WINDOW.start_us + second * 1_000_000, sides[0], sides[1], second))
        lows.append(100 + move)
        rows.append(traded(second + 0.5, 100 + move))
    store(database, rows)
    wanted = {"bid": 0, "ask": 0}
    for side, sign in (("bid", -1), ("ask", 1)):
        of_side = [one[side] for one in books]
        medians = [sorted(sizes.values())[len(sizes) // 2] for sizes in of_side]
        large = [
            {p for p, q in sizes.items() if q > LARGE * median}
            for sizes, median in zip(of_side, medians, strict=True)
        ]
        assert max(map(len, large)) <= 3
        for n in range(1, SPAN):
            for price in large[n] - large[n - 1]:
                end = next((m for m in range(n, SPAN) if price not in large[m]), None)
                if end is None:
                    continue
                shown = [min(of_side[m]) if side == "bid" else max(of_side[m]) for m in (n - 1, end)]
                good = (
                    all(sign * (edge - price) >= 0 for edge in shown)
                    and list(of_side[n]).index(price) + 1 >= AWAY
                    and of_side[n][price] >= HUGE * max(medians[n - 1], medians[n], medians[end])
                    and (end - n) * 1_000_000 <= LIFE_US
                    and not any(sign * (trade - price) >= 0 for trade in lows[n : end + 1])
                )
                wanted[side] += good
    numbers = by_metric(of_server(WALLS, database, WINDOW))
    for side in ("bid", "ask"):
        layers = numbers[f"layering_{side}"]
        assert layers == 0
        assert numbers[f"spoof_{side}"] == wanted[side] > 0


def test_nothing_one_sided_crossed_and_short_books(database: Endpoint) -> None:
    names = ("exchange", "market", "symbol")
    tables = {side: table([], (*names, *COLUMNS)) for side in ("bids", "asks")}
    tables["prices"] = table([], (*names, "ts", "low", "high"))
    assert of_tables(WALLS, tables, window()) == []
    full = [(100 - n / 2, 40.0 if n == 6 else 2.0) for n in range(15)]
    rows = [
        snapshot(WINDOW.start_us, full, [], 1),
        snapshot(WINDOW.start_us + 1_000_000, full, [(90.0, 1.0)] * 15, 2),
        snapshot(WINDOW.start_us + 2_000_000, [(99.0, float("nan"))] * 3, [(101.0, 1.0)] * 3, 3),
        snapshot(WINDOW.start_us + 3_000_000, [], [], 4),
    ]
    store(database, [*rows, traded(0)])
    assert of_server(WALLS, database, WINDOW) == []
