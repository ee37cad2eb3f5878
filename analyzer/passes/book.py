"""The order book on a grid of one second: the last snapshot of each second that has one.

The server takes the levels apart, as it reads them fastest; only a line of numbers a second comes over. Snapshots with an
empty side have no mid and are left out; crossed ones (bid ≥ ask) are counted and left out. Seconds without a snapshot are
not filled: a mean is over the seconds that have one, and the last second is the last of these.
"""

from __future__ import annotations

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.books import SECONDS_SQL
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

COLUMNS = ("bid", "bid_size", "ask", "ask_size", "top_bid", "top_ask", "near_bid", "near_ask")


def compute(tables: Tables, window: Window) -> list[Value]:
    """`seconds`: one row an instrument and second: best prices and sizes, Σ size of the top levels and of those near mid.

    Microprice here: the mid weighted by the opposite sizes (weighted mid). Stoikov's is in quotes.py."""
    values = []
    for name, all_seconds in by_instrument(tables["seconds"], COLUMNS):
        values.append(Value(*name, "crossed", float(np.sum(all_seconds["bid"] >= all_seconds["ask"]))))
        good = all_seconds["bid"] < all_seconds["ask"]
        if not good.any():
            continue
        b = {column: series[good] for column, series in all_seconds.items()}
        mid = (b["bid"] + b["ask"]) / 2
        size = b["bid_size"] + b["ask_size"]
        with np.errstate(invalid="ignore"):  # sizes of zero, which have no proportion: 0 / 0
            microprice = (b["bid"] * b["ask_size"] + b["ask"] * b["bid_size"]) / size
            imbalance = (b["top_bid"] - b["top_ask"]) / (b["top_bid"] + b["top_ask"])
        means = {
            "spread_bps": (b["ask"] - b["bid"]) / mid * 1e4,
            "imbalance": imbalance[np.isfinite(imbalance)],
            # No level within the band: the server's sum over nothing is null.
            "depth_bid_10bps": np.nan_to_num(b["near_bid"]),
            "depth_ask_10bps": np.nan_to_num(b["near_ask"]),
        }
        values += [Value(*name, "mid", float(mid[-1])), Value(*name, "microprice", float(microprice[-1]))]
        values += [
            Value(*name, metric, float(np.mean(series))) for metric, series in means.items() if len(series)
        ]
    return [value for value in values if np.isfinite(value.value)]


BOOK = Analysis(
    name="book",
    metrics=(
        Metric("mid", "quote", "(best bid + best ask) / 2, at the window's last second"),
        Metric("microprice", "quote", "mid weighted by the opposite sizes, at the window's last second"),
        Metric("spread_bps", "bps", "(ask − bid) / mid, mean over seconds"),
        Metric(
            "imbalance",
            "share",
            "(bids − asks) / (bids + asks) of the top 5 levels' sizes, mean over seconds",
        ),
        Metric("depth_bid_10bps", "base", "Σ size of bids within 10 bps of mid, mean over seconds"),
        Metric("depth_ask_10bps", "base", "Σ size of asks within 10 bps of mid, mean over seconds"),
        Metric("crossed", "count", "seconds whose last snapshot was crossed"),
    ),
    channels=("orderbook",),
    queries={"seconds": SECONDS_SQL},
    compute=compute,
)
