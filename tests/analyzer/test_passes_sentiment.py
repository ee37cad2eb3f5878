"""Cascades and clusters of liquidations, and what tickers say: by hand, and through the server against plain loops."""

from __future__ import annotations

import json
import math
import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyzer.passes.base import Value
from analyzer.passes.cascades import BINS, CASCADES
from analyzer.passes.cascades import COLUMNS as SECONDS
from analyzer.passes.derivatives import COLUMNS as STEPS
from analyzer.passes.derivatives import DERIVATIVES
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import Liquidation, Ticker
from tests.analyzer.answers import by_metric, of_server, of_tables
from tests.analyzer.fixtures import VENUE, store
from tests.analyzer.tables import table, window

NAMES = ("exchange", "market", "symbol")
WINDOW = ending(datetime(2026, 3, 2, 0, 5, tzinfo=UTC), timedelta(minutes=10))
Row = dict[str, Any]


def second(ts: float, orders: int, side: str = "sell", price: float = 100.0, **more: Any) -> Row:
    row = {"ts": ts, "side": side, "orders": orders, "notional": orders * 50.0}
    return row | {"first_price": price, "last_price": price} | more


def clusters(seconds: list[Row], bins: Sequence[Row] = ()) -> tuple[dict[str, float], Sequence[Value]]:
    tables = {
        "seconds": table(seconds, (*NAMES, *SECONDS)),
        "bins": table(list(bins), (*NAMES, "ts", *BINS)),
    }
    values = of_tables(CASCADES, tables, window(100))
    return by_metric(values), values


def rows_of(values: Sequence[Value], metric: str) -> Any:
    (text,) = [value.detail for value in values if value.metric == metric]
    return json.loads(text)["rows"]


def test_a_cascade_by_hand() -> None:
    """Base rate: one of the 92 seconds outside has an order, and three are added. The 11 orders score
    11 ln 14.3 − 13.3 · 8 · 4/92 = 24.6; the bound is ln(100 (1 − exp(−14.3 · 4/92)) / 0.0001) = 13.0."""
    burst = [second(40, 3, price=100.0), second(42, 6), second(47, 2, price=98.0)]
    numbers, values = clusters([second(10, 1), *burst])
    assert numbers == {
        "cascade_long": 1.0,
        "cascade_long_notional": 550.0,
        "cascade_short": 0.0,
        "cascade_short_notional": 0.0,
    }
    assert rows_of(values, "cascade_long") == [
        {
            "from": "2026-11-23T12:00:40.000000Z",
            "to": "2026-11-23T12:00:48.000000Z",
            "orders": 11,
            "notional": 550.0,
        }
        | {"base_per_s": pytest.approx(4 / 92), "first_price": 100.0}
        | {"last_price": 98.0, "move_bps": pytest.approx(-200.0)}
    ]


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        ([second(40, 6)], 1),  # 6 ln 14.3 − 13.3 · 0.04 = 15.4; the bound is 12.8
        ([second(40, 5)], 0),
        (
            [second(40, 3), second(44, 3)],
            1,
        ),  # 16.0 − 5 · 0.53 = 13.3, as 0.04 a second is the least base rate
        ([second(40, 3), second(45, 3)], 0),  # 12.8, and with 3/94 outside the bound is 12.81
        ([second(40, 5), second(42, 5, side="buy")], 0),  # not of one side
        ([second(40, 10), second(66, 12)], 2),  # 25 calm seconds: 13.3 less
        ([second(40, 10), second(64, 12)], 1),  # 23: 12.2
    ],
)
def test_bounds_of_a_cascade(seconds: list[Row], wanted: int) -> None:
    assert clusters(seconds)[0]["cascade_long"] == wanted


def test_busy_seconds_all_along_are_no_cascade() -> None:
    """Two a second outside, with three added 201/99: the bound is 13.8, and one second of 15 orders scores
    15 ln 14.3 − 13.3 · 201/99 = 12.9, of 16 orders 15.6."""
    for burst, orders, wanted in (
        ([50], 15, 0),
        ([50], 16, 1),
        ([50, 51], 12, 0),  # 4.9 each
        ([50, 51], 13, 1),  # 7.6 each
        (range(30, 60), 10, 0),  # five times the base rate, and no more
        (range(30, 60), 12, 1),
    ):
        steady = [second(n, orders if n in burst else 2) for n in range(100)]
        assert clusters(steady)[0]["cascade_long"] == wanted, (burst, orders)


