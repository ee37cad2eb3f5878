"""Journal segments mutated at random: intact records are read, nothing else is, and reading never fails."""

from __future__ import annotations

import io
import random
from array import array
from pathlib import Path

from collector.segment import SEGMENT_HEADER, Damage, Record, encode_record, read_records, whole_length
from tests.fuzz.invariants import Violation, require


def some_record(rng: random.Random, number: int) -> bytes:
    rows = [rng.randbytes(rng.choice((1, 30, 200))) for _ in range(rng.choice((1, 2, 20)))]
    if rng.random() < 0.1:  # a row that looks like a record
        rows.append(b"".join(encode_record(b"inner", array("I", [5]), 1)))
    ends, total = array("I"), 0
    for row in rows:
        total += len(row)
        ends.append(total)
    return b"".join(encode_record(b"".join(rows), ends, number))


def damaged(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 6))):
        at = rng.randrange(len(out)) if out else 0
        match rng.randrange(6):
            case 0 | 1 if out:
                out[at] ^= 1 << rng.randrange(8)
            case 2:
                del out[at : at + rng.randrange(1, 300)]
            case 3:
                out[at:at] = rng.randbytes(rng.randrange(1, 300))
            case 4:
                length = rng.randrange(1, 300)
                out[at : at + length] = bytes(
                    len(out[at : at + length])
                )  # a hole of zeros, as file systems leave
            case _:
                del out[at:]
    return bytes(out)


def fuzz_segment(seed: int, folder: Path) -> tuple[int, int]:
    """One segment; (records read, ranges of damage told). Raises Violation."""
    rng = random.Random(seed)
    records = [some_record(rng, number) for number in range(rng.randrange(1, 12))]
    data = damaged(SEGMENT_HEADER + b"".join(records), rng)
    try:
        return _check(data, records, folder / "segment", rng)
    except Exception as error:
        raise Violation(f"segment of seed {seed}: {type(error).__name__}: {error}") from error


def _check(data: bytes, records: list[bytes], path: Path, rng: random.Random) -> tuple[int, int]:
    items = list(read_records(io.BytesIO(data), 0, len(data)))
    offset, read, damages, last_good = len(SEGMENT_HEADER), [], 0, len(SEGMENT_HEADER)
    for after, item in items:
        require(after > offset, "the reader does not advance")
        if isinstance(item, Damage):
            damages += 1
            require((item.offset, item.end) == (offset, after), item)
        else:
            raw = data[offset:after]
            require(b"".join(encode_record(item.data, item.ends, item.recv_us)) == raw, item)
            require(b"".join(item.rows(n, n + 1) for n in range(len(item.ends))) == item.data, item)
            read.append(raw)
            last_good = after
        offset = after
    require(offset == max(len(data), len(SEGMENT_HEADER)), "bytes were neither read nor told as damage")
    body = data[len(SEGMENT_HEADER) :]
    for number, record in enumerate(records):
        require(record not in body or record in read, f"record {number} is intact and was not read")
    if rng.random() < 0.05:
        path.write_bytes(data)
        require(
            whole_length(path)[0] == (last_good if len(data) >= len(SEGMENT_HEADER) else 0), "whole_length"
        )
    for after, item in items:  # from any boundary the rest is the same
        if isinstance(item, Record) and rng.random() < 0.2:
            rest = [
                one for _, one in read_records(io.BytesIO(data), after, len(data)) if isinstance(one, Record)
            ]
            require(
                [one.data for one in rest]
                == [i.data for a, i in items if a > after and isinstance(i, Record)],
                after,
            )
    return len(read), damages
