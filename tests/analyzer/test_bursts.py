"""Bursts of events: by hand, against every stretch there is, and how often noise shows one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analyzer.passes.bursts import LEAST, RATIO, TIMES, bursts, rises


def of_all_stretches(scores: list[int], bound: float) -> list[tuple[int, int]]:
    """Every stretch whose sum is `bound` or more, whose beginnings and ends all sum to more than 0, and of which no part
    sums to −`bound` or less; but for those inside another one."""

    def falls(begin: int, end: int) -> bool:
        return any(sum(scores[i:j]) <= -bound for i in range(begin, end) for j in range(i + 1, end + 1))

    good = [
        (i, j)
        for i in range(len(scores))
        for j in range(i + 1, len(scores) + 1)
        if sum(scores[i:j]) >= bound
        and all(sum(scores[i:k]) > 0 and sum(scores[k - 1 : j]) > 0 for k in range(i + 1, j + 1))
        and not falls(i, j)
    ]
    return [(i, j) for i, j in good if not any(a <= i and j <= b and (a, b) != (i, j) for a, b in good)]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(-9, 9), max_size=16), st.integers(1, 25))
def test_rises_are_the_widest_of_all_stretches(scores: list[int], bound: int) -> None:
    """Of equal sums the shorter stretch counts: powers of two beside the numbers leave no two alike."""
    distinct = [(score << 20) + (1 << n) for n, score in enumerate(scores)]
    assert rises(np.array(distinct), bound << 20) == of_all_stretches(distinct, bound << 20)


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [
        ([], []),
        ([-1, -1], []),
        ([5], [(0, 1)]),
        ([-1, 4, -1], []),
        ([3, -1, 3, -2, 1], [(0, 3)]),  # 5; the 1 at the end doesn't make up for the −2
        ([-1, 2, -1, 2, -1, 4], [(1, 6)]),
        ([6, -4, 7], [(0, 3)]),  # the calm is less than the bound
        ([6, -5, 7], [(0, 1), (2, 3)]),
        ([6, -4, 1, -2, 7], [(0, 1), (4, 5)]),  # −4, 1 and −2 are 5 below the highest
        ([3, -4, 5, -6, 4], [(2, 3)]),
    ],
)
def test_rises_by_hand(scores: list[int], wanted: list[tuple[int, int]]) -> None:
    assert rises(np.array(scores, dtype=float), 5) == wanted


def test_a_score_above_0_is_more_than_five_times_the_base() -> None:
    assert (RATIO - 1) / math.log(RATIO) == pytest.approx(TIMES, abs=0.001)


def test_a_burst_by_hand() -> None:
    """100 s with ten events in [40, 50) and two elsewhere. First base: 60 seconds of the calmest parts have none, so 1/60.
    Then (2 + 3) / 90: ten events score 10 ln 14.3 − 13.3 · 10 · 5/90 = 26.6 − 7.4; the bound is
    ln(100 (1 − exp(−14.3 · 5/90)) / 0.0001) = 13.2."""
    events = np.zeros(100)
    events[40:50] = 1
    events[[7, 93]] = 1
    (found,) = bursts(events, 1e-4)
    assert (found.begin, found.end) == (40, 50)
    assert found.base == pytest.approx(5 / 90)
    assert bursts(events, math.exp(-21)) == []  # a bound of 24.9 instead
    assert bursts(events[:7], 1e-4) == []
    assert bursts(np.zeros(1), 1e-4) == []


def test_the_base_is_never_below_the_least() -> None:
    """An hour: outside, 3 events added make 3 / 3590. Bursts as near as 25 seconds would be one at LEAST = 0.04."""
    events = np.zeros(3600)
    events[1000:1010] = 1
    (found,) = bursts(events, 1e-4)
    assert (found.begin, found.end) == (1000, 1010)
    assert found.base == pytest.approx(LEAST)
    events[1000:1010] = 0
    events[1000:1100:6] = 1  # fewer than one in five seconds
    assert bursts(events, 1e-4) == []


@pytest.mark.parametrize("rate", [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
@pytest.mark.parametrize(("length", "windows"), [(60, 600), (900, 300), (3600, 100), (86_400, 10)])
def test_noise_shows_bursts_as_rarely_as_promised(rate: float, length: int, windows: int) -> None:
    """Seeded: the same windows each time. They show bursts in fewer than a twentieth, and with one planted in all."""
    rng = np.random.default_rng([5, length, round(rate * 100)])
    noise = rng.poisson(rate, (windows, length)).astype(float)
    assert np.mean([bool(bursts(one, 0.05)) for one in noise]) <= 0.05
    for one in noise[:10]:
        at = int(rng.integers(0, length - 10))
        one[at : at + 10] += 5 + 25 * rate
        (found,) = bursts(one, 1e-4)
        assert at - 10 <= found.begin <= at + 2  # one event so near before or after it belongs to it
        assert at + 8 <= found.end <= at + 20


@pytest.mark.parametrize("rate", [0.05, 0.3, 1.0, 4.0])
def test_noise_of_which_one_a_second_is_told_shows_none(rate: float) -> None:
    rng = np.random.default_rng(3)
    told = np.minimum(rng.poisson(rate, (300, 900)), 1).astype(float)
    assert not any(bursts(one, 1e-4) for one in told)


def test_what_is_steady_has_no_burst() -> None:
    for length in (60, 900, 86_400):
        for each in (1, 2, 50):
            assert bursts(np.full(length, float(each)), 1e-4) == []
            assert bursts(np.arange(length) % 3 * float(each), 1e-4) == []


@pytest.mark.parametrize(
    ("length", "share"), [(60, 0.2), (60, 0.3), (77, 0.3), (900, 0.25), (900, 0.3), (3600, 0.3)]
)
@pytest.mark.parametrize(("rate", "burst"), [(0.0, 1.0), (0.2, 6.0), (2.0, 40.0)])
def test_bursts_may_take_much_of_the_window(length: int, share: float, rate: float, burst: float) -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        events = rng.poisson(rate, length).astype(float)
        lasts = round(length * share)
        at = int(rng.integers(0, length - lasts))
        events[at : at + lasts] = burst
        (found,) = bursts(events, 1e-4)
        assert at - 4 <= found.begin <= at
        assert at + lasts <= found.end <= at + lasts + 4


def test_a_burst_that_is_cut_off_hides_no_other() -> None:
    """Ten events in ten seconds, and six in the last six, which score 6 ln 14.3 − 13.3 · 6 · 3/50 = 11.2; the bound is 12.8.
    As part of the base they would make it 9/56, and the score of the ten 5.2."""
    events = np.zeros(66)
    events[20:30] = events[60:] = 1
    (found,) = bursts(events, 1e-4)
    assert (found.begin, found.end) == (20, 30)
    assert found.base == pytest.approx(3 / 50)


def test_two_bursts_are_one_unless_the_calm_between_is_significant() -> None:
    for apart, wanted in ((10, 1), (20, 1), (30, 2)):
        events = np.zeros(120)
        events[20:30] = events[30 + apart : 40 + apart] = 40
        assert len(bursts(events, 1e-4)) == wanted


def test_each_hour_of_a_day_has_its_own_base() -> None:
    """Ten a second from 14 to 16 o'clock, else one in ten seconds: that's no burst of two hours; ten seconds of 100 are."""
    rng = np.random.default_rng(8)
    rate = np.full(86_400, 0.1)
    rate[14 * 3600 : 16 * 3600] = 10
    rate[15 * 3600 : 15 * 3600 + 10] = 200
    (found,) = bursts(rng.poisson(rate).astype(float), 1e-4)
    assert (found.begin, found.end) == (15 * 3600, 15 * 3600 + 10)
    assert found.base == pytest.approx(10, rel=0.02)
