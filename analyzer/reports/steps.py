"""How finely a window is sampled, and the SQL and times of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.passes.groups import Instrument, instruments
from analyzer.source import quoted

if TYPE_CHECKING:
    import pyarrow as pa

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)


def step_of(seconds: float, points: int, least: int = 1) -> int:
    """The shortest step in seconds, not below `least`, that gives no more points than that."""
    for step in STEPS:
        if step >= least and seconds / step <= points:
            return step
    days = int(-(-seconds // (STEPS[-1] * points)))
    return STEPS[-1] * days


def only(names: Sequence[Instrument]) -> str:
    """SQL: the rows of these instruments, as a template for `render`: what stands in braces there is doubled here."""
    text = " OR ".join(
        f"(exchange = {quoted(exchange)} AND market = {quoted(market)} AND symbol = {quoted(symbol)})"
        for exchange, market, symbol in names
    )
    return "(" + text.replace("{", "{{").replace("}", "}}") + ")"


def rows_of(table: pa.Table) -> list[tuple[Instrument, dict[str, Any]]]:
    return list(zip(instruments(table), table.to_pylist(), strict=True))


def milliseconds(times: Any) -> list[int]:
    """Of a numpy column of times."""
    found: list[int] = times.astype("datetime64[ms]").astype(np.int64).tolist()
    return found
