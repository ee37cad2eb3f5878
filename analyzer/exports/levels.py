"""The two sides of recorded books as flat arrays: prices and sizes one after the other, with where each book begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


class Levels(msgspec.Struct, frozen=True):
    """Of one side of n books: `prices` and `sizes` hold all, best first; book i is `start[i]:start[i] + count[i]`."""

    prices: Any
    sizes: Any
    start: Any
    count: Any

    def matrix(self, depth: int) -> tuple[Any, Any]:
        """Prices and sizes, n × depth, NaN where a book has no such level."""
        rank = np.arange(depth)
        there = rank[None, :] < self.count[:, None]
        at = np.minimum(self.start[:, None] + rank[None, :], max(len(self.prices) - 1, 0))
        found = []
        for values in (self.prices, self.sizes):
            filled = np.full(there.shape, np.nan)
            filled[there] = values[at[there]]
            found.append(filled)
        return found[0], found[1]


def levels(column: pa.Array) -> Levels:
    """`column`: list<list<double>>, [prices, sizes] or null or empty, as the table `orderbook` has it."""
    import pyarrow.compute as pc

    outer = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    sides = column.flatten()
    lengths = pc.fill_null(pc.list_value_length(sides), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    values = sides.flatten().to_numpy(zero_copy_only=False)
    begins = np.concatenate(([0], np.cumsum(lengths)))
    first = np.concatenate(([0], np.cumsum(outer)))[:-1].astype(np.int64)
    whole = outer == 2
    count = np.zeros(len(outer), dtype=np.int64)
    count[whole] = np.minimum(lengths[first[whole]], lengths[first[whole] + 1])
    price_at, size_at = np.zeros(len(outer), dtype=np.int64), np.zeros(len(outer), dtype=np.int64)
    price_at[whole], size_at[whole] = begins[first[whole]], begins[first[whole] + 1]
    start = np.concatenate(([0], np.cumsum(count)))[:-1].astype(np.int64)
    offset = np.arange(int(count.sum())) - np.repeat(start, count)
    return Levels(
        values[np.repeat(price_at, count) + offset], values[np.repeat(size_at, count) + offset], start, count
    )