def test_cascades_on_a_venue_that_tells_of_one_order_a_second() -> None:
    alone = [second(n, 1) for n in range(40, 50)]
    (row,) = rows_of(clusters(alone)[1], "cascade_long")
    assert (row["from"][11:19], row["to"][11:19], row["orders"]) == ("12:00:40", "12:00:50", 10)
    few = [second(n, 1) for n in (12, 70)]
    assert clusters([*few, *alone])[0]["cascade_long"] == 1
    many = [second(n, 1) for n in range(0, 100, 2) if not 40 <= n < 50]
    assert clusters([*many, *alone])[0]["cascade_long"] == 0  # one each second is no more than twice as many
    assert clusters([second(n, 1) for n in range(100)])[0]["cascade_long"] == 0


def test_the_price_at_which_most_was_liquidated() -> None:
    rows = [
        {
            "ts": 1,
            "qty": 2.0,
            "notional": 200.0,
            "long_notional": 200.0,
            "orders": 3,
            "low": 99.0,
            "high": 101.0,
        },
        {
            "ts": 2,
            "qty": 5.0,
            "notional": 600.0,
            "long_notional": 0.0,
            "orders": 1,
            "low": 120.0,
            "high": 120.0,
        },
    ]
    numbers, values = clusters([], rows)
    assert numbers == {"liq_cluster_price": 120.0, "liq_cluster_notional": 600.0, "liq_cluster_share": 0.75}
    assert [row["low"] for row in rows_of(values, "liq_cluster_price")] == [120.0, 99.0]
    assert clusters([])[0] == {}


def test_cascades_through_the_server(database: Endpoint) -> None:
    """Lone forced orders all along; one burst of longs, one of shorts on another symbol, one after the window."""
    rng = random.Random(5)
    rows: list[Liquidation] = []

    def forced(symbol: str, side: str, at: int, price: float) -> None:
        ts = WINDOW.start_us + at
        rows.append(Liquidation(ts, ts, *VENUE, symbol, side, price, rng.randint(1, 64) / 16, str(len(rows))))

    for symbol in ("BTCUSDT", "ETHUSDT"):
        for _ in range(40):
            forced(
                symbol, rng.choice(("buy", "sell")), rng.randrange(-10, 600) * 1_000_000, rng.uniform(95, 105)
            )
    for n in range(30):
        forced("BTCUSDT", "sell", 300_000_000 + n * 150_000, 100 - n / 10)
        forced("ETHUSDT", "buy", 100_000_000 + n * 400_000, 50 + n / 100)
        forced("BTCUSDT", "buy", 601_000_000 + n * 150_000, 100 + n / 10)
    store(database, rows)
    values = of_server(CASCADES, database, WINDOW)
    counts = {(v.symbol, v.metric): v.value for v in values if v.metric in ("cascade_long", "cascade_short")}
    assert {key for key, count in counts.items() if count} == {
        ("BTCUSDT", "cascade_long"),
        ("ETHUSDT", "cascade_short"),
    }
    (burst,) = rows_of([v for v in values if v.symbol == "BTCUSDT"], "cascade_long")
    assert burst["orders"] >= 30
    assert burst["from"] <= "2026-03-02T00:00:00.000000Z" < burst["to"]
    inside = [row for row in rows if WINDOW.start_us <= row.ts < WINDOW.end_us]
    for symbol in ("BTCUSDT", "ETHUSDT"):
        bins: dict[int, list[Liquidation]] = defaultdict(list)
        for row in inside:
            if row.symbol == symbol:
                bins[math.floor(math.log(row.price) / 0.001)].append(row)
        sums = {key: sum(row.price * row.qty for row in own) for key, own in bins.items()}
        most = max(sums, key=sums.__getitem__)
        numbers = by_metric(values, symbol)
        assert numbers["liq_cluster_notional"] == pytest.approx(sums[most])
        assert numbers["liq_cluster_price"] == pytest.approx(sums[most] / sum(row.qty for row in bins[most]))
        assert numbers["liq_cluster_share"] == pytest.approx(sums[most] / sum(sums.values()))


def step(ts: float, mark: float | None, interest: float | None, **more: Any) -> Row:
    row = {"ts": ts, "mark": mark, "open_interest": interest, **more}
    return row | {f"{name}_first": value for name, value in row.items() if name != "ts"}


def derived(rows: list[Row]) -> dict[str, float]:
    return by_metric(of_tables(DERIVATIVES, {"steps": table(rows, (*NAMES, "ts", *STEPS))}, window()))


