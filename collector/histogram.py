"""Durations in a bounded number of buckets: log-linear, as in HdrHistogram (hdrhistogram.org), 32 buckets an octave."""

from __future__ import annotations

import math
from typing import NamedTuple

SUB_BITS = 5
"""2⁵ buckets an octave: a percentile is at most 3 % too high."""
OCTAVES = 34
"""Up to 2⁴⁰ ns, 18 minutes; longer ones count as that."""
BUCKETS = (OCTAVES + 2) << SUB_BITS


class Spread(NamedTuple):
    """Of durations, in µs."""

    p50: float
    p99: float
    max: float


class Histogram:
    """Of durations in ns."""

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._total = self._max = 0

    def add(self, ns: int) -> None:
        shift = ns.bit_length() - SUB_BITS - 1
        if shift <= 0:
            self._counts[ns] += 1
        else:
            self._counts[min((shift << SUB_BITS) + (ns >> shift), BUCKETS - 1)] += 1
        self._total += 1
        if ns > self._max:
            self._max = ns

    def percentile(self, share: float) -> int:
        """ns that `share` of the durations (0 to 1, nearest rank) do not exceed; 0 when there are none."""
        rank, seen = max(1, math.ceil(share * self._total)), 0
        for index, count in enumerate(self._counts):
            seen += count
            if seen >= rank:
                return min(_highest(index), self._max)
        return 0

    def take(self) -> Spread | None:
        """What was added since the last time; None: nothing."""
        if not self._total:
            return None
        spread = Spread(self.percentile(0.5) / 1e3, self.percentile(0.99) / 1e3, self._max / 1e3)
        self._counts = [0] * BUCKETS
        self._total = self._max = 0
        return spread


def _highest(index: int) -> int:
    """The longest duration (ns) of a bucket."""
    if index < 2 << SUB_BITS:
        return index
    shift = (index >> SUB_BITS) - 1
    return ((index - (shift << SUB_BITS) + 1) << shift) - 1
