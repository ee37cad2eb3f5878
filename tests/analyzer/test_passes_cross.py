"""Instruments against each other: planted relations, numpy's and plain loops' answers, and the server's SQL."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analyzer.passes import cross, leadlag
from analyzer.passes.base import Analysis, Value
from analyzer.passes.cross import CROSS
from analyzer.passes.grid import FILL_S, quotes
from analyzer.passes.leadlag import LEADLAG
from analyzer.passes.venues import VENUES
from analyzer.windows import Window
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot
from tests.analyzer.answers import by_metric, of_server, of_tables, snapshot
from tests.analyzer.fixtures import store
from tests.analyzer.tables import table, window
from tests.conftest import query

Series = Sequence[float | None]
"""Mids second by second; None: no quote."""
QUOTES = ("exchange", "market", "symbol", "ts", "bid", "ask")
NAMED = ("exchange", "market", "symbol", "name", "base", "quote", "kind")
HALF = 0.5
"""Half a spread."""


def answer(
    analysis: Analysis, series: Mapping[str, Series], names: Sequence[Sequence[str]] = ()
) -> Sequence[Value]:
    """Keys are "exchange market symbol"."""
    rows: list[dict[str, Any]] = []
    for key, mids in series.items():
        where = dict(zip(("exchange", "market", "symbol"), key.split(), strict=True))
        rows += [
            where | {"ts": n, "bid": mid - HALF, "ask": mid + HALF}
            for n, mid in enumerate(mids)
            if mid is not None
        ]
    columns = zip(*names, strict=True) if names else [()] * len(NAMED)
    tables = {
        "quotes": table(rows, QUOTES),
        "names": pa.table(
            {name: pa.array(column, pa.string()) for name, column in zip(NAMED, columns, strict=True)}
        ),
    }
    return of_tables(analysis, tables, window(max((len(one) for one in series.values()), default=10)))


def walk(rng: random.Random, count: int, start: float = 1000.0) -> list[float]:
    prices = [start]
    for _ in range(count - 1):
        prices.append(prices[-1] * math.exp(rng.gauss(0, 1e-3)))
    return prices


def test_the_grid_fills_what_stands_still_and_no_holes() -> None:
    rows = [{"ts": n, "bid": 9.0 + n, "ask": 11.0 + n} for n in (2, 3, 3 + FILL_S + 5)]
    grid = quotes(table(rows, QUOTES), window(25))
    wanted = [np.nan] * 2 + [12.0] + [13.0] * (FILL_S + 1) + [np.nan] * 4 + [10.0 + 18] * 7
    assert grid.mid(0).tolist() == pytest.approx(wanted, nan_ok=True)
    assert quotes(table([], QUOTES), window(25)).names == []


def test_movers_by_hand() -> None:
    up, down = [100.0] + [110.0] * 9, [None, 100.0] + [99.0] * 8
    values = answer(CROSS, {"a m UP": up, "a m DOWN": down, "a m FLAT": [50.0] * 10, "b m OTHER": down})
    numbers = {symbol: by_metric(values, symbol) for symbol in ("UP", "DOWN", "FLAT", "OTHER")}
    assert [numbers[s]["move_rank"] for s in ("UP", "FLAT", "DOWN", "OTHER")] == [1.0, 2.0, 3.0, 1.0]
    assert numbers["UP"]["move_bps"] == pytest.approx(math.log(1.1) * 1e4)
    assert numbers["DOWN"]["move_excess_bps"] == pytest.approx(math.log(0.99) * 1e4)  # the median is 0
    assert numbers["OTHER"]["move_excess_bps"] == 0.0
    assert "corr_mean" not in numbers["UP"]  # too short


def test_beta_by_hand() -> None:
    """An alternating bitcoin; ETH moves twice as far, XRP against it, FLAT not at all."""
    coin = [100.0 * (1 + 0.01 * (n // 5 % 2)) for n in range(200)]
    series = {
        "a m BTCUSDT": coin,
        "a m ETHUSDT": [7 * price**2 for price in coin],
        "a m XRPUSDT": [1e6 / price for price in coin],
        "a m FLAT": [5.0] * 200,
        "b m ALONE": coin,
    }
    values = answer(CROSS, series)
    ether, ripple = by_metric(values, "ETHUSDT"), by_metric(values, "XRPUSDT")
    assert (ether["beta_btc"], ether["corr_btc"]) == pytest.approx((2.0, 1.0))
    assert (ripple["beta_btc"], ripple["corr_btc"], ripple["corr_mean"]) == pytest.approx((-1.0, -1.0, -1.0))
    for symbol in ("BTCUSDT", "FLAT", "ALONE"):
        assert not {"beta_btc", "corr_btc"} & by_metric(values, symbol).keys()
    assert "corr_mean" not in by_metric(values, "FLAT")
    (text,) = [value.detail for value in values if (value.symbol, value.metric) == ("ETHUSDT", "beta_btc")]
    assert json.loads(text)["rows"] == [{"bitcoin": "BTCUSDT", "returns": 39}]


def test_bitcoin_is_what_the_venue_lists_as_such() -> None:
    rng = random.Random(20)
    coin = walk(rng, 300)
    series = {"a m XYZ": coin, "a m BTCDOWN": walk(rng, 300), "a m ETH": [price**2 for price in coin]}
    names = [
        ["a", "m", "XYZ", "BTC-USD-PERP", "BTC", "USD", "perp"],
        ["a", "m", "BTCDOWN", "BTCDOWN-USD-PERP", "BTCDOWN", "USD", "perp"],
    ]
    assert by_metric(answer(CROSS, series, names), "ETH")["beta_btc"] == pytest.approx(2.0)
    assert by_metric(answer(CROSS, series), "ETH")["beta_btc"] != pytest.approx(2.0)


def test_correlations_against_numpy() -> None:
    rng = np.random.default_rng(21)
    moves = rng.normal(size=(120, 4)) + rng.normal(size=(120, 1))
    moves[rng.random(moves.shape) < 0.2] = np.nan
    moves[25:, 3] = np.nan
    found = cross.correlations(moves)
    for a in range(4):
        for b in range(4):
            both = np.isfinite(moves[:, a]) & np.isfinite(moves[:, b])
            if both.sum() < 20:
                assert np.isnan(found[a, b])
            else:
                assert found[a, b] == pytest.approx(np.corrcoef(moves[both, a], moves[both, b])[0, 1])
    assert np.isnan(found[0, 3])


def test_a_planted_leader_is_found_and_only_it() -> None:
    rng = random.Random(22)
    lead = walk(rng, 600)
    follow = [
        2000.0 * math.exp(0.8 * math.log(lead[max(n - 3, 0)] / 1000) + rng.gauss(0, 2e-4)) for n in range(600)
    ]
    series: dict[str, Series] = {
        "a m LEAD": lead,
        "a m FOLLOW": follow,
        "a m OTHER": walk(rng, 600),
        "b m LEAD": walk(rng, 600),
    }
    values = answer(LEADLAG, series)
    assert {value.symbol for value in values} == {"FOLLOW"}
    numbers = by_metric(values, "FOLLOW")
    assert numbers["leader_lag_s"] == 3.0
    assert numbers["leader_corr"] > 0.9
    assert numbers["leader_z"] > 10
    row = json.loads(values[0].detail)["rows"][0]
    assert (row["leader"], row["seconds"], row["looked_at"]) == ("a m LEAD", 596, 60 + 20)
    assert row["p"] < 1e-6


def test_a_venue_that_follows() -> None:
    rng = random.Random(23)
    lead = walk(rng, 400)
    late: list[float | None] = [None, *lead[:-1]]
    names = [
        ["a", "linear", "BTCUSDT", "BTC-USDT-PERP", "BTC", "USDT", "perp"],
        ["b", "spot", "tBTC", "BTC-USDT-SPOT", "BTC", "USDT", "spot"],
    ]
    values = answer(LEADLAG, {"a linear BTCUSDT": lead, "b spot tBTC": late}, names)
    assert {value.symbol for value in values} == {"tBTC"}
    numbers = by_metric(values, "tBTC")
    assert (numbers["venue_leader_lag_s"], numbers["venue_leader_corr"]) == pytest.approx((1.0, 1.0))
    assert (
        answer(LEADLAG, {"a linear BTCUSDT": lead, "b spot tBTC": late}) == []
    )  # nobody says that they are the same


def test_no_leaders_among_the_unrelated_the_simultaneous_and_the_short() -> None:
    rng = random.Random(24)
    unrelated: dict[str, Series] = {f"a m S{n}": walk(rng, 900) for n in range(12)}
    assert answer(LEADLAG, unrelated) == []
    lead = walk(rng, 300)
    assert answer(LEADLAG, {"a m A": lead, "a m B": [price * 2 for price in lead]}) == []
    assert answer(LEADLAG, {"a m A": lead[:41], "a m B": [None, *lead[:40]]}) == []
    assert answer(LEADLAG, {"a m A": [7.0] * 300, "a m B": [7.0] * 300}) == []
    assert answer(LEADLAG, {"a m A": lead[:5], "a m B": lead[:5]}) == []


def test_lagged_correlation_against_loops() -> None:
    rng = random.Random(25)
    moves = np.array(
        [[rng.gauss(0, 1) if rng.random() < 0.9 else math.nan for _ in range(3)] for _ in range(150)]
    )
    for lag in (0, 1, 7):
        rho, z, count = leadlag.correlations(moves, lag)
        for a in range(3):
            for b in range(3):
                pairs = [(moves[n, a], moves[n + lag, b]) for n in range(150 - lag)]
                pairs = [(x, y) for x, y in pairs if math.isfinite(x) and math.isfinite(y)]
                together = sum(x * y for x, y in pairs)
                sizes = math.sqrt(sum(x * x for x, _ in pairs) * sum(y * y for _, y in pairs))
                assert rho[a, b] == pytest.approx(together / sizes)
                assert z[a, b] == pytest.approx(together / math.sqrt(sum((x * y) ** 2 for x, y in pairs)))
                assert count[a, b] == len(pairs)


def test_venues_by_hand() -> None:
    """Spreads of 1: mids of 100 and 102 are crossed (101.5 > 100.5), those of 100 and 100.5 aren't."""
    names = [
        [e, "linear", s, "BTC-USDT-PERP", "BTC", "USDT", "perp"] for e, s in (("a", "BTCUSDT"), ("b", "XBT"))
    ]
    names += [
        ["a", "spot", "BTCUSDT", "BTC-USDT-SPOT", "BTC", "USDT", "spot"],
        ["c", "inverse", "BTCUSD", "BTC-USD-PERP", "BTC", "USD", "perp"],
    ]
    late = [None] * 12
    series: dict[str, Series] = {
        "a linear BTCUSDT": [100.0, 100.0, 100.0, None, *late],
        "b linear XBT": [102.0, 100.5, 100.5, 100.5, *late],
        "a spot BTCUSDT": [100.0, 99.0, 100.0, 100.0, *late],
        "c inverse BTCUSD": [100.0, 99.0, 100.0, 100.0, *late],
    }
    values = answer(VENUES, series, names)
    over = {value.metric: value.value for value in values if value.exchange == "*"}
    # Seconds 3 … 12 repeat what stands still (10 s), the first venue's to 12, the second's to 13: 13 common ones.
    apart = [2 / 101 * 1e4, *[0.5 / 100.25 * 1e4] * 12]
    assert over == pytest.approx(
        {
            "venues": 2.0,
            "venue_spread_bps": statistics.mean(apart),
            "venue_spread_max_bps": apart[0],
            "venue_crossed": 1 / 13,
            "venue_edge_max_bps": 1 / 101 * 1e4,
        }
    )
    assert {(value.market, value.symbol) for value in values if value.exchange == "*"} == {
        ("linear", "BTC-USDT-PERP")
    }
    own = {value.metric: value.value for value in values if value.exchange == "a"}
    basis = [0.0, (100 / 99 - 1) * 1e4, *[0.0] * 11]
    assert own == pytest.approx(
        {
            "basis_bps": 0.0,
            "basis_mean_bps": statistics.mean(basis),
            "basis_std_bps": statistics.pstdev(basis),
        }
    )
    other = {value.metric: value for value in values if value.exchange == "b"}
    assert other["basis_bps"].value == pytest.approx(50.0)  # against the only spot there is
    assert json.loads(other["basis_bps"].detail)["rows"] == [{"spot": "a spot BTCUSDT"}]
    assert not [value for value in values if value.exchange == "c"]  # another quote


