"""Volume profile, VWAP bands, relative volume, OBV, ADL, CMF: by hand, against loops, and through the server's views."""

from __future__ import annotations

import json
import math
import random
import statistics
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from analyzer.passes.base import Analysis
from analyzer.passes.blocks import BLOCKS
from analyzer.passes.profile import COLUMNS, PROFILE, ROWS, profile
from analyzer.passes.volume import BARS, VOLUME, WINDOWS
from analyzer.windows import Window, ending
from collector.database.endpoint import Endpoint
from collector.rows import Trade
from tests.analyzer.answers import by_metric, of_server, of_tables
from tests.analyzer.fixtures import VENUE, store
from tests.analyzer.markets import bad, blocks, inside, made, walk
from tests.analyzer.tables import table, window
from tests.conftest import wait_rows

END = datetime(2026, 11, 22, 0, 1, 33, 250_000, tzinfo=UTC)  # over a day's partition, on no bar's bound
WINDOW = ending(END, timedelta(seconds=300))
NAMES = ("exchange", "market", "symbol")
BEFORE = ("ts", *NAMES, "number", "volume")


def volumes(**rows: float) -> Any:
    """r7=3.0: row 7 has volume 3."""
    found = np.zeros(ROWS)
    for name, volume in rows.items():
        found[int(name[1:])] = volume
    return found


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (volumes(r20=10.0), (20, 20, 20)),
        (volumes(r20=70.0, r25=30.0), (20, 20, 20)),  # 70 % at once
        # Two rows at a time: 21 and 22 (25) come before 18 and 19 (20), and then it is enough.
        (volumes(r18=10.0, r19=10.0, r20=50.0, r21=5.0, r22=20.0, r30=5.0), (20, 20, 22)),
        (volumes(r18=10.0, r19=15.0, r20=50.0, r21=5.0, r22=15.0, r30=5.0), (20, 18, 20)),
        (volumes(r18=10.0, r20=60.0, r22=10.0, r30=20.0), (20, 20, 22)),  # equal: the upper
        (volumes(r0=30.0, r1=10.0, r2=10.0, r3=9.0, r4=9.0, r49=20.0), (0, 0, 4)),  # nothing below
        (volumes(r49=30.0, r48=10.0, r47=10.0, r46=9.0, r45=9.0, r0=20.0), (49, 45, 49)),  # nothing above
        (volumes(r0=50.0, r49=50.0), (0, 0, 49)),  # two equals as far from the middle: the lower
        (
            volumes(r3=50.0, r30=50.0),
            (30, 2, 49),
        ),  # that nearer to the middle; on the way to row 3 all above is empty
    ],
)
def test_value_area_by_hand(volume: Any, expected: tuple[int, int, int]) -> None:
    assert profile(volume) == expected


def looped_area(volume: list[float]) -> tuple[int, int, int]:
    """The handbook's steps, with sets of rows."""
    middle = (len(volume) - 1) / 2
    poc = sorted(range(len(volume)), key=lambda n: (-volume[n], abs(n - middle), n))[0]
    rows = {poc}
    while sum(volume[n] for n in rows) < 0.7 * sum(volume) - 1e-12:
        pairs = []
        for way, step in (("up", 1), ("down", -1)):
            edge = max(rows) if step > 0 else min(rows)
            pair = [n for n in (edge + step, edge + 2 * step) if 0 <= n < len(volume)]
            if pair:
                pairs.append((-sum(volume[n] for n in pair), way == "down", pair))
        rows |= set(min(pairs)[2])
    return poc, min(rows), max(rows)


def test_value_area_against_loops() -> None:
    rng = random.Random(61)
    for _ in range(300):
        some = [float(rng.choice((0, 0, 1, 2, 3, 8))) for _ in range(ROWS)]
        some[rng.randrange(ROWS)] += 1.0
        assert profile(np.array(some)) == looped_area(some)


