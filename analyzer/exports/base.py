"""What a format is, and the parts that an export consists of: one day of one symbol each, so that a file has a bound."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import msgspec

from analyzer.rows import Rows, read
from analyzer.source import Source
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

TABLES = ("trades", "orderbook", "liquidations", "tickers")


class Part(msgspec.Struct, frozen=True):
    """What goes into one file."""

    day: date
    window: Window
    """The day, or what the export's window has of it."""
    symbol: str
    exchange: str
    """Empty, with `market`: of all venues."""
    market: str
    counts: Mapping[str, int]
    """Table → rows."""

    def rows(self, table: str) -> Rows:
        return Rows(table, self.window, [self.symbol], self.exchange, market=self.market)


class Reader:
    """The rows of a part. All of it raises SourceError."""

    def __init__(self, source: Source, part: Part, progress: Callable[[int], None]) -> None:
        """`progress` is told of rows as they are read."""
        self._source, self._part, self._progress = source, part, progress

    def __call__(self, table: str) -> Iterator[pa.RecordBatch]:
        """In the order of `ts`."""
        for batch in read(self._source, self._part.rows(table)):
            self._progress(batch.num_rows)
            yield batch

    def number(self, table: str, aggregate: str) -> int | None:
        """One of SQL's aggregates over these rows."""
        found = self._source.fetch(
            f"SELECT {aggregate} n FROM {table} WHERE {self._part.rows(table).where()}"  # noqa: S608 - our own constants
        )
        value: int | None = found.column("n").to_pylist()[0]
        return value


class Format(msgspec.Struct, frozen=True):
    """How parts become files."""

    name: str
    tables: Sequence[str]
    by_venue: bool
    """A file holds one venue's rows, not all venues' of that symbol."""
    together: bool
    """All tables of a part go into one file."""
    path: Callable[[Part], PurePath]
    """Below the folder of the export. A part that isn't `together` has one table."""
    write: Callable[[Path, Part, Reader], None]