def test_one_venue_and_nothing() -> None:
    for analysis in (CROSS, LEADLAG, VENUES):
        assert answer(analysis, {}) == []
    assert answer(VENUES, {"a spot BTC": [1.0] * 20}) == []
    alone = by_metric(answer(CROSS, {"a spot BTC": [7.0] * 20}), "BTC")
    assert alone == {"move_bps": 0.0, "move_rank": 1.0, "move_excess_bps": 0.0}
    assert by_metric(answer(CROSS, {"a spot BTC": [7.0]}), "BTC") == {}


def test_through_the_server(database: Endpoint) -> None:
    over = Window(window(300).start, window(300).end + timedelta(milliseconds=500))
    rng = random.Random(26)
    lead = [round(price * 4) / 4 for price in walk(rng, 300)]
    rows: list[BookSnapshot] = []
    for n, price in enumerate(lead):
        for symbol, mid in (("BTCUSDT", price), ("ETHUSDT", lead[max(n - 2, 0)] * 2)):
            ts = over.start_us + n * 1_000_000
            rows.append(
                snapshot(ts + 100_000, [(1.0, 1.0)], [(9.0, 1.0)], n, symbol)
            )  # not the second's last
            rows.append(snapshot(ts + 900_000, [(mid - HALF, 1.0)], [(mid + HALF, 1.0)], n, symbol))
            rows.append(snapshot(ts + 950_000, [(mid, 1.0)], [(mid - HALF, 1.0)], n, symbol))  # crossed
    rows.append(snapshot(over.end_us, [(1.0, 1.0)], [(2.0, 1.0)], 0))  # comes later
    store(database, rows)
    query(
        database,
        "INSERT INTO instruments (ts, exchange, market, symbol, name, base, quote, kind) VALUES "
        "('2026-11-01T00:00:00Z', 'bybit', 'linear', 'ETHUSDT', 'ETH-USDT-PERP', 'ETH', 'USDT', 'perp')",
    )
    numbers = by_metric(of_server(CROSS, database, over), "ETHUSDT")
    assert numbers["move_bps"] == pytest.approx(math.log(lead[-3] / lead[0]) * 1e4)
    found = of_server(LEADLAG, database, over)
    assert {value.symbol for value in found} == {"ETHUSDT"}
    assert by_metric(found, "ETHUSDT")["leader_lag_s"] == 2.0
    assert of_server(VENUES, database, over) == []
