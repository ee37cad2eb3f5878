"""One way to compute a window, as a process of its own: `python -m tests.bench.window_sides SIDE CONFIG START END`.

Prints one JSON document: seconds (of the work, without the imports), and numbers by symbol, to be compared.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

SLICES = 20
"""psycopg holds an answer as a whole: it gets a window in so many."""
Numbers = dict[str, dict[str, float]]
"""symbol → metric → value"""


def passed(config: str, start: str, end: str) -> Numbers:
    """bars and flow, as `analyzer run-once` computes and stores them."""
    from analyzer.config import endpoint, load
    from analyzer.run import run_pass
    from analyzer.windows import Window

    window = Window(datetime.fromisoformat(start), datetime.fromisoformat(end))
    found: Numbers = {}
    for outcome in run_pass(endpoint(load(config).questdb), window, ["bars", "flow"]):
        if outcome.run.status != "ok":
            raise RuntimeError(f"{outcome.run.analysis}: {outcome.run.status} {outcome.run.error}")
        for signal in outcome.signals:
            metric = f"{outcome.run.analysis}.{signal.value.metric}"
            found.setdefault(signal.value.symbol, {})[metric] = signal.value.value
    return found


def whole(config: str, start: str, end: str) -> Numbers:
    """The same in one piece."""
    from analyzer import pieces

    pieces.PIECE_SECONDS = pieces.PIECE_ROWS = 1 << 60
    return passed(config, start, end)


def stream(config: str, start: str, end: str) -> Numbers:
    """Every trade through this process, batch by batch."""
    import numpy as np

    from analyzer import batches

    sums: dict[str, Any] = {}
    for batch in batches("trades", start, end, columns=["symbol", "side", "price", "qty"], config=config):
        symbols = batch["symbol"].dictionary_encode()
        codes = symbols.indices.to_numpy()
        price, qty = (batch[name].to_numpy() for name in ("price", "qty"))
        signed = np.where(batch["side"].to_numpy(zero_copy_only=False) == "buy", qty, -qty)
        parts = [np.bincount(codes, w) for w in (None, qty, price * qty, signed)]
        for code, symbol in enumerate(symbols.dictionary.to_pylist()):
            sums[symbol] = sums.get(symbol, 0.0) + np.array([part[code] for part in parts])
    return {
        symbol: {
            "flow.trade_count": count,
            "bars.volume": volume,
            "flow.vwap": notional / volume,
            "flow.cvd": cvd,
        }
        for symbol, (count, volume, notional, cvd) in ((s, one.tolist()) for s, one in sums.items())
    }


def duckdb(config: str, start: str, end: str) -> Numbers:
    """The same through `analyzer.query`."""
    from analyzer import query

    rows = query(
        "SELECT symbol, count(*)::DOUBLE n, sum(qty) volume, sum(price * qty) / sum(qty) vwap, "
        "sum(CASE WHEN side = 'buy' THEN qty ELSE -qty END) cvd FROM trades GROUP BY symbol",
        start,
        end,
        config=config,
    ).to_pylist()
    return {
        row["symbol"]: {
            "flow.trade_count": row["n"],
            "bars.volume": row["volume"],
            "flow.vwap": row["vwap"],
            "flow.cvd": row["cvd"],
        }
        for row in rows
    }


def sql(config: str, start: str, end: str) -> Numbers:
    """QuestDB's own time: the queries of bars and flow, of which one row comes back. It holds every column of theirs, as the
    server doesn't compute what isn't asked for."""
    from analyzer.passes import bars, flow
    from analyzer.source import render
    from analyzer.windows import Window

    window = Window(datetime.fromisoformat(start), datetime.fromisoformat(end))
    with _connection(config) as connection:
        for module, analysis in ((bars, bars.BARS), (flow, flow.FLOW)):
            asked = ", ".join(f"sum({column})" for column in module.COLUMNS)
            for text in analysis.queries.values():
                connection.execute(f"SELECT {asked} FROM ({render(text, window)})").fetchall()
    return {}


def pandas(config: str, start: str, end: str) -> Numbers:
    """psycopg to pandas as psycopg comes: values are asked for as text."""
    return _by_pandas(config, start, end, binary=False)


def pandas_binary(config: str, start: str, end: str) -> Numbers:
    """The same with psycopg's faster way, which has to be asked for."""
    return _by_pandas(config, start, end, binary=True)


def _by_pandas(config: str, start: str, end: str, *, binary: bool) -> Numbers:
    """In slices of time: one answer at once would take a gigabyte per million rows or two."""
    import numpy as np
    import pandas as pd  # type: ignore[import-untyped]

    low, high = datetime.fromisoformat(start), datetime.fromisoformat(end)
    step = (high - low) / SLICES
    parts = []
    with _connection(config) as connection:
        for n in range(SLICES):
            bounds = [(low + k * step).strftime("%Y-%m-%dT%H:%M:%S.%fZ") for k in (n, n + 1)]
            rows = connection.execute(
                "SELECT ts, symbol, side, price, qty FROM trades "
                f"WHERE ts >= '{bounds[0]}' AND ts < '{bounds[1]}' AND price > 0 AND qty > 0",
                binary=binary,
            ).fetchall()
            frame = pd.DataFrame(rows, columns=["ts", "symbol", "side", "price", "qty"])
            frame["symbol"], frame["side"] = (
                frame["symbol"].astype("category"),
                frame["side"].astype("category"),
            )
            parts.append(frame)
            del rows
    table = pd.concat(parts, ignore_index=True)
    table["symbol"] = table["symbol"].astype("category")
    table["notional"] = table["price"] * table["qty"]
    table["signed"] = np.where(table["side"] == "buy", table["qty"], -table["qty"])
    table["second"] = table["ts"].dt.floor("s")
    closes = table.groupby(["symbol", "second"], observed=True)["price"].agg(["first", "max", "min", "last"])
    volatility = (
        closes["last"]
        .groupby(level=0, observed=True)
        .apply(lambda close: float(np.sqrt(np.sum(np.diff(np.log(close)) ** 2))))
    )
    sums = table.groupby("symbol", observed=True)[["qty", "notional", "signed"]].sum()
    counts = table.groupby("symbol", observed=True).size()
    return {
        symbol: {
            "flow.trade_count": float(counts[symbol]),
            "bars.volume": float(row.qty),
            "flow.vwap": float(row.notional / row.qty),
            "flow.cvd": float(row.signed),
            "bars.realized_vol": float(volatility[symbol]),
        }
        for symbol, row in sums.iterrows()
    }


def _connection(config: str) -> Any:
    import psycopg

    from analyzer.config import endpoint, load

    return psycopg.connect(endpoint(load(config).questdb).pg, autocommit=True)


SIDES: dict[str, Callable[[str, str, str], Numbers]] = {
    "pass": passed,
    "whole": whole,
    "stream": stream,
    "duckdb": duckdb,
    "sql": sql,
    "pandas": pandas,
    "pandas_binary": pandas_binary,
}


def main() -> None:
    side, *arguments = sys.argv[1:]
    if side in ("pass", "whole", "stream", "duckdb"):  # what every process imports is not the work
        import pyarrow.parquet  # noqa: F401

        import analyzer.run  # noqa: F401
    else:
        import pandas  # noqa: F401
        import psycopg  # noqa: F401
    began = time.perf_counter()
    numbers = SIDES[side](*arguments)
    print(json.dumps({"seconds": time.perf_counter() - began, "numbers": numbers}))


if __name__ == "__main__":
    main()
