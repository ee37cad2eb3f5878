"""The journal's file format: append-only segments of framed records.

    segment = "EVENKEEL" version:u32 begun:u32 record*
    record  = magic:4 length:u32 rows:u32 crc32c:u32 recv_us:u64 end:u32[rows] data:u8[length - 4·rows]

All integers are little-endian. The checksum covers everything after itself and, before it, `length` and `rows`. `end`
are the offsets in `data` at which the rows end, so that a single row can be told from its neighbours. `recv_us` is the
newest time of receipt (µs) among the rows. `begun` is when the segment was (s since the epoch; 0: not told).
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec
from crc32c import crc32c

from collector import bounds

_PREAMBLE = struct.Struct("<8sII")
SEGMENT_HEADER = _PREAMBLE.pack(b"EVENKEEL", 1, 0)
_SAME = 12
"""Bytes of it that every segment of this version begins with."""
MAGIC = b"\xe5KJ\x01"
_HEADER = struct.Struct("<4sIIIQ")
_SUMMED = struct.Struct("<IIQ")
MAX_RECORD = bounds.RECORD.limit


class Record(msgspec.Struct, frozen=True, gc=False):
    """Rows as they are posted to QuestDB."""

    data: bytes
    ends: array[int]
    recv_us: int

    def rows(self, first: int, last: int) -> bytes:
        """The bytes of rows first … last-1."""
        return self.data[self.ends[first - 1] if first else 0 : self.ends[last - 1]]


class Damage(msgspec.Struct, frozen=True, gc=False):
    """Bytes that are not a whole, intact record: from `offset` up to `end`."""

    offset: int
    end: int


def encode_record(data: bytes, ends: array[int], recv_us: int) -> list[bytes]:
    """The pieces to write, in order."""
    index = ends.tobytes()
    length = len(index) + len(data)
    crc = crc32c(data, crc32c(index, crc32c(_SUMMED.pack(length, len(ends), recv_us))))
    return [_HEADER.pack(MAGIC, length, len(ends), crc, recv_us), index, data]


def read_records(file: BinaryIO, offset: int, end: int) -> Iterator[tuple[int, Record | Damage]]:
    """Records of a segment from `offset` (0: the beginning) up to `end`, each with the offset after it.

    Damage is told once and skipped up to the next intact record, or to `end`. A record that `end` cuts is damage too:
    give an `end` that the writer has published.
    """
    offset = max(offset, len(SEGMENT_HEADER))
    while offset < end:
        record, after = _read_one(file, offset, end)
        if record is None:
            after = _find_next(file, offset + 1, end)
            yield after, Damage(offset, after)
        else:
            yield after, record
        offset = after


def segment_header(begun: int) -> bytes:
    """`begun`: s since the epoch."""
    return _PREAMBLE.pack(b"EVENKEEL", 1, begun & 0xFFFFFFFF)


def segment_begun(path: Path) -> int:
    """s since the epoch; 0 where it is not told."""
    with path.open("rb") as file:
        head = file.read(_PREAMBLE.size)
    return int(_PREAMBLE.unpack(head)[2]) if len(head) == _PREAMBLE.size else 0


def is_foreign(path: Path) -> bool:
    """Whether the file is whole at its beginning and yet no segment of this version."""
    with path.open("rb") as file:
        head = file.read(len(SEGMENT_HEADER))
    return len(head) == len(SEGMENT_HEADER) and head[:_SAME] != SEGMENT_HEADER[:_SAME]


def whole_length(path: Path) -> tuple[int, int]:
    """Offset after the last intact record, where a torn tail is cut, and that record's `recv_us` (0: there is none)."""
    size = path.stat().st_size
    if size < len(SEGMENT_HEADER):
        return 0, 0
    good, newest = len(SEGMENT_HEADER), 0
    with path.open("rb") as file:
        for after, item in read_records(file, 0, size):
            if isinstance(item, Record):
                good, newest = after, item.recv_us
    return good, newest


def _read_one(file: BinaryIO, offset: int, end: int) -> tuple[Record | None, int]:
    file.seek(offset)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return None, offset
    magic, length, rows, crc, recv_us = _HEADER.unpack(header)
    after = offset + _HEADER.size + length
    if magic != MAGIC or not 4 * rows <= length <= MAX_RECORD or after > end:
        return None, offset
    body = file.read(length)
    if len(body) < length or crc32c(body, crc32c(_SUMMED.pack(length, rows, recv_us))) != crc:
        return None, offset
    ends = array("I")
    ends.frombytes(body[: 4 * rows])
    return Record(body[4 * rows :], ends, recv_us), after


def _find_next(file: BinaryIO, offset: int, end: int) -> int:
    """Offset of the next intact record, else `end`."""
    window = 1 << 20
    while offset < end:
        file.seek(offset)
        chunk = file.read(min(window, end - offset))
        at = chunk.find(MAGIC)
        while at >= 0:
            record, _ = _read_one(file, offset + at, end)
            if record is not None:
                return offset + at
            at = chunk.find(MAGIC, at + 1)
        if len(chunk) < window:
            break
        offset += len(chunk) - len(MAGIC) + 1
    return end
