"""Trades by size: how many, how much, and who took, in five buckets of notional.

Single trades as the venue reports them: a taker's order that sweeps several makers is several trades (`whales` puts them
together). Trades whose side is unknown count everywhere but in the imbalance.
"""

from __future__ import annotations

from analyzer.passes.base import TRADED, Analysis, Metric, Tables, Value
from analyzer.passes.groups import Instrument, instruments
from analyzer.windows import Window

BOUNDS = {"1k": 1e3, "10k": 1e4, "100k": 1e5, "1m": 1e6}
"""quote units; a trade on a bound is in the bucket above it"""
BUCKETS = {
    "below_1k": "below 1k",
    "1k_10k": "of 1k to 10k",
    "10k_100k": "of 10k to 100k",
    "100k_1m": "of 100k to 1M",
    "above_1m": "of 1M and more",
}


def compute(tables: Tables, window: Window) -> list[Value]:
    """`sums`: one row an instrument and bucket with trades. A bucket without any is 0 where others have some."""
    table = tables["sums"]
    found: dict[Instrument, dict[str, float]] = {}
    columns = (table.column(name).to_pylist() for name in ("bucket", "trades", "notional", "buys", "sells"))
    for name, bucket, trades, notional, buys, sells in zip(instruments(table), *columns, strict=True):
        numbers = found.setdefault(
            name, {f"size_{one}_{what}": 0.0 for one in BUCKETS for what in ("trades", "notional")}
        )
        label = list(BUCKETS)[int(bucket)]
        numbers[f"size_{label}_trades"] = float(trades)
        numbers[f"size_{label}_notional"] = notional
        if buys + sells > 0:
            numbers[f"size_{label}_imbalance"] = (buys - sells) / (buys + sells)
    values = []
    for name, numbers in found.items():
        trades = sum(numbers[f"size_{one}_trades"] for one in BUCKETS)
        numbers["size_mean"] = sum(numbers[f"size_{one}_notional"] for one in BUCKETS) / trades
        values += [Value(*name, metric, value) for metric, value in numbers.items()]
    return values


def _bucket() -> str:
    cases = " ".join(f"WHEN price * qty < {bound:.1f} THEN {n}" for n, bound in enumerate(BOUNDS.values()))
    return f"CASE {cases} ELSE {len(BOUNDS)} END"


def _metrics() -> list[Metric]:
    metrics = [Metric("size_mean", "quote", "mean price × qty of a trade")]
    for bucket, words in BUCKETS.items():
        of = f"trades {words} quote units"
        metrics += [
            Metric(f"size_{bucket}_trades", "count", f"number of {of}"),
            Metric(f"size_{bucket}_notional", "quote", f"Σ price × qty of {of}"),
            Metric(f"size_{bucket}_imbalance", "share", f"(buys − sells) / (buys + sells) of notional, {of}"),
        ]
    return metrics


SIZES = Analysis(
    name="sizes",
    metrics=tuple(_metrics()),
    channels=("trades",),
    queries={
        "sums": f"SELECT exchange, market, symbol, {_bucket()} bucket, count() trades, sum(price * qty) notional, "  # noqa: S608
        "sum(CASE WHEN side = 'buy' THEN price * qty ELSE 0.0 END) buys, "
        "sum(CASE WHEN side = 'sell' THEN price * qty ELSE 0.0 END) sells "
        f"FROM trades WHERE {{where}} AND {TRADED}",
    },
    compute=compute,
)
