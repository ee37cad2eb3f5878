"""Memory of the collector processes: now, baseline, peak, growth per hour with its interval, time to the limit.

Growth is the Theil–Sen slope of one run (`analyzer.trend`): a restart is no fall of memory, and two processes have no
common line. MB are 10⁶ bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from analyzer.audit.processes import Run
from analyzer.audit.samples import Samples
from analyzer.trend import trend

MB = 1e6
HOUR_US = 3.6e9
PLOTTED = 500


class RunMemory(msgspec.Struct, frozen=True):
    """Of one run, in its part of the window."""

    process: str
    from_us: int
    to_us: int
    running: bool
    ended: str
    """How, where it is known to run no more; else ""."""
    rss_mb: float
    """Last sample."""
    baseline_mb: float
    """Median of the first five minutes."""
    peak_mb: float
    swap_mb: float
    swap_peak_mb: float
    limit_mb: float | None
    """What the process may have (MemoryMax), where it is known."""
    growth_mb_per_hour: float | None
    """None where there are not two samples."""
    growth_low: float | None
    """95 % interval"""
    growth_high: float | None
    span_s: float
    """What growth rests on."""
    hours_to_limit: float | None
    """None: it does not certainly grow, or runs no more."""
    cpu: float | None
    """Cores in use, mean."""
    line: list[tuple[int, float]]
    """(µs, MB), thinned, for a plot."""


def memory_of(run: Run, samples: Samples, running: bool, warmup_s: float, limit: float) -> RunMemory:
    """`limit`: bytes, where the process does not know its own."""
    ts, rss = samples.ts[run.rows], samples.columns["rss"][run.rows]
    told = ~np.isnan(rss)
    ts, rss = ts[told], rss[told] / MB
    if not len(rss):
        ts, rss = samples.ts[run.rows], np.zeros(len(run.rows))
    swap = np.nan_to_num(samples.columns["swap"][run.rows]) / MB
    own = _last(samples.columns["memory_limit"][run.rows])
    slope = low = high = None
    settled = _settled(ts, run, warmup_s)
    if len(settled[0]) > 1:
        hours = (settled[0] - settled[0][0]) / HOUR_US
        found = trend(hours, rss[settled[1]], fewest=2)
        slope, low, high = found.slope, found.low, found.high
    ceiling = (own or limit) / MB
    now = float(rss[-1])
    certain = running and slope is not None and low is not None and slope > 0 and low > 0
    return RunMemory(
        process=run.process,
        from_us=run.first,
        to_us=run.last,
        running=running,
        ended=run.ended,
        rss_mb=now,
        baseline_mb=float(np.median(rss[ts - ts[0] <= 300e6])),
        peak_mb=float(rss.max()),
        swap_mb=float(swap[-1]),
        swap_peak_mb=float(swap.max()),
        limit_mb=own / MB if own else None,
        growth_mb_per_hour=slope,
        growth_low=low,
        growth_high=high,
        span_s=float(settled[0][-1] - settled[0][0]) / 1e6,
        hours_to_limit=max(0.0, (ceiling - now) / slope) if certain and slope else None,
        cpu=_cpu(run, samples),
        line=_thinned(ts, rss),
    )


def _settled(ts: Any, run: Run, warmup_s: float) -> tuple[Any, Any]:
    """Times and a mask without the beginning of the process, in which books and buffers fill."""
    after = ts >= run.start + warmup_s * 1e6
    long_enough = run.last - run.start >= 4 * warmup_s * 1e6 and after.sum() > 1
    mask = after if long_enough else np.ones(len(ts), bool)
    return ts[mask], mask


def _last(column: Any) -> float | None:
    told = column[~np.isnan(column)]
    return float(told[-1]) if len(told) and told[-1] > 0 else None


def _cpu(run: Run, samples: Samples) -> float | None:
    ts, cpu = samples.ts[run.rows], samples.columns["cpu"][run.rows]
    told = np.flatnonzero(~np.isnan(cpu))
    if len(told) < 2:
        return None
    first, last = told[0], told[-1]
    return max(0.0, float(cpu[last] - cpu[first]) / (float(ts[last] - ts[first]) / 1e6))


def _thinned(ts: Any, rss: Any) -> list[tuple[int, float]]:
    """At most PLOTTED points, each the highest of its part, so that peaks stay."""
    parts = np.array_split(np.arange(len(ts)), min(PLOTTED, len(ts)))
    highest = [part[int(np.argmax(rss[part]))] for part in parts]
    return [(int(ts[index]), round(float(rss[index]), 3)) for index in highest]


def representative(runs: Sequence[RunMemory], enough_s: float) -> RunMemory | None:
    """The run whose growth stands for the window: of those that run, the one that grows most, where that is long enough
    to tell, else the longest of all. None without samples."""
    judged = [run for run in runs if run.running and run.span_s >= enough_s]
    if judged:
        return max(judged, key=_growth)
    known = [run for run in runs if run.growth_mb_per_hour is not None] or list(runs)
    return max(known, key=lambda run: (run.span_s, run.to_us), default=None)


def _growth(run: RunMemory) -> float:
    return run.growth_mb_per_hour if run.growth_mb_per_hour is not None else float("-inf")
