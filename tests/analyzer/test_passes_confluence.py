"""The score: every lean by hand, the arithmetic against plain sums, and a pass on the real server."""

from __future__ import annotations

import json
import math
import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analyzer.config import ConfluenceConfig
from analyzer.passes import ANALYSES
from analyzer.passes.base import SIGNALS, Value
from analyzer.passes.components import COMPONENTS, NEEDS, leans
from analyzer.passes.confluence import CONFLUENCE, compute, confluence
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, FeedEvent, Gap, Row, Ticker
from tests.analyzer.answers import by_metric, checked
from tests.analyzer.fixtures import VENUE, analyzer, at, run_once, settings, store, trade, values
from tests.analyzer.tables import WHERE, window

WEIGHTS = {
    "order_flow": 0.30,
    "order_book": 0.20,
    "volume": 0.18,
    "structure": 0.15,
    "technical": 0.10,
    "sentiment": 0.07,
}
ONE_OF_EACH = {  # every component has one input, with the lean beside it
    "flow.imbalance": 0.3,  # 0.6
    "book.imbalance": 0.1,  # 0.2
    "structure.range_position": 0.9,  # 0.8
    "technical.cci_5m": -50.0,  # −0.5
    "derivatives.funding_rate": 0.0001,  # −0.2
    "profile.vwap_z": 1.0,  # tanh 1
}
PARTS = {
    "order_flow": 80.0,
    "order_book": 60.0,
    "volume": 50 + 50 * math.tanh(1),
    "structure": 90.0,
    "technical": 25.0,
    "sentiment": 40.0,
}


def signals(
    rows: dict[str, float], coverage: float | dict[str, float] | None = 1.0, **where: str
) -> pa.Table:
    """`analysis.metric` → value; the coverage of all of them, or of each analysis."""
    told = []
    for name, value in rows.items():
        analysis, metric = name.split(".")
        share = coverage.get(analysis, 1.0) if isinstance(coverage, dict) else coverage
        place = WHERE | where
        told.append((place["exchange"], place["market"], place["symbol"], analysis, metric, value, share))
    columns = zip(*told, strict=True) if told else [()] * len(SIGNALS)
    kinds = [pa.string()] * 5 + [pa.float64()] * 2
    return pa.table({n: pa.array(c, k) for n, c, k in zip(SIGNALS, columns, kinds, strict=True)})


def answer(table: pa.Table, **config: float) -> list[Value]:
    return list(checked(CONFLUENCE, compute({"signals": table}, window(), ConfluenceConfig(**config))))


def shares(values: list[Value], *metrics: str) -> Any:
    """The coverages that these metrics have (without any named: all)."""
    found = {value.coverage for value in values if not metrics or value.metric in metrics}
    return pytest.approx(sorted(share for share in found if share is not None))


def detail(values: list[Value]) -> Any:
    (text,) = [value.detail for value in values if value.detail]
    return json.loads(text)


