"""Every number of the analyses on tables worked out by hand, and against plain loops on random data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analyzer.passes import ANALYSES, bars, book, coverage, flow, liquidations
from analyzer.passes.base import Value
from analyzer.passes.recorded import union
from tests.analyzer.tables import WHERE, table, window

SECONDS = (
    "ts",
    "exchange",
    "market",
    "symbol",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "notional",
    "trades",
)
SUMS = (
    "exchange",
    "market",
    "symbol",
    "buy_volume",
    "sell_volume",
    "volume",
    "notional",
    "largest",
    "trades",
    "buys",
    "sells",
)
BOOKS = ("ts", "exchange", "market", "symbol", *book.COLUMNS)
FORCED = ("exchange", "market", "symbol", "side", "orders", "qty", "notional", "largest")
STREAM = ("exchange", "market", "symbol", "channel", "collector")


def numbers(values: Sequence[Value], symbol: str = "BTCUSDT") -> dict[str, float]:
    return {value.metric: value.value for value in values if value.symbol == symbol}


def second(ts: float, close: float, **more: Any) -> dict[str, Any]:
    bar = {"ts": ts, "open": close, "high": close, "low": close, "close": close}
    return bar | {"volume": 1.0, "notional": close, "trades": 1} | more


def test_bars_by_hand() -> None:
    rows = [
        second(2, 99.0, high=111.0),
        second(0, 100.0, open=98.0, low=97.0),  # out of order on purpose
        second(1, 110.0, volume=3.0, notional=330.0, trades=2),
        second(0, 5.0, symbol="ETHUSDT"),
    ]
    values = bars.compute({"seconds": table(rows, SECONDS)}, window())
    found = numbers(values)
    vol = math.sqrt(math.log(110 / 100) ** 2 + math.log(99 / 110) ** 2)
    assert found == pytest.approx(
        {
            "open": 98.0,
            "high": 111.0,
            "low": 97.0,
            "close": 99.0,
            "volume": 5.0,
            "notional": 529.0,
            "trades": 4.0,
            "return": math.log(99 / 98),
            "realized_vol": vol,
        }
    )
    alone = numbers(values, "ETHUSDT")
    assert "realized_vol" not in alone  # one close has no return
    assert alone["return"] == 0.0


@given(st.lists(st.floats(1, 1e6), min_size=2, max_size=40))
def test_realized_vol_against_a_loop(closes: list[float]) -> None:
    rows = [second(n, close) for n, close in enumerate(closes)]
    total = sum(math.log(b / a) ** 2 for a, b in pairwise(closes))
    found = numbers(bars.compute({"seconds": table(rows, SECONDS)}, window()))
    assert found["realized_vol"] == pytest.approx(math.sqrt(total))


def test_equal_prices_have_no_volatility_and_no_return() -> None:
    found = numbers(bars.compute({"seconds": table([second(n, 7.0) for n in range(5)], SECONDS)}, window()))
    assert (found["realized_vol"], found["return"]) == (0.0, 0.0)


def test_flow_by_hand() -> None:
    row = {
        "buy_volume": 6.0,
        "sell_volume": 2.0,
        "volume": 8.5,
        "notional": 850.0,
        "largest": 4.0,
        "trades": 5,
        "buys": 1,
        "sells": 3,
    }
    assert numbers(flow.compute({"sums": table([row], SUMS)}, window())) == pytest.approx(
        {
            "cvd": 4.0,
            "buy_volume": 6.0,
            "sell_volume": 2.0,
            "trade_count": 5.0,
            "largest_trade": 4.0,
            "buy_trades": 1.0,
            "sell_trades": 3.0,
            "imbalance": 0.5,
            "trade_imbalance": -0.5,
            "vwap": 100.0,
        }
    )


def test_flow_of_unknown_sides_has_no_imbalance() -> None:
    row = {
        "buy_volume": 0.0,
        "sell_volume": 0.0,
        "volume": 2.0,
        "notional": 20.0,
        "largest": 2.0,
        "trades": 1,
        "buys": 0,
        "sells": 0,
    }
    found = numbers(flow.compute({"sums": table([row], SUMS)}, window()))
    assert not {"imbalance", "trade_imbalance"} & found.keys()
    assert found["vwap"] == 10.0


def test_book_by_hand() -> None:
    first = {"bid": 99.95, "bid_size": 1.0, "ask": 100.05, "ask_size": 3.0}
    rows = [
        {"ts": 0, **first, "top_bid": 12.0, "top_ask": 8.0, "near_bid": 3.0, "near_ask": 3.0},
        {"ts": 1, "bid": 99.0, "bid_size": 4.0, "ask": 101.0, "ask_size": 1.0}
        | {"top_bid": 4.0, "top_ask": 1.0, "near_bid": 0.0, "near_ask": 0.0},
        {"ts": 2, "bid": 102.0, "bid_size": 1.0, "ask": 101.0, "ask_size": 1.0, "near_bid": 7.0},  # crossed
        {"ts": 3, "ask": 101.0, "ask_size": 1.0},  # one-sided
    ]
    found = numbers(book.compute({"seconds": table(rows, BOOKS)}, window()))
    assert found == pytest.approx(
        {
            "crossed": 1.0,
            "mid": 100.0,
            "microprice": (99.0 * 1 + 101.0 * 4) / 5,
            "spread_bps": (0.10 / 100 * 1e4 + 2.0 / 100 * 1e4) / 2,
            "imbalance": ((12 - 8) / 20 + (4 - 1) / 5) / 2,
            "depth_bid_10bps": (3.0 + 0.0) / 2,
            "depth_ask_10bps": (3.0 + 0.0) / 2,
        }
    )


def test_a_second_without_sizes_has_no_proportion_and_spoils_no_mean() -> None:
    none = {"bid": 99.0, "bid_size": 0.0, "ask": 101.0, "ask_size": 0.0, "top_bid": 0.0, "top_ask": 0.0}
    some = none | {"bid_size": 1.0, "ask_size": 1.0, "top_bid": 3.0, "top_ask": 1.0}
    found = numbers(book.compute({"seconds": table([{"ts": 0} | some, {"ts": 1} | none], BOOKS)}, window()))
    assert (found["imbalance"], found["mid"], found["spread_bps"]) == (0.5, 100.0, 200.0)
    assert "microprice" not in found
    alone = numbers(book.compute({"seconds": table([{"ts": 1} | none], BOOKS)}, window()))
    assert "imbalance" not in alone


def test_books_without_a_mid_yield_no_price() -> None:
    assert numbers(book.compute({"seconds": table([{"ts": 0, "ask": 1.0}, {"ts": 1}], BOOKS)}, window())) == {
        "crossed": 0.0
    }


def test_liquidations_by_hand() -> None:
    rows = [
        {"side": "sell", "orders": 3, "qty": 6.0, "notional": 600.0, "largest": 400.0},
        {"side": "buy", "orders": 1, "qty": 1.0, "notional": 101.0, "largest": 101.0},
        {"side": "buy", "orders": 1, "qty": 1.0, "notional": 7.0, "largest": 7.0, "symbol": "ETHUSDT"},
    ]
    values = liquidations.compute({"sums": table(rows, FORCED)}, window())
    assert numbers(values) == {
        "liq_long_count": 3.0,
        "liq_long_qty": 6.0,
        "liq_long_notional": 600.0,
        "liq_short_count": 1.0,
        "liq_short_qty": 1.0,
        "liq_short_notional": 101.0,
        "liq_largest_notional": 400.0,
        "liq_imbalance": (600 - 101) / (600 + 101),
    }
    assert numbers(values, "ETHUSDT")["liq_long_count"] == 0.0


def covered(
    gaps: list[dict[str, Any]],
    first: float = -1000,
    last: float = 1000,
    again: list[dict[str, Any]] | None = None,
    channels: tuple[str, ...] = ("trades",),
) -> dict[str, float]:
    tables = {
        "subscribed": table([{"channel": c, "first": first} for c in channels], (*STREAM, "first")),
        "gaps": table([{"channel": "trades"} | gap for gap in gaps], (*STREAM, "from_ts", "to_ts")),
        "resumed": table([{"channel": "trades"} | row for row in again or []], (*STREAM, "from_ts", "again")),
        "alive": table([{"last": last}], ("collector", "last")),
    }
    return numbers(coverage.compute(tables, window(100)))


@pytest.mark.parametrize(
    ("gaps", "share"),
    [
        ([], 1.0),
        ([{"from_ts": 10, "to_ts": 30}], 0.8),
        ([{"from_ts": 10, "to_ts": 30}, {"from_ts": 20, "to_ts": 40}], 0.7),  # overlapping count once
        ([{"from_ts": -500, "to_ts": 25}], 0.75),  # began before the window
        ([{"from_ts": 90, "to_ts": 900}], 0.9),
        ([{"from_ts": 60, "to_ts": None}], 0.6),  # still open
        ([{"from_ts": -5, "to_ts": None}], 0.0),
        ([{"from_ts": 10, "to_ts": 30, "channel": "tickers"}], 1.0),  # another channel's
        ([{"from_ts": 10, "to_ts": 30, "symbol": "ETHUSDT"}], 1.0),
    ],
)
def test_coverage_of_gaps(gaps: list[dict[str, Any]], share: float) -> None:
    assert covered(gaps)["coverage_trades"] == pytest.approx(share)


def test_coverage_before_the_first_subscription_and_after_the_last_sign_of_life() -> None:
    assert covered([], first=25)["coverage_trades"] == pytest.approx(0.75)
    assert covered([], last=25)["coverage_trades"] == pytest.approx(0.40)  # 25 s, and 15 s of grace
    assert covered([], first=200)["coverage_trades"] == 0.0


def test_an_open_gap_ends_when_the_stream_is_subscribed_again() -> None:
    found = covered([{"from_ts": 20, "to_ts": None}], again=[{"from_ts": 20, "again": 50}])
    assert found["coverage_trades"] == pytest.approx(0.7)


def test_coverage_is_the_mean_of_the_recorded_channels() -> None:
    found = covered([{"from_ts": 0, "to_ts": 50}], channels=("trades", "tickers"))
    assert found == pytest.approx({"coverage_trades": 0.5, "coverage_tickers": 1.0, "coverage": 0.75})


@given(st.lists(st.tuples(st.integers(-20, 120), st.integers(0, 60)), max_size=8))
def test_union_of_intervals_against_counting(spans: list[tuple[int, int]]) -> None:
    intervals = [(low, low + length) for low, length in spans]
    counted = sum(any(low <= n < high for low, high in intervals) for n in range(100))
    assert sum(high - low for low, high in union(intervals, 0, 100)) == counted


Spans = st.lists(st.tuples(st.integers(0, 99), st.integers(1, 30)), max_size=5)


@given(Spans, Spans, st.integers(-10, 110), st.integers(-10, 110))
def test_what_one_collector_lacks_another_covers(
    one: list[tuple[int, int]], other: list[tuple[int, int]], first: int, last: int
) -> None:
    """The second begins at `first` and gives no sign of life after `last`. Counted second by second."""
    gaps = [
        {"collector": name, "channel": "trades", "from_ts": low, "to_ts": low + length}
        for name, spans in (("a", one), ("b", other))
        for low, length in spans
    ]
    starts = [{"channel": "trades", "collector": name, "first": at} for name, at in (("a", -5), ("b", first))]
    tables = {
        "subscribed": table(starts, (*STREAM, "first")),
        "gaps": table(gaps, (*STREAM, "from_ts", "to_ts")),
        "resumed": table([], (*STREAM, "from_ts", "again")),
        "alive": table(
            [{"collector": "a", "last": 1000}, {"collector": "b", "last": last}], ("collector", "last")
        ),
    }

    def lacks(spans: list[tuple[int, int]], second: int) -> bool:
        return any(low <= second < low + length for low, length in spans)

    recorded = [not lacks(one, n) or (first <= n < last + 15 and not lacks(other, n)) for n in range(100)]
    share = numbers(coverage.compute(tables, window(100)))["coverage_trades"]
    assert share == pytest.approx(sum(recorded) / 100)


def test_empty_windows_yield_nothing() -> None:
    empty: dict[str, dict[str, tuple[str, ...]]] = {
        "coverage": {
            "subscribed": (*STREAM, "first"),
            "gaps": (*STREAM, "from_ts", "to_ts"),
            "resumed": (*STREAM, "from_ts", "again"),
            "alive": ("collector", "last"),
        },
        "bars": {"seconds": SECONDS},
        "flow": {"sums": SUMS},
        "book": {"seconds": BOOKS},
        "liquidations": {"sums": FORCED},
    }
    for name, queries in empty.items():  # the others' own tests have theirs
        tables = {query: table([], columns) for query, columns in queries.items()}
        assert list(ANALYSES[name].compute(tables, window())) == []


def test_every_metric_that_is_computed_is_declared() -> None:
    for analysis in ANALYSES.values():
        names = [metric.name for metric in analysis.metrics]
        assert len(names) == len(set(names))
        assert all(metric.unit and metric.definition for metric in analysis.metrics)
    declared = {metric.name for metric in ANALYSES["flow"].metrics}
    row = {
        "buy_volume": 6.0,
        "sell_volume": 2.0,
        "volume": 8.5,
        "notional": 850.0,
        "largest": 4.0,
        "trades": 5,
        "buys": 1,
        "sells": 3,
    }
    assert set(numbers(flow.compute({"sums": table([row], SUMS)}, window()))) == declared
    assert WHERE["symbol"] == "BTCUSDT"
