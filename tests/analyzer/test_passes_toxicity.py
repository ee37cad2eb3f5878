"""VPIN, Kyle's lambda, price–CVD divergence: by hand, against loops, NumPy's and the standard library's regressions."""

from __future__ import annotations

import json
import math
import random
import statistics
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import pytest

from analyzer.passes.base import Analysis
from analyzer.passes.blocks import BLOCKS
from analyzer.passes.divergence import DIVERGENCE
from analyzer.passes.regression import line
from analyzer.passes.structure import SWING
from analyzer.passes.toxicity import BUCKETS, EDGES, TOXICITY
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import Trade
from tests.analyzer.answers import by_metric, of_server, of_tables
from tests.analyzer.fixtures import store
from tests.analyzer.markets import bad, blocks, inside, made, walk
from tests.analyzer.tables import table, window

END = datetime(2026, 11, 22, 0, 1, 33, 250_000, tzinfo=UTC)  # over a day's partition, on no block's bound
WINDOW = ending(END, timedelta(seconds=400))
NAMES = ("exchange", "market", "symbol")
ROWS = (*NAMES, *BLOCKS)


def block(n: int, close: float, buys: float = 5.0, sells: float = 5.0, sided: int = 20) -> dict[str, Any]:
    prices = {"open": close, "close": close, "high": close, "low": close}
    volumes = {
        "buys": buys,
        "sells": sells,
        "volume": buys + sells,
        "net": (buys - sells) * 1e4,
        "sided": sided,
    }
    return {"ts": 10 * n} | prices | volumes


def toxicity(rows: list[dict[str, Any]], edges: list[dict[str, Any]] | None = None) -> dict[str, float]:
    tables = {"blocks": table(rows, ROWS), "edges": table(edges or [], (*NAMES, *EDGES))}
    return by_metric(of_tables(TOXICITY, tables, window()))


def test_vpin_by_hand() -> None:
    """100 volume, buckets of 2. A buy of 60 fills thirty; then buys and sells of 1 fill twenty evenly: 30 / 50."""
    edges = [{"ts": 0, "reached": 60.0, "bought": 60.0, "qty": 60.0, "buy_qty": 60.0, "total": 100.0}]
    for n in range(20):  # of each even bucket its second half, a sell
        reached, bought = 60.0 + 2 * (n + 1), 60.0 + n + 1
        edges.append(
            {"ts": n + 1, "reached": reached, "bought": bought, "qty": 1.0, "buy_qty": 0.0, "total": 100.0}
        )
    found = toxicity([block(0, 1.0, 80.0, 20.0, sided=500)], edges)
    assert found == pytest.approx({"vpin": 0.6, "vpin_bucket": 2.0})
    assert toxicity([block(0, 1.0, 80.0, 20.0, sided=499)], edges) == {}  # too few trades to say


def test_kyle_lambda_by_hand() -> None:
    """A million quote units bought move the price by 2 bps, exactly; a hole and its successor have no neighbour."""
    nets = [1.0, -2.0, 3.0, 0.0, 1.0, -1.0, 2.0, 2.0, -3.0, 1.0, 4.0]
    price, rows = 100.0, [block(0, 100.0)]
    for n, net in enumerate(nets):
        price *= math.exp(2e-4 * net)
        rows.append(block(n + 1, price, 100.0 * max(net, 0), 100.0 * max(-net, 0)))
    found = toxicity([*rows, block(20, 500.0, 7.0, 0.0)])
    assert found["kyle_lambda"] == pytest.approx(2.0)
    assert found["kyle_r2"] == pytest.approx(1.0)
    assert toxicity(rows[:10]) == {}  # nine pairs
    assert toxicity([block(n, 100.0 + n) for n in range(30)]) == {}  # no flow: nothing to compare with
    still = toxicity([block(n, 100.0, float(n)) for n in range(30)])
    assert still == {"kyle_lambda": 0.0}  # it was bought, and the price stood