LEANS: list[tuple[str, str, dict[str, float], float | None]] = [
    ("order_flow", "taker_imbalance", {"flow.imbalance": -0.2}, -0.4),
    ("order_flow", "taker_imbalance", {"flow.imbalance": 0.9}, 1.0),
    (
        "order_flow",
        "ofi_move",
        {"quotes.ofi_impact": 0.5, "quotes.ofi": -20.0, "bars.realized_vol": 0.001},
        math.tanh(-1),
    ),
    ("order_flow", "ofi_move", {"quotes.ofi_impact": 0.5, "quotes.ofi": 1.0, "bars.realized_vol": 0.0}, None),
    ("order_flow", "ofi_move", {"quotes.ofi": 1.0, "bars.realized_vol": 0.1}, None),
    ("order_book", "top_imbalance", {"book.imbalance": 0.25}, 0.5),
    ("order_book", "near_imbalance", {"depth.imbalance_10bps": -0.75}, -1.0),
    (
        "order_book",
        "microprice",
        {"book.microprice": 100.5, "book.mid": 100.0, "quotes.spread_last_bps": 200.0},
        0.5,
    ),
    ("order_book", "absorption", {"absorption.absorption_bid": 3.0, "absorption.absorption_ask": 1.0}, 0.5),
    ("order_book", "absorption", {"absorption.absorption_bid": 0.0, "absorption.absorption_ask": 0.0}, None),
    ("order_flow", "large_orders", {"whales.whale_imbalance": -0.3}, -0.3),
    (
        "order_flow",
        "divergence",
        {"divergence.divergence_bull": 1.0, "divergence.divergence_bear": 3.0},
        -0.5,
    ),
    ("volume", "vwap", {"profile.vwap_z": -0.5}, math.tanh(-0.5)),
    (
        "volume",
        "value_area",
        {"bars.close": 101.0, "profile.value_area_low": 98.0, "profile.value_area_high": 102.0},
        0.5,
    ),
    (
        "volume",
        "value_area",
        {"bars.close": 97.0, "profile.value_area_low": 98.0, "profile.value_area_high": 102.0},
        -1.0,
    ),
    ("volume", "money_flow", {"volume.cmf": -0.1}, -0.4),
    ("volume", "on_balance", {"volume.obv": -25.0, "bars.volume": 100.0}, -0.25),
    (
        "volume",
        "move",
        {"bars.return": -0.01, "bars.realized_vol": 0.01, "volume.relative_volume": 1.0},
        math.tanh(-1) / 2,
    ),
    (
        "volume",
        "move",
        {"bars.return": 0.01, "bars.realized_vol": 0.01, "volume.relative_volume": 7.0},
        math.tanh(1),
    ),
    ("volume", "move", {"bars.return": 0.0, "bars.realized_vol": 0.0, "volume.relative_volume": 1.0}, None),
    ("structure", "range", {"structure.range_position": 0.25}, -0.5),
    ("structure", "trend", {"structure.trend_slope": -3.0, "structure.trend_r2": 0.4}, -0.4),
    ("structure", "trend", {"structure.trend_slope": 0.0, "structure.trend_r2": 0.4}, 0.0),
    (
        "structure",
        "break",
        {"structure.last_break": -1.0, "structure.last_break_age_s": 1200.0, "structure.bar_s": 60.0},
        -0.5,
    ),
    ("structure", "gaps", {"structure.fvg_bull_open": 1.0, "structure.fvg_bear_open": 3.0}, -0.5),
    ("technical", "rsi_1m", {"technical.rsi_1m": 60.0}, 0.5),
    ("technical", "rsi_4h", {"technical.rsi_4h": 10.0}, -1.0),
    (
        "technical",
        "trend_5m",
        {"technical.plus_di_5m": 30.0, "technical.minus_di_5m": 10.0, "technical.adx_5m": 12.5},
        0.25,
    ),
    (
        "technical",
        "trend_5m",
        {"technical.plus_di_5m": 10.0, "technical.minus_di_5m": 30.0, "technical.adx_5m": 60.0},
        -0.5,
    ),
    ("technical", "cci_30m", {"technical.cci_30m": 250.0}, 1.0),
    ("technical", "williams_r_1m", {"technical.williams_r_1m": -75.0}, -0.5),
    ("technical", "ao_1m", {"technical.ao_1m": -2.0, "technical.atr_1m": 2.0}, math.tanh(-1)),
    ("technical", "ao_1m", {"technical.ao_1m": 0.0, "technical.atr_1m": 0.0}, None),
    ("sentiment", "funding", {"derivatives.funding_rate": -0.00025}, 0.5),
    ("sentiment", "premium", {"derivatives.mark_index_bps": 4.0}, 0.4),
    ("sentiment", "liquidations", {"liquidations.liq_imbalance": 0.6}, -0.6),
    ("sentiment", "opened", {"derivatives.opened_imbalance": 0.3}, 0.3),
]


@pytest.mark.parametrize(("component", "name", "numbers", "lean"), LEANS)
def test_leans_by_hand(component: str, name: str, numbers: dict[str, float], lean: float | None) -> None:
    found = leans(COMPONENTS[component], numbers)
    assert found == ({} if lean is None else {name: pytest.approx(lean)})


