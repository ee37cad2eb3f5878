"""Large trades: taker orders of at least 20 times the mean notional of the window's taker orders of the instrument.

A taker's order: the trades of one side at the same microsecond of the venue's clock, as one order that sweeps several
makers is reported as several trades. Two takers at the same microsecond would be taken for one. The mean includes the
order itself, so that one large order needs at least 20 others. Sizes of trades have a heavy tail of exponent 1.5
(Gopikrishnan et al. 2000, Statistical properties of share volume traded in financial markets, Physical Review E 62 (4)),
under which one order of 460 is as large; "whale" has no definition in the literature, and the bound is ours. Trades whose
side is unknown have no taker, and are left out.

The query's rows are those of `markout` too: each order once a horizon, with the book there.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.evidence import detail, iso
from analyzer.passes.groups import by_instrument, microseconds
from analyzer.windows import Window

TIMES = 20
BEFORE_US = -1
"""The horizon whose book is the last one before the order."""
HORIZONS = (1, 5, 30)
"""seconds"""
LARGE = ("ts", "side", "qty", "notional", "low", "high", "trades", "mean", "total")
KEY = "PARTITION BY exchange, market, symbol"


def horizons_sql(events: str, columns: str) -> str:
    """Each event (with `ts` as designated timestamp) once a horizon: `horizon` in µs, and age, bid and ask of the last book
    that was there then, null without one in the window. `columns`: those of the events.

    The books are cut at the window only: chosen instruments are the events', and the join's other side takes no filter."""
    kept = ", ".join(f"e.{name} {name}" for name in columns.split(", "))
    return (
        f"SELECT {kept}, h.offset horizon, h.timestamp - b.ts age, b.bids[1][1] bid, b.asks[1][1] ask "  # noqa: S608
        f"FROM ({events}) AS e HORIZON JOIN (SELECT * FROM orderbook WHERE ts >= {{start}} AND ts < {{end}}) AS b "
        "ON (exchange, market, symbol) "
        f"LIST ({BEFORE_US}U, {', '.join(f'{seconds}s' for seconds in HORIZONS)}) AS h"
    )


def _large_sql() -> str:
    orders = (
        "SELECT ts, exchange, market, symbol, side, sum(qty) qty, sum(price * qty) notional, min(price) low, "  # noqa: S608
        f"max(price) high, count() trades FROM trades WHERE {{where}} AND side IN ('buy', 'sell') AND {TRADED}"
    )
    compared = f"SELECT *, avg(notional) OVER ({KEY}) mean, sum(notional) OVER ({KEY}) total FROM ({orders})"  # noqa: S608
    large = f"SELECT * FROM ({compared}) WHERE notional >= {TIMES} * mean ORDER BY ts"  # noqa: S608
    columns = "ts, exchange, market, symbol, side, qty, notional, low, high, trades, mean, total"
    return horizons_sql(f"SELECT * FROM ({large}) TIMESTAMP(ts)", columns)  # noqa: S608


LARGE_SQL = _large_sql()


def compute(tables: Tables, window: Window) -> list[Value]:
    """`large`: one row a large order and horizon; `sums`: one row an instrument that has orders."""
    import pyarrow.compute as pc

    large = tables["large"]
    large = large.filter(pc.equal(large.column("horizon"), BEFORE_US))
    found = dict(by_instrument(large.append_column("us", [microseconds(large, "ts")]), (*LARGE, "us")))
    values: list[Value] = []
    for name, _ in by_instrument(tables["sided"], ()):
        numbers = {f"whale_{side}_{what}": 0.0 for side in ("buy", "sell") for what in ("count", "notional")}
        texts: dict[str, str] = {}
        if name in found:
            rows = found[name]
            for side in ("buy", "sell"):
                own = rows["side"] == side
                numbers[f"whale_{side}_count"] = float(np.sum(own))
                numbers[f"whale_{side}_notional"] = float(np.sum(rows["notional"][own]))
                texts[f"whale_{side}_count"] = _evidence(rows, np.flatnonzero(own))
            both = numbers["whale_buy_notional"] + numbers["whale_sell_notional"]
            numbers["whale_imbalance"] = (2 * numbers["whale_buy_notional"] - both) / both
            numbers["whale_share"] = both / float(rows["total"][0])
        values += [Value(*name, metric, value, texts.get(metric, "")) for metric, value in numbers.items()]
    return values


def _evidence(rows: dict[str, Any], chosen: Any) -> str:
    """The largest first."""
    order = chosen[np.lexsort((rows["us"][chosen], -rows["notional"][chosen]))]
    return detail(
        [
            {
                "at": iso(int(rows["us"][n])),
                "notional": float(rows["notional"][n]),
                "qty": float(rows["qty"][n]),
                "prices": [float(rows["low"][n]), float(rows["high"][n])],
                "trades": int(rows["trades"][n]),
                "times_mean": float(rows["notional"][n] / rows["mean"][n]),
            }
            for n in order
        ]
    )


WHALES = Analysis(
    name="whales",
    metrics=(
        Metric("whale_buy_count", "count", "taker buys of at least 20 times the mean order; see detail"),
        Metric("whale_buy_notional", "quote", "Σ price × qty of these"),
        Metric("whale_sell_count", "count", "taker sells of at least 20 times the mean order; see detail"),
        Metric("whale_sell_notional", "quote", "Σ price × qty of these"),
        Metric(
            "whale_imbalance",
            "share",
            "(buys − sells) / (buys + sells) of their notional; absent without any",
        ),
        Metric("whale_share", "share", "their part of the notional whose side is known; absent without any"),
    ),
    channels=("trades",),
    queries={
        "large": LARGE_SQL,
        "sided": "SELECT max(ts) ts, exchange, market, symbol FROM trades "  # noqa: S608 - our own constant
        f"WHERE {{where}} AND side IN ('buy', 'sell') AND {TRADED}",
    },
    compute=compute,
)
