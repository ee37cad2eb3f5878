"""The audit's and the soak's verdicts rest on this: slopes that are known must be found, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from analyzer.trend import MAX_POINTS, trend

X = np.arange(300, dtype=np.float64)


def test_an_exact_line_has_its_slope_and_no_doubt() -> None:
    found = trend(X, 3.0 + 2.5 * X)
    assert found.slope == pytest.approx(2.5)
    assert found.low == pytest.approx(2.5)
    assert found.high == pytest.approx(2.5)


def test_spikes_do_not_move_it() -> None:
    y = 100 + 0.01 * X
    y[::10] += 1000  # a tenth of the samples is nonsense
    found = trend(X, y)
    assert found.slope == pytest.approx(0.01, rel=0.05)


def test_a_small_example_by_hand() -> None:
    """Slopes of the pairs of y = 0 … 9 with one outlier at the end: 36 pairs of slope 1, nine others above."""
    y = np.arange(10, dtype=np.float64)
    y[9] = 18
    assert trend(np.arange(10, dtype=np.float64), y).slope == 1.0


def test_noise_has_no_trend_and_a_trend_in_noise_is_found() -> None:
    noise = np.random.default_rng(7).normal(0, 1, 300)
    flat = trend(X, noise)
    assert flat.low < 0 < flat.high
    rising = trend(X, noise + 0.05 * X)
    assert rising.low > 0
    assert rising.low < 0.05 < rising.high


def test_autocorrelation_widens_the_interval() -> None:
    steps = np.random.default_rng(3).normal(0, 1, 300)
    wandering = np.zeros(300)
    for n in range(1, 300):
        wandering[n] = 0.9 * wandering[n - 1] + steps[n]
    found = trend(X, wandering)
    assert found.inflation > 3
    assert trend(X, steps).inflation < found.inflation
    assert found.low < 0 < found.high


def test_many_samples_are_binned_and_too_few_refused() -> None:
    x = np.arange(10_000, dtype=np.float64)
    found = trend(x, 5 - 0.5 * x)
    assert found.points == MAX_POINTS
    assert found.slope == pytest.approx(-0.5)
    with pytest.raises(ValueError, match="too few"):
        trend(X[:9], X[:9])


def test_two_points_are_a_line_where_so_few_are_allowed() -> None:
    found = trend(X[:2], 7.0 * X[:2], fewest=2)
    assert (found.slope, found.low, found.high) == (7.0, 7.0, 7.0)
