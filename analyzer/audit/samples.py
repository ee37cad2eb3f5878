"""What the collectors told of their own processes in a window: `collector_stats`, read once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from analyzer.audit import queries
from analyzer.collectors import process_names
from analyzer.passes.groups import microseconds
from analyzer.passes.recorded import Interval
from analyzer.source import Source, render
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

STATS = (
    "rss",
    "pss",
    "swap",
    "memory_limit",
    "cpu",
    "messages",
    "rows",
    "bad_messages",
    "reconnects",
    "silences",
    "journal_pending_bytes",
    "lag_ms",
    "loop_lag_ms",
    "handle_p99_us",
    "handle_max_us",
    "dead_letters",
    "wal_lag",
    "wal_suspended",
    "journal_disk_free",
    "server_disk_free",
)
"""Columns of `collector_stats` that are looked at, where they are."""


class Samples(msgspec.Struct):
    """`collector_stats` of the window, in order of time; NaN where a column is not there or null."""

    ts: Any
    """int64, µs"""
    process: list[str]
    """By `process_names`."""
    columns: dict[str, Any]
    """float64"""
    collectors: dict[str, str] = {}
    """Process → its collector, where that is known; those of the day before, too."""


def read_samples(
    source: Source, window: Window, columns: set[str], before: list[list[Any]]
) -> tuple[Samples, dict[str, Interval]]:
    """Those of the window, and by the same names when processes of the day before were seen. `columns`: which the table has;
    `before`: process, collector, first and last sample of each. Raises SourceError."""
    earlier = {(process or "", collector or ""): (first, last) for process, collector, first, last in before}
    if not columns:
        return Samples(np.empty(0, np.int64), [], {name: np.empty(0) for name in STATS}), {}
    present = [name for name in STATS if name in columns]
    also = ["collector"] if "collector" in columns else []
    table = source.fetch(render(queries.samples([*also, *present]), window))
    missing = np.full(table.num_rows, np.nan)
    whose = table.column("collector").to_pylist() if also else [None] * table.num_rows
    keys = [
        (process or "", collector or "")
        for process, collector in zip(table.column("process").to_pylist(), whose, strict=True)
    ]
    names = process_names({*keys, *earlier})
    return Samples(
        microseconds(table, "ts"),
        [names[key] for key in keys],
        {name: _floats(table, name) if name in columns else missing for name in STATS},
        {name: collector for (_, collector), name in names.items()},
    ), {names[key]: span for key, span in earlier.items()}


def _floats(table: pa.Table, name: str) -> Any:
    return table.column(name).cast("float64").to_numpy(zero_copy_only=False)
