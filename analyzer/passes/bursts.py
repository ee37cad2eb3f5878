"""Bursts: stretches of seconds that bring many times as many events as the seconds around them.

Each second scores by the Poisson log-likelihood ratio of a burst's rate, RATIO × base, against the base rate:
count × ln RATIO − (RATIO − 1) × base. So a stretch scores above 0 exactly when it brings more than TIMES × base. A burst is
where the sum of scores (Page 1954, Continuous inspection schemes, Biometrika 41) rises by a bound or more and does not
fall by as much in between: two bursts are one unless the calm between them is as significant as they are.

The bound: from any one second on, exp(sum of scores) of Poisson events has the expectation 1 or less for ever, so that it
gets to exp(bound) with probability exp(−bound) or less (Ville 1939), and bursts begin in a second with an event.
Σ E[exp(score); count > 0] over the window's seconds is below Σ (1 − exp(−RATIO × base)); the bound is ln of this / chance.
`chance` is then an upper limit of the probability that a window without a burst shows one, whatever its length and rate
(with the rates found as follows: measured in tests/analyzer/test_bursts.py). Events that are more regular than Poisson's,
as of a venue that tells of one a second at most, show fewer bursts yet.

The base rate is that of the seconds outside all stretches that rise by half the bound (a burst that the window cuts off
must not hide a whole one), with three events added: of a rate that brought none, three is the upper 95 % limit (Hanley,
Lippman-Hand 1983, If nothing goes wrong, is everything all right?, JAMA 249). As these stretches follow from the base,
both are found in turns, which begin with the 60 % of the window's parts that are calmest: bursts that take more than 40 %
of a window aren't found. The base is never below LEAST, so that few events far apart are no burst. It holds for an hour:
longer windows have one for each of equal stretches.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

TIMES = 5.0
RATIO = 14.3
"""(RATIO − 1) / ln RATIO = TIMES"""
LEAST = 0.04
"""A second: a burst brings more than TIMES × this, one in five seconds."""
STRETCH_S = 3600
PARTS, CALM = 20, 0.6
ADDED = 3
ROUNDS = 10


class Burst(msgspec.Struct, frozen=True):
    begin: int
    end: int
    """Seconds [begin, end) of the window; events came in the first and in the last."""
    base: float
    """Events a second, the mean of its seconds' base rates."""


def bursts(counts: Any, chance: float) -> list[Burst]:
    """`counts`: events of each second of a window, at least one second. Linear in their number."""
    stretches = -(-len(counts) // STRETCH_S)
    stretch = np.arange(len(counts)) * stretches // len(counts)
    base = np.array([_calmest(counts[stretch == n]) for n in range(stretches)])
    found: list[tuple[int, int]] = []
    for _ in range(ROUNDS):
        used = base[stretch]
        bound = math.log(float(np.sum(-np.expm1(-RATIO * used))) / chance)
        scores = counts * math.log(RATIO) - (RATIO - 1) * np.maximum(used, LEAST)
        found = rises(scores, bound)
        calm = np.ones(len(counts))
        for begin, end in rises(scores, bound / 2):
            calm[begin:end] = 0
        outside = np.bincount(stretch, counts * calm) + ADDED
        base = outside / np.maximum(np.bincount(stretch, calm), 1)
        if np.array_equal(base[stretch], used):
            break
    used = np.maximum(used, LEAST)
    return [Burst(begin, end, float(np.mean(used[begin:end]))) for begin, end in found]


def rises(scores: Any, bound: float) -> list[tuple[int, int]]:
    """[begin, end) of the widest stretches over which the running sum rises by `bound` or more from its lowest to its
    highest, without a fall by `bound` or more in between. They begin and end with a score above 0. `bound` > 0."""
    total = np.concatenate(([0.0], np.cumsum(scores)))
    edges = np.diff(np.concatenate(([0], scores > 0, [0])))
    starts, ends = np.flatnonzero(edges > 0), np.flatnonzero(edges < 0)
    found = []
    begin, end, low, high, rising = 0, 0, math.inf, -math.inf, False
    for start, stop, before, after in zip(
        starts.tolist(), ends.tolist(), total[starts].tolist(), total[ends].tolist(), strict=True
    ):
        if rising and high - before >= bound:
            found.append((begin, end))
            rising, low = False, math.inf
        if not rising and before < low:
            begin, low = start, before
        if rising and after > high:
            end, high = stop, after
        elif not rising and after - low >= bound:
            end, high, rising = stop, after, True
    return [*found, (begin, end)] if rising else found


def _calmest(counts: Any) -> float:
    """The rate in the calmest CALM of the parts, with one event added: low rather than high, and not 0."""
    parts = np.array_split(counts, min(PARTS, len(counts)))
    parts.sort(key=lambda part: float(np.mean(part)))
    calm = np.concatenate(parts[: math.ceil(CALM * len(parts))])
    return float((np.sum(calm) + 1) / len(calm))
