"""Funding, open interest, the basis of mark to index, and what open interest says of longs and shorts: from the tickers.

The basis of a future to spot is in `venues`, takers' buys against sells in `flow`, liquidations in `liquidations`. The
venues' own ratios of long and short accounts are not in the streams that are recorded.

Open interest and price together, step by step of five seconds (Murphy 1999, Technical analysis of the financial markets,
chapter 7): open interest that grows while price rises is taken for opened longs, while price falls for opened shorts;
open interest that shrinks while price falls is taken for closed longs, while price rises for closed shorts. Every
contract has a long and a short: this is a guess at who was the aggressor, no count of holders. Price is the mark, or the
last trade where the venue gives no mark in any step. What the venue has not said has no number.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

STEP_S = 5
MIN_STEPS = 5
"""Steps in which both open interest and price changed."""
FIELDS = ("last", "mark", "index", "funding_rate", "open_interest")
COLUMNS = (*FIELDS, *(f"{name}_first" for name in FIELDS))


def compute(tables: Tables, window: Window) -> list[Value]:
    """`steps`: one row an instrument and step with a ticker: its first and last value of each field, null where unknown."""
    values: list[Value] = []
    for name, rows in by_instrument(tables["steps"], COLUMNS):
        numbers: dict[str, float] = {}
        first, last = _ends(rows, "funding_rate")
        if last is not None and first is not None:
            numbers |= {"funding_rate": last, "funding_rate_change": last - first}
        first, last = _ends(rows, "open_interest")
        if last is not None and first is not None:
            numbers["open_interest"] = last
            if first > 0:
                numbers["open_interest_change_bps"] = (last / first - 1) * 1e4
        numbers |= _basis(rows) | positions(rows)
        values += [Value(*name, metric, value) for metric, value in numbers.items() if np.isfinite(value)]
    return values


def _ends(rows: dict[str, Any], field: str) -> tuple[float | None, float | None]:
    """The window's first and last known value."""
    opened, closed = rows[f"{field}_first"], rows[field]
    opened, closed = opened[np.isfinite(opened)], closed[np.isfinite(closed)]
    return (float(opened[0]), float(closed[-1])) if len(opened) and len(closed) else (None, None)


def _basis(rows: dict[str, Any]) -> dict[str, float]:
    mark, index = rows["mark"], rows["index"]
    known = np.isfinite(mark) & np.isfinite(index) & (index > 0)
    if not known.any():
        return {}
    basis = (mark[known] / index[known] - 1) * 1e4
    return {"mark_index_bps": float(basis[-1]), "mark_index_mean_bps": float(np.mean(basis))}


def positions(rows: dict[str, Any]) -> dict[str, float]:
    price = rows["mark"] if np.isfinite(rows["mark"]).any() else rows["last"]
    known = np.isfinite(price) & np.isfinite(rows["open_interest"])
    moved, changed = np.diff(price[known]), np.diff(rows["open_interest"][known])
    if np.sum((moved != 0) & (changed != 0)) < MIN_STEPS:
        return {}
    found = {
        "longs_opened": float(np.sum(changed[(changed > 0) & (moved > 0)])),
        "shorts_opened": float(np.sum(changed[(changed > 0) & (moved < 0)])),
        "longs_closed": float(-np.sum(changed[(changed < 0) & (moved < 0)])),
        "shorts_closed": float(-np.sum(changed[(changed < 0) & (moved > 0)])),
    }
    opened = found["longs_opened"] + found["shorts_opened"]
    if opened > 0:
        found["opened_imbalance"] = (found["longs_opened"] - found["shorts_opened"]) / opened
    return found


DERIVATIVES = Analysis(
    name="derivatives",
    metrics=(
        Metric("funding_rate", "fraction", "last one of the window, a funding interval; positive: longs pay"),
        Metric("funding_rate_change", "fraction", "last − first of the window"),
        Metric("open_interest", "base", "last one of the window, as the venue counts it"),
        Metric("open_interest_change_bps", "bps", "last / first of the window − 1"),
        Metric("mark_index_bps", "bps", "(mark − index) / index, last one of the window"),
        Metric("mark_index_mean_bps", "bps", "mean of that over steps of 5 s"),
        Metric("longs_opened", "base", "Σ growth of open interest in steps of 5 s in which price rose"),
        Metric("shorts_opened", "base", "Σ growth of open interest in steps in which price fell"),
        Metric("longs_closed", "base", "Σ shrinkage of open interest in steps in which price fell"),
        Metric("shorts_closed", "base", "Σ shrinkage of open interest in steps in which price rose"),
        Metric("opened_imbalance", "share", "(longs − shorts) / (longs + shorts) opened; a proxy"),
    ),
    channels=("tickers",),
    queries={
        "steps": "SELECT ts, exchange, market, symbol, "  # noqa: S608 - our own constants
        + ", ".join(f"last_not_null({name}) {name}, first_not_null({name}) {name}_first" for name in FIELDS)
        + f" FROM tickers WHERE {{where}} SAMPLE BY {STEP_S}s",
    },
    compute=compute,
)