def test_every_input_has_an_example_and_reads_what_is_declared() -> None:
    shown = {
        (component, name.rpartition("_")[0] if component == "technical" else name)
        for component, name, _, _ in LEANS
    }
    for component, one in COMPONENTS.items():
        for each in one.inputs:
            name = each.name.rpartition("_")[0] if component == "technical" else each.name
            assert (component, name) in shown
            for read in each.reads:
                analysis, metric = read.split(".")
                assert metric in {m.name for m in ANALYSES[analysis].metrics}, read
    order = list(ANALYSES)
    assert max(order.index(need) for need in CONFLUENCE.needs) < order.index("confluence")
    assert set(NEEDS) < set(CONFLUENCE.needs)


def test_the_score_is_the_weighted_mean_of_its_parts() -> None:
    found = answer(signals(ONE_OF_EACH))
    score = sum(WEIGHTS[name] * PARTS[name] for name in WEIGHTS)
    assert by_metric(found) == pytest.approx({**PARTS, "score": score, "verdict": 1.0, "weight": 1.0})
    told = detail(found)
    assert (told["verdict"], told["why"], told["coverage"]) == ("long", "", 1.0)
    assert {part["component"]: part["score"] for part in told["parts"]} == pytest.approx(PARTS)
    assert {part["component"]: part["weight"] for part in told["parts"]} == pytest.approx(WEIGHTS)
    assert told["parts"][0]["inputs"] == {"taker_imbalance": 0.6}


def test_a_component_is_the_mean_of_what_it_has() -> None:
    numbers = {"book.imbalance": 0.2, "depth.imbalance_10bps": -0.5}
    assert by_metric(answer(signals(numbers)))["order_book"] == pytest.approx(50 + 50 * (0.4 - 1.0) / 2)


@pytest.mark.parametrize(
    ("flow", "verdict"),
    [(0.2001, 1.0), (0.2, 1.0), (0.1999, 0.0), (-0.1499, 0.0), (-0.15, -1.0), (-0.5, -1.0)],
)
def test_bounds_of_the_verdict(flow: float, verdict: float) -> None:
    """With one component the score is 50 + 100 × its imbalance: 70 at 0.2, 35 at −0.15."""
    found = by_metric(answer(signals({"flow.imbalance": flow}), min_weight=0.3))
    assert found["verdict"] == verdict
    assert found["score"] == pytest.approx(50 + 100 * flow)


def test_what_is_missing_is_said_and_the_rest_is_weighed_anew() -> None:
    without = {
        key: value for key, value in ONE_OF_EACH.items() if not key.startswith(("technical", "derivatives"))
    }
    found = answer(signals(without))
    known = {name: weight for name, weight in WEIGHTS.items() if name not in ("technical", "sentiment")}
    score = sum(weight * PARTS[name] for name, weight in known.items()) / 0.83
    numbers = by_metric(found)
    assert (numbers["score"], numbers["weight"]) == pytest.approx((score, 0.83))
    assert not {"technical", "sentiment"} & numbers.keys()
    missing = {part["component"]: part["missing"] for part in detail(found)["parts"] if "missing" in part}
    assert missing == {"technical": "no numbers", "sentiment": "no numbers"}


def test_too_little_known_is_no_score() -> None:
    found = answer(signals({"flow.imbalance": 0.3, "structure.range_position": 0.9}))  # .30 + .15
    assert by_metric(found) == pytest.approx({"weight": 0.45, "order_flow": 80.0, "structure": 90.0})
    told = detail(found)
    assert (told["score"], told["verdict"]) == (None, "none")
    assert told["why"] == "components of 45% of the weight are known, below 50%"
    assert "score" in by_metric(
        answer(signals({"flow.imbalance": 0.3, "book.imbalance": 0.1}))
    )  # 50 % is enough
    assert answer(signals({})) == []
    weightless = by_metric(answer(signals({"flow.imbalance": 0.3}), order_flow=0.0, min_weight=0.0))
    assert weightless == {"weight": 0.0, "order_flow": 80.0}


