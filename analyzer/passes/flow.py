"""Trade flow: who took, and how much. The server adds up; trades whose side is unknown count in the volume only."""

from __future__ import annotations

import math

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.groups import instruments
from analyzer.windows import Window

COLUMNS = ("buy_volume", "sell_volume", "volume", "notional", "largest", "trades", "buys", "sells")


def compute(tables: Tables, window: Window) -> list[Value]:
    """`sums`: one row an instrument."""
    table = tables["sums"]
    values = []
    rows = zip(*(table.column(name).to_pylist() for name in COLUMNS), strict=True)
    for name, (buy, sell, volume, notional, largest, trades, buys, sells) in zip(
        instruments(table), rows, strict=True
    ):
        buy, sell = buy or 0.0, sell or 0.0
        numbers = {
            "cvd": buy - sell,
            "buy_volume": buy,
            "sell_volume": sell,
            "trade_count": float(trades),
            "largest_trade": largest,
            "buy_trades": float(buys),
            "sell_trades": float(sells),
        }
        if buys + sells > 0:
            numbers["trade_imbalance"] = (buys - sells) / (buys + sells)
        if buy + sell > 0:
            numbers["imbalance"] = (buy - sell) / (buy + sell)
        if volume and volume > 0:
            numbers["vwap"] = notional / volume
        values += [
            Value(*name, metric, value)
            for metric, value in numbers.items()
            if value is not None and math.isfinite(value)
        ]
    return values


FLOW = Analysis(
    name="flow",
    metrics=(
        Metric(
            "cvd",
            "base",
            "cumulative volume delta: Σ taker buys − Σ taker sells, from 0 at the window's start",
        ),
        Metric(
            "imbalance",
            "share",
            "volume imbalance: (buys − sells) / (buys + sells), −1 to 1; absent without volume",
        ),
        Metric(
            "trade_imbalance",
            "share",
            "(taker buys − taker sells) / both, of the number of trades; absent without any of known side",
        ),
        Metric("buy_volume", "base", "Σ qty of taker buys"),
        Metric("sell_volume", "base", "Σ qty of taker sells"),
        Metric("vwap", "quote", "Σ price × qty / Σ qty"),
        Metric("trade_count", "count", "number of trades"),
        Metric("buy_trades", "count", "number of taker buys"),
        Metric("sell_trades", "count", "number of taker sells"),
        Metric("largest_trade", "base", "largest qty"),
    ),
    channels=("trades",),
    queries={
        "sums": "SELECT exchange, market, symbol, "
        "sum(CASE WHEN side = 'buy' THEN qty ELSE 0.0 END) buy_volume, "
        "sum(CASE WHEN side = 'sell' THEN qty ELSE 0.0 END) sell_volume, "
        "sum(qty) volume, sum(price * qty) notional, max(qty) largest, count() trades, "
        "sum(CASE WHEN side = 'buy' THEN 1 ELSE 0 END) buys, sum(CASE WHEN side = 'sell' THEN 1 ELSE 0 END) sells "
        "FROM trades WHERE {where} AND " + TRADED,
    },
    compute=compute,
)
