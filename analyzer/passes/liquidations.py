"""Forced orders by side and size. A forced sell closed a long; a forced buy closed a short.

A side without forced orders is 0 where the other side has some.
"""

from __future__ import annotations

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.groups import Instrument, instruments
from analyzer.windows import Window

CLOSED = {"sell": "long", "buy": "short"}


def compute(tables: Tables, window: Window) -> list[Value]:
    """`sums`: one row an instrument and side. An instrument without liquidations has no values."""
    table = tables["sums"]
    found: dict[Instrument, dict[str, float]] = {}
    columns = (table.column(name).to_pylist() for name in ("side", "orders", "qty", "notional", "largest"))
    for name, side, orders, qty, notional, largest in zip(instruments(table), *columns, strict=True):
        if side not in CLOSED:
            continue
        numbers = found.setdefault(
            name,
            {f"liq_{s}_{m}": 0.0 for m in ("count", "qty", "notional") for s in ("long", "short")}
            | {"liq_largest_notional": 0.0},
        )
        numbers[f"liq_{CLOSED[side]}_count"] = float(orders)
        numbers[f"liq_{CLOSED[side]}_qty"] = qty
        numbers[f"liq_{CLOSED[side]}_notional"] = notional
        numbers["liq_largest_notional"] = max(numbers["liq_largest_notional"], largest)
    for numbers in found.values():
        longs, shorts = numbers["liq_long_notional"], numbers["liq_short_notional"]
        numbers["liq_imbalance"] = (longs - shorts) / (longs + shorts)
    return [
        Value(*name, metric, value) for name, numbers in found.items() for metric, value in numbers.items()
    ]


LIQUIDATIONS = Analysis(
    name="liquidations",
    metrics=(
        *(
            Metric(f"liq_{side}_{metric}", unit, f"{what} of liquidated {side}s")
            for metric, unit, what in (
                ("count", "count", "number"),
                ("qty", "base", "Σ qty"),
                ("notional", "quote", "Σ price × qty"),
            )
            for side in ("long", "short")
        ),
        Metric("liq_largest_notional", "quote", "largest single price × qty"),
        Metric("liq_imbalance", "share", "(longs − shorts) / (longs + shorts) of notional"),
    ),
    channels=("liquidations",),
    queries={
        "sums": "SELECT exchange, market, symbol, side, count() orders, "  # noqa: S608 - our own constant
        "sum(qty) qty, sum(price * qty) notional, "
        "max(price * qty) largest FROM liquidations WHERE {where} AND " + TRADED,
    },
    compute=compute,
)
