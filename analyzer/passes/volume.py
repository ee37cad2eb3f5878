"""Volume against what is usual, and against price: relative volume, on-balance volume, accumulation/distribution, money
flow.

Relative volume: the window's volume / the mean of the windows of the same length before it, of the last 20 those in which
the instrument was traded; the oldest is left out where none is before it, as recording may have begun in its midst. With
fewer than five there is no number. They are counted in whole bars of the materialized views: of a second for windows
below ten minutes, of a minute below a day, else of an hour, so that they begin up to a bar early. Holes in the recording
aren't made up for: coverage tells of the window itself only.

The others are over bars of ten seconds of the clock with trades (see blocks):

- OBV: Granville (1963), New key to stock market profits: Σ volume of bars that closed higher − Σ of those that closed
  lower, from 0 at the first bar.
- ADL: Chaikin's accumulation/distribution line: Σ volume × ((close − low) − (high − close)) / (high − low), from 0 before
  the first bar; a bar whose high is its low adds nothing.
- CMF: Chaikin money flow: that sum over the last 20 bars / their volume.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.blocks import BLOCKS, BLOCKS_SQL
from analyzer.passes.evidence import detail
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

WINDOWS, MIN_WINDOWS = 20, 5
SHORTEST_US = 10_000_000
"""A shorter window is too few bars of a second."""
VIEWS = (
    ("ohlcv_1s", 1_000_000, SHORTEST_US, 600_000_000),
    ("ohlcv_1m", 60_000_000, 600_000_000, 86_400_000_000),
    ("ohlcv_1h", 3_600_000_000, 86_400_000_000, 10**17),
)
"""View, its bars' length, and the lengths of window for which it serves: from, to (µs)."""
BARS = 20
"""In the money flow."""


def compute(tables: Tables, window: Window) -> list[Value]:
    """`blocks`: see blocks; `before`: one row an instrument and window before this one: its number (0: the newest) and its
    volume."""
    before = dict(by_instrument(tables["before"], ("number", "volume")))
    values: list[Value] = []
    for name, blocks in by_instrument(tables["blocks"], BLOCKS):
        if name in before:
            values += _relative(name, float(blocks["volume"].sum()), before[name])
        values += [
            Value(*name, metric, value) for metric, value in pressure(blocks).items() if math.isfinite(value)
        ]
    return values


def _relative(name: tuple[str, str, str], volume: float, before: dict[str, Any]) -> list[Value]:
    whole = (before["number"] < before["number"].max()) | (before["number"] == WINDOWS - 1)
    usual = before["volume"][whole]
    if len(usual) < MIN_WINDOWS:
        return []
    mean = float(np.mean(usual))
    text = detail([{"windows": len(usual), "mean_volume": mean}])
    return [Value(*name, "relative_volume", volume / mean, text)]


def pressure(blocks: dict[str, Any]) -> dict[str, float]:
    """OBV and ADL at the window's end, and CMF."""
    import talib

    high, low, close, volume = (
        np.ascontiguousarray(blocks[what], dtype=np.float64) for what in ("high", "low", "close", "volume")
    )
    line = np.concatenate(([0.0], talib.AD(high, low, close, volume)))
    numbers = {"adl": float(line[-1])}
    if len(close) > 1:  # one close is no change
        numbers["obv"] = float(
            talib.OBV(close, volume)[-1] - volume[0]
        )  # TA-Lib begins with the first bar's volume
    if len(close) >= BARS:
        numbers["cmf"] = float((line[-1] - line[-1 - BARS]) / np.sum(volume[-BARS:]))
    return numbers


def _before_sql() -> str:
    bars = []
    for view, bar, low, high in VIEWS:
        # The bar that ends at the start, or up to a bar before it, is the newest of window 0. Integers divide without rest.
        ended = f"(cast({{start}} AS TIMESTAMP)::long - {bar} - ts::long)"
        bars.append(
            f"SELECT ts, exchange, market, symbol, {ended} / {{length}} number, volume FROM {view} "  # noqa: S608
            f"WHERE {{length}} >= {low} AND {{length}} < {high} AND volume > 0 AND volume < 1e300{{instruments}} "
            f"AND ts <= cast(cast({{start}} AS TIMESTAMP)::long - {bar} AS TIMESTAMP) "
            f"AND ts > cast(cast({{start}} AS TIMESTAMP)::long - {bar} - {WINDOWS} * {{length}} AS TIMESTAMP)"
        )
    return (
        "SELECT max(ts) ts, exchange, market, symbol, number, sum(volume) volume "  # noqa: S608
        f"FROM ({' UNION ALL '.join(bars)})"
    )


VOLUME = Analysis(
    name="volume",
    metrics=(
        Metric(
            "relative_volume",
            "ratio",
            "volume / mean volume of the same-length windows before, of the last 20 those with trades; absent below 5",
        ),
        Metric("obv", "base", "on-balance volume: Σ volume of rising bars of 10 s − Σ of falling ones"),
        Metric(
            "adl",
            "base",
            "accumulation/distribution line (Chaikin) over bars of 10 s, from 0 at the window's start",
        ),
        Metric("cmf", "share", "Chaikin money flow over the last 20 bars of 10 s, −1 to 1; absent below 20"),
    ),
    channels=("trades",),
    queries={"blocks": BLOCKS_SQL, "before": _before_sql()},
    compute=compute,
)
