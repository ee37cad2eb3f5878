"""Parquet, partitioned by day and symbol as hive does it: `TABLE/day=2026-11-23/symbol=BTCUSDT/rows.parquet`, zstd.

The file has all columns of the table, so that it says everything by itself; the venues of a symbol are together, in the
order of `ts`.
"""

from __future__ import annotations

from pathlib import Path, PurePath

from analyzer.exports.base import TABLES, Format, Part, Reader
from analyzer.exports.files import safe

GROUP_ROWS, GROUP_BYTES = 131_072, 32 << 20
"""A row group ends at the first of these."""


def path(part: Part) -> PurePath:
    (table,) = part.counts
    return PurePath(table, f"day={part.day}", f"symbol={safe(part.symbol)}", "rows.parquet")


def write(file: Path, part: Part, read: Reader) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    (table,) = part.counts
    writer: pq.ParquetWriter | None = None
    held: list[pa.RecordBatch] = []
    rows = size = 0
    try:
        for batch in read(table):
            if writer is None:
                writer = pq.ParquetWriter(file, batch.schema, compression="zstd")
            held.append(batch)
            rows, size = rows + batch.num_rows, size + batch.nbytes
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(held))
                held, rows, size = [], 0, 0
        if writer is not None and held:
            writer.write_table(pa.Table.from_batches(held))
    finally:
        if writer is not None:
            writer.close()


PARQUET = Format("parquet", TABLES, by_venue=False, together=False, path=path, write=write)
