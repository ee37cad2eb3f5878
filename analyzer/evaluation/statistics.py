"""Hit rate, mean return and information coefficient of signals, with intervals that know that they overlap.

- hit rate: share of the signals with a direction whose return had it; a return of 0 counts half.
- mean return: of direction × return, in bps.
- information coefficient: Spearman's rank correlation of value and return, ties with their mean rank (Grinold, Kahn
  1999, Active portfolio management).

Signals whose windows overlap say nearly the same, returns over one span of time are nearly the same return, and
instruments move together. Intervals are therefore by block bootstrap (Carlstein 1986, The use of subseries values for
estimating the variance of a general statistic from a stationary sequence, Annals of Statistics 14): time is cut into
blocks as long as window and horizon together, all instruments in one, and whole blocks are drawn, with replacement, 2000
times from a fixed seed. Ranks are those of the whole sample. Intervals are percentiles, of 95 %; p is two-sided and
normal, with the bootstrap's standard error. With fewer than ten blocks nothing is said of how sure a number is; with few
more, intervals are too narrow.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

DRAWS, SEED = 2000, 20_260_101
MIN_BLOCKS = 10
MIN_SIGNALS = 10
"""Fewer have no correlation."""
AT_ONCE = 100
"""Draws in memory."""


class Estimate(msgspec.Struct, frozen=True):
    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """That the true value is the one that means nothing: 0, or one half of a hit rate."""


class Result(msgspec.Struct, frozen=True):
    """Of one metric, window and horizon."""

    signals: int
    """With a return."""
    directed: int
    """Of these, with a direction."""
    blocks: int
    hit_rate: Estimate | None
    mean_return_bps: Estimate | None
    ic: Estimate | None


def evaluate(ts_us: Any, value: Any, direction: Any, returns: Any, block_us: int) -> Result:
    """One row a signal; returns are finite; `direction`: 1, 0 or −1."""
    if not len(ts_us):
        return Result(0, 0, 0, None, None, None)
    seen, block = np.unique((ts_us - np.min(ts_us)) // block_us, return_inverse=True)
    directed = direction != 0
    gained = np.where(directed, direction * returns, 0.0) * 1e4
    hits = np.where(directed, np.where(gained > 0, 1.0, np.where(gained < 0, 0.0, 0.5)), 0.0)
    x, y = _centred(ranks(value)), _centred(ranks(returns))
    columns = [directed * 1.0, hits, gained, np.ones(len(x)), x, y, x * x, y * y, x * y]
    sums = np.stack([np.bincount(block, weights=column) for column in columns], axis=1)
    drawn = _resampled(sums) if len(seen) >= MIN_BLOCKS else np.empty((0, len(columns)))
    certain = np.sum(sums[:, 0] > 0) >= MIN_BLOCKS
    ways = drawn[drawn[:, 0] > 0] if certain else drawn[:0]
    hit_rate = mean_return = ic = None
    if directed.any():
        hit_rate = _estimate(float(np.mean(hits[directed])), ways[:, 1] / ways[:, 0], 0.5)
        mean_return = _estimate(float(np.mean(gained[directed])), ways[:, 2] / ways[:, 0], 0.0)
    if len(x) >= MIN_SIGNALS and x.any() and y.any():
        ic = _estimate(float(_correlations(sums.sum(axis=0, keepdims=True))[0]), _correlations(drawn), 0.0)
    return Result(len(x), int(np.sum(directed)), len(seen), hit_rate, mean_return, ic)


def ranks(series: Any) -> Any:
    """From 1; equal ones share the mean of theirs."""
    order = np.argsort(series, kind="stable")
    ordered = series[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    ends = np.append(starts[1:], len(series))
    found = np.empty(len(series))
    found[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return found


def _centred(series: Any) -> Any:
    return series - np.mean(series)


def _resampled(sums: Any) -> Any:
    """Sums over blocks drawn with replacement, as many as there are: draws × columns, from blocks × columns."""
    rng = np.random.default_rng(SEED)
    count = len(sums)
    even = np.full(count, 1 / count)
    return np.concatenate(
        [rng.multinomial(count, even, size=AT_ONCE) @ sums for _ in range(DRAWS // AT_ONCE)]
    )


def _correlations(sums: Any) -> Any:
    """Pearson's, from the last six columns; of draws without variation there is none."""
    n, x, y, xx, yy, xy = sums[:, 3:].T
    spread = (xx - x * x / n) * (yy - y * y / n)
    good = spread > 0
    return (xy - x * y / n)[good] / np.sqrt(spread[good])


def _estimate(value: float, drawn: Any, null: float) -> Estimate:
    if not len(drawn):
        return Estimate(value)
    low, high = (float(q) for q in np.quantile(drawn, (0.025, 0.975)))
    error = float(np.std(drawn))
    p = math.erfc(abs(value - null) / error / math.sqrt(2)) if error > 0 else None
    return Estimate(value, low, high, p)
