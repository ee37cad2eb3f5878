"""Price against cumulative volume delta (CVD): whether they go together, and where they part.

Over blocks of ten seconds with trades. CVD is Σ (taker buys − taker sells) from 0 at the window's start, the price is the
block's close.

A divergence is told of two successive swing highs (or lows) of the price: bear when the price's second high is higher and
CVD at it lower; bull when the price's second low is lower and CVD at it higher. Both must differ by more than the median
absolute change of a block, so that noise isn't told. A swing is a close beyond those of the 3 blocks before and not short
of those of the 3 after (see structure); it's known three blocks later. The terms are those of traders; no paper fixes
them, and the bounds are ours.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.blocks import BLOCKS, BLOCKS_SQL, starts
from analyzer.passes.evidence import detail, iso
from analyzer.passes.groups import by_instrument
from analyzer.passes.structure import swings
from analyzer.windows import Window

MIN_BLOCKS = 20
SIGN = {"bear": -1.0, "bull": 1.0}
Rows = list[dict[str, object]]


def compute(tables: Tables, window: Window) -> list[Value]:
    """`blocks`: see blocks."""
    values: list[Value] = []
    for name, blocks in by_instrument(tables["blocks"], BLOCKS):
        if len(blocks["ts"]) < MIN_BLOCKS:
            continue
        delta = blocks["buys"] - blocks["sells"]
        moves = np.diff(np.log(blocks["close"]))
        if np.ptp(moves) > 0 and np.ptp(delta[1:]) > 0:
            values.append(Value(*name, "cvd_corr", float(np.corrcoef(moves, delta[1:])[0, 1])))
        found = divergences(blocks, delta)
        values += [
            Value(*name, f"divergence_{way}", float(len(rows)), detail(rows)) for way, rows in found.items()
        ]
        newest = max(((str(row["to"]), way) for way, rows in found.items() for row in rows), default=None)
        if newest:
            values.append(Value(*name, "divergence_last", SIGN[newest[1]]))
    return [value for value in values if np.isfinite(value.value)]


def divergences(blocks: dict[str, Any], delta: Any) -> dict[str, Rows]:
    """In order of time."""
    price, cvd, times = blocks["close"], np.cumsum(delta), starts(blocks)
    step, typical = float(np.median(np.abs(np.diff(price)))), float(np.median(np.abs(delta)))
    found: dict[str, Rows] = {"bear": [], "bull": []}
    for way, sign in (("bear", 1), ("bull", -1)):
        at = swings(sign * price)
        for first, second in pairwise(at):
            rise, flow = sign * (price[second] - price[first]), sign * (cvd[second] - cvd[first])
            if rise > step and flow < -typical:
                row: dict[str, object] = {"from": iso(int(times[first])), "to": iso(int(times[second]))}
                for what, series in (("price", price), ("cvd", cvd)):
                    row |= {f"{what}_from": float(series[first]), f"{what}_to": float(series[second])}
                found[way].append(row)
    return found


DIVERGENCE = Analysis(
    name="divergence",
    metrics=(
        Metric(
            "cvd_corr",
            "correlation",
            "of ln close / close before with taker buys − sells, over blocks of 10 s; absent below 20",
        ),
        Metric("divergence_bear", "count", "higher highs of price on lower CVD; see detail"),
        Metric("divergence_bull", "count", "lower lows of price on higher CVD; see detail"),
        Metric("divergence_last", "sign", "−1: the newest one was bear, 1: bull; absent without one"),
    ),
    channels=("trades",),
    queries={"blocks": BLOCKS_SQL},
    compute=compute,
)
