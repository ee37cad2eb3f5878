"""Indicators on bars of 1, 5, 30 and 240 minutes of the clock, by TA-Lib: RSI, AO, ADX, ATR, CCI, Williams %R.

Bars are those of the materialized views, at most the last 250 that are complete at the window's end: the one that is
still open then has no part in any number. The first bar that was ever recorded is left out, as recording may have begun
in its midst. Periods without trades carry the last close (their open, high, low and close are equal). After more than
three of them in a row, as an interrupted recording leaves, the bars begin anew; where more than a tenth of the periods is
without, in a thin market, the length has no numbers.

An indicator needs as many bars as its definition; those that Wilder smooths (RSI, ATR, ADX, ±DI) need three periods more,
after which their first value weighs less than 5 %. With fewer it has no number.

- RSI, ATR, ADX, ±DI over 14 bars: Wilder (1978), New concepts in technical trading systems.
- AO: mean of (high + low) / 2 over 5 bars less that over 34: Williams (1998), New trading dimensions.
- CCI over 20 bars: Lambert (1980), Commodity channel index, Commodities 9 (10).
- Williams %R over 14 bars: Williams (1973), How I made one million dollars.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

LENGTHS = {"1m": 1, "5m": 5, "30m": 30, "4h": 240}
"""Minutes; the name is that of the view, and ends the metric's."""
MOST = 250
HOLES, RUN = 0.1, 3
"""Share of periods without trades, and how many in a row."""
PERIOD, CCI_PERIOD, FAST, SLOW = 14, 20, 5, 34
SETTLED = 3 * PERIOD
"""Bars after Wilder's first value: it weighs (13/14)^42 < 5 % then."""
COLUMNS = ("ts", "open", "high", "low", "close")
Bars = Mapping[str, Any]


def _wilder(function: str) -> Callable[[Any, Bars], Any]:
    return lambda talib, b: getattr(talib, function)(b["high"], b["low"], b["close"], timeperiod=PERIOD)


def _awesome(talib: Any, b: Bars) -> Any:
    median = (b["high"] + b["low"]) / 2
    return talib.SMA(median, FAST) - talib.SMA(median, SLOW)


INDICATORS: dict[str, tuple[int, Callable[[Any, Bars], Any], str, str]] = {
    "rsi": (
        PERIOD + 1 + SETTLED,
        lambda talib, b: talib.RSI(b["close"], PERIOD),
        "0–100",
        "relative strength index, 14",
    ),
    "ao": (SLOW, _awesome, "quote", "awesome oscillator: mean of (high + low) / 2 over 5 less over 34"),
    "adx": (2 * PERIOD + SETTLED, _wilder("ADX"), "0–100", "average directional index, 14"),
    "plus_di": (PERIOD + 1 + SETTLED, _wilder("PLUS_DI"), "0–100", "directional indicator upwards, 14"),
    "minus_di": (PERIOD + 1 + SETTLED, _wilder("MINUS_DI"), "0–100", "directional indicator downwards, 14"),
    "atr": (PERIOD + 1 + SETTLED, _wilder("ATR"), "quote", "average true range, 14"),
    "cci": (
        CCI_PERIOD,
        lambda talib, b: talib.CCI(b["high"], b["low"], b["close"], CCI_PERIOD),
        "index",
        "commodity channel index, 20",
    ),
    "williams_r": (PERIOD, _wilder("WILLR"), "−100–0", "Williams %R, 14"),
}
"""Name → bars needed, function of (talib, bars), unit, definition."""


def compute(tables: Tables, window: Window) -> list[Value]:
    """One table a length, by its name: one row an instrument and bar."""
    values: list[Value] = []
    for length, minutes in LENGTHS.items():
        for name, rows in by_instrument(tables[length], COLUMNS):
            bars = series(rows, minutes * 60, window.end_us // 1_000_000)
            values += [
                Value(*name, f"{metric}_{length}", number) for metric, number in indicators(bars).items()
            ]
    return values


def series(rows: Bars, step: int, end: int) -> dict[str, Any]:
    """The last complete bars before `end`, both in seconds, periods without trades filled in; empty with too many of these.

    `rows` are in order, from not more than MOST + 1 periods ago."""
    newest = end // step - 1
    period = rows["ts"].astype("datetime64[s]").astype(np.int64) // step
    taken = (period <= newest) & (period >= max(newest - MOST + 1, int(period[0]) + 1))
    steps = np.diff(np.append(period[taken], newest + 1))
    broken = np.flatnonzero(steps > RUN + 1)
    start = int(broken[-1]) + 1 if len(broken) else 0
    repeat = steps[start:]
    if not len(repeat) or len(repeat) < (1 - HOLES) * np.sum(repeat):
        return {name: np.empty(0) for name in COLUMNS[1:]}
    traded = np.zeros(int(np.sum(repeat)), dtype=bool)
    traded[np.cumsum(repeat) - repeat] = True
    close = np.repeat(rows["close"][taken][start:], repeat)
    return {
        name: np.where(traded, np.repeat(rows[name][taken][start:], repeat), close) for name in COLUMNS[1:]
    }


def indicators(bars: Bars) -> dict[str, float]:
    """The newest value of each that has enough bars. Equal prices have no RSI, ±DI, ADX, CCI or %R: TA-Lib's 0 (and its 50)
    would be a number made of nothing."""
    import talib

    count = len(bars["close"])
    found: dict[str, float] = {"bars": float(count)} if count else {}
    for name, (needed, function, _, _) in INDICATORS.items():
        if count < needed:
            continue
        seen = count if needed > SETTLED else needed
        flat = np.max(bars["high"][-seen:]) == np.min(bars["low"][-seen:])
        if flat and name not in ("ao", "atr"):
            continue
        number = float(function(talib, bars)[-1])
        if np.isfinite(number):
            found[name] = number
    return found


_BARS = "high >= low AND low > 0 AND high < 1e300 AND close > 0 AND open > 0"

TECHNICAL = Analysis(
    name="technical",
    metrics=tuple(
        Metric(f"{name}_{length}", unit, f"{definition}, on bars of {minutes} min")
        for length, minutes in LENGTHS.items()
        for name, unit, definition in (
            ("bars", "count", "complete bars that the others rest on, at most 250"),
            *((name, unit, text) for name, (_, _, unit, text) in INDICATORS.items()),
        )
    ),
    channels=("trades",),
    queries={
        length: f"SELECT ts, exchange, market, symbol, open, high, low, close FROM ohlcv_{length} "  # noqa: S608
        f"WHERE ts > dateadd('m', -{minutes * (MOST + 2)}, {{end}}) AND ts <= dateadd('m', -{minutes}, {{end}})"
        f"{{instruments}} AND {_BARS}"
        for length, minutes in LENGTHS.items()
    },
    compute=compute,
)
