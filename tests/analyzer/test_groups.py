"""Rows by instrument against plain loops, in each form in which Arrow keeps symbols."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from analyzer.passes.groups import by_instrument


@pytest.mark.parametrize("chunks", [1, 3])
@pytest.mark.parametrize(
    "kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())], ids=["string", "dictionary"]
)
def test_against_loops(kind: pa.DataType, chunks: int) -> None:
    rng = random.Random(7)
    parts, rows = [], []
    for _ in range(chunks):
        names = [tuple(rng.choice(("a", "b", "ab", None)) for _ in range(3)) for _ in range(40)]
        times = [rng.randrange(20) for _ in names]  # some equal: those stay in their order
        values = [rng.random() for _ in names]
        columns = {
            name: pa.array(column, pa.string()).cast(kind)
            for name, column in zip(("exchange", "market", "symbol"), zip(*names, strict=True), strict=True)
        }
        columns |= {"ts": pa.array(times, pa.timestamp("us", tz="UTC")), "value": pa.array(values)}
        parts.append(pa.table(columns))
        rows += list(zip(names, times, values, strict=True))
    wanted: dict[object, list[tuple[int, float]]] = {}
    for name, ts, value in rows:
        wanted.setdefault(name, []).append((ts, value))
    found = list(by_instrument(pa.concat_tables(parts), ("value",)))
    assert [name for name, _ in found] == list(wanted)  # in order of their first row
    for name, columns_ in found:
        expected = [value for _, value in sorted(wanted[name], key=lambda row: row[0])]
        assert np.array_equal(columns_["value"], expected)


def test_nothing() -> None:
    empty = pa.table({name: pa.array([], pa.string()) for name in ("exchange", "market", "symbol", "ts")})
    assert list(by_instrument(empty, ())) == []