def test_tickers_by_hand() -> None:
    rows = [
        step(0, 100.0, 1000.0, index=100.0, funding_rate=0.0001),
        step(5, 101.0, 1010.0, index=100.0),  # 10 longs opened
        step(10, 102.0, 1004.0, funding_rate=0.0003),  # 6 shorts closed
        step(15, 100.0, 1006.0, index=None),  # 2 shorts opened
        step(20, 99.0, 1003.0),  # 3 longs closed
        step(25, 99.0, 2000.0),  # no move: nobody's
        step(30, None, 1.0),
        step(35, 99.5, 2030.0, index=100.0),  # 30 longs opened
    ]
    assert derived(rows) == pytest.approx(
        {
            "funding_rate": 0.0003,
            "funding_rate_change": 0.0002,
            "open_interest": 2030.0,
            "open_interest_change_bps": 10300.0,
            "mark_index_bps": -50.0,
            "mark_index_mean_bps": (0 + 100 - 50) / 3,
            "longs_opened": 40.0,
            "shorts_opened": 2.0,
            "longs_closed": 3.0,
            "shorts_closed": 6.0,
            "opened_imbalance": 38 / 42,
        }
    )
    few = derived(rows[:5])
    assert "longs_opened" not in few
    assert "funding_rate" in few


def test_what_a_venue_does_not_say_has_no_number() -> None:
    assert derived([step(0, None, None, last=100.0), step(5, math.nan, math.inf, last=101.0)]) == {}
    assert derived([]) == {}
    last_only = [step(n, None, 10.0 + n, last=100.0 + n) for n in range(6)]
    assert derived(last_only)["longs_opened"] == 5.0
    assert "mark_index_bps" not in derived([step(0, 100.0, 1.0, index=0.0)])


def test_tickers_through_the_server(database: Endpoint) -> None:
    rng = random.Random(9)
    rows: list[Ticker] = []
    mark, interest = 100.0, 5000.0
    for ts in sorted(rng.sample(range(WINDOW.start_us - 30_000_000, WINDOW.end_us + 30_000_000), 400)):
        mark *= math.exp(rng.gauss(0, 1e-4))
        interest += rng.randint(-20, 20)
        known = {"mark": mark, "open_interest": interest, "index": mark + rng.gauss(0, 0.01)}
        said: dict[str, Any] = {name: value for name, value in known.items() if rng.random() < 0.8}
        if rng.random() < 0.2:
            said["funding_rate"] = rng.randint(-9, 9) / 1e5
        rows.append(Ticker(ts, ts, *VENUE, "BTCUSDT", last=99.0, **said))
    store(database, rows)
    inside = [row for row in rows if WINDOW.start_us <= row.ts < WINDOW.end_us]
    steps: dict[int, dict[str, float]] = defaultdict(dict)
    for row in inside:
        for name in ("mark", "index", "open_interest"):
            if getattr(row, name) is not None:
                steps[row.ts // 5_000_000][name] = getattr(row, name)
    wanted = dict.fromkeys(("longs_opened", "shorts_opened", "longs_closed", "shorts_closed"), 0.0)
    before: tuple[float, float] | None = None
    for one in steps.values():
        if "mark" not in one or "open_interest" not in one:
            continue
        if before is not None:
            moved, changed = one["mark"] - before[0], one["open_interest"] - before[1]
            who = "longs" if (moved > 0) == (changed > 0) else "shorts"
            if changed:
                wanted[f"{who}_{'opened' if changed > 0 else 'closed'}"] += abs(changed)
        before = (one["mark"], one["open_interest"])
    longs, shorts = wanted["longs_opened"], wanted["shorts_opened"]
    wanted["opened_imbalance"] = (longs - shorts) / (longs + shorts)
    rates = [row.funding_rate for row in inside if row.funding_rate is not None]
    interests = [row.open_interest for row in inside if row.open_interest is not None]
    basis = [
        (one["mark"] / one["index"] - 1) * 1e4 for one in steps.values() if {"mark", "index"} <= one.keys()
    ]
    wanted |= {
        "funding_rate": rates[-1],
        "funding_rate_change": rates[-1] - rates[0],
        "open_interest": interests[-1],
        "open_interest_change_bps": (interests[-1] / interests[0] - 1) * 1e4,
        "mark_index_bps": basis[-1],
        "mark_index_mean_bps": sum(basis) / len(basis),
    }
    assert by_metric(of_server(DERIVATIVES, database, WINDOW)) == pytest.approx(wanted)
