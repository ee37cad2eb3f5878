"""The indicators against their formulas in plain loops, on bars by hand and through the server's views."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from analyzer.passes.technical import COLUMNS, HOLES, LENGTHS, MOST, TECHNICAL
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import Trade
from tests.analyzer.answers import by_metric, of_server, of_tables
from tests.analyzer.fixtures import VENUE, store
from tests.analyzer.tables import T0, table
from tests.conftest import wait_rows

ROWS = ("exchange", "market", "symbol", *COLUMNS)
Bar = dict[str, Any]


def rsi(bars: Sequence[Bar]) -> float:
    changes: list[float] = [b["close"] - a["close"] for a, b in pairwise(bars)]
    gain = sum(max(change, 0) for change in changes[:14]) / 14
    loss = sum(max(-change, 0) for change in changes[:14]) / 14
    for change in changes[14:]:
        gain, loss = (gain * 13 + max(change, 0)) / 14, (loss * 13 + max(-change, 0)) / 14
    return 100 * gain / (gain + loss)


def true_ranges(bars: Sequence[Bar]) -> list[float]:
    return [max(b["high"], a["close"]) - min(b["low"], a["close"]) for a, b in pairwise(bars)]


def atr(bars: Sequence[Bar]) -> float:
    ranges = true_ranges(bars)
    smooth = sum(ranges[:14]) / 14
    for one in ranges[14:]:
        smooth = (smooth * 13 + one) / 14
    return smooth


def directional(bars: Sequence[Bar]) -> dict[str, float]:
    """Wilder's sums, seeded as TA-Lib does, with the first 13 moves."""
    plus, minus = [], []
    for a, b in pairwise(bars):
        up, down = b["high"] - a["high"], a["low"] - b["low"]
        plus.append(up if up > down and up > 0 else 0.0)
        minus.append(down if down > up and down > 0 else 0.0)
    ranges = true_ranges(bars)
    sums = [sum(series[:13]) for series in (plus, minus, ranges)]
    indices = []
    for moves in zip(plus[13:], minus[13:], ranges[13:], strict=True):
        sums = [total - total / 14 + move for total, move in zip(sums, moves, strict=True)]
        indices.append((100 * sums[0] / sums[2], 100 * sums[1] / sums[2]))
    dx = [100 * abs(p - m) / (p + m) for p, m in indices]
    adx = sum(dx[:14]) / 14
    for one in dx[14:]:
        adx = (adx * 13 + one) / 14
    return {"plus_di": indices[-1][0], "minus_di": indices[-1][1], "adx": adx}


def cci(bars: Sequence[Bar]) -> float:
    typical: list[float] = [(b["high"] + b["low"] + b["close"]) / 3 for b in bars[-20:]]
    mean = statistics.fmean(typical)
    return (typical[-1] - mean) / (0.015 * statistics.fmean([abs(price - mean) for price in typical]))


def awesome(bars: Sequence[Bar]) -> float:
    medians = [(b["high"] + b["low"]) / 2 for b in bars]
    return statistics.fmean(medians[-5:]) - statistics.fmean(medians[-34:])


def williams(bars: Sequence[Bar]) -> float:
    high, low = max(b["high"] for b in bars[-14:]), min(b["low"] for b in bars[-14:])
    return float(-100 * (high - bars[-1]["close"]) / (high - low))


def expected(bars: Sequence[Bar], length: str) -> dict[str, float]:
    """Of bars without holes, oldest first."""
    found: dict[str, float] = {"bars": len(bars)}
    if len(bars) >= 14:
        found["williams_r"] = williams(bars)
    if len(bars) >= 20:
        found["cci"] = cci(bars)
    if len(bars) >= 34:
        found["ao"] = awesome(bars)
    if len(bars) >= 57:
        found |= {"rsi": rsi(bars), "atr": atr(bars)}
        found |= {name: value for name, value in directional(bars).items() if name != "adx"}
    if len(bars) >= 70:
        found["adx"] = directional(bars)["adx"]
    return {f"{name}_{length}": value for name, value in found.items()}


def walk(rng: random.Random, count: int, step: int = 60, first: int | None = None) -> list[Bar]:
    """Bars that end at T0 unless `first`, the second of the first one, says otherwise."""
    bars, price = [], 100.0
    start = -count * step if first is None else first
    for n in range(count):
        opened, price = price, price * math.exp(rng.gauss(0, 0.002))
        high, low = max(opened, price) + rng.random() / 5, min(opened, price) - rng.random() / 5
        bars.append({"ts": start + n * step, "open": opened, "high": high, "low": low, "close": price})
    return bars


def answer(seconds: float = 0, **bars: list[Bar]) -> dict[str, float]:
    """`_1m=…`; the window ends `seconds` after T0."""
    tables = {length: table(bars.get(f"_{length}", []), ROWS) for length in LENGTHS}
    return by_metric(
        of_tables(TECHNICAL, tables, ending(T0 + timedelta(seconds=seconds), timedelta(minutes=15)))
    )


