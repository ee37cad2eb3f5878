"""Markout: where the mid went after large orders and after forced ones, on average, in the direction of whoever traded.

Markout at a horizon h is s (mid(t + h) / mid(t−) − 1), with s = 1 for a taker buy or a forced buy, −1 for a sell:
positive where price went on, negative where it came back. It is the price impact of Huang, Stoll (1996), Dealer versus
auction markets, Journal of Financial Economics 41 (3), which is quoted there twice as large, as a part of the whole
spread. mid(t−) is that of the last book strictly before the event, mid(t + h) that of the last one at t + h or before.

Large orders are those of `whales`. Forced orders of one side at the same microsecond are one event. An event is counted
at a horizon only if t + h lies in the window, as nothing later is looked at, and only if both mids are known: a book that
is crossed, one-sided, or older than ten seconds then, has none; books before the window aren't looked at either. Means
over overlapping horizons aren't independent: the standard error is that of independent events, and too small for bursts.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.groups import by_instrument
from analyzer.passes.whales import HORIZONS, LARGE_SQL, horizons_sql
from analyzer.windows import Window

FRESH_US = 10_000_000
KINDS = {"large": "large taker orders", "liq": "forced orders"}
EVENTS = ("ts", "side", "horizon", "age", "bid", "ask")
POINTS = 1 + len(HORIZONS)


def compute(tables: Tables, window: Window) -> list[Value]:
    """`large`, `liq`: one row an event and horizon (see whales.horizons_sql)."""
    values: list[Value] = []
    for kind in KINDS:
        for name, rows in by_instrument(tables[kind], EVENTS):
            for seconds, moves in zip(HORIZONS, markouts(rows, window), strict=True):
                if not len(moves):
                    continue
                prefix = f"markout_{kind}_{seconds}s"
                values.append(Value(*name, f"{prefix}_bps", float(np.mean(moves))))
                values.append(Value(*name, f"{prefix}_events", float(len(moves))))
                if len(moves) > 1:
                    error = float(np.std(moves, ddof=1)) / math.sqrt(len(moves))
                    values.append(Value(*name, f"{prefix}_stderr_bps", error))
    return values


def markouts(rows: dict[str, Any], window: Window) -> list[Any]:
    """bps, one array a horizon; every event has a row at each of them, and one before it."""
    times = rows["ts"].astype("datetime64[us]").astype(np.int64)
    buys = rows["side"] == "buy"
    order = np.lexsort((rows["horizon"], buys, times))
    at, sign = times[order][::POINTS], np.where(buys[order][::POINTS], 1.0, -1.0)
    bid, ask, age = (
        rows[name][order].astype(np.float64).reshape(-1, POINTS) for name in ("bid", "ask", "age")
    )
    with np.errstate(invalid="ignore"):
        known = (bid > 0) & (bid < ask) & (ask < 1e300) & (age <= FRESH_US)
    mid = (bid + ask) / 2
    found = []
    for n, seconds in enumerate(HORIZONS, start=1):
        counted = known[:, 0] & known[:, n] & (at + seconds * 1_000_000 < window.end_us)
        found.append((sign * (mid[:, n] / mid[:, 0] - 1) * 1e4)[counted])
    return found


def _forced_sql() -> str:
    events = (
        "SELECT ts, exchange, market, symbol, side FROM (SELECT ts, exchange, market, symbol, side, count() orders "  # noqa: S608
        f"FROM liquidations WHERE {{where}} AND side IN ('buy', 'sell') AND {TRADED}) ORDER BY ts"
    )
    return horizons_sql(f"SELECT * FROM ({events}) TIMESTAMP(ts)", "ts, exchange, market, symbol, side")  # noqa: S608


def _metrics(kind: str, seconds: int) -> tuple[Metric, ...]:
    of = f"the mid's move {seconds} s after {KINDS[kind]}, in their direction"
    prefix = f"markout_{kind}_{seconds}s"
    return (
        Metric(f"{prefix}_bps", "bps", f"mean of {of}; absent without an event whose mids are both known"),
        Metric(f"{prefix}_events", "count", f"number of events in {prefix}_bps"),
        Metric(f"{prefix}_stderr_bps", "bps", f"standard error of {prefix}_bps; absent below two events"),
    )


MARKOUT = Analysis(
    name="markout",
    metrics=tuple(metric for kind in KINDS for seconds in HORIZONS for metric in _metrics(kind, seconds)),
    channels=("trades", "liquidations", "orderbook"),
    queries={"large": LARGE_SQL, "liq": _forced_sql()},
    compute=compute,
)
