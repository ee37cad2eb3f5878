"""Rows of one instrument next to each other, in order of time, as numpy columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

Instrument = tuple[str, str, str]
"""exchange, market, symbol"""
NULL = int(np.iinfo(np.int64).min)
"""What stands for a null among microseconds."""


def instruments(table: pa.Table) -> list[Instrument]:
    """The instrument of every row."""
    columns = (table.column(name).to_pylist() for name in ("exchange", "market", "symbol"))
    return list(zip(*columns, strict=True))


def by_instrument(table: pa.Table, columns: Sequence[str]) -> Iterator[tuple[Instrument, dict[str, Any]]]:
    """Each instrument with its columns (numpy, ordered by `ts`)."""
    if not table.num_rows:
        return
    names, ids = _numbered(table)
    times = microseconds(table, "ts")
    rank = np.lexsort((times, ids))
    bounds = np.flatnonzero(np.diff(ids[rank])) + 1
    values = {name: table.column(name).to_numpy(zero_copy_only=False) for name in columns}
    for part in np.split(rank, bounds):
        yield names[ids[part[0]]], {name: column[part] for name, column in values.items()}


def _numbered(table: pa.Table) -> tuple[list[Instrument], Any]:
    """The instruments in order of their first row, and for each row the place of its own among them."""
    import pyarrow as pa

    keys: list[tuple[list[str | None], Any]] = []
    joint = np.zeros(table.num_rows, dtype=np.int64)
    for name in ("exchange", "market", "symbol"):
        column = table.column(name)
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        column = column.unify_dictionaries().combine_chunks()
        texts = [*column.dictionary.to_pylist(), None]
        keys.append((texts, column.indices.fill_null(len(texts) - 1).to_numpy(zero_copy_only=False)))
        joint = joint * len(texts) + keys[-1][1]
    _, first, ids = np.unique(joint, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    names = [tuple(texts[int(indices[row])] for texts, indices in keys) for row in first[order]]
    return cast(list[Instrument], names), place[ids]


def microseconds(table: pa.Table, column: str) -> Any:
    """A timestamp column as int64 microseconds since the epoch; nulls become NULL."""
    import pyarrow as pa

    values = table.column(column).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    return values.fill_null(NULL).to_numpy(zero_copy_only=False)
