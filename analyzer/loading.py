"""For notebooks: recorded rows as Arrow. `from analyzer import load, batches, query`; an example is in docs/data.md.

Times are ISO 8601 texts (UTC without an offset) or datetimes (naive ones are UTC); windows are half-open. Without `config`,
the configuration is looked for as the commands do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from analyzer.config import endpoint
from analyzer.config import load as configuration
from analyzer.duck import MEMORY, database, store
from analyzer.quantities import duration
from analyzer.rows import SLICE_ROWS, Rows, read
from analyzer.source import Source
from analyzer.windows import Window, ending, parse_time

if TYPE_CHECKING:
    import pyarrow as pa

Time = str | datetime


def span(start: Time | None = None, end: Time | None = None, window: str | None = None) -> Window:
    """[start, end), or the `window` before `end`; without `end` it ends now. Raises ValueError."""
    if (start is None) == (window is None):
        raise ValueError('say either start or window, for example start="2026-11-23" or window="24h"')
    finish = datetime.now(UTC) if end is None else _time(end)
    if start is None:
        assert window is not None
        return ending(finish, duration(window))
    begin = _time(start)
    if begin >= finish:
        raise ValueError(
            f"the window is empty: its start {begin.isoformat()} is not before its end {finish.isoformat()}"
        )
    return Window(begin, finish)


def load(
    table: str,
    start: Time | None = None,
    end: Time | None = None,
    *,
    window: str | None = None,
    symbols: Sequence[str] = (),
    exchange: str = "",
    columns: Sequence[str] = (),
    config: str | None = None,
) -> pa.Table:
    """All rows of a table or view over a window, in the order of `ts`. What doesn't fit into memory goes through `batches`.

    `ts`: timestamp[us, tz=UTC]; books: list<list<double>>, [prices, sizes], best first. `columns` keeps these alone.
    Raises ValueError, SourceError, ConfigError, UnreachableError; the message says what to do.
    """
    import pyarrow as pa

    found = batches(
        table,
        start,
        end,
        window=window,
        symbols=symbols,
        exchange=exchange,
        columns=columns,
        config=config,
    )
    return pa.Table.from_batches(list(found))


def batches(
    table: str,
    start: Time | None = None,
    end: Time | None = None,
    *,
    window: str | None = None,
    symbols: Sequence[str] = (),
    exchange: str = "",
    columns: Sequence[str] = (),
    config: str | None = None,
    slice_rows: int = SLICE_ROWS,
) -> Iterator[pa.RecordBatch]:
    """The same as a stream, whose memory doesn't depend on how many rows there are. `slice_rows` bounds the temporary file.

    An empty window is one empty batch."""
    chosen = Rows(table, span(start, end, window), _several(symbols), exchange, _several(columns))
    source = _source(config)
    try:
        yield from read(source, chosen, slice_rows)
    finally:
        source.close()


def query(
    sql: str,
    start: Time | None = None,
    end: Time | None = None,
    *,
    tables: Sequence[str] = ("trades",),
    window: str | None = None,
    symbols: Sequence[str] = (),
    exchange: str = "",
    config: str | None = None,
    memory: str = MEMORY,
    slice_rows: int = SLICE_ROWS,
) -> pa.Table:
    """DuckDB's answer to `sql`, in which each of `tables` holds its rows of the window.

    They are copied to a temporary database on disk; DuckDB keeps within `memory`, and spills to the same folder. The
    answer itself must fit into memory. Raises duckdb.Error too."""
    within = span(start, end, window)
    source = _source(config)
    try:
        with database(memory) as connection:
            for name in _several(tables):
                store(
                    connection,
                    name,
                    read(source, Rows(name, within, _several(symbols), exchange), slice_rows),
                )
            answer = connection.sql(sql)
            if answer is None:
                raise ValueError("the statement has no rows as its answer; write a SELECT")
            table: pa.Table = answer.to_arrow_table()
            return table
    finally:
        source.close()


def _source(config: str | None) -> Source:
    return Source(endpoint(configuration(config).questdb))


def _several(names: Sequence[str]) -> Sequence[str]:
    """A single name is meant as one, not as its letters."""
    return [names] if isinstance(names, str) else names


def _time(at: Time) -> datetime:
    if isinstance(at, str):
        return parse_time(at)
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
