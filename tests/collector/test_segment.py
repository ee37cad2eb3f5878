"""The journal's file format: what is damaged is told, what is intact is read."""

from __future__ import annotations

import io
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.segment import (
    SEGMENT_HEADER,
    Damage,
    Record,
    encode_record,
    read_records,
    whole_length,
)


def record(rows: list[bytes], recv_us: int = 7) -> bytes:
    ends = array("I")
    total = 0
    for row in rows:
        total += len(row)
        ends.append(total)
    return b"".join(encode_record(b"".join(rows), ends, recv_us))


def read(data: bytes) -> list[Record | Damage]:
    return [item for _, item in read_records(io.BytesIO(data), 0, len(data))]


def payloads(items: list[Record | Damage]) -> list[bytes]:
    return [item.data for item in items if isinstance(item, Record)]


ROWS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=5)


@given(st.lists(ROWS, max_size=6))
def test_what_is_written_is_read(batches: list[list[bytes]]) -> None:
    items = read(SEGMENT_HEADER + b"".join(record(rows, n) for n, rows in enumerate(batches)))
    assert [item for item in items if isinstance(item, Damage)] == []
    for n, (item, rows) in enumerate(zip(items, batches, strict=True)):
        assert isinstance(item, Record)
        assert item.recv_us == n
        assert [item.rows(i, i + 1) for i in range(len(rows))] == rows
        assert item.rows(0, len(rows)) == b"".join(rows)


def test_cut_at_every_byte_keeps_the_whole_records(tmp_path: Path) -> None:
    batches = [[b"one", b"two"], [b"three" * 9], [b"four"]]
    ends = [len(SEGMENT_HEADER)]
    data = SEGMENT_HEADER
    for rows in batches:
        data += record(rows)
        ends.append(len(data))
    path = tmp_path / "s"
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        whole = max((end for end in ends if end <= cut), default=0)
        assert whole_length(path)[0] == whole
        assert payloads(read(data[:cut])) == [
            b"".join(rows) for rows, end in zip(batches, ends[1:], strict=True) if end <= cut
        ]


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_costs_its_record_only(bit: int) -> None:
    first, second, third = record([b"a" * 20]), record([b"b" * 10, b"c" * 10]), record([b"d" * 20])
    for at in range(len(second)):
        damaged = bytearray(second)
        damaged[at] ^= 1 << bit
        items = read(SEGMENT_HEADER + first + bytes(damaged) + third)
        assert payloads(items) == [b"a" * 20, b"d" * 20]
        (damage,) = [item for item in items if isinstance(item, Damage)]
        start = len(SEGMENT_HEADER) + len(first)
        assert (damage.offset, damage.end) == (start, start + len(second))


def test_reading_goes_on_from_any_record() -> None:
    data = SEGMENT_HEADER + record([b"a"]) + record([b"b"]) + record([b"c"])
    offsets = [after for after, _ in read_records(io.BytesIO(data), 0, len(data))]
    rest = [item for _, item in read_records(io.BytesIO(data), offsets[0], len(data))]
    assert payloads(rest) == [b"b", b"c"]


def test_payload_that_looks_like_a_header_is_not_mistaken_for_one() -> None:
    inner = record([b"not a record of its own"])
    damaged = bytearray(record([inner, b"x" * 50]))
    damaged[-1] ^= 1
    items = read(SEGMENT_HEADER + record([inner]) + bytes(damaged) + record([b"end"]))
    assert payloads(items)[0] == inner
    assert payloads(items)[-1] == b"end"
