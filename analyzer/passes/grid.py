"""Quotes of many instruments side by side on a grid of one second, for the analyses that compare instruments."""

from __future__ import annotations

import re
from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from analyzer.passes.groups import Instrument, by_instrument, instruments
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

FILL_S = 10
"""A quote lasts so long without a new one: books that don't change aren't sent. After that it's a hole."""
NAMES_SQL = (
    "SELECT exchange, market, symbol, name, base, quote, kind FROM instruments WHERE ts < {end}{instruments} "
    "LATEST ON ts PARTITION BY exchange, market, symbol"
)
"""What the venues listed last."""


class Grid(msgspec.Struct):
    names: list[Instrument]
    seconds: int
    bids: list[Any]
    """An array of `seconds` an instrument, NaN where unknown."""
    asks: list[Any]

    def bid(self, members: Sequence[int]) -> Any:
        """seconds × members."""
        return np.stack([self.bids[n] for n in members], axis=1)

    def ask(self, members: Sequence[int]) -> Any:
        """seconds × members."""
        return np.stack([self.asks[n] for n in members], axis=1)

    def mid(self, n: int) -> Any:
        """seconds."""
        return (self.bids[n] + self.asks[n]) / 2

    def mids(self, members: Sequence[int]) -> Any:
        """seconds × members."""
        return np.stack([self.mid(n) for n in members], axis=1)

    def returns(self, members: Sequence[int], step: int = 1) -> Any:
        """Log returns over `step` seconds, steps × members; NaN where either end is unknown."""
        found = np.empty((max(0, (self.seconds - 1) // step), len(members)))
        for k, n in enumerate(members):
            found[:, k] = np.diff(np.log(self.mid(n)[::step]))
        return found


class Name(msgspec.Struct, frozen=True):
    """What a symbol is, over all venues. From the venues' lists; unlisted symbols are told apart by their spelling."""

    name: str
    base: str
    pair: str
    """base-quote"""
    spot: bool


def quotes(table: pa.Table, window: Window) -> Grid:
    """Of some instruments, from the answer of TOUCH_SQL: the last quote of a second stands for it, and for up to FILL_S
    seconds without one."""
    start = window.start_us // 1_000_000
    grid = Grid([], -(-window.end_us // 1_000_000) - start, [], [])
    for name, rows in by_instrument(table, ("ts", "bid", "ask")):
        grid.names.append(name)
        at = rows["ts"].astype("datetime64[s]").astype(np.int64) - start
        told = np.full(grid.seconds, -1)
        told[at] = np.arange(len(at))
        newest = np.maximum.accumulate(told)
        known = newest >= 0
        known[known] &= np.flatnonzero(known) - at[newest[known]] <= FILL_S
        for side, series in (("bid", grid.bids), ("ask", grid.asks)):
            filled = np.full(grid.seconds, np.nan)
            filled[known] = rows[side][newest[known]]
            series.append(filled)
    return grid


def joined(grids: Sequence[Grid]) -> Grid:
    """All instruments of a window, by name. Copies no series."""
    every = [one for grid in grids for one in zip(grid.names, grid.bids, grid.asks, strict=True)]
    every.sort(key=itemgetter(0))
    return Grid(
        [n for n, _, _ in every], grids[0].seconds, [b for _, b, _ in every], [a for _, _, a in every]
    )


def listed(table: pa.Table) -> dict[Instrument, Name]:
    """The answer of NAMES_SQL."""
    columns = (table.column(column).to_pylist() for column in ("name", "base", "quote", "kind"))
    return {
        one: Name(name, base, f"{base}-{quote}", kind.lower() == "spot")
        for one, name, base, quote, kind in zip(instruments(table), *columns, strict=True)
        if name and base and quote and kind
    }


def spelled(one: Instrument) -> Name:
    """For a symbol that no venue's list explains: only equal spellings are the same."""
    _, market, symbol = one
    letters = re.sub(r"[^A-Z0-9]", "", symbol.upper())
    base = "BTC" if letters.startswith(("BTC", "XBT")) else letters
    return Name(f"{letters}-{market}", base, letters, market == "spot")


def finite(series: Any) -> Any:
    """Without what is unknown."""
    return series[np.isfinite(series)]
