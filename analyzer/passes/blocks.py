"""Bars of trades over ten seconds of the clock, for the analyses that set aggressive volume against price."""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.passes.base import TRADED

BLOCK_US = 10_000_000
BLOCKS = ("ts", "open", "high", "low", "close", "buys", "sells", "volume", "net", "sided")
"""buys, sells, volume: Σ qty of taker buys, of taker sells, and of all, those of unknown side included (base). net: taker
buys − sells (quote). sided: number of trades whose side is known."""
BLOCKS_SQL = (
    "SELECT ts, exchange, market, symbol, first(price) open, max(price) high, min(price) low, "  # noqa: S608
    "last(price) close, sum(CASE WHEN side = 'buy' THEN qty ELSE 0.0 END) buys, "
    "sum(CASE WHEN side = 'sell' THEN qty ELSE 0.0 END) sells, sum(qty) volume, "
    "sum(CASE WHEN side = 'buy' THEN price * qty WHEN side = 'sell' THEN -price * qty ELSE 0.0 END) net, "
    f"sum(CASE WHEN side IN ('buy', 'sell') THEN 1 ELSE 0 END) sided FROM trades WHERE {{where}} AND {TRADED} SAMPLE BY 10s"
)
"""One row an instrument and block with trades."""


def starts(blocks: dict[str, Any]) -> Any:
    """The beginning of each block, µs since the epoch."""
    return blocks["ts"].astype("datetime64[us]").astype(np.int64)
