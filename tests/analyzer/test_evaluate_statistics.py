"""What followed a signal, and how sure the numbers about it are: by hand, against plain loops, and over many samples."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import pytest

from analyzer.config import ConfluenceConfig
from analyzer.evaluation.evaluate import direction
from analyzer.evaluation.prices import returns
from analyzer.evaluation.statistics import Result, evaluate, ranks

S = 1_000_000
Trades = list[tuple[int, float]]
"""(µs, price), in order"""


def bars(trades: Trades) -> dict[str, Any]:
    seconds: dict[int, list[float]] = {}
    for ts, price in trades:
        seconds.setdefault(ts // S * S, []).append(price)
    return {
        "ts": np.array(list(seconds), dtype=np.int64),
        "open": np.array([prices[0] for prices in seconds.values()]),
        "close": np.array([prices[-1] for prices in seconds.values()]),
    }


def followed(trades: Trades, known: Sequence[int], horizons: Sequence[int], end: int = 10**15) -> Any:
    return returns(np.array(known, dtype=np.int64), bars(trades), [h * S for h in horizons], end)


def plainly(trades: Trades, known: int, horizon: int, end: int) -> float:
    """From the trades themselves."""
    entry = next(((ts, price) for ts, price in trades if ts // S * S >= known), None)
    if entry is None or entry[0] // S * S > known + 60 * S:
        return math.nan
    second = entry[0] // S * S
    out = second + horizon * S
    after = [(ts, price) for ts, price in trades if second + S <= ts and ts // S * S + S <= out]
    if not after or out - (after[-1][0] // S * S + S) > 60 * S or out > end:
        return math.nan
    return math.log(after[-1][1] / entry[1])


def test_a_return_by_hand() -> None:
    trades = [
        (0, 1.0),
        (2 * S - 1, 50.0),  # before the signal was known
        (2 * S + 5, 100.0),  # the entry
        (2 * S + 9, 101.0),
        (30 * S, 110.0),
        (61 * S + 999_999, 120.0),  # ends at 62 s, a minute after the entry
        (62 * S, 900.0),  # too late for a minute
        (300 * S, 130.0),
    ]
    found = followed(trades, [2 * S], [10, 60, 300])
    assert math.isnan(found[0][0])  # no bar after the entry's
    assert found[0][1] == pytest.approx(math.log(120 / 100))
    assert found[0][2] == pytest.approx(math.log(130 / 100))
    assert np.isnan(followed(trades, [2 * S], [60], end=62 * S - 1)).all()
    assert np.isfinite(followed(trades, [2 * S], [60], end=62 * S)).all()
    late = followed(trades, [63 * S, 240 * S, 301 * S], [1000])
    assert np.isnan(late).all()  # no entry in a minute; then no price after the entry; then no entry at all
    assert np.isnan(followed([], [0], [60])).all()


def some_trades(rng: random.Random, count: int = 400, span: int = 1200) -> Trades:
    times = sorted(rng.sample(range(span * S), count))
    cut = rng.randrange(span - 200)  # a hole
    return [(ts, rng.uniform(90, 110)) for ts in times if not cut * S <= ts < (cut + 150) * S]


@pytest.mark.parametrize("seed", range(4))
def test_returns_against_plain_loops(seed: int) -> None:
    rng = random.Random(seed)
    trades = some_trades(rng)
    known = [rng.randrange(1200 * S) for _ in range(80)] + [n * 10 * S for n in range(100)]
    end = 1000 * S
    found = followed(trades, known, [5, 60, 300], end)
    wanted = [[plainly(trades, at, horizon, end) for horizon in (5, 60, 300)] for at in known]
    np.testing.assert_allclose(found, np.array(wanted), rtol=1e-12)
    assert 0.2 < np.isfinite(found).mean() < 1


@pytest.mark.parametrize("seed", range(3))
def test_prices_before_the_entry_and_after_the_exit_change_nothing(seed: int) -> None:
    rng = random.Random(seed)
    trades = some_trades(rng)
    for known in (100 * S, 250 * S + 1, 400 * S):
        for horizon in (60, 300):
            before = followed(trades, [known], [horizon])[0][0]
            if math.isnan(before):
                continue
            entry = next(ts for ts, _ in trades if ts // S * S >= known) // S * S
            wild = [
                (ts, price if entry <= ts < entry + horizon * S else rng.uniform(1, 1000))
                for ts, price in trades
            ]
            more = [
                (ts, rng.uniform(1, 1000)) for ts in (known - 1, known - 2 * S, entry + horizon * S, 2000 * S)
            ]
            assert followed(sorted(wild + more), [known], [horizon])[0][0] == before
            cut = [one for one in trades if one[0] < entry + horizon * S]
            assert followed(cut, [known], [horizon])[0][0] == before


def scored(signal: Any, found: Any, block: int = 60 * S) -> Result:
    at = np.arange(len(signal), dtype=np.int64) * 60 * S
    good = np.isfinite(found)
    return evaluate(at[good], signal[good], np.sign(signal[good]).astype(np.int64), found[good], block)


def test_a_signal_that_knows_the_future_up_to_its_entry_gains_nothing() -> None:
    """On a random walk by the second: a signal of the move from its window's end to its entry, which no pass can know, is
    worth no more than noise; one of the move after the entry is worth everything. So the entry lets no future in."""
    rng = np.random.default_rng(4)
    count, settle = 2000, 2
    price = 100 * np.exp(np.cumsum(rng.normal(0, 1e-4, count * 60)))
    trades = {"ts": np.arange(len(price), dtype=np.int64) * S, "open": price, "close": price}
    ends = np.arange(count - 3) * 60 + 30
    found = returns(ends * S + settle * S, trades, [60 * S], 10**15)[:, 0]
    entry = ends + settle
    leaked = np.log(price[entry] / price[ends])
    cheat = scored(leaked, found)
    assert cheat.ic is not None
    assert cheat.hit_rate is not None
    assert abs(cheat.ic.value) < 3 / math.sqrt(count)
    assert abs(cheat.hit_rate.value - 0.5) < 1.5 / math.sqrt(count)
    later = scored(np.log(price[entry + 59] / price[entry]), found)
    assert later.ic is not None
    assert later.ic.value == pytest.approx(1.0)
    assert later.hit_rate is not None
    assert later.hit_rate.value == pytest.approx(1.0)


def test_the_numbers_by_hand() -> None:
    ts = np.arange(12, dtype=np.int64) * 60 * S
    direction = np.array([1, 1, 1, -1, -1, 0, 0, 0, 1, -1, 1, 1])
    gained = np.array([0.01, -0.01, 0.0, -0.02, 0.01, 9, -9, 9, 0.03, 0.01, 0.02, 0.01])
    found = evaluate(ts, np.arange(12.0), direction, gained, 60 * S)
    assert (found.signals, found.directed, found.blocks) == (12, 9, 12)
    assert found.hit_rate is not None
    assert found.hit_rate.value == pytest.approx(5.5 / 9)  # one return of 0 counts half
    assert found.hit_rate.low is None  # directed ones are in nine blocks
    assert found.mean_return_bps is not None
    assert found.mean_return_bps.value == pytest.approx(1e4 * 0.06 / 9)


def test_too_little_to_say() -> None:
    none = np.empty(0)
    assert evaluate(none.astype(np.int64), none, none, none, S) == Result(0, 0, 0, None, None, None)
    ts = np.arange(9, dtype=np.int64) * S
    few = evaluate(ts, np.arange(9.0), np.zeros(9, dtype=np.int64), np.arange(9.0), S)
    assert (few.ic, few.hit_rate, few.mean_return_bps) == (None, None, None)
    ts = np.arange(40, dtype=np.int64) * S
    flat = evaluate(ts, np.ones(40), np.ones(40, dtype=np.int64), np.arange(40.0), S)
    assert flat.ic is None
    eight = evaluate(ts, np.arange(40.0), np.ones(40, dtype=np.int64), np.arange(40.0), 5 * S)
    assert eight.blocks == 8
    assert eight.ic is not None
    assert eight.ic.value == pytest.approx(1.0)
    assert eight.ic.low is eight.ic.high is eight.ic.p is None


@pytest.mark.parametrize("seed", range(3))
def test_ranks_and_correlation_against_polars(seed: int) -> None:
    rng = np.random.default_rng(seed)
    value = rng.integers(0, 30, 500).astype(float)  # many ties
    other = value * 0.1 + rng.normal(0, 3, 500).round(1)
    np.testing.assert_array_equal(ranks(value), pl.Series(value).rank("average").to_numpy())
    found = evaluate(np.arange(500, dtype=np.int64) * S, value, np.ones(500, dtype=np.int64), other, S)
    wanted = pl.DataFrame({"a": value, "b": other}).select(pl.corr("a", "b", method="spearman")).item()
    assert found.ic is not None
    assert found.ic.value == pytest.approx(wanted)


def test_the_interval_of_independent_returns_is_that_of_the_textbook() -> None:
    rng = np.random.default_rng(8)
    count = 4000
    gained = rng.normal(0.001, 0.01, count)
    ones = np.ones(count, dtype=np.int64)
    found = evaluate(np.arange(count, dtype=np.int64) * 60 * S, rng.normal(size=count), ones, gained, 60 * S)
    assert found.mean_return_bps is not None
    assert found.mean_return_bps.low is not None
    assert found.mean_return_bps.high is not None
    error = 1e4 * gained.std() / math.sqrt(count)
    assert found.mean_return_bps.high - found.mean_return_bps.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert found.mean_return_bps.p is not None
    assert found.mean_return_bps.p == pytest.approx(
        math.erfc(1e4 * gained.mean() / error / math.sqrt(2)), rel=0.5
    )
    assert found.ic is not None
    assert found.ic.low is not None
    assert found.ic.high is not None
    assert found.ic.high - found.ic.low == pytest.approx(2 * 1.96 / math.sqrt(count), rel=0.1)


def test_overlap_is_accounted_for() -> None:
    """Signals each minute over windows of half an hour, returns over half an hour, of prices that owe them nothing:
    intervals of blocks hold 0 in some 95 % of samples, those that take every signal for a new one in far fewer."""
    rng = np.random.default_rng(11)
    held = {"blocks": 0, "naive": 0}
    samples, count, length = 120, 2400, 30
    for _ in range(samples):
        past = np.convolve(rng.normal(size=count + length), np.ones(length))[length : length + count]
        gained = np.convolve(rng.normal(size=count + length), np.ones(length))[length : length + count]
        ic = scored(past, gained, 2 * length * 60 * S).ic
        assert ic is not None
        assert ic.low is not None
        assert ic.high is not None
        held["blocks"] += ic.low <= 0 <= ic.high
        held["naive"] += abs(ic.value) <= 1.96 / math.sqrt(count)
    assert held["blocks"] / samples > 0.86
    assert held["naive"] / samples < 0.6


def test_directions() -> None:
    settings = ConfluenceConfig()
    value = np.array([70.0, 69.9, 35.1, 35.0, 50.0])
    assert direction("confluence", "score", value, settings).tolist() == [1, 0, 0, -1, 0]
    assert direction("confluence", "score", value, ConfluenceConfig(long=60)).tolist() == [1, 1, 0, -1, 0]
    assert direction("confluence", "volume", value, settings).tolist() == [1, 1, -1, -1, 0]
    assert direction("confluence", "verdict", np.array([1.0, 0.0, 1.0]), settings).tolist() == [1, 0, 1]
    assert direction("flow", "cvd", np.array([3.0, -2.0, 0.0]), settings).tolist() == [1, -1, 0]
    assert direction("book", "spread_bps", np.array([3.0, 2.0]), settings).tolist() == [0, 0]
