"""DuckDB for what the server can't do: within a memory limit, spilling to a folder that goes with it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MEMORY = "192MB"
THREADS = 2


@contextmanager
def database(memory: str = MEMORY) -> Iterator[Any]:
    """A DuckDB connection to a database on disk, in a temporary folder. Times are shown as UTC."""
    import duckdb

    with tempfile.TemporaryDirectory(prefix="analyzer-") as folder:
        connection = duckdb.connect(
            str(Path(folder) / "spill.duckdb"),
            config={"memory_limit": memory, "temp_directory": folder, "threads": THREADS},
        )
        try:
            connection.execute("SET TimeZone = 'UTC'")
            yield connection
        finally:
            connection.close()


def store(connection: Any, name: str, batches: Iterable[pa.RecordBatch]) -> None:
    """Fill a new table from a stream, which is not kept in memory."""
    reader = reader_of(batches)
    connection.register("incoming", reader)
    try:
        connection.execute(f'CREATE TABLE "{name}" AS SELECT * FROM incoming')  # noqa: S608 - checked by rows.read
    finally:
        connection.unregister("incoming")


@contextmanager
def ordered(
    batches: Iterable[pa.RecordBatch], by: str, batch_rows: int = 5000, memory: str = MEMORY
) -> Iterator[pa.RecordBatchReader]:
    """The rows of a stream sorted by those columns, on disk where they are many; equal ones stay in their order."""
    with database(memory) as connection:
        store(connection, "rows", batches)
        yield connection.sql(f"SELECT * FROM rows ORDER BY {by}, rowid").to_arrow_reader(batch_rows)  # noqa: S608


def reader_of(batches: Iterable[pa.RecordBatch]) -> pa.RecordBatchReader:
    """The stream with the schema of its first batch. Raises ValueError without any."""
    import pyarrow as pa

    stream = iter(batches)
    first = next(stream, None)
    if first is None:
        raise ValueError("a stream without a batch has no columns")

    def all_of_it() -> Iterator[pa.RecordBatch]:
        yield first
        yield from stream

    return pa.RecordBatchReader.from_batches(first.schema, all_of_it())
