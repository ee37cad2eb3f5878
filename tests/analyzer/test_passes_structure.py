"""Price structure on bars worked out by hand, against plain loops on random walks, and through the server."""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from analyzer.passes.base import Value
from analyzer.passes.structure import COLUMNS, MIN_BARS, STRUCTURE, SWING
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import Trade
from tests.analyzer.answers import by_metric, of_server, of_tables
from tests.analyzer.fixtures import VENUE, store
from tests.analyzer.tables import table, window
from tests.conftest import query

ROWS = ("exchange", "market", "symbol", *COLUMNS)
Bar = dict[str, Any]


def bars(highs: Sequence[float], lows: Sequence[float], closes: Sequence[float], step: int = 60) -> list[Bar]:
    return [
        {"ts": n * step, "open": c, "high": h, "low": low, "close": c}
        for n, (h, low, c) in enumerate(zip(highs, lows, closes, strict=True))
    ]


def answer(minutes: list[Bar], seconds: Sequence[Bar] = ()) -> tuple[dict[str, float], Sequence[Value]]:
    tables = {"minutes": table(minutes, ROWS), "seconds": table(list(seconds), ROWS)}
    values = of_tables(STRUCTURE, tables, window())
    return by_metric(values), values


def rows_of(values: Sequence[Value], metric: str) -> Any:
    (text,) = [value.detail for value in values if value.metric == metric]
    return json.loads(text)["rows"]


def zigzag() -> list[Bar]:
    """Four waves of 8 bars from 100 to 104, bars 2 wide: swing highs at 105 (n = 4, 12, 20, 28), lows at 99 (8, 16, 24)."""
    closes = [104.0 - abs(n % 8 - 4) for n in range(33)]
    return bars([c + 1 for c in closes], [c - 1 for c in closes], closes)


def test_levels_by_hand() -> None:
    rows = zigzag()[
        :31
    ]  # the last close is 102; the swing at n = 28 has only two bars after it and isn't known
    numbers, values = answer(rows)
    assert {name: numbers[name] for name in ("range_high", "range_low", "range_position")} == {
        "range_high": 105.0,
        "range_low": 99.0,
        "range_position": 0.5,
    }
    assert numbers["range_bps"] == pytest.approx((105 / 99 - 1) * 1e4)
    assert (numbers["support"], numbers["support_touches"]) == (99.0, 3.0)
    assert (numbers["resistance"], numbers["resistance_touches"]) == (105.0, 3.0)
    assert numbers["resistance_bps"] == pytest.approx((105 / 102 - 1) * 1e4)
    assert rows_of(values, "support") == [{"price": 99.0, "touches": 3}]
    assert numbers["bar_s"] == 60.0


def test_clusters_are_as_wide_as_a_true_range() -> None:
    """Here 2: swings at 105, 106.5 and 107.5 are levels of 105.75 (two) and of one, which is none."""
    rows = zigzag()
    for n, high in ((12, 106.5), (20, 107.5)):
        rows[n]["high"] = high
    numbers, _ = answer(rows[:31])
    width = (30 * 2.0 + 1.5 + 2.5) / 30  # 30 true ranges of 2, but for the two longer bars
    assert 107.5 - 105 > width > 106.5 - 105
    assert (numbers["resistance"], numbers["resistance_touches"]) == (105.75, 2.0)


def test_breaks_by_hand() -> None:
    rows = zigzag()
    for n, close in ((29, 105.5), (30, 106.0), (31, 98.5), (32, 98.0)):
        rows[n] |= {"close": close, "high": close + 0.1, "low": close - 0.1}
    numbers, values = answer(rows)
    assert (numbers["breaks_up"], numbers["breaks_down"]) == (
        1.0,
        1.0,
    )  # once each: a level that is broken is gone
    assert (numbers["last_break"], numbers["last_break_age_s"]) == (-1.0, 60.0)
    assert rows_of(values, "last_break") == [
        {"at": "2026-11-23T12:31:00.000000Z", "way": "down", "level": 99.0, "close": 98.5},
        {"at": "2026-11-23T12:29:00.000000Z", "way": "up", "level": 105.0, "close": 105.5},
    ]


def test_a_swing_is_unknown_before_its_third_bar() -> None:
    highs = [10.0] * 10 + [20.0] + [10.0] * 25
    closes = [9.0] * 36
    for at, wanted in ((12, 0.0), (13, 0.0), (14, 1.0)):  # the swing at 10 is known after bar 13
        broken = list(closes)
        broken[at] = 21.0
        assert answer(bars(highs, closes, broken))[0]["breaks_up"] == wanted