def test_coverage_is_weighed_and_a_component_with_holes_is_left_out() -> None:
    """Books: 60 % recorded; the rest wholly."""
    table = signals(ONE_OF_EACH, {"book": 0.6})
    found = answer(table)
    score = sum(WEIGHTS[name] * PARTS[name] for name in WEIGHTS if name != "order_book") / 0.8
    assert by_metric(found)["score"] == pytest.approx(score)
    assert shares(found, "score", "verdict", "weight") == [0.8 + 0.2 * 0.6]
    (book,) = [part for part in detail(found)["parts"] if part["component"] == "order_book"]
    assert (book["missing"], book["coverage"]) == ("recorded 60% of the window", 0.6)
    assert "order_book" not in by_metric(found)
    (flow,) = [value for value in found if value.metric == "order_flow"]
    assert flow.coverage == 1.0
    kept = answer(table, min_coverage=0.6)
    assert by_metric(kept)["order_book"] == 60.0


def test_a_component_is_covered_as_its_least_recorded_number() -> None:
    found = answer(signals(ONE_OF_EACH, {"profile": 0.9, "flow": 0.95}))
    assert {v.metric: v.coverage for v in found if v.metric in ("volume", "order_flow")} == {
        "volume": 0.9,
        "order_flow": 0.95,
    }


@pytest.mark.parametrize(("share", "there"), [(0.81, True), (0.8, True), (0.79, False), (0.0, False)])
def test_below_the_configured_coverage_there_is_no_score(share: float, there: bool) -> None:
    found = answer(signals(ONE_OF_EACH, share))
    assert ("score" in by_metric(found)) is there
    if not there:
        assert detail(found)["why"] == f"recorded {share:.0%} of the window, below 80%"
        assert [share] == shares(found)


def test_a_channel_that_brought_nothing_counts_with_its_coverage() -> None:
    """No numbers of the books, as nothing of them was recorded; the score says so: 0.8 × 1 + 0.2 × 0."""
    numbers = {key: value for key, value in ONE_OF_EACH.items() if not key.startswith("book")}
    found = answer(signals(numbers | {"coverage.coverage_orderbook": 0.0}), min_coverage=0.7)
    assert shares(found, "score") == [0.8]
    undeclared = answer(signals(numbers), min_coverage=0.7)
    assert shares(undeclared, "score") == [1.0]


def test_unknown_coverage_stays_unknown() -> None:
    found = answer(signals(ONE_OF_EACH, None))
    assert "score" in by_metric(found)
    assert {value.coverage for value in found} == {None}


def test_weights_are_shares_of_their_sum() -> None:
    numbers = {"flow.imbalance": 0.3, "book.imbalance": 0.1}
    others = dict.fromkeys(("volume", "structure", "technical", "sentiment"), 0.0)
    found = answer(signals(numbers), order_flow=3.0, order_book=1.0, **others)
    assert by_metric(found) == pytest.approx(
        {"score": (3 * 80 + 60) / 4, "verdict": 1.0, "weight": 1.0, "order_flow": 80.0, "order_book": 60.0}
    )


def test_instruments_are_apart_and_numbers_over_all_venues_are_nobodys() -> None:
    tables = [
        signals(ONE_OF_EACH),
        signals(ONE_OF_EACH | {"flow.imbalance": -0.3}, symbol="ETHUSDT"),
        signals({"venues.venues": 3.0}, exchange="*", symbol="BTC-USDT-PERP"),
    ]
    found = answer(pa.concat_tables(tables))
    assert {value.symbol for value in found} == {"BTCUSDT", "ETHUSDT"}
    assert by_metric(found, "ETHUSDT")["order_flow"] == pytest.approx(20.0)


