"""Where the window's volume was traded: volume profile, and VWAP with its bands.

Volume profile: the range of the window's prices in 50 rows of equal height, the volume of each. The point of control
(POC) is the middle of the row with the most volume; of equal ones that nearest to the middle of the range, then the
lower. The value area is the rows around it that hold at least 70 % of the volume, found as by the Chicago Board of Trade
(1996), A six-part study guide to Market Profile: from the POC on, the two rows above and the two below are compared, and
the pair with more volume is added (of equal ones the upper) until it is enough. Its bounds are the outer edges of its
rows. There, a row is a price; where the range has fewer prices than 50, rows between them are empty, and do no harm.

Bands: VWAP ± 1 and ± 2 σ, σ = sqrt(Σ v (p − VWAP)² / Σ v), over single trades and weighted with their volume. Where all
prices are equal, σ is 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.evidence import detail
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

ROWS = 50
AREA = 0.7
LARGEST = 5
"""Rows that are told in the detail."""
COLUMNS = ("row", "volume", "moment", "square", "low", "high", "close")
Profile = tuple[int, int, int]
"""Rows of the point of control, of the value area's bottom and of its top."""


def compute(tables: Tables, window: Window) -> list[Value]:
    """`rows`: one row an instrument and row of its profile: volume, Σ v (p − low), Σ v (p − low)², and the instrument's
    lowest, highest and last price."""
    values: list[Value] = []
    for name, rows in by_instrument(tables["rows"], COLUMNS):
        low, high, close = (float(rows[what][0]) for what in ("low", "high", "close"))
        volume = np.zeros(ROWS)
        # The highest price, on the range's upper edge, belongs to the uppermost row.
        np.add.at(volume, np.minimum(rows["row"].astype(np.int64), ROWS - 1), rows["volume"])
        height = (high - low) / ROWS
        poc, bottom, top = profile(volume)
        centre = low + (poc + 0.5) * height
        total = float(volume.sum())
        mean = float(rows["moment"].sum()) / total
        sigma = math.sqrt(max(0.0, float(rows["square"].sum()) / total - mean * mean))
        vwap = low + mean
        numbers = {
            "poc": centre,
            "poc_share": float(volume[poc]) / total,
            "poc_bps": (close / centre - 1) * 1e4,
            "value_area_low": low + bottom * height,
            "value_area_high": low + (top + 1) * height,
            "value_area_share": float(volume[bottom : top + 1].sum()) / total,
            "vwap_sigma": sigma,
        }
        for n in (1, 2):
            numbers |= {f"vwap_upper_{n}": vwap + n * sigma, f"vwap_lower_{n}": vwap - n * sigma}
        if sigma > 0:
            numbers["vwap_z"] = (close - vwap) / sigma
        text = _largest(volume, low, height)
        values += [
            Value(*name, metric, value, text if metric == "poc" else "")
            for metric, value in numbers.items()
            if math.isfinite(value)
        ]
    return values


def profile(volume: Any) -> Profile:
    """`volume`: of each row, lowest first; some is positive."""
    largest = np.flatnonzero(volume == volume.max())
    poc = int(min(largest, key=lambda row: (abs(2 * row + 1 - len(volume)), row)))
    bottom = top = poc
    held, enough = float(volume[poc]), AREA * float(volume.sum())
    while held < enough and (bottom > 0 or top < len(volume) - 1):
        above, below = (
            float(volume[top + 1 : top + 3].sum()),
            float(volume[max(bottom - 2, 0) : bottom].sum()),
        )
        if top < len(volume) - 1 and (above >= below or bottom == 0):
            top, held = min(top + 2, len(volume) - 1), held + above
        else:
            bottom, held = max(bottom - 2, 0), held + below
    return poc, bottom, top


def _largest(volume: Any, low: float, height: float) -> str:
    order = np.argsort(-volume, kind="stable")[:LARGEST]
    share = volume / volume.sum()
    return detail(
        [{"price": low + (int(n) + 0.5) * height, "share": float(share[n])} for n in order if volume[n] > 0]
    )


_TRADES = f"FROM trades WHERE {{where}} AND {TRADED}"

PROFILE = Analysis(
    name="profile",
    metrics=(
        Metric(
            "poc",
            "quote",
            "point of control: middle of the row with the most volume, of 50; detail: the largest rows",
        ),
        Metric("poc_share", "share", "that row's part of the volume"),
        Metric("poc_bps", "bps", "last price / poc − 1"),
        Metric(
            "value_area_low", "quote", "lower bound of the rows around the poc that hold 70 % of the volume"
        ),
        Metric("value_area_high", "quote", "upper bound of these rows"),
        Metric("value_area_share", "share", "what they hold; rows are whole, so that it's 0.7 or more"),
        Metric("vwap_sigma", "quote", "volume-weighted standard deviation of prices from the vwap"),
        *(
            Metric(f"vwap_{side}_{n}", "quote", f"vwap {sign} {n} vwap_sigma")
            for n in (1, 2)
            for side, sign in (("upper", "+"), ("lower", "−"))
        ),
        Metric("vwap_z", "σ", "(last price − vwap) / vwap_sigma; absent when all prices are equal"),
    ),
    channels=("trades",),
    queries={
        # Moments are about the lowest price: those about 0 would lose the variance in their last digits.
        "rows": "SELECT max(t.ts) ts, t.exchange exchange, t.market market, t.symbol symbol, "  # noqa: S608
        f"CASE WHEN r.high > r.low THEN floor((t.price - r.low) / (r.high - r.low) * {ROWS}) ELSE 0.0 END row, "
        "sum(t.qty) volume, sum(t.qty * (t.price - r.low)) moment, "
        "sum(t.qty * (t.price - r.low) * (t.price - r.low)) square, max(r.low) low, max(r.high) high, max(r.close) close "
        f"FROM (SELECT ts, exchange, market, symbol, price, qty {_TRADES}) t JOIN ("
        f"SELECT exchange, market, symbol, min(price) low, max(price) high, last(price) close {_TRADES}) r "
        "ON (exchange, market, symbol)",
    },
    compute=compute,
)
