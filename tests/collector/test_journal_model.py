"""The journal and its shipping against a plain model: whatever happens, every row is stored, put aside, or was cut off."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from collector.deadletters import DeadLetters
from collector.errors import OperatorError
from collector.metrics import Metrics
from collector.segment import SEGMENT_HEADER, Record, encode_record, read_records
from collector.settings import JournalConfig
from collector.shipper import Shipper
from collector.sink import RefusedError, UnavailableError
from collector.store import JournalStore
from tests.collector.test_store import takes

EXAMPLES = int(os.environ.get("EVENKEEL_HYPOTHESIS_EXAMPLES", "50"))
BAD = b"bad"


class ModelServer:
    """What the Sink protocol promises of a server, and what a server may do to us within it."""

    def __init__(self) -> None:
        self.up, self.lose_answer, self.started = True, False, 0
        self.posts: list[list[bytes]] = []

    def post(self, pieces: Sequence[bytes]) -> None:
        if not self.up:
            raise UnavailableError("down")
        rows = b"".join(pieces).splitlines()
        if any(row.startswith(BAD) for row in rows):
            raise RefusedError("bad row")
        self.posts.append(rows)
        if self.lose_answer:
            self.lose_answer = False
            raise UnavailableError("answer lost")

    def identity(self) -> str:
        if not self.up:
            raise UnavailableError("down")
        return str(self.started)

    def ailment(self) -> tuple[str, str]:
        return "", ""

    def close(self) -> None: ...

    @property
    def stored(self) -> set[bytes]:
        return {row for rows in self.posts for row in rows}


class JournalModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.server = ModelServer()
        self.appended: list[bytes] = []
        self.lost: set[bytes] = set()
        """Cut off by a crash, or damaged."""
        self.open()

    def open(self) -> None:
        self.metrics = Metrics()
        self.store = JournalStore(self.folder)
        self.store.begin_segment(SEGMENT_HEADER)
        self.dead = DeadLetters(self.folder / "dead-letters", self.metrics)
        self.shipper = Shipper(JournalConfig(), self.store, self.server, self.dead, self.metrics)
        self.shipper._stop_at = 0.0  # one attempt and no waiting

    def close(self) -> None:
        self.shipper._reader.close()
        self.store.close()

    def rows_from(self, path: Path, offset: int) -> set[bytes]:
        with path.open("rb") as file:
            found = read_records(file, offset, path.stat().st_size)
            return {row for _, item in found if isinstance(item, Record) for row in item.data.splitlines()}

    @rule(count=st.integers(1, 5), bad=st.booleans(), short=st.none() | st.integers(0, 40))
    def append(self, count: int, bad: bool, short: int | None) -> None:
        first = len(self.appended)
        rows = [b"row%d\n" % (first + i) for i in range(count)]
        if bad:
            rows[-1] = BAD + rows[-1]
        ends, size = array("I"), 0
        for row in rows:
            size += len(row)
            ends.append(size)
        record = encode_record(b"".join(rows), ends, first + 1)
        if short is not None:
            with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError):
                patch.setattr(os, "pwrite", takes(min(short, sum(map(len, record)) - 1)))
                self.store.append(record)
        self.store.append(record)
        self.appended += [row.strip() for row in rows]

    @rule()
    def roll(self) -> None:
        self.store.begin_segment(SEGMENT_HEADER)

    @rule()
    def ship(self) -> None:
        if not self.server.up or not self.shipper._look_at_server():
            return
        records, cursor = self.shipper._reader.read()
        if not records or self.shipper._deliver(records):
            self.shipper._acknowledge(cursor)

    @rule(up=st.booleans())
    def server_goes_or_comes(self, up: bool) -> None:
        self.server.up = up

    @rule()
    def an_answer_is_lost(self) -> None:
        self.server.lose_answer = True

    @rule(lost=st.integers(0, 3))
    def server_is_started_anew(self, lost: int) -> None:
        self.server.posts = self.server.posts[: len(self.server.posts) - lost]
        self.server.started += 1

    @rule()
    def reopen(self) -> None:
        self.close()
        self.open()

    @rule(garbage=st.sampled_from([None, b"", b"{", b'{"segment":"x"}']))
    def cursor_is_lost(self, garbage: bytes | None) -> None:
        self.close()
        path = self.folder / "cursor.json"
        path.unlink(missing_ok=True)
        if garbage is not None:
            path.write_bytes(garbage)
        self.open()

    @rule(part=st.floats(0, 1))
    def crash_tears_the_tail(self, part: float) -> None:
        path = self.store.path(self.store._current)
        cursor = self.store.cursor
        safe = cursor.offset if cursor.segment == self.store._current else len(SEGMENT_HEADER)
        size = path.stat().st_size
        self.close()
        before = self.rows_from(path, 0)
        os.truncate(path, safe + int((size - safe) * part))
        self.lost |= before - self.rows_from(path, 0)
        self.open()

    @precondition(lambda self: self.store.size() > len(SEGMENT_HEADER))
    @rule(at=st.floats(0, 0.999), bit=st.integers(0, 7))
    def bit_flips(self, at: float, bit: int) -> None:
        number = self.store._current
        path, cursor = self.store.path(number), self.store.cursor
        first = max(len(SEGMENT_HEADER), cursor.offset if cursor.segment == number else 0)
        size = path.stat().st_size
        if first >= size:
            return
        before = self.rows_from(path, 0)
        position = first + int((size - first) * at)
        with path.open("r+b") as file:
            file.seek(position)
            byte = file.read(1)[0]
            file.seek(position)
            file.write(bytes([byte ^ (1 << bit)]))
        self.lost |= before - self.rows_from(path, 0)

    @invariant()
    def nothing_is_stored_that_was_not_appended(self) -> None:
        assert self.server.stored <= set(self.appended)
        assert self.store.total_bytes() == sum(p.stat().st_size for p in self.folder.glob("*.journal"))

    def teardown(self) -> None:
        try:
            self.server.up, self.server.lose_answer = True, False
            for _ in range(10_000):
                self.ship()
                if self.shipper.drained():
                    break
            refused = {row for row in self.appended if row.startswith(BAD)}
            assert set(self.appended) - self.server.stored <= refused | self.lost
            assert not self.server.stored & refused
            assert self.store.pending_bytes() == 0
            letters = self.folder / "dead-letters/rows.jsonl"
            assert letters.exists() or not (refused - self.lost)
            for path in self.folder.glob("*.journal"):
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with pytest.raises(OperatorError):
                JournalStore(self.folder)
        finally:
            self.close()
            shutil.rmtree(self.folder)


JournalModel.TestCase.settings = settings(
    max_examples=EXAMPLES, stateful_step_count=30, deadline=None, derandomize=True
)
TestJournal = JournalModel.TestCase


def test_a_segment_cut_at_every_byte_keeps_its_whole_records_and_takes_new_ones(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    store = JournalStore(whole)
    store.begin_segment(SEGMENT_HEADER)
    ends = [store.size()]
    for n in range(4):
        store.append(encode_record(b"row%d\n" % n, array("I", [5]), n + 1))
        ends.append(store.size())
    path = store.path(store._current)
    store.close()
    data = path.read_bytes()
    for size in range(len(data) + 1):
        folder = tmp_path / f"cut{size}"
        folder.mkdir()
        (folder / path.name).write_bytes(data[:size])
        cut = JournalStore(folder)
        cut.begin_segment(SEGMENT_HEADER)
        cut.append(encode_record(b"new\n", array("I", [4]), 9))
        cut.close()
        rows = []
        for segment in sorted(folder.glob("*.journal")):
            with segment.open("rb") as file:
                found = list(read_records(file, 0, segment.stat().st_size))
            assert all(isinstance(item, Record) for _, item in found)
            rows += [item.data for _, item in found if isinstance(item, Record)]
        kept = sum(end <= size for end in ends[1:])
        assert rows == [b"row%d\n" % n for n in range(kept)] + [b"new\n"]