def test_the_line_against_other_libraries() -> None:
    rng = random.Random(5)
    for count in (3, 10, 200):
        x = [rng.gauss(3, 2) for _ in range(count)]
        y = [0.3 * one + rng.gauss(0, 1) for one in x]
        found = line(np.array(x), np.array(y))
        assert found is not None
        assert found.slope == pytest.approx(statistics.linear_regression(x, y).slope)
        assert found.r2 == pytest.approx(statistics.correlation(x, y) ** 2)
        _, cov = np.polyfit(x, y, 1, cov="unscaled")
        left = np.array(y) - np.polyval(np.polyfit(x, y, 1), x)
        assert found.t == pytest.approx(found.slope / math.sqrt(cov[0, 0] * (left @ left) / (count - 2)))
    same = np.full(9, 0.1 + 0.2)
    assert line(same, np.arange(9.0)) is None
    assert line(np.arange(2.0), np.arange(2.0)) is None


def looped_vpin(trades: list[Trade]) -> float:
    """A bucket after the other, each trade shared out."""
    sided = [one for one in trades if one.side]
    size = sum(one.qty for one in sided) / BUCKETS
    imbalances, net, left = [], 0.0, size
    for one in sided:
        rest = one.qty
        while rest > 0:
            part = min(rest, left)
            net += part if one.side == "buy" else -part
            rest, left = rest - part, left - part
            if left <= 1e-9 * size:
                imbalances.append(abs(net))
                net, left = 0.0, size
    return sum(imbalances) / (BUCKETS * size)


@pytest.mark.parametrize("seed", [41, 42])
def test_toxicity_on_the_server_against_loops(database: Endpoint, seed: int) -> None:
    rng = random.Random(seed)
    # A sweep of trades at one microsecond has an order only as it is stored: the window's trades are told apart here.
    trades = [one for one in walk(rng, WINDOW, 1200) if one.trade_id.endswith(".0")]
    whole = made(WINDOW, 30_000_000, "buy", 100.0, 900.0, "fills many buckets", "BTCUSDT")
    trades = [*(one for one in trades if one.ts != whole.ts), whole]
    store(database, [*trades, *bad(WINDOW), *walk(rng, WINDOW, 60, "ETHUSDT")])
    own = inside(trades, WINDOW)
    numbers = by_metric(values := of_server(TOXICITY, database, WINDOW))
    assert numbers["vpin"] == pytest.approx(looped_vpin(own))
    assert numbers["vpin_bucket"] == pytest.approx(sum(one.qty for one in own if one.side) / BUCKETS)
    assert "vpin" not in by_metric(values, "ETHUSDT")  # too few trades
    bars = blocks(own)
    x, y = [], []
    for before, after in pairwise(bars):
        if after == before + 1:
            sign = {"buy": 1, "sell": -1, None: 0}
            x.append(sum(sign[one.side] * one.price * one.qty for one in bars[after]))
            y.append(math.log(bars[after][-1].price / bars[before][-1].price) * 1e4)
    assert len(bars) - len(x) > 1  # there was a hole
    wanted = statistics.linear_regression(x, y).slope * 1e6
    assert numbers["kyle_lambda"] == pytest.approx(wanted)
    assert numbers["kyle_r2"] == pytest.approx(statistics.correlation(x, y) ** 2)


def divergence(rows: list[dict[str, Any]]) -> tuple[dict[str, float], dict[str, Any]]:
    values = of_tables(DIVERGENCE, {"blocks": table(rows, ROWS)}, window())
    return by_metric(values), {v.metric: json.loads(v.detail)["rows"] for v in values if v.detail}


def waves(tops: tuple[float, float], cvd: tuple[float, float]) -> list[dict[str, Any]]:
    """Blocks of a price that rises to the first top at n = 8, falls, and rises to the second at n = 24; CVD at them."""
    prices = [100.0] * 5 + [100 + (tops[0] - 100) * k / 4 for k in (1, 2, 3, 4, 3, 2, 1)] + [100.0] * 9
    prices += [100 + (tops[1] - 100) * k / 4 for k in (1, 2, 3, 4, 3, 2, 1)] + [100.0] * 6
    assert (prices.index(tops[0]), prices.index(tops[1])) == (8, 24)
    deltas = [0.0] * len(prices)
    deltas[8], deltas[24] = cvd[0], cvd[1] - cvd[0]
    return [
        block(n, price, max(d, 0.0), max(-d, 0.0))
        for n, (price, d) in enumerate(zip(prices, deltas, strict=True))
    ]


