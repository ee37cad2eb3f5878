"""Quotes of many instruments side by side on a grid of one second, for the analyses that compare instruments."""

from __future__ import annotations

import re
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
    """bid and ask: seconds × instruments, NaN where unknown."""

    names: list[Instrument]
    bid: Any
    ask: Any

    @property
    def mid(self) -> Any:
        return (self.bid + self.ask) / 2


class Name(msgspec.Struct, frozen=True):
    """What a symbol is, over all venues. From the venues' lists; unlisted symbols are told apart by their spelling."""

    name: str
    base: str
    pair: str
    """base-quote"""
    spot: bool


def quotes(table: pa.Table, window: Window) -> Grid:
    """The answer of TOUCH_SQL; the last quote of a second stands for it, and for up to FILL_S seconds without one."""
    start = window.start_us // 1_000_000
    count = -(-window.end_us // 1_000_000) - start
    names: list[Instrument] = []
    columns: dict[str, list[Any]] = {"bid": [], "ask": []}
    for name, rows in by_instrument(table, ("ts", "bid", "ask")):
        names.append(name)
        at = rows["ts"].astype("datetime64[s]").astype(np.int64) - start
        told = np.full(count, -1)
        told[at] = np.arange(len(at))
        newest = np.maximum.accumulate(told)
        known = newest >= 0
        known[known] &= np.flatnonzero(known) - at[newest[known]] <= FILL_S
        for side, series in columns.items():
            filled = np.full(count, np.nan)
            filled[known] = rows[side][newest[known]]
            series.append(filled)
    order = sorted(range(len(names)), key=names.__getitem__)
    bid, ask = (np.array([series[n] for n in order]).T.reshape(count, -1) for series in columns.values())
    return Grid([names[n] for n in order], bid, ask)


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


def returns(mid: Any, step: int = 1) -> Any:
    """Log returns over `step` seconds, one row a step; NaN where either end is unknown."""
    return np.diff(np.log(mid[::step]), axis=0)
