"""Price structure from bars: support and resistance, range, breaks of structure, fair-value gaps, trend, regime.

Bars are those of one minute (`ohlcv_1m`) of the 24 hours before the window's end, complete ones only; where there are
fewer than 30, bars of one second of the window's last 15 minutes, if there are 30 of those. `bar_s` says which. Bars
without trades don't exist, and are not filled in.

- A swing high is a bar whose high is above those of the 3 bars before and not below those of the 3 after (Williams 1995,
  Trading chaos, has 2 for 3); it is known from the third bar after on. Swing lows likewise.
- Levels are clusters of swing prices, highs and lows, within one mean true range of the lowest, with two or more of them;
  the price of a level is their mean. Support is the nearest one below the last close, resistance the nearest above.
- A break of structure is a close beyond the last known swing high (up) or low (down) that was not broken yet.
- A fair-value gap: of three bars without a hole between them the third's low is above the first's high (bull), or its
  high below the first's low (bear). It's open until a later bar reaches its far edge.
- The trend is the least-squares line of ln close on time over the last 60 bars.
- The regime: volatile when the volatility of the last 20 returns ranks above the median of all runs of 20 in the bars,
  trending when R² ≥ 0.5. Both bounds are ours.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from analyzer.passes.bars import SECONDS_SQL
from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.evidence import detail, iso
from analyzer.passes.groups import by_instrument
from analyzer.windows import Window

SECONDS_US = 900_000_000
"""Bars of a second that begin longer before the window's end aren't looked at."""
SWING = 3
MIN_BARS = 30
TREND_BARS = 60
RUN = 20
"""Returns in a volatility."""
MIN_RUNS = 20
TRENDING = 0.5
COLUMNS = ("ts", "open", "high", "low", "close")
REGIMES = ("calm range", "calm trend", "volatile range", "volatile trend")


def compute(tables: Tables, window: Window) -> list[Value]:
    """`minutes`, `seconds`: one row an instrument and bar."""
    bars = {name: (60, bar) for name, bar in by_instrument(tables["minutes"], COLUMNS)}
    for name, bar in by_instrument(tables["seconds"], COLUMNS):
        if name not in bars or len(bars[name][1]["ts"]) < MIN_BARS:
            late = bar["ts"].astype("datetime64[us]").astype(np.int64) >= window.end_us - SECONDS_US
            bars[name] = (1, {column: series[late] for column, series in bar.items()})
    values = []
    for name, (step, bar) in bars.items():
        if len(bar["ts"]) < MIN_BARS:
            continue
        seconds = bar["ts"].astype("datetime64[s]").astype(np.int64)
        numbers: dict[str, tuple[float, str]] = {"bar_s": (float(step), "")}
        numbers |= levels(bar) | breaks(bar, seconds) | gaps(bar, seconds, step)
        numbers |= trend_and_regime(bar["close"], seconds)
        values += [
            Value(*name, metric, value, text)
            for metric, (value, text) in numbers.items()
            if np.isfinite(value)
        ]
    return values


def swings(series: Any) -> Any:
    """Indices of the local maxima; each is known SWING bars later."""
    windows = np.lib.stride_tricks.sliding_window_view(series, 2 * SWING + 1)
    centre = windows[:, SWING]
    peak = (centre > windows[:, :SWING].max(axis=1)) & (centre >= windows[:, SWING + 1 :].max(axis=1))
    return np.flatnonzero(peak) + SWING


def levels(bar: dict[str, Any]) -> dict[str, tuple[float, str]]:
    high, low, close = bar["high"], bar["low"], bar["close"]
    last = float(close[-1])
    top, bottom = float(high.max()), float(low.min())
    found: dict[str, tuple[float, str]] = {
        "range_high": (top, ""),
        "range_low": (bottom, ""),
        "range_bps": ((top / bottom - 1) * 1e4, ""),
    }
    if top > bottom:
        found["range_position"] = ((last - bottom) / (top - bottom), "")
    width = float(
        np.mean(np.maximum(high[1:], close[:-1]) - np.minimum(low[1:], close[:-1]))
    )  # Wilder's true range
    prices = np.sort(np.concatenate((high[swings(high)], low[swings(-low)])))
    clusters: list[list[float]] = []
    for price in prices.tolist():
        if clusters and price - clusters[-1][0] <= width:
            clusters[-1].append(price)
        else:
            clusters.append([price])
    known = [(sum(cluster) / len(cluster), len(cluster)) for cluster in clusters if len(cluster) > 1]
    below, above = [one for one in known if one[0] < last], [one for one in known if one[0] > last]
    for side, near_first in (("support", below[::-1]), ("resistance", above)):
        if near_first:
            price, touches = near_first[0]
            text = detail([{"price": level, "touches": count} for level, count in near_first])
            found[side] = (price, text)
            found[f"{side}_touches"] = (float(touches), "")
            found[f"{side}_bps"] = (abs(price / last - 1) * 1e4, "")
    return found


def breaks(bar: dict[str, Any], seconds: Any) -> dict[str, tuple[float, str]]:
    close = bar["close"]
    events: list[dict[str, object]] = []
    counts = {"up": 0, "down": 0}
    for name, series, sign in (("up", bar["high"], 1), ("down", -bar["low"], -1)):
        known = swings(series) + SWING
        level, at = None, 0
        for n in range(len(close)):
            while at < len(known) and known[at] < n:
                level = sign * float(series[known[at] - SWING])
                at += 1
            if level is not None and sign * (close[n] - level) > 0:
                counts[name] += 1
                events.append(
                    {
                        "at": iso(int(seconds[n]) * 1_000_000),
                        "way": name,
                        "level": level,
                        "close": float(close[n]),
                    }
                    | {"bar": n}
                )
                level = None
    events.sort(key=lambda event: -int(str(event["bar"])))
    found: dict[str, tuple[float, str]] = {
        "breaks_up": (float(counts["up"]), ""),
        "breaks_down": (float(counts["down"]), ""),
    }
    if events:
        newest = int(str(events[0]["bar"]))
        rows = [{key: value for key, value in event.items() if key != "bar"} for event in events]
        found["last_break"] = (1.0 if events[0]["way"] == "up" else -1.0, detail(rows))
        found["last_break_age_s"] = (float(seconds[-1] - seconds[newest]), "")
    return found


def gaps(bar: dict[str, Any], seconds: Any, step: int) -> dict[str, tuple[float, str]]:
    """Counts, and the open ones newest first."""
    high, low = bar["high"], bar["low"]
    whole = seconds[2:] - seconds[:-2] == 2 * step
    found: dict[str, tuple[float, str]] = {}
    for name, upper, lower in (("bull", low, high), ("bear", -high, -low)):
        third = np.flatnonzero(whole & (upper[2:] > lower[:-2])) + 2
        lowest = np.append(np.minimum.accumulate(upper[::-1])[::-1][1:], np.inf)  # of the bars after
        still = third[lowest[third] > lower[third - 2]][::-1]
        rows = [
            {
                "at": iso(int(seconds[n]) * 1_000_000),
                "edges": sorted((abs(float(lower[n - 2])), abs(float(upper[n])))),
            }
            for n in still
        ]
        found[f"fvg_{name}"] = (float(len(third)), "")
        found[f"fvg_{name}_open"] = (float(len(still)), detail(rows))
    return found


def trend_and_regime(close: Any, seconds: Any) -> dict[str, tuple[float, str]]:
    logs = np.log(close)
    y = logs[-TREND_BARS:] - logs[-TREND_BARS:].mean()
    x = (seconds[-TREND_BARS:] - seconds[-TREND_BARS:].mean()) / 60
    slope = float(x @ y / (x @ x))
    found: dict[str, tuple[float, str]] = {"trend_slope": (slope * 1e4, "")}
    variation = float(y @ y)
    if variation <= 1e-24 * len(y):  # the rounding of equal logarithms: no line has a fit
        return found
    fit = slope * slope * float(x @ x) / variation
    found["trend_r2"] = (fit, "")
    returns = np.diff(logs)
    if len(returns) >= RUN + MIN_RUNS - 1:
        runs = np.std(np.lib.stride_tricks.sliding_window_view(returns, RUN), axis=1)
        rank = float(np.mean(runs[:-1] < runs[-1]))
        code = 2 * (rank > 0.5) + (fit >= TRENDING)
        found["volatility_rank"] = (rank, "")
        found["regime"] = (float(code), detail([{"regime": REGIMES[code]}]))
    return found


_BARS = "high >= low AND low > 0 AND high < 1e300 AND close > 0"

STRUCTURE = Analysis(
    name="structure",
    metrics=(
        Metric("bar_s", "s", "length of the bars: 60 (of 24 h), or 1 (of 15 min) where minutes are too few"),
        Metric("range_high", "quote", "highest price of the bars"),
        Metric("range_low", "quote", "lowest price of the bars"),
        Metric("range_bps", "bps", "range_high / range_low − 1"),
        Metric("range_position", "share", "(last close − low) / (high − low); absent when both are the same"),
        Metric(
            "support",
            "quote",
            "nearest cluster of two or more swings below the last close; detail: all, nearest first",
        ),
        Metric("support_touches", "count", "swings in it"),
        Metric("support_bps", "bps", "its distance from the last close"),
        Metric(
            "resistance",
            "quote",
            "nearest cluster of two or more swings above the last close; detail: all, nearest first",
        ),
        Metric("resistance_touches", "count", "swings in it"),
        Metric("resistance_bps", "bps", "its distance from the last close"),
        Metric("breaks_up", "count", "closes above the last known swing high"),
        Metric("breaks_down", "count", "closes below the last known swing low"),
        Metric("last_break", "sign", "1: the newest break was up, −1: down; detail: the newest breaks"),
        Metric("last_break_age_s", "s", "from that bar to the last one"),
        Metric("fvg_bull", "count", "fair-value gaps upwards"),
        Metric("fvg_bull_open", "count", "those that price hasn't filled; detail: the newest"),
        Metric("fvg_bear", "count", "fair-value gaps downwards"),
        Metric("fvg_bear_open", "count", "those that price hasn't filled; detail: the newest"),
        Metric("trend_slope", "bps/min", "least-squares slope of ln close over the last 60 bars"),
        Metric("trend_r2", "share", "R² of that line; absent when all closes are the same"),
        Metric("volatility_rank", "share", "runs of 20 returns that were less volatile than the last one"),
        Metric("regime", "code", "0 calm range, 1 calm trend, 2 volatile range, 3 volatile trend"),
    ),
    channels=("trades",),
    queries={
        "minutes": "SELECT ts, exchange, market, symbol, open, high, low, close FROM ohlcv_1m "  # noqa: S608 - our own constants
        "WHERE ts >= dateadd('h', -24, {end}) AND ts <= dateadd('m', -1, {end}){instruments} AND " + _BARS,
        "seconds": SECONDS_SQL,
    },
    compute=compute,
)
