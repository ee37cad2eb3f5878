"""The order book on a grid of one second: the last snapshot of each second that has one.

Snapshots with an empty side have no mid and are left out; crossed ones (bid ≥ ask) are counted and left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

BAND = 10e-4
"""Depth is counted within this distance of the mid, as a fraction."""
MEANS = ("spread_bps", "imbalance", "depth_bid_10bps", "depth_ask_10bps")
ROWS_AT_ONCE = 4096
TOP = 5
"""Levels a side in the imbalance."""


class Ladder:
    """One side of many snapshots. `row`, `level`, `price`, `size` are flat: one entry a level."""

    def __init__(self, array: pa.ListArray) -> None:
        """`array`: list<list<double>>, [prices, sizes], best first; [] for an empty side."""
        outer = array.offsets.to_numpy()
        inner = array.values.offsets.to_numpy()
        values = array.values.values.to_numpy(zero_copy_only=False)
        first = outer[:-1]
        whole = (np.diff(outer) == 2) & (array.is_valid().to_numpy(zero_copy_only=False))
        begin = np.where(whole, inner[np.minimum(first, len(inner) - 1)], 0)
        middle = np.where(whole, inner[np.minimum(first + 1, len(inner) - 1)], 0)
        self.count = middle - begin
        self.row = np.repeat(np.arange(len(self.count)), self.count)
        self.level = np.arange(len(self.row)) - np.repeat(np.cumsum(self.count) - self.count, self.count)
        self.price = values[np.repeat(begin, self.count) + self.level]
        self.size = values[np.repeat(middle, self.count) + self.level]

    def best(self) -> tuple[Any, Any]:
        """Price and size of the best level of every snapshot; NaN where there is none."""
        price, size = np.full(len(self.count), np.nan), np.full(len(self.count), np.nan)
        top = self.level == 0
        price[self.row[top]], size[self.row[top]] = self.price[top], self.size[top]
        return price, size

    def total(self, mask: Any) -> Any:
        """Σ size over the levels in `mask`, for every snapshot."""
        return np.bincount(self.row, weights=np.where(mask, self.size, 0.0), minlength=len(self.count))


def measure(bids: Ladder, asks: Ladder) -> dict[str, Any]:
    """The numbers of every snapshot; NaN where the book has none.

    Microprice: Stoikov (2018), The micro-price, first order: the mid weighted by the opposite sizes."""
    bid, bid_size = bids.best()
    ask, ask_size = asks.best()
    with np.errstate(invalid="ignore", divide="ignore"):
        crossed = bid >= ask
        mid = np.where(crossed, np.nan, (bid + ask) / 2)
        near_bid = bids.total(bids.price >= (mid * (1 - BAND))[bids.row])
        near_ask = asks.total(asks.price <= (mid * (1 + BAND))[asks.row])
        top_bid, top_ask = bids.total(bids.level < TOP), asks.total(asks.level < TOP)
        known = np.where(np.isnan(mid), np.nan, 1.0)
        return {
            "mid": mid,
            "spread_bps": known * (ask - bid) / mid * 1e4,
            "microprice": known * (bid * ask_size + ask * bid_size) / (bid_size + ask_size),
            "imbalance": known * (top_bid - top_ask) / (top_bid + top_ask),
            "depth_bid_10bps": known * near_bid,
            "depth_ask_10bps": known * near_ask,
            "crossed": crossed.astype(float),
        }


def compute(tables: Tables, window: Window) -> list[Value]:
    """`seconds`: one row an instrument and second, `bids` and `asks` as stored."""
    table = tables["seconds"]
    if not table.num_rows:
        return []
    import pyarrow as pa

    # In parts, since the flat ladders take several times the memory of the stored levels.
    parts = [
        measure(Ladder(part.column("bids")), Ladder(part.column("asks")))
        for part in table.to_batches(max_chunksize=ROWS_AT_ONCE)
    ]
    numbers = {metric: np.concatenate([part[metric] for part in parts]) for metric in parts[0]}
    measured = table.select(["ts", "exchange", "market", "symbol"])
    for metric, column in numbers.items():
        measured = measured.append_column(metric, pa.array(column))
    values = []
    for name, series in by_instrument(measured, list(numbers)):
        values.append(Value(*name, "crossed", float(np.sum(series["crossed"]))))
        good = ~np.isnan(series["mid"])
        if not good.any():
            continue
        values += [Value(*name, metric, float(series[metric][good][-1])) for metric in ("mid", "microprice")]
        values += [Value(*name, metric, float(np.nanmean(series[metric][good]))) for metric in MEANS]
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
    queries={
        "seconds": "SELECT ts, exchange, market, symbol, last(bids) bids, last(asks) asks "
        "FROM orderbook WHERE {where} SAMPLE BY 1s",
    },
    compute=compute,
)
