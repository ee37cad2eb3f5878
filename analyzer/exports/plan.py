"""An export: which files there are to write, and writing them one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec

from analyzer.exports.base import Format, Part, Reader
from analyzer.exports.files import alone, replacing
from analyzer.rows import Rows
from analyzer.source import Source
from analyzer.windows import Window

DAY = timedelta(days=1)


class Written(msgspec.Struct, frozen=True):
    """One file."""

    path: str
    """Below the folder of the export."""
    rows: int
    """Of the tables."""
    bytes: int


def plan(
    source: Source,
    form: Format,
    tables: Sequence[str],
    window: Window,
    symbols: Sequence[str] = (),
    exchange: str = "",
) -> list[Part]:
    """The parts that have rows, by day and symbol. Raises SourceError."""
    counts: dict[tuple[date, str, str, str, str], dict[str, int]] = {}
    for table in tables:
        where = Rows(table, window, symbols, exchange).where()
        found = source.fetch(
            "SELECT timestamp_floor('d', ts) day, exchange, market, symbol, count() n "  # noqa: S608
            f"FROM {table} WHERE {where}"
        )
        for row in found.to_pylist():
            venue, market = (row["exchange"], row["market"]) if form.by_venue else (exchange, "")
            key = (row["day"].date(), row["symbol"], venue, market, "" if form.together else table)
            own = counts.setdefault(key, {})
            own[table] = own.get(table, 0) + row["n"]
    return [
        Part(day, _within(window, day), symbol, venue, market, counts[day, symbol, venue, market, kind])
        for day, symbol, venue, market, kind in sorted(counts)
    ]


def export(
    source: Source,
    form: Format,
    parts: Sequence[Part],
    folder: Path,
    progress: Callable[[int], None] = lambda rows: None,
) -> Iterator[Written]:
    """Write the parts, each file whole or not at all. `progress` is told of rows as they are read.

    Raises SourceError, ExportError."""

    with alone(folder):
        for part in parts:
            path = form.path(part)
            with replacing(folder / path) as temporary:
                form.write(temporary, part, Reader(source, part, progress))
            yield Written(str(path), sum(part.counts.values()), (folder / path).stat().st_size)


def _within(window: Window, day: date) -> Window:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return Window(max(start, window.start), min(start + DAY, window.end))
