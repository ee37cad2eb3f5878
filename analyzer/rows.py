"""Recorded rows of a window, however many: read in slices of time, row group by row group.

A slice is one export of QuestDB, spilled to a temporary file that goes when it is read. So memory holds one row group, and
the disk one slice. The slices follow each other without overlap: every row comes once, in the order of `ts`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from analyzer.source import Source, quoted, render
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

SLICE_ROWS = 1_000_000
"""Of trades about 100 MB on disk. The rows of one bin (a second, or a 2,000th of the window) are never divided."""
BINS = 2000
NAME = re.compile(r"[A-Za-z_]\w*")


class Rows(msgspec.Struct, frozen=True):
    """Which rows: of one table or view that has `ts`, over a half-open window."""

    table: str
    window: Window
    symbols: Sequence[str] = ()
    exchange: str = ""
    columns: Sequence[str] = ()
    """Empty: all, as the table has them."""
    market: str = ""

    def where(self, window: Window | None = None) -> str:
        """SQL, for the whole window or a part of it."""
        text = render("{where}", window or self.window, self.symbols, self.exchange)
        return f"{text} AND market = {quoted(self.market)}" if self.market else text


def read(source: Source, rows: Rows, slice_rows: int = SLICE_ROWS) -> Iterator[pa.RecordBatch]:
    """At least one batch, an empty one for an empty window. Raises SourceError; ValueError for names that are none."""
    sql = f"SELECT {_columns(source, rows)} FROM {_name(rows.table)} WHERE "  # noqa: S608 - names are checked
    parts = [rows.where(part) for part in slices(source, rows, slice_rows)] or [rows.where() + " LIMIT 0"]
    for part in parts:
        for batch in source.batches(sql + part):
            yield batch.replace_schema_metadata(None)


def slices(source: Source, rows: Rows, slice_rows: int = SLICE_ROWS) -> list[Window]:
    """Parts of the window, in order, of about that many rows each; none where there are no rows."""
    step = max(1, round(rows.window.seconds / BINS))
    counted = source.fetch(
        f"SELECT ts, count() n FROM {_name(rows.table)} WHERE {rows.where()} SAMPLE BY {step}s"  # noqa: S608
    )
    parts: list[Window] = []
    begun: datetime | None = None
    held = 0
    times, counts = counted.column("ts").to_pylist(), counted.column("n").to_pylist()
    for at, count in zip(times, counts, strict=True):
        if begun is not None and held + count > slice_rows:
            parts.append(Window(begun, at))
            begun, held = at, 0
        if begun is None:
            begun = max(at, rows.window.start)
        held += count
    if begun is not None:
        last = times[-1] + timedelta(seconds=step)
        parts.append(Window(begun, min(last, rows.window.end)))
    return parts


def _columns(source: Source, rows: Rows) -> str:
    """The select list. VARCHAR is cast: the export can lose it otherwise, without an error (9.3.4)."""
    found = source.fetch(
        f'SELECT "column"::string name, "type"::string kind FROM table_columns({quoted(_name(rows.table))})'  # noqa: S608
    )
    kinds = dict(zip(found.column("name").to_pylist(), found.column("kind").to_pylist(), strict=True))
    unknown = [name for name in rows.columns if name not in kinds]
    if unknown:
        raise ValueError(f'{rows.table} has no column "{unknown[0]}"; it has {", ".join(kinds)}')
    chosen = list(rows.columns) or list(kinds)
    return ", ".join(
        f'"{name}"::string "{name}"' if kinds[name] == "VARCHAR" else f'"{name}"' for name in chosen
    )


def _name(table: str) -> str:
    if not NAME.fullmatch(table):
        raise ValueError(f'"{table}" is not the name of a table; write for example "trades"')
    return table
