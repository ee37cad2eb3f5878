"""Liquidations in clusters: cascades in time, and the prices at which most was forced.

A cascade is a suspicion: forced orders of one side that come so close together that one may have set off the next. It is
a burst (see `bursts`: more than five times the side's base rate, in the sum of its seconds more than chance brings) of six
forced orders or more. That chance is one in ten thousand at most, a side and window. Of a venue that publishes one
forced order a second at most, a cascade shows where it publishes less than one in five seconds otherwise, and how many
orders there were remains hidden.

By price: bins of 10 bps, equal in ln price. The cluster is the bin with the largest notional.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.bursts import bursts
from analyzer.passes.evidence import detail, iso
from analyzer.passes.groups import by_instrument
from analyzer.passes.liquidations import CLOSED
from analyzer.windows import Window

MIN_ORDERS = 6
CHANCE = 1e-4
BIN = 0.001
"""Of ln price: 10 bps."""
COLUMNS = ("ts", "side", "orders", "notional", "first_price", "last_price")
BINS = ("qty", "notional", "long_notional", "orders", "low", "high")
Rows = list[dict[str, object]]


def compute(tables: Tables, window: Window) -> list[Value]:
    """`seconds`: one row an instrument, side and second with forced orders; `bins`: one an instrument and bin of prices."""
    values = []
    for name, rows in by_instrument(tables["seconds"], COLUMNS):
        for side, closed in CLOSED.items():
            own = {column: series[rows["side"] == side] for column, series in rows.items()}
            found = cascades(own, window)
            notional = sum(float(str(one["notional"])) for one in found)
            values += [
                Value(*name, f"cascade_{closed}", float(len(found)), detail(found)),
                Value(*name, f"cascade_{closed}_notional", notional),
            ]
    for name, bins in by_instrument(tables["bins"], BINS):
        values += [Value(*name, metric, number, text) for metric, (number, text) in by_price(bins).items()]
    return values


def cascades(rows: dict[str, Any], window: Window) -> Rows:
    """Those of one side, largest notional first."""
    if np.sum(rows["orders"]) < MIN_ORDERS:
        return []
    first_second = window.start_us // 1_000_000
    second = rows["ts"].astype("datetime64[s]").astype(np.int64) - first_second
    length = -(-window.end_us // 1_000_000) - first_second
    found: Rows = []
    for burst in bursts(np.bincount(second, rows["orders"], length), CHANCE):
        begin, end = np.searchsorted(second, (burst.begin, burst.end)).tolist()
        orders = float(np.sum(rows["orders"][begin:end]))
        if orders < MIN_ORDERS:
            continue
        first, last = float(rows["first_price"][begin]), float(rows["last_price"][end - 1])
        found.append(
            {
                "from": iso((first_second + burst.begin) * 1_000_000),
                "to": iso((first_second + burst.end) * 1_000_000),
                "orders": int(orders),
                "notional": float(np.sum(rows["notional"][begin:end])),
                "base_per_s": burst.base,
                "first_price": first,
                "last_price": last,
                "move_bps": (last / first - 1) * 1e4,
            }
        )
    found.sort(key=lambda one: -float(str(one["notional"])))
    return found


def by_price(bins: dict[str, Any]) -> dict[str, tuple[float, str]]:
    order = np.lexsort((bins["low"], -bins["notional"]))
    names = ("low", "high", "notional", "long_notional", "orders")
    rows = [{name: float(bins[name][n]) for name in names} for n in order]
    largest = order[0]
    notional = float(bins["notional"][largest])
    return {
        "liq_cluster_price": (notional / float(bins["qty"][largest]), detail(rows)),
        "liq_cluster_notional": (notional, ""),
        "liq_cluster_share": (notional / float(np.sum(bins["notional"])), ""),
    }


CASCADES = Analysis(
    name="cascades",
    metrics=(
        *(
            metric
            for closed in CLOSED.values()
            for metric in (
                Metric(
                    f"cascade_{closed}", "count", f"suspected cascades of liquidated {closed}s; see detail"
                ),
                Metric(f"cascade_{closed}_notional", "quote", "Σ price × qty in these"),
            )
        ),
        Metric(
            "liq_cluster_price",
            "quote",
            "mean price of the 10 bps in which most was liquidated; detail: the next ones",
        ),
        Metric("liq_cluster_notional", "quote", "Σ price × qty there"),
        Metric("liq_cluster_share", "share", "of all liquidated notional"),
    ),
    channels=("liquidations",),
    queries={
        "seconds": "SELECT ts, exchange, market, symbol, side, count() orders, sum(price * qty) notional, "  # noqa: S608
        "first(price) first_price, last(price) last_price FROM liquidations WHERE {where} AND "
        "side IN ('buy', 'sell') AND " + TRADED + " SAMPLE BY 1s",
        "bins": f"SELECT max(ts) ts, exchange, market, symbol, floor(ln(price) / {BIN}) bin, "  # noqa: S608
        "sum(qty) qty, sum(price * qty) notional, "
        "sum(CASE WHEN side = 'sell' THEN price * qty ELSE 0.0 END) long_notional, "
        "count() orders, min(price) low, max(price) high FROM liquidations WHERE {where} AND " + TRADED,
    },
    compute=compute,
)
