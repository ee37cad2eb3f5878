"""What followed a signal, from bars of one second: the price at which one could have entered, and the return from there.

A signal is known `settle` after its window's end. The entry is the open of the first bar that starts then or later,
within a minute; the exit at entry + horizon is the close of the last bar that had ended by then, later than the entry's
bar and not older than a minute. Where either is missing, or the exit lies beyond the end of the evaluation, there is no
return. So nothing from before the entry, and nothing from after the exit, has a part in a return. No fees, no spread, no
impact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SECOND_US = 1_000_000
WAIT_US = 60 * SECOND_US
"""How long the entry may take, and how old the exit's price may be."""


def returns(known_us: Any, bars: dict[str, Any], horizons_us: Sequence[int], end_us: int) -> Any:
    """ln(exit / entry), signals × horizons, NaN where there is none.

    `known_us`: when each signal was known; `bars`: `ts` (start, in µs, ascending), `open`, `close`; `end_us`: exits up
    to there."""
    found = np.full((len(known_us), len(horizons_us)), np.nan)
    ts = bars["ts"]
    if not len(ts):
        return found
    at = np.searchsorted(ts, known_us, side="left")
    entered = at < len(ts)
    entered[entered] = ts[at[entered]] <= known_us[entered] + WAIT_US
    at = at[entered]
    for column, horizon in enumerate(horizons_us):
        out = ts[at] + horizon
        last = np.searchsorted(ts, out - SECOND_US, side="right") - 1
        good = (last > at) & (out - SECOND_US - ts[last] <= WAIT_US) & (out <= end_us)
        own = np.full(len(at), np.nan)
        own[good] = np.log(bars["close"][last[good]] / bars["open"][at[good]])
        found[entered, column] = own
    return found