def test_divergence_by_hand() -> None:
    numbers, rows = divergence(waves((104.0, 106.0), (50.0, 20.0)))
    assert (numbers["divergence_bear"], numbers["divergence_bull"], numbers["divergence_last"]) == (
        1.0,
        0.0,
        -1.0,
    )
    assert rows["divergence_bear"] == [
        {
            "from": "2026-11-23T12:01:20.000000Z",
            "to": "2026-11-23T12:04:00.000000Z",
            "price_from": 104.0,
            "price_to": 106.0,
            "cvd_from": 50.0,
            "cvd_to": 20.0,
        }
    ]
    for tops, cvd in (((104.0, 106.0), (50.0, 60.0)), ((106.0, 104.0), (50.0, 20.0))):
        numbers, _ = divergence(waves(tops, cvd))
        assert numbers["divergence_bear"] == numbers["divergence_bull"] == 0.0
        assert "divergence_last" not in numbers
    numbers, _ = divergence(waves((96.0, 94.0), (-50.0, -20.0)))
    assert (numbers["divergence_bull"], numbers["divergence_bear"], numbers["divergence_last"]) == (
        1.0,
        0.0,
        1.0,
    )
    assert divergence(waves((104.0, 106.0), (50.0, 20.0))[:19]) == ({}, {})


def test_divergence_on_the_server_against_loops(database: Endpoint) -> None:
    span = ending(END, timedelta(seconds=3000))
    trades = walk(random.Random(43), span, 3000)
    store(database, [*trades, *bad(span)])
    bars = list(blocks(inside(trades, span)).values())
    closes = [own[-1].price for own in bars]
    sign = {"buy": 1, "sell": -1, None: 0}
    deltas = [sum(sign[one.side] * one.qty for one in own) for own in bars]
    cvd = list(accumulate(deltas))
    step = statistics.median(abs(b - a) for a, b in pairwise(closes))
    typical = statistics.median(map(abs, deltas))
    wanted = {"divergence_bear": 0, "divergence_bull": 0}
    for name, way in (("divergence_bear", 1), ("divergence_bull", -1)):
        line_ = [way * close for close in closes]
        peaks = [
            n
            for n in range(SWING, len(line_) - SWING)
            if line_[n] > max(line_[n - SWING : n]) and line_[n] >= max(line_[n + 1 : n + 1 + SWING])
        ]
        for a, b in pairwise(peaks):
            wanted[name] += line_[b] - line_[a] > step and way * (cvd[b] - cvd[a]) < -typical
    numbers = by_metric(of_server(DIVERGENCE, database, span))
    assert {name: numbers[name] for name in wanted} == wanted
    assert min(wanted.values()) > 0
    moves = [math.log(b / a) for a, b in pairwise(closes)]
    assert numbers["cvd_corr"] == pytest.approx(statistics.correlation(moves, deltas[1:]))


@pytest.mark.parametrize("analysis", [TOXICITY, DIVERGENCE], ids=lambda one: one.name)
def test_equal_prices_one_trade_unknown_sides_and_none(database: Endpoint, analysis: Analysis) -> None:
    equal = [
        made(WINDOW, n * 400_000, "buy" if n % 3 else "sell", 8.0, 2.0, n, "BTCUSDT") for n in range(900)
    ]
    unsided = [made(WINDOW, n * 400_000, None, 8.0 + n % 7, 2.0, n, "ETHUSDT") for n in range(900)]
    store(
        database,
        [*equal, *unsided, made(WINDOW, 5, "sell", 8.0, 2.0, "one", "SOLUSDT"), *bad(WINDOW, "XRPUSDT")],
    )
    values = of_server(analysis, database, WINDOW)
    assert {value.symbol for value in values} <= {"BTCUSDT", "ETHUSDT"}
    numbers, unknown = by_metric(values), by_metric(values, "ETHUSDT")
    if analysis is TOXICITY:
        assert numbers["vpin"] == pytest.approx(looped_vpin(equal))
        assert numbers.get("kyle_lambda", 0.0) == 0.0
        assert unknown == {}
    else:
        assert numbers == unknown == {"divergence_bear": 0.0, "divergence_bull": 0.0}
