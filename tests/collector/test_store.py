"""The journal's folder when the disk or the files in it are not as they should be."""

from __future__ import annotations

import errno
import os
from array import array
from collections.abc import Callable
from pathlib import Path

import pytest

from collector.segment import SEGMENT_HEADER, Record, encode_record, read_records
from collector.store import JournalStore

HEADER = len(SEGMENT_HEADER)


def append(store: JournalStore, row: bytes, recv_us: int = 1) -> None:
    store.append(encode_record(row, array("I", [len(row)]), recv_us))


def rows(folder: Path) -> list[bytes]:
    """The rows on disk, one a record, in order. Fails on damage."""
    found: list[bytes] = []
    for path in sorted(folder.glob("*.journal")):
        with path.open("rb") as file:
            for _, item in read_records(file, 0, path.stat().st_size):
                assert isinstance(item, Record), (path.name, item)
                found.append(item.data)
    return found


def full(*_: object, **__: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def takes(count: int) -> Callable[[int, bytes, int], int]:
    """A disk that takes `count` bytes more."""
    pwrite = os.pwrite
    return lambda file, data, offset: pwrite(file, data[:count], offset) if count else full()


@pytest.fixture
def store(tmp_path: Path) -> JournalStore:
    store = JournalStore(tmp_path)
    store.begin_segment(SEGMENT_HEADER)
    return store


@pytest.mark.parametrize("taken", [0, 1, HEADER - 1])
def test_no_room_for_a_new_segment_leaves_the_old_one_in_use(
    store: JournalStore, monkeypatch: pytest.MonkeyPatch, taken: int
) -> None:
    append(store, b"one")
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(os, "pwrite", takes(taken))
            with pytest.raises(OSError, match="No space left"):
                store.begin_segment(SEGMENT_HEADER)
        store.sync()
    append(store, b"two")
    store.begin_segment(SEGMENT_HEADER)
    append(store, b"three")
    store.close()
    assert rows(store.folder) == [b"one", b"two", b"three"]
    assert len(list(store.folder.glob("*.journal"))) == 2


def test_no_room_for_the_name_of_a_new_segment(store: JournalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    append(store, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(OSError, match="No space left"):
            store.begin_segment(SEGMENT_HEADER)
    store.sync()
    store.begin_segment(SEGMENT_HEADER)
    append(store, b"two")
    store.close()
    assert rows(store.folder) == [b"one", b"two"]


@pytest.mark.parametrize("taken", range(0, 30, 7))
@pytest.mark.parametrize("undone", [True, False])
def test_a_write_that_fails_part_way_leaves_nothing(
    store: JournalStore, monkeypatch: pytest.MonkeyPatch, taken: int, undone: bool
) -> None:
    append(store, b"one")
    size = store.size()
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", takes(taken))
        if not undone:
            patch.setattr(os, "ftruncate", full)
        with pytest.raises(OSError, match="No space left"):
            append(store, b"never written" * 5)
    assert store.size() == size
    if undone:
        assert store.path(1).stat().st_size == size
    append(store, b"2")
    store.begin_segment(SEGMENT_HEADER)
    append(store, b"three")
    store.close()
    assert rows(store.folder) == [b"one", b"2", b"three"]