def test_gaps_by_hand() -> None:
    rows = bars([11.0] * 40, [9.0] * 40, [10.0] * 40)
    for n in range(20, 40):  # up: bar 19 leaves 11 … 12 behind
        rows[n] |= {"high": 14.0, "low": 12.0, "close": 13.0}
    rows[19] |= {"high": 13.5}
    numbers, values = answer(rows)
    assert (numbers["fvg_bull"], numbers["fvg_bull_open"]) == (1.0, 1.0)
    assert rows_of(values, "fvg_bull_open") == [{"at": "2026-11-23T12:20:00.000000Z", "edges": [11.0, 12.0]}]
    rows[30]["low"] = 11.5  # half-way: still open
    assert answer(rows)[0]["fvg_bull_open"] == 1.0
    rows[30]["low"] = 11.0  # its far edge
    assert answer(rows)[0]["fvg_bull_open"] == 0.0
    assert answer(rows[:19] + rows[20:])[0]["fvg_bull"] == 0.0  # a bar is missing: no three in a row
    mirrored = [
        row | {"high": 30 - row["low"], "low": 30 - row["high"], "close": 30 - row["close"]} for row in rows
    ]
    numbers, _ = answer(mirrored)
    assert (numbers["fvg_bear"], numbers["fvg_bear_open"]) == (1.0, 0.0)


def test_a_steady_rise_is_a_trend() -> None:
    closes = [100 * math.exp(n * 2e-4) for n in range(80)]
    numbers, values = answer(bars([c * 1.001 for c in closes], [c * 0.999 for c in closes], closes))
    assert (numbers["trend_slope"], numbers["trend_r2"]) == pytest.approx((2.0, 1.0))
    assert numbers["regime"] in (1.0, 3.0)  # volatility is the same throughout, but for rounding
    assert rows_of(values, "regime")[0]["regime"].endswith("trend")


def test_regimes() -> None:
    rng = random.Random(13)
    for code, (sigma, drift) in enumerate(((1e-4, 0), (1e-4, 5e-3), (9e-3, 0), (9e-3, 5e-2))):
        logs = [0.0]
        for n in range(200):
            last = n >= 140
            back = 0.0 if drift or not last else -0.9 * (logs[-1] - logs[140])
            logs.append(logs[-1] + back + rng.gauss(drift if last else 0, sigma if last else 1e-3))
        closes = [math.exp(value) for value in logs]
        assert answer(bars(closes, closes, closes))[0]["regime"] == code


def walk(rng: random.Random, count: int) -> list[Bar]:
    rows, price = [], 1000
    for n in range(count):
        opened = price
        path = [opened := opened + rng.randint(-3, 3) for _ in range(5)]
        price = path[-1]
        rows.append({"ts": n * 60, "open": path[0], "high": max(path), "low": min(path), "close": price})
    return rows


@pytest.mark.parametrize("seed", range(4))
def test_against_plain_loops(seed: int) -> None:
    rows = [row for n, row in enumerate(walk(random.Random(seed), 150)) if n % 40]
    numbers, _ = answer(rows)
    count = len(rows)
    swings = {
        "up": [n for n in range(SWING, count - SWING) if peak([row["high"] for row in rows], n)],
        "down": [n for n in range(SWING, count - SWING) if peak([-row["low"] for row in rows], n)],
    }
    for way, sign, key in (("up", 1, "high"), ("down", -1, "low")):
        broken = 0
        used = -1
        for n in range(count):
            known = [at for at in swings[way] if at + SWING < n]
            if known and known[-1] != used and sign * (rows[n]["close"] - rows[known[-1]][key]) > 0:
                broken, used = broken + 1, known[-1]
        assert numbers[f"breaks_{way}"] == broken > 0
    ranges = [max(b["high"], a["close"]) - min(b["low"], a["close"]) for a, b in pairwise(rows)]
    prices = sorted([rows[n]["high"] for n in swings["up"]] + [rows[n]["low"] for n in swings["down"]])
    found: list[list[float]] = []
    while prices:
        found.append([price for price in prices if price - prices[0] <= statistics.mean(ranges)])
        prices = prices[len(found[-1]) :]
    means = [statistics.mean(group) for group in found if len(group) > 1]
    last = rows[-1]["close"]
    assert numbers.get("support") == pytest.approx(max((m for m in means if m < last), default=None))
    assert numbers.get("resistance") == pytest.approx(min((m for m in means if m > last), default=None))
    counts = dict.fromkeys(("fvg_bull", "fvg_bull_open", "fvg_bear", "fvg_bear_open"), 0)
    for n in range(2, count):
        if rows[n]["ts"] - rows[n - 2]["ts"] == 120:
            if rows[n]["low"] > rows[n - 2]["high"]:
                counts["fvg_bull"] += 1
                counts["fvg_bull_open"] += all(row["low"] > rows[n - 2]["high"] for row in rows[n + 1 :])
            if rows[n]["high"] < rows[n - 2]["low"]:
                counts["fvg_bear"] += 1
                counts["fvg_bear_open"] += all(row["high"] < rows[n - 2]["low"] for row in rows[n + 1 :])
    assert {name: numbers[name] for name in counts} == counts
    x = [row["ts"] / 60 for row in rows[-60:]]
    y = [math.log(row["close"]) for row in rows[-60:]]
    assert numbers["trend_slope"] == pytest.approx(statistics.linear_regression(x, y).slope * 1e4)
    assert numbers["trend_r2"] == pytest.approx(statistics.correlation(x, y) ** 2)
    logs = [math.log(row["close"]) for row in rows]
    returns = [b - a for a, b in pairwise(logs)]
    runs = [statistics.pstdev(returns[n : n + 20]) for n in range(len(returns) - 19)]
    assert numbers["volatility_rank"] == pytest.approx(
        sum(run < runs[-1] for run in runs[:-1]) / (len(runs) - 1)
    )