def recorded() -> list[Row]:
    """Fifteen minutes of trades, books and tickers, and their subscriptions."""
    rng = random.Random(3)
    start = at("2026-03-01T23:52:00Z")
    rows: list[Row] = []
    price = 100.0
    who = (*VENUE, "BTCUSDT")
    early = start - 60_000_000
    rows += [FeedEvent(early, early, *who, c, "subscribed") for c in ("trades", "orderbook", "tickers")]
    for n in range(900):
        ts = start + n * 1_000_000
        price *= math.exp(rng.gauss(0, 2e-4))
        side = rng.choice(("buy", "buy", "sell"))
        rows.append(trade(f"{np.datetime64(ts, 'us')}Z", "BTCUSDT", side, price, rng.random(), str(n)))
        levels = np.arange(10) * 0.02 + 0.01
        bids = np.array([price - levels, rng.random() + np.ones(10)])
        asks = np.array([price + levels, rng.random() + np.ones(10)])
        rows.append(BookSnapshot(ts, ts, *who, bids, asks, n))
        rows.append(Ticker(ts, ts, *who, price, price, price, 0.0001, None, 1000.0 + rng.random()))
    return rows


WINDOW = ("--window", "15m", "--as-of", "2026-03-02T00:07:00Z")


def test_a_pass_scores_from_its_own_numbers(database: Endpoint, tmp_path: Path) -> None:
    """Recomputed here from the document's numbers; then with other weights, then with a hole in everything."""
    rows = recorded()
    store(database, rows)
    config = settings(tmp_path, database)
    code, document = run_once(config, *WINDOW)
    assert code == 0
    numbers = values(document, "confluence", "BTCUSDT")
    known = {name: numbers[name] for name in WEIGHTS if name in numbers}
    assert {"order_flow", "order_book", "volume", "structure", "sentiment"} <= known.keys()
    weight = sum(WEIGHTS[name] for name in known)
    assert numbers["weight"] == pytest.approx(weight)
    assert numbers["score"] == pytest.approx(sum(WEIGHTS[n] * part for n, part in known.items()) / weight)
    all_numbers = {
        f"{one['name']}.{row['metric']}": row["value"]
        for one in document["analyses"]
        for row in one["values"]
    }
    for name, part in known.items():
        found = leans(COMPONENTS[name], all_numbers)
        assert part == pytest.approx(50 + 50 * sum(found.values()) / len(found))
    (row,) = [r for a in document["analyses"] for r in a["values"] if r["metric"] == "score"]
    assert row["coverage"] == 1.0
    assert row["detail"]["score"] == numbers["score"]

    alone = settings(
        tmp_path, database, "[confluence]\nvolume = 0\nstructure = 0\ntechnical = 0\nsentiment = 0\n"
    )
    _, document = run_once(alone, *WINDOW, "--analyses", "confluence")
    assert [one["name"] for one in document["analyses"]] == ["confluence"]
    again = values(document, "confluence", "BTCUSDT")
    assert again["score"] == pytest.approx((0.3 * known["order_flow"] + 0.2 * known["order_book"]) / 0.5)

    low, high = at("2026-03-01T23:53:00Z"), at("2026-03-01T23:57:00Z")
    hole = [
        Gap(low, high, high, *VENUE, "BTCUSDT", c, "disconnected") for c in ("trades", "orderbook", "tickers")
    ]
    store(database, [*rows, *hole])
    _, document = run_once(settings(tmp_path, database), *WINDOW)
    numbers = values(document, "confluence", "BTCUSDT")
    assert "score" not in numbers
    done = analyzer("run-once", "--config", str(config), *WINDOW, "--analyses", "confluence")
    assert "no score, recorded 73% of the window, below 80%: all" in done.stdout
    loose = settings(tmp_path, database, "[confluence]\nmin_coverage = 0.7\n")
    done = analyzer("run-once", "--config", str(loose), *WINDOW, "--analyses", "confluence")
    assert done.returncode == 0
    assert "73.3%" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 100


def test_the_registered_analysis_has_the_default_weights() -> None:
    assert ConfluenceConfig().weights() == WEIGHTS
    one = confluence(ConfluenceConfig(order_flow=1.0))
    assert [metric.name for metric in one.metrics] == [metric.name for metric in CONFLUENCE.metrics]
    assert isinstance(one.compute, partial)