def test_bands_by_hand() -> None:
    """1 at 100, 2 at 104, 1 at 108: mean 104, variance (16 + 0 + 16) / 4."""
    common = {"low": 100.0, "high": 108.0, "close": 108.0}
    rows = [
        common | {"row": 0, "volume": 1.0, "moment": 0.0, "square": 0.0},
        common | {"row": 25, "volume": 2.0, "moment": 8.0, "square": 32.0},
        common | {"row": 50, "volume": 1.0, "moment": 8.0, "square": 64.0},
    ]
    values = of_tables(PROFILE, {"rows": table(rows, (*BEFORE[:4], *COLUMNS))}, window())
    assert by_metric(values) == pytest.approx(
        {
            "poc": 100 + 25.5 * 0.16,
            "poc_share": 0.5,
            "poc_bps": (108 / 104.08 - 1) * 1e4,
            "value_area_low": 104.0,
            "value_area_high": 108.0,
            "value_area_share": 0.75,
            "vwap_sigma": math.sqrt(8),
            "vwap_upper_1": 104 + math.sqrt(8),
            "vwap_lower_1": 104 - math.sqrt(8),
            "vwap_upper_2": 104 + 2 * math.sqrt(8),
            "vwap_lower_2": 104 - 2 * math.sqrt(8),
            "vwap_z": 4 / math.sqrt(8),
        }
    )
    (text,) = [value.detail for value in values if value.detail]
    assert json.loads(text)["rows"][0] == pytest.approx({"price": 104.08, "share": 0.5})


def test_profile_on_the_server_against_loops(database: Endpoint) -> None:
    rng = random.Random(62)
    trades = walk(rng, WINDOW, 900)
    store(database, [*trades, *bad(WINDOW), *walk(rng, WINDOW, 30, "ETHUSDT")])
    own = inside(trades, WINDOW)
    prices, sizes = [one.price for one in own], [one.qty for one in own]
    low, high = min(prices), max(prices)
    rows = dict.fromkeys(range(ROWS), 0.0)
    for price, size in zip(prices, sizes, strict=True):
        rows[min(int((price - low) / (high - low) * ROWS), ROWS - 1)] += size
    poc, bottom, top = looped_area([rows[n] for n in range(ROWS)])
    vwap = sum(p * v for p, v in zip(prices, sizes, strict=True)) / sum(sizes)
    sigma = math.sqrt(sum(v * (p - vwap) ** 2 for p, v in zip(prices, sizes, strict=True)) / sum(sizes))
    height = (high - low) / ROWS
    numbers = by_metric(of_server(PROFILE, database, WINDOW))
    assert numbers == pytest.approx(
        {
            "poc": low + (poc + 0.5) * height,
            "poc_share": rows[poc] / sum(sizes),
            "poc_bps": (prices[-1] / (low + (poc + 0.5) * height) - 1) * 1e4,
            "value_area_low": low + bottom * height,
            "value_area_high": low + (top + 1) * height,
            "value_area_share": sum(rows[n] for n in range(bottom, top + 1)) / sum(sizes),
            "vwap_sigma": sigma,
            "vwap_z": (prices[-1] - vwap) / sigma,
            **{f"vwap_upper_{n}": vwap + n * sigma for n in (1, 2)},
            **{f"vwap_lower_{n}": vwap - n * sigma for n in (1, 2)},
        }
    )


def bar(n: int, low: float, high: float, close: float, volume: float) -> dict[str, Any]:
    return {"ts": 10 * n, "open": close, "low": low, "high": high, "close": close, "volume": volume}


def pressure(rows: list[dict[str, Any]], before: list[dict[str, Any]] | None = None) -> dict[str, float]:
    tables = {"blocks": table(rows, (*NAMES, *BLOCKS)), "before": table(before or [], BEFORE)}
    return by_metric(of_tables(VOLUME, tables, window()))


def test_pressure_by_hand() -> None:
    rows = [
        bar(0, 99, 101, 101, 10),
        bar(1, 98, 102, 99, 8),
        bar(2, 100, 100, 100, 5),
        bar(3, 99, 103, 100, 4),
    ]
    assert pressure(rows) == pytest.approx({"obv": -8 + 5, "adl": 10 - 8 * 0.5 + 0 - 4 * 0.5})
    assert pressure(rows[:1]) == pytest.approx({"adl": 10.0})
    same = [bar(n, 100, 100, 100, 7) for n in range(BARS)]
    assert pressure(same) == {"obv": 0.0, "adl": 0.0, "cmf": 0.0}
    assert pressure([bar(n, 99, 101, 101, 7) for n in range(BARS)])["cmf"] == 1.0


def test_relative_volume_by_hand() -> None:
    now = [bar(0, 1, 1, 1, 30)]
    before = [{"ts": 0, "number": n, "volume": 10.0} for n in range(WINDOWS)]
    assert pressure(now, before)["relative_volume"] == 3.0
    # The window in which recording began is in no mean; empty ones aren't either.
    young = [*before[:5], {"ts": 0, "number": 9, "volume": 1e9}]
    assert pressure(now, young)["relative_volume"] == 3.0
    assert "relative_volume" not in pressure(now, young[1:])
    assert "relative_volume" not in pressure(now, [])


