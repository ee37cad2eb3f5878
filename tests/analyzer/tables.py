"""Small Arrow tables in the form in which the queries answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from analyzer.windows import Window

T0 = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
T0_US = 1_795_435_200_000_000
WHERE = {"exchange": "bybit", "market": "linear", "symbol": "BTCUSDT"}
TIMES = ("ts", "first", "last", "from_ts", "to_ts", "again")


def window(seconds: float = 100) -> Window:
    return Window(T0, datetime.fromtimestamp(T0.timestamp() + seconds, UTC))


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> pa.Table:
    """Times are seconds after T0; what a row does not say is null, but for the instrument."""
    data: dict[str, Any] = {}
    for name in columns:
        values = [row.get(name, WHERE.get(name)) for row in rows]
        if name in TIMES:
            data[name] = pa.array(
                [None if v is None else T0_US + round(v * 1e6) for v in values], pa.timestamp("us", tz="UTC")
            )
        elif name in ("exchange", "market", "symbol", "side", "channel", "collector"):
            data[name] = pa.array(values, pa.string())
        else:
            data[name] = pa.array(values, pa.float64())
    return pa.table(data)
