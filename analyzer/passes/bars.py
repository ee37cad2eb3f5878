"""Price bars, return and realised volatility of the window, from trades in bars of one second.

Among trades of the same microsecond, first and last are those that QuestDB stored first and last.
The trades are read, not `ohlcv_1s`: a view may lag, and its seconds are not cut at the window.
"""

from __future__ import annotations

import numpy as np

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

COLUMNS = ("open", "high", "low", "close", "volume", "notional", "trades")
SECONDS_SQL = (
    "SELECT ts, exchange, market, symbol, first(price) open, max(price) high, min(price) low, "  # noqa: S608
    "last(price) close, sum(qty) volume, sum(price * qty) notional, count() trades "
    f"FROM trades WHERE {{where}} AND {TRADED} SAMPLE BY 1s"
)
"""One row an instrument and second with a trade."""


def realized_vol(closes: np.ndarray[tuple[int], np.dtype[np.float64]]) -> float:
    """sqrt(Σ r²) over the log returns r between successive closes; not annualised.

    Seconds without a trade carry the last price, whose return is 0, so they may be left out.
    Andersen, Bollerslev, Diebold, Labys (2003), Modeling and Forecasting Realized Volatility."""
    returns = np.diff(np.log(closes))
    return float(np.sqrt(np.sum(returns * returns)))


def compute(tables: Tables, window: Window) -> list[Value]:
    """`seconds`: one row an instrument and second with a trade."""
    values = []
    for name, bar in by_instrument(tables["seconds"], COLUMNS):
        opened, closed = float(bar["open"][0]), float(bar["close"][-1])
        numbers = {
            "open": opened,
            "high": float(np.max(bar["high"])),
            "low": float(np.min(bar["low"])),
            "close": closed,
            "volume": float(np.sum(bar["volume"])),
            "notional": float(np.sum(bar["notional"])),
            "trades": float(np.sum(bar["trades"])),
            "return": float(np.log(closed / opened)),
        }
        if len(bar["close"]) > 1:  # one close has no return: its volatility is unknown, not 0
            numbers["realized_vol"] = realized_vol(bar["close"])
        values += [Value(*name, metric, value) for metric, value in numbers.items()]
    return values


BARS = Analysis(
    name="bars",
    metrics=(
        Metric("open", "quote", "price of the first trade"),
        Metric("high", "quote", "highest price"),
        Metric("low", "quote", "lowest price"),
        Metric("close", "quote", "price of the last trade"),
        Metric("volume", "base", "Σ qty"),
        Metric("notional", "quote", "Σ price × qty"),
        Metric("trades", "count", "number of trades"),
        Metric("return", "log", "ln(close / open)"),
        Metric("realized_vol", "log", "sqrt(Σ r²) over log returns of 1 s closes, not annualised"),
    ),
    channels=("trades",),
    queries={
        "seconds": SECONDS_SQL,
    },
    compute=compute,
)