def test_pressure_on_the_server_against_loops(database: Endpoint) -> None:
    trades = walk(random.Random(63), WINDOW, 900)
    store(database, [*trades, *bad(WINDOW)])
    bars = [
        (
            min(one.price for one in own),
            max(one.price for one in own),
            own[-1].price,
            sum(one.qty for one in own),
        )
        for own in blocks(inside(trades, WINDOW)).values()
    ]
    moneyflow = [v * ((c - l) - (h - c)) / (h - l) if h > l else 0.0 for l, h, c, v in bars]  # noqa: E741
    obv = sum(math.copysign(b[3], b[2] - a[2]) if b[2] != a[2] else 0.0 for a, b in pairwise(bars))
    assert len(bars) > BARS
    numbers = by_metric(of_server(VOLUME, database, WINDOW))
    assert numbers == pytest.approx(
        {
            "obv": obv,
            "adl": sum(moneyflow),
            "cmf": sum(moneyflow[-BARS:]) / sum(b[3] for b in bars[-BARS:]),
        }
    )


@pytest.mark.parametrize(
    ("seconds", "bar_s", "view"), [(30, 1, "ohlcv_1s"), (900, 60, "ohlcv_1m"), (2 * 86_400, 3600, "ohlcv_1h")]
)
def test_relative_volume_through_the_views(database: Endpoint, seconds: int, bar_s: int, view: str) -> None:
    """Trades over 14 windows before; those of two of them, of the bar over the start, and of the first one don't count."""
    rng = random.Random(seconds)
    end = END.replace(second=0, microsecond=0, minute=0) + timedelta(seconds=bar_s * 0.4)
    span = Window(end - timedelta(seconds=seconds), end)
    whole = span.start_us // (bar_s * 1_000_000) * bar_s * 1_000_000
    trades, sums = [], dict.fromkeys(range(14), 0.0)
    for number in range(14):
        if number in (3, 7):
            continue
        newest = whole - number * seconds * 1_000_000
        for us in (1, seconds * 1_000_000, *rng.sample(range(2, seconds * 1_000_000), 6)):
            size = float(rng.randint(1, 9))
            trades.append(Trade(newest - us, 0, *VENUE, "BTCUSDT", "buy", 8.0, size, f"{newest - us}"))
            sums[number] += size
    trades.append(
        Trade(span.start_us - 1, 0, *VENUE, "BTCUSDT", "buy", 8.0, 500.0, "in the bar over the start")
    )
    trades.append(Trade(span.start_us, 0, *VENUE, "BTCUSDT", "buy", 8.0, 40.0, "at the start"))
    store(database, trades)
    wait_rows(database, view, len({one.ts // (bar_s * 1_000_000) for one in trades}))
    usual = statistics.fmean(volume for number, volume in sums.items() if volume and number < 13)
    values = of_server(VOLUME, database, span)
    assert by_metric(values)["relative_volume"] == pytest.approx(40 / usual)
    (text,) = [value.detail for value in values if value.detail]
    assert json.loads(text)["rows"] == [{"windows": 11, "mean_volume": pytest.approx(usual)}]
    short = ending(END, timedelta(seconds=9))
    assert "relative_volume" not in by_metric(of_server(VOLUME, database, short))


@pytest.mark.parametrize("analysis", [PROFILE, VOLUME], ids=lambda one: one.name)
def test_one_trade_equal_prices_and_none(database: Endpoint, analysis: Analysis) -> None:
    equal = [made(WINDOW, n * 700_000, None, 0.1 + 0.2, 0.7, n, "BTCUSDT") for n in range(400)]
    store(database, [*equal, made(WINDOW, 5, "buy", 8.0, 2.0, "one", "ETHUSDT"), *bad(WINDOW, "XRPUSDT")])
    values = of_server(analysis, database, WINDOW)
    numbers, alone = by_metric(values), by_metric(values, "ETHUSDT")
    assert by_metric(values, "XRPUSDT") == {}
    if analysis is PROFILE:
        level = ("poc", "value_area_low", "value_area_high", "vwap_upper_2", "vwap_lower_2")
        assert {numbers[name] for name in level} == {0.1 + 0.2}
        assert numbers["vwap_sigma"] == 0.0
        assert {alone[name] for name in level} == {8.0}
        assert "vwap_z" not in numbers
    else:
        assert (numbers, alone) == ({"obv": 0.0, "adl": 0.0, "cmf": 0.0}, {"adl": 0.0})
