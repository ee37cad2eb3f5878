"""How informed the flow is, from who took: VPIN, and Kyle's lambda with its significance.

VPIN: Easley, López de Prado, O'Hara (2012), Flow toxicity and liquidity in a high-frequency world, Review of Financial
Studies 25 (5): Σ |V_buy − V_sell| / (n V) over n buckets of equal volume V. As there n is 50, and a trade that doesn't
fit into its bucket goes on in the next; but V is a fiftieth of the window's volume, and not of a day's. The venues tell
the taker's side, so that nothing is guessed from prices (there: bulk volume classification). Trades whose side is unknown
are left out. Without information it isn't 0: with m equal trades a bucket of random side it is near sqrt(2 / π m).

Kyle's lambda: Kyle (1985), Continuous auctions and insider trading, Econometrica 53 (6): the slope of the change in price
on net taker volume, here least squares of ln(close / close before) on taker buys − sells, over blocks of ten seconds with
trades whose neighbour before has trades too. It is the price impact of the flow, whoever caused it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.blocks import BLOCK_US, BLOCKS, BLOCKS_SQL, starts
from analyzer.passes.groups import by_instrument
from analyzer.passes.regression import line
from analyzer.windows import Window

BUCKETS = 50
MIN_TRADES = 10 * BUCKETS
"""With fewer the buckets are filled by single trades, which are one-sided by nature."""
MIN_PAIRS = 10
UNIT = 1e6
"""Lambda is for so many quote units."""
EDGES = ("ts", "reached", "bought", "qty", "buy_qty", "total")


def compute(tables: Tables, window: Window) -> list[Value]:
    """`blocks`: see blocks; `edges`: one row a trade at which a bucket ends, of the trades whose side is known: volume and
    taker buys up to and with it, its own, and the window's volume."""
    edges = dict(by_instrument(tables["edges"], EDGES))
    values: list[Value] = []
    for name, blocks in by_instrument(tables["blocks"], BLOCKS):
        numbers = impact(blocks)
        if name in edges and blocks["sided"].sum() >= MIN_TRADES:
            bought = float(blocks["buys"].sum())
            numbers["vpin"] = vpin(edges[name], bought)
            numbers["vpin_bucket"] = float(edges[name]["total"][0]) / BUCKETS
        values += [Value(*name, metric, value) for metric, value in numbers.items() if math.isfinite(value)]
    return values


def vpin(edges: dict[str, Any], bought: float) -> float:
    """`bought`: taker buys of the whole window."""
    total = float(edges["total"][0])
    reached = np.concatenate(([0.0], edges["reached"] - edges["qty"], edges["reached"], [total]))
    buys = np.concatenate(([0.0], edges["bought"] - edges["buy_qty"], edges["bought"], [bought]))
    order = np.argsort(reached, kind="stable")
    # Within a trade both rise in proportion: its volume is shared out exactly.
    at_edges = np.interp(np.linspace(0.0, total, BUCKETS + 1), reached[order], buys[order])
    return float(np.sum(np.abs(2 * np.diff(at_edges) - total / BUCKETS)) / total)


def impact(blocks: dict[str, Any]) -> dict[str, float]:
    adjacent = np.diff(starts(blocks)) == BLOCK_US
    moves = (np.diff(np.log(blocks["close"])) * 1e4)[adjacent]
    if len(moves) < MIN_PAIRS:
        return {}
    found = line(blocks["net"][1:][adjacent] / UNIT, moves)
    if found is None:
        return {}
    numbers = {"kyle_lambda": found.slope, "kyle_t": found.t, "kyle_r2": found.r2}
    return {metric: value for metric, value in numbers.items() if value is not None}


def _edges_sql() -> str:
    upto = "OVER (PARTITION BY exchange, market, symbol ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)"
    bought = "CASE WHEN side = 'buy' THEN qty ELSE 0.0 END"
    # A trade too many does no harm, one that is missing for a rounding would.
    ends = f"floor(reached * {BUCKETS} / total + 1e-9) > floor((reached - qty) * {BUCKETS} / total - 1e-9)"
    return (
        "SELECT ts, exchange, market, symbol, reached, bought, qty, buy_qty, total FROM ("  # noqa: S608
        f"SELECT ts, exchange, market, symbol, qty, {bought} buy_qty, sum(qty) {upto} reached, sum({bought}) {upto} bought, "
        "sum(qty) OVER (PARTITION BY exchange, market, symbol) total "
        f"FROM trades WHERE {{where}} AND side IN ('buy', 'sell') AND {TRADED}) WHERE {ends}"
    )


TOXICITY = Analysis(
    name="toxicity",
    metrics=(
        Metric(
            "vpin",
            "share",
            "Σ |taker buys − sells| / volume over 50 buckets of equal volume (Easley, López de Prado, O'Hara 2012); "
            "absent below 500 trades",
        ),
        Metric("vpin_bucket", "base", "a bucket's volume"),
        Metric(
            "kyle_lambda",
            "bps/M quote",
            "slope of ln price on taker buys − sells, over blocks of 10 s (Kyle 1985), for a million quote units; "
            "absent below 10",
        ),
        Metric("kyle_t", "t", "that slope / its standard error"),
        Metric("kyle_r2", "share", "R² of that regression; absent when the price didn't change"),
    ),
    channels=("trades",),
    queries={"blocks": BLOCKS_SQL, "edges": _edges_sql()},
    compute=compute,
)
