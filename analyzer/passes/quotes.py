"""The touch (best bid and ask): spread, persistence of the imbalance, micro-price, order-flow imbalance and its impact.

The server goes through every snapshot and sends one row a second: the second's last touch, and the sum of the snapshots'
order-flow imbalance. Crossed and one-sided snapshots are left out, as are sizes that are no numbers.

Order-flow imbalance: Cont, Kukanov, Stoikov (2014), The price impact of order book events, Journal of Financial Econometrics
12 (1): Σ e_n = 1{b_n ≥ b_n-1} q^b_n − 1{b_n ≤ b_n-1} q^b_n-1 − 1{a_n ≤ a_n-1} q^a_n + 1{a_n ≥ a_n-1} q^a_n-1. What happens
between two snapshots is seen as one event. The window's first snapshot has none before it, and adds nothing. Impact:
ΔP_k = α + β OFI_k over intervals of 10 s, as there, but in bps.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.groups import by_instrument
from analyzer.passes.microprice import adjustment, states
from analyzer.passes.regression import line
from analyzer.passes.touch import TOUCH_SQL
from analyzer.windows import Window

INTERVAL_S = 10
MIN_INTERVALS = 10
MIN_PAIRS = 10
ROUNDING = 1e-10
"""A smaller share of the mid is the last bit of a sum, and no move."""
COLUMNS = ("ts", "bid", "bid_size", "ask", "ask_size", "top_bid", "top_ask", "ofi", "depth")


def compute(tables: Tables, window: Window) -> list[Value]:
    """`seconds`: one row an instrument and second: the last touch, Σ size of its top levels, Σ e_n, mean size at the
    touch."""
    values: list[Value] = []
    for name, b in by_instrument(tables["seconds"], COLUMNS):
        second = b["ts"].astype("datetime64[s]").astype(np.int64)
        mid, spread = (b["bid"] + b["ask"]) / 2, b["ask"] - b["bid"]
        spread_bps = spread / mid * 1e4
        numbers: dict[str, float] = {
            "spread_last_bps": float(spread_bps[-1]),
            "spread_median_bps": float(np.median(spread_bps)),
            "spread_p95_bps": float(np.quantile(spread_bps, 0.95)),
            "ofi": float(np.sum(b["ofi"])),
            "ofi_per_depth": float(np.sum(b["ofi"]) / np.mean(b["depth"])),
        }
        numbers |= _impact(second, mid, b["ofi"])
        top = b["top_bid"] + b["top_ask"]
        numbers |= persistence(second, (b["top_bid"] - b["top_ask"]) / top)
        state = states(b["bid_size"], b["ask_size"], spread)
        steps = np.flatnonzero(np.diff(second) == 1)
        moves = np.diff(mid)
        moves[np.abs(moves) < ROUNDING * mid[1:]] = 0.0
        moved = adjustment(state[steps], state[steps + 1], moves[steps], int(state[-1]))
        if moved is not None:
            numbers["microprice_stoikov"] = float(mid[-1] + moved)
            numbers["microprice_stoikov_bps"] = float(moved / mid[-1] * 1e4)
        values += [Value(*name, metric, value) for metric, value in numbers.items() if math.isfinite(value)]
    return values


def _impact(second: Any, mid: Any, ofi: Any) -> dict[str, float]:
    """β and R² over intervals whose neighbour before also has a book."""
    interval = second // INTERVAL_S
    last = np.append(np.flatnonzero(np.diff(interval)), len(interval) - 1)
    sums = np.add.reduceat(ofi, np.append(0, last[:-1] + 1))
    adjacent = np.diff(interval[last]) == 1
    x = sums[1:][adjacent]
    y = (np.diff(mid[last]) / mid[last][:-1] * 1e4)[adjacent]
    if len(x) < MIN_INTERVALS:
        return {}
    found = line(x, y)
    if found is None:
        return {}
    return {"ofi_impact": found.slope} | ({} if found.r2 is None else {"ofi_r2": found.r2})


def persistence(second: Any, imbalance: Any) -> dict[str, float]:
    """Of a series by seconds: correlation with itself a second later, half-life of the AR(1) with it, run of its sign."""
    known = np.isfinite(imbalance)
    second, imbalance = second[known], imbalance[known]
    found: dict[str, float] = {}
    if not len(second):
        return found
    adjacent = np.flatnonzero(np.diff(second) == 1)
    x, y = imbalance[adjacent], imbalance[adjacent + 1]
    if len(x) >= MIN_PAIRS and np.ptp(x) > 0 and np.ptp(y) > 0:
        rho = float(np.corrcoef(x, y)[0, 1])
        found["imbalance_autocorr"] = rho
        if 0 < rho < 1:
            found["imbalance_half_life_s"] = math.log(0.5) / math.log(rho)
    sign = np.sign(imbalance)
    broken = np.flatnonzero((sign[1:] != sign[:-1]) | (np.diff(second) != 1))
    start = int(broken[-1]) + 1 if len(broken) else 0
    found["imbalance_run_s"] = float(sign[-1] * (second[-1] - second[start] + 1))
    return found


QUOTES = Analysis(
    name="quotes",
    metrics=(
        Metric("spread_last_bps", "bps", "(ask − bid) / mid at the window's last second"),
        Metric("spread_median_bps", "bps", "median over seconds"),
        Metric("spread_p95_bps", "bps", "95th percentile over seconds"),
        Metric(
            "ofi",
            "base",
            "order-flow imbalance (Cont, Kukanov, Stoikov 2014), Σ over snapshots; positive: demand",
        ),
        Metric("ofi_per_depth", "ratio", "ofi / mean size at the touch"),
        Metric(
            "ofi_impact", "bps/base", "β of the mid's change on ofi, over intervals of 10 s; absent below 10"
        ),
        Metric("ofi_r2", "share", "R² of that regression"),
        Metric("imbalance_autocorr", "correlation", "of the top 5 levels' imbalance with itself 1 s later"),
        Metric("imbalance_half_life_s", "s", "ln ½ / ln autocorr; absent unless 0 < autocorr < 1"),
        Metric(
            "imbalance_run_s", "s", "for how long the imbalance has had its sign at the end; negative: asks"
        ),
        Metric(
            "microprice_stoikov",
            "quote",
            "Stoikov (2018), at the window's last second; absent without enough moves",
        ),
        Metric("microprice_stoikov_bps", "bps", "(micro-price − mid) / mid"),
    ),
    channels=("orderbook",),
    queries={"seconds": TOUCH_SQL},
    compute=compute,
)
