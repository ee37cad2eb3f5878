"""What an analysis says of rows in a real server, or of tables by hand: all of it declared, finite, and said once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from analyzer import config
from analyzer.passes.base import Analysis, Value
from analyzer.source import Source, render
from analyzer.windows import Window
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot
from tests.analyzer.fixtures import VENUE

Side = Sequence[tuple[float, float]]


def checked(analysis: Analysis, values: Sequence[Value]) -> Sequence[Value]:
    names = [(value.exchange, value.market, value.symbol, value.metric) for value in values]
    assert len(set(names)) == len(names)
    assert {value.metric for value in values} <= {metric.name for metric in analysis.metrics}
    assert all(math.isfinite(value.value) for value in values)
    return values


def of_tables(analysis: Analysis, tables: Mapping[str, pa.Table], window: Window) -> Sequence[Value]:
    made = {name: [small(tables[name], window)] for name, small in analysis.across.items()}
    return checked(analysis, analysis.compute({**tables, **made}, window))


def of_server(analysis: Analysis, database: Endpoint, window: Window) -> Sequence[Value]:
    source = Source(config.Endpoint(database.http_url, database.pg))
    tables = {name: source.fetch(render(sql, window)) for name, sql in analysis.queries.items()}
    source.close()
    return of_tables(analysis, tables, window)


def by_metric(values: Sequence[Value], symbol: str = "BTCUSDT") -> dict[str, float]:
    return {value.metric: value.value for value in values if value.symbol == symbol}


def snapshot(ts: int, bids: Side, asks: Side, seq: int = 0, symbol: str = "BTCUSDT") -> BookSnapshot:
    """`ts` in µs; sides are (price, size), best first."""
    bid_levels, ask_levels = (
        np.array([[p for p, _ in side], [q for _, q in side]], dtype=np.float64) for side in (bids, asks)
    )
    return BookSnapshot(ts, ts, *VENUE, symbol, bid_levels, ask_levels, seq)
