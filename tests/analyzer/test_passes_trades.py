"""Trade sizes and large trades: by hand, and their SQL on the real server against plain loops."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyzer.passes.base import Analysis
from analyzer.passes.sizes import BOUNDS, BUCKETS, SIZES
from analyzer.passes.whales import BEFORE_US, LARGE, TIMES, WHALES
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import Trade
from tests.analyzer.answers import by_metric, of_server, of_tables
from tests.analyzer.fixtures import store
from tests.analyzer.markets import bad, inside, made, walk
from tests.analyzer.tables import T0_US, table, window

END = datetime(2026, 11, 22, 0, 0, 33, 250_000, tzinfo=UTC)  # over a day's partition, on no block's bound
WINDOW = ending(END, timedelta(seconds=200))
NAMES = ("exchange", "market", "symbol")
SUMS = (*NAMES, "bucket", "trades", "notional", "buys", "sells")
ORDERS = (*NAMES, *LARGE, "horizon", "age", "bid", "ask")


def test_sizes_by_hand() -> None:
    rows = [
        {"bucket": 0, "trades": 3, "notional": 600.0, "buys": 300.0, "sells": 100.0},  # 200 of unknown side
        {"bucket": 4, "trades": 1, "notional": 2e6, "buys": 0.0, "sells": 0.0},
    ]
    zeros = {f"size_{one}_{what}": 0.0 for one in BUCKETS for what in ("trades", "notional")}
    assert by_metric(of_tables(SIZES, {"sums": table(rows, SUMS)}, window())) == zeros | {
        "size_below_1k_trades": 3.0,
        "size_below_1k_notional": 600.0,
        "size_below_1k_imbalance": 0.5,
        "size_above_1m_trades": 1.0,
        "size_above_1m_notional": 2e6,
        "size_mean": 2_000_600 / 4,
    }
    assert of_tables(SIZES, {"sums": table([], SUMS)}, window()) == []


def test_sizes_on_the_server_against_loops(database: Endpoint) -> None:
    rng = random.Random(31)
    bounds = [
        made(WINDOW, 50 + n, "buy", 1.0, bound, f"bound{n}", "BTCUSDT")
        for n, bound in enumerate(BOUNDS.values())
    ]
    trades = [*walk(rng, WINDOW, 400), *bounds]
    store(database, [*trades, *bad(WINDOW), *walk(rng, WINDOW, 20, "ETHUSDT")])
    wanted = {f"size_{one}_{what}": 0.0 for one in BUCKETS for what in ("trades", "notional")}
    sides: dict[str, list[float]] = {one: [0.0, 0.0] for one in BUCKETS}
    own = inside(trades, WINDOW)
    for one in own:
        notional = one.price * one.qty
        label = list(BUCKETS)[sum(notional >= bound for bound in BOUNDS.values())]
        wanted[f"size_{label}_trades"] += 1
        wanted[f"size_{label}_notional"] += notional
        if one.side:
            sides[label][one.side == "sell"] += notional
    for label, (buys, sells) in sides.items():
        if buys + sells:
            wanted[f"size_{label}_imbalance"] = (buys - sells) / (buys + sells)
    wanted["size_mean"] = sum(one.price * one.qty for one in own) / len(own)
    assert by_metric(of_server(SIZES, database, WINDOW)) == pytest.approx(wanted)


def rows_of(values: Sequence[Any], metric: str) -> Any:
    (text,) = [value.detail for value in values if value.metric == metric and value.symbol == "BTCUSDT"]
    return json.loads(text)["rows"] if text else []


def test_whales_by_hand() -> None:
    big = {"side": "buy", "qty": 40.0, "notional": 4200.0, "low": 100.0, "high": 110.0, "trades": 3}
    order = big | {"ts": 3.5, "mean": 140.0, "total": 28_000.0}
    rows = [order | {"horizon": horizon} for horizon in (BEFORE_US, 1_000_000)]  # each order once a horizon
    tables = {
        "large": table(rows, ORDERS),
        "sided": table([{"ts": 0}, {"ts": 0, "symbol": "ETHUSDT"}], ("ts", *NAMES)),
    }
    values = of_tables(WHALES, tables, window())
    zeros = {f"whale_{side}_{what}": 0.0 for side in ("buy", "sell") for what in ("count", "notional")}
    assert by_metric(values) == zeros | {
        "whale_buy_count": 1.0,
        "whale_buy_notional": 4200.0,
        "whale_imbalance": 1.0,
        "whale_share": 0.15,
    }
    assert rows_of(values, "whale_buy_count") == [
        {
            "at": "2026-11-23T12:00:03.500000Z",
            "notional": 4200.0,
            "qty": 40.0,
            "prices": [100.0, 110.0],
            "trades": 3,
            "times_mean": 30.0,
        }
    ]
    assert rows_of(values, "whale_sell_count") == []
    assert by_metric(values, "ETHUSDT") == zeros  # looked for, and not found
    assert T0_US % 1_000_000 == 0


def test_whales_on_the_server_against_loops(database: Endpoint) -> None:
    """A sweep of four trades is large only as one order."""
    trades = walk(random.Random(32), WINDOW, 600)
    sweep = [made(WINDOW, 20_000_000, "sell", 99.0 - n, 40.0, f"sweep{n}", "BTCUSDT") for n in range(4)]
    sweep += [made(WINDOW, 22_000_000 + n, "buy", 100.0, 200.0 + n, f"alone{n}", "BTCUSDT") for n in range(3)]
    unsided = made(WINDOW, 21_000_000, None, 100.0, 9000.0, "unsided", "BTCUSDT")
    store(database, [*trades, *sweep, unsided, *bad(WINDOW)])
    orders: dict[tuple[int, str], list[Trade]] = {}
    for one in inside([*trades, *sweep], WINDOW):
        if one.side:
            orders.setdefault((one.ts, one.side), []).append(one)
    sizes = {key: sum(one.price * one.qty for one in fills) for key, fills in orders.items()}
    mean = sum(sizes.values()) / len(sizes)
    large = {key: size for key, size in sizes.items() if size >= TIMES * mean}
    assert len(large) > 3
    assert all(one.price * one.qty < TIMES * mean for one in sweep[:4])
    values = of_server(WHALES, database, WINDOW)
    numbers = by_metric(values)
    for side in ("buy", "sell"):
        own = sorted((size for (_, taker), size in large.items() if taker == side), reverse=True)
        assert numbers[f"whale_{side}_count"] == len(own)
        assert numbers[f"whale_{side}_notional"] == pytest.approx(sum(own))
        assert [row["notional"] for row in rows_of(values, f"whale_{side}_count")] == pytest.approx(own[:20])
    (row,) = [
        row for row in rows_of(values, "whale_sell_count") if row["trades"] == 4 and row["qty"] == 160.0
    ]
    assert (row["prices"], row["times_mean"]) == ([96.0, 99.0], pytest.approx(160 * 97.5 / mean))
    assert numbers["whale_share"] == pytest.approx(sum(large.values()) / sum(sizes.values()))


@pytest.mark.parametrize("analysis", [SIZES, WHALES], ids=lambda one: one.name)
def test_equal_trades_one_trade_and_none(database: Endpoint, analysis: Analysis) -> None:
    equal = [made(WINDOW, n, "buy", 8.0, 2.0, n, "ETHUSDT") for n in range(30)]
    alone = [
        made(WINDOW, 5, "sell", 8.0, 2.0, "one", "SOLUSDT"),
        made(WINDOW, 5, None, 8.0, 2.0, "unsided", "XRPUSDT"),
    ]
    store(database, [*equal, *alone, *bad(WINDOW)])
    values = of_server(analysis, database, WINDOW)
    assert by_metric(values) == {}
    if analysis is WHALES:
        assert {value.value for value in values} == {0.0}
        assert {value.symbol for value in values} == {"ETHUSDT", "SOLUSDT"}
    else:
        assert by_metric(values, "ETHUSDT")["size_below_1k_imbalance"] == 1.0
        assert "size_below_1k_imbalance" not in by_metric(values, "XRPUSDT")
