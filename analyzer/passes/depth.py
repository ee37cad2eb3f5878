"""Depth and the cost of a given size, on a grid of one second: the last snapshot of each second that has one.

Recorded books end somewhere (the collector keeps a number of levels a side). A band is counted only in the seconds whose
book reaches its edge: what lies behind the last level isn't known, and is not 0. Where that is less than half of the seconds
it has no number, as those would be a choice of thin moments. `reach_…_bps` says how far the books go.
Crossed snapshots and those with an empty side are left out; seconds without a snapshot are not filled.

Slippage is the volume-weighted price of taking `size / mid` base units level by level, against the mid (an execution
shortfall: Perold 1988, The implementation shortfall). No fees, no hidden size, nobody else who takes.
"""

from __future__ import annotations

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.books import BANDS, SECONDS_SQL, SIDES, SIZES
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

SEEN = 0.5
"""Share of the seconds that must reach a band's edge."""
COLUMNS = (
    "bid",
    "ask",
    *(f"{side}_{what}" for side in SIDES for what in ("deepest", "notional")),
    *(f"{side}_{band}" for side in SIDES for band in BANDS),
    *(f"{side}_{size}" for side in SIDES for size in SIZES),
)


def compute(tables: Tables, window: Window) -> list[Value]:
    """`seconds`: one row an instrument and second: best and deepest price of each side, its notional altogether and within
    each band (null: no level in it), and the mean price of each size (null: the book is too thin)."""
    values: list[Value] = []
    for name, every in by_instrument(tables["seconds"], COLUMNS):
        good = (every["bid"] > 0) & (every["bid"] < every["ask"]) & (every["ask"] < 1e300)
        if not good.any():
            continue
        b = {column: series[good] for column, series in every.items()}
        mid = (b["bid"] + b["ask"]) / 2
        numbers: dict[str, float] = {}
        for side, sign in (("bid", -1), ("ask", 1)):
            reach = sign * (b[f"{side}_deepest"] / mid - 1) * 1e4
            numbers[f"reach_{side}_bps"] = float(np.mean(reach))
            numbers[f"depth_{side}_notional"] = float(np.mean(b[f"{side}_notional"]))
            taker = SIDES[side]
            for size in SIZES:
                slippage = sign * (b[f"{side}_{size}"] / mid - 1) * 1e4
                filled = np.isfinite(slippage)
                numbers[f"fillable_{taker}_{size}"] = float(np.mean(filled))
                if filled.any():
                    numbers[f"slippage_{taker}_{size}_bps"] = float(np.mean(slippage[filled]))
        for band in BANDS:
            bids, asks = (np.nan_to_num(b[f"{side}_{band}"]) for side in SIDES)
            reached_bid = b["bid_deepest"] <= mid * (1 - band / 1e4)
            reached_ask = b["ask_deepest"] >= mid * (1 + band / 1e4)
            if np.mean(reached_bid) >= SEEN:
                numbers[f"depth_bid_{band}bps_notional"] = float(np.mean(bids[reached_bid]))
            if np.mean(reached_ask) >= SEEN:
                numbers[f"depth_ask_{band}bps_notional"] = float(np.mean(asks[reached_ask]))
            reached = reached_bid & reached_ask
            both = reached & (bids + asks > 0)
            if np.mean(reached) >= SEEN and both.any():
                share = (bids[both] - asks[both]) / (bids[both] + asks[both])
                numbers[f"imbalance_{band}bps"] = float(np.mean(share))
        values += [Value(*name, metric, value) for metric, value in numbers.items() if np.isfinite(value)]
    return values


def _metrics() -> list[Metric]:
    metrics = []
    for band in BANDS:
        of = f"within {band} bps of mid, mean over the seconds whose book reaches that far; absent below half"
        metrics += [
            Metric(f"depth_{side}_{band}bps_notional", "quote", f"Σ price × size of {side}s {of}")
            for side in SIDES
        ]
        metrics.append(
            Metric(f"imbalance_{band}bps", "share", f"(bids − asks) / (bids + asks) of notional {of}")
        )
    for side in SIDES:
        metrics.append(
            Metric(
                f"reach_{side}_bps",
                "bps",
                f"distance of the deepest recorded {side} from mid, mean over seconds",
            )
        )
        metrics.append(
            Metric(
                f"depth_{side}_notional",
                "quote",
                f"Σ price × size of all recorded {side}s, mean over seconds",
            )
        )
    for taker in SIDES.values():
        for name, size in SIZES.items():
            of = f"a {taker} of {size:,} quote units at once"
            metrics += [
                Metric(
                    f"slippage_{taker}_{name}_bps",
                    "bps",
                    f"mean price of {of} against mid, mean over the seconds whose recorded book holds as much",
                ),
                Metric(f"fillable_{taker}_{name}", "share", f"seconds whose recorded book holds {of}"),
            ]
    return metrics


DEPTH = Analysis(
    name="depth",
    metrics=tuple(_metrics()),
    channels=("orderbook",),
    queries={"seconds": SECONDS_SQL},
    compute=compute,
)