def peak(series: list[float], n: int) -> bool:
    before, after = series[n - SWING : n], series[n + 1 : n + 1 + SWING]
    return all(series[n] > one for one in before) and all(series[n] >= one for one in after)


def test_equal_prices_have_no_structure() -> None:
    flat = [7.0] * 50
    numbers, _ = answer(bars(flat, flat, flat))
    zeros = dict.fromkeys(
        ("breaks_up", "breaks_down", "fvg_bull", "fvg_bull_open", "fvg_bear", "fvg_bear_open"), 0.0
    )
    same = {"range_high": 7.0, "range_low": 7.0, "range_bps": 0.0, "trend_slope": 0.0, "bar_s": 60.0}
    assert numbers == zeros | same


def test_seconds_stand_in_for_minutes_and_too_few_for_nothing() -> None:
    rows, flat = zigzag(), [7.0] * 40
    assert answer([])[1] == []
    assert answer(rows[: MIN_BARS - 1], rows[: MIN_BARS - 1])[1] == []
    assert answer(rows[:5], bars(flat, flat, flat, step=1))[0]["bar_s"] == 1.0
    assert answer(rows, bars(flat, flat, flat, step=1))[0]["bar_s"] == 60.0


def test_through_the_server(database: Endpoint) -> None:
    end = datetime(2026, 11, 22, 0, 30, 30, tzinfo=UTC)  # half a minute of the last bar is to come
    over = ending(end, timedelta(minutes=15))
    rng = random.Random(15)
    trades = []
    for n in range(90 * 4):  # four a minute from an hour and a half before the end, and some after it
        ts = over.end_us - 85 * 60_000_000 + n * 15_000_000 + 1
        trades.append(Trade(ts, ts, *VENUE, "BTCUSDT", "buy", 1000.0 + rng.randint(-40, 40) / 4, 1.0, str(n)))
    bad = Trade(over.end_us - 60_000_000, 0, *VENUE, "BTCUSDT", "buy", float("nan"), 1.0, "bad")
    store(database, [*trades, bad])
    minutes: dict[int, list[float]] = {}
    for trade in trades:
        if trade.ts // 60_000_000 * 60_000_000 + 60_000_000 <= over.end_us:
            minutes.setdefault(trade.ts // 60_000_000, []).append(trade.price)
    deadline = time.monotonic() + 30
    while query(database, "SELECT count() FROM ohlcv_1m")[0][0] < len(
        {trade.ts // 60_000_000 for trade in trades}
    ):
        assert time.monotonic() < deadline, "the view doesn't fill"
        time.sleep(0.05)
    rows = [
        {
            "ts": minute * 60 - 1_795_435_200,
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
        }
        for minute, prices in minutes.items()
    ]
    wanted, _ = answer(rows)
    assert by_metric(of_server(STRUCTURE, database, over)) == pytest.approx(wanted)
    assert wanted["bar_s"] == 60.0
    early = ending(datetime(2026, 11, 21, 23, 10, 0, tzinfo=UTC), timedelta(minutes=15))
    assert of_server(STRUCTURE, database, early) == []  # neither 30 minutes nor 30 seconds yet