@pytest.mark.parametrize("count", [13, 14, 15, 20, 33, 34, 56, 57, 69, 70, 130, MOST])
def test_every_indicator_against_its_formula_and_none_without_enough_bars(count: int) -> None:
    bars = walk(random.Random(count), count + 1)  # the first bar of a recording counts for nothing
    assert answer(_1m=bars) == pytest.approx(expected(bars[1:], "1m"))


def test_a_longer_history_changes_nothing() -> None:
    bars = walk(random.Random(1), MOST + 60)
    assert answer(_5m=[bar | {"ts": bar["ts"] * 5} for bar in bars]) == pytest.approx(
        expected(bars[-MOST:], "5m")
    )


def test_a_bar_that_is_not_complete_at_the_end_counts_for_nothing() -> None:
    bars = walk(random.Random(2), 80)
    wanted = answer(_1m=bars)
    wild = {"open": 100.0, "high": 900.0, "low": 1.0, "close": 500.0}
    assert answer(_1m=[*bars, wild | {"ts": 0}]) == wanted
    assert answer(59.999999, _1m=[*bars, wild | {"ts": 0}]) == wanted
    later = answer(60, _1m=[*bars, wild | {"ts": 0}])
    assert later == pytest.approx(expected([*bars[1:], wild], "1m"))


def test_periods_without_trades_carry_the_close() -> None:
    bars = walk(random.Random(3), 90)
    for n in (20, 41, 42, 43, 77, 89):
        close = bars[n - 1]["close"]
        bars[n] |= dict.fromkeys(COLUMNS[1:], close)
    told = [bar for n, bar in enumerate(bars) if n not in (20, 41, 42, 43, 77, 89)]
    assert answer(_1m=told) == pytest.approx(expected(bars[1:], "1m"))


def test_bars_begin_anew_after_an_interrupted_recording() -> None:
    bars = walk(random.Random(4), 200)
    told = [bar for n, bar in enumerate(bars) if not 100 <= n < 104]
    assert answer(_1m=told) == pytest.approx(expected(bars[104:], "1m"))
    assert answer(_1m=bars[:-4]) == {}  # nothing was recorded at the end


def test_a_thin_market_has_no_numbers() -> None:
    bars = walk(random.Random(5), 201)
    kept = [bar for n, bar in enumerate(bars) if n == 0 or n % 10 != 5]  # 20 of 200 are missing
    assert answer(_1m=kept)["bars_1m"] == 200
    assert HOLES == 0.1
    assert answer(_1m=[bar for bar in kept if bar is not bars[100]]) == {}


def test_equal_prices_have_a_range_of_nothing_and_no_strength() -> None:
    flat = [bar | dict.fromkeys(COLUMNS[1:], 7.0) for bar in walk(random.Random(6), 101)]
    assert answer(_4h=[bar | {"ts": bar["ts"] * 240} for bar in flat]) == {
        "bars_4h": 100.0,
        "ao_4h": 0.0,
        "atr_4h": 0.0,
    }
    assert answer() == {}


def test_through_the_views_of_the_server(database: Endpoint) -> None:
    """A trade or more in each five minutes of 43 days, several a minute in the last five hours; then one in the bars that
    are open at the window's end, and one after it."""
    rng = random.Random(7)
    end = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
    window = ending(end, timedelta(minutes=15))
    times = sorted(
        {window.end_us - rng.randrange(300_000_000) - n * 300_000_000 for n in range(43 * 288)}
        | {window.end_us - 31_000_000 - n * 20_000_000 for n in range(900)}
    )
    price, trades = 100.0, []
    for n, ts in enumerate(times):
        price *= math.exp(rng.gauss(0, 0.001))
        trades.append(Trade(ts, ts, *VENUE, "BTCUSDT", "buy", round(price, 4), 1.0, str(n)))
    for n, (ts, wild) in enumerate(((window.end_us - 1, 900.0), (window.end_us + 1, 1.0))):
        trades.append(Trade(ts, ts, *VENUE, "BTCUSDT", "buy", wild, 1.0, f"wild {n}"))
    store(database, trades)
    wait_rows(database, f"(SELECT sum(trades) n FROM ohlcv_4h) WHERE n = {len(trades)}", 1)
    wait_rows(database, f"(SELECT sum(trades) n FROM ohlcv_30m) WHERE n = {len(trades)}", 1)
    numbers = by_metric(of_server(TECHNICAL, database, window))
    wanted: dict[str, float] = {}
    for length, minutes in LENGTHS.items():
        step = minutes * 60_000_000
        newest = window.end_us // step - 1
        bars: dict[int, Bar] = {}
        for trade in trades:
            if newest - MOST < trade.ts // step <= newest:
                one = dict.fromkeys(COLUMNS[1:], trade.price)
                bar = bars.setdefault(trade.ts // step, one)
                bar["high"], bar["low"] = max(bar["high"], trade.price), min(bar["low"], trade.price)
                bar["close"] = trade.price
        if len(bars) == MOST:  # of the five-minute ones a few can be empty: see above
            wanted |= expected(list(bars.values()), length)
    assert {name.rpartition("_")[2] for name in wanted} >= {"1m", "30m", "4h"}
    assert {name: numbers[name] for name in wanted} == pytest.approx(wanted)
