"""The journal's folder and its writer: order, locking, torn tails, the cursor, retention, a full disk, the quota."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from collector.errors import OperatorError
from collector.journal import SHED_ORDER, Journal
from collector.metrics import Metrics
from collector.rows import BookSnapshot, Liquidation, Ticker, Trade
from collector.segment import SEGMENT_HEADER, Record, encode_record, read_records
from collector.settings import Duration, JournalConfig, Size
from collector.store import Cursor, JournalStore


def trade(n: int) -> Trade:
    return Trade(1_700_000_000_000_000 + n, n, "bybit", "linear", "BTCUSDT", "buy", 100.0 + n, 1.0, f"id{n}")


def config(folder: Path, **changes: object) -> JournalConfig:
    settings = {"path": str(folder), "fsync_interval": Duration(0.01), "segment_bytes": Size(1 << 16)}
    return JournalConfig(**(settings | changes))  # type: ignore[arg-type]


def journal(store: JournalStore, settings: JournalConfig, state: bytes = b"{}") -> Journal:
    return Journal(settings, store, Metrics(), lambda: state, lambda paused: None)


def lines(folder: Path) -> list[bytes]:
    """Every row on disk, in order."""
    rows: list[bytes] = []
    for path in sorted(folder.glob("*.journal")):
        with path.open("rb") as file:
            for _, item in read_records(file, 0, path.stat().st_size):
                assert isinstance(item, Record)
                rows += [item.rows(i, i + 1) for i in range(len(item.ends))]
    return rows


def test_rows_are_on_disk_in_order_over_many_segments(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    j = journal(store, config(tmp_path), state=b'{"x":1}')
    j.start()
    for n in range(3000):
        j.add(trade(n), n)
        if n % 50 == 0:
            j.seal()
    assert j.close(5)
    store.close()
    assert len(list(tmp_path.glob("*.journal"))) > 3
    rows = lines(tmp_path)
    assert [f'trade_id="id{n}"'.encode() in row for n, row in enumerate(rows)] == [True] * 3000
    assert (tmp_path / "state.json").read_bytes() == b'{"x":1}'
    for path in tmp_path.glob("*.js*"):
        assert path.stat().st_mode & 0o777 == 0o600
    for path in tmp_path.glob("*.journal"):
        assert path.stat().st_mode & 0o777 == 0o600


def test_two_collectors_on_one_journal_is_an_error(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    with pytest.raises(OperatorError, match="in use by another collector"):
        JournalStore(tmp_path)
    store.close()
    JournalStore(tmp_path).close()


def test_torn_tail_is_cut_and_a_restart_goes_on_in_a_new_segment(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    j = journal(store, config(tmp_path))
    j.start()
    j.add(trade(1), 1)
    assert j.close(5)
    store.close()
    (segment,) = tmp_path.glob("*.journal")
    whole = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(b"\xe5KJ\x01 half a record")
    store = JournalStore(tmp_path)
    assert segment.stat().st_size == whole
    j = journal(store, config(tmp_path))
    j.start()
    j.add(trade(2), 2)
    assert j.close(5)
    store.close()
    assert len(list(tmp_path.glob("*.journal"))) == 2
    assert len(lines(tmp_path)) == 2


def test_cursor_survives_and_an_unreadable_one_sends_all_again(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.begin_segment(SEGMENT_HEADER)
    store.acknowledge(Cursor(1, 77))
    store.close()
    store = JournalStore(tmp_path)
    assert store.cursor == Cursor(1, 77)
    store.close()
    (tmp_path / "cursor.json").write_bytes(b'{"segment":')
    store = JournalStore(tmp_path)
    assert store.cursor == Cursor(1, 0)
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data.replace(b":77", b":97"),
        lambda data: data.replace(b'"server":"', b'"server":"\xff'),
        lambda data: b"",
        lambda data: b"[]",
    ],
    ids=["digit", "text", "empty", "other"],
)
def test_a_damaged_cursor_sends_all_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    store = JournalStore(tmp_path)
    store.begin_segment(SEGMENT_HEADER)
    store.acknowledge(Cursor(1, 77, "server"))
    store.close()
    file = tmp_path / "cursor.json"
    before = file.read_bytes()
    file.write_bytes(damage(before))
    assert file.read_bytes() != before
    store = JournalStore(tmp_path)
    assert store.cursor == Cursor(1, 0)
    store.close()


def test_a_cursor_of_a_version_without_checksums_is_read(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    store.begin_segment(SEGMENT_HEADER)
    store.close()
    (tmp_path / "cursor.json").write_bytes(b'{"segment":1,"offset":20,"server":"s"}')
    store = JournalStore(tmp_path)
    assert store.cursor == Cursor(1, 20, "s")
    store.close()


def test_what_is_no_segment_of_this_version_is_left_alone_or_set_aside(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    j = journal(store, config(tmp_path))
    j.start()
    j.add(trade(1), 77)
    assert j.close(5)
    newer = store.path(2)
    store.close()
    (tmp_path / "notes.journal").write_text("mine")
    newer.write_bytes(SEGMENT_HEADER[:8] + b"\x02" + SEGMENT_HEADER[9:] + b"of a newer version")
    store = JournalStore(tmp_path)
    assert (tmp_path / "notes.journal").read_text() == "mine"
    assert newer.with_suffix(".foreign").read_bytes().endswith(b"of a newer version")
    assert not newer.exists()
    assert store.torn_since == 77, "what it holds is declared from the newest row before it on"
    assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    store.close()


def test_no_room_at_the_start_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JournalStore(tmp_path)
    monkeypatch.setattr("collector.store.os.pwrite", lambda *_: 0)
    with pytest.raises(OperatorError, match="free space on its disk"):
        journal(store, config(tmp_path)).start()
    store.close()


def test_a_sync_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JournalStore(tmp_path)
    done: list[bool] = []

    def sync() -> None:
        done.append(len(done) >= 2)
        if not done[-1]:
            raise OSError(errno.EIO, "no")

    monkeypatch.setattr(store, "sync", sync)
    j = journal(store, config(tmp_path))
    j.start()
    j.add(trade(1), 1)
    j.seal()
    deadline = time.monotonic() + 10
    while True not in done:
        assert time.monotonic() < deadline, done
        time.sleep(0.01)
    assert done[:3] == [False, False, True]
    assert j.close(5)
    store.close()


def test_acknowledged_segments_are_kept_a_while_then_trimmed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JournalStore(tmp_path)
    for _ in range(5):
        store.begin_segment(SEGMENT_HEADER)
        store.append([b"x" * 100])
    store.acknowledge(Cursor(4, 0))
    store.trim(retain_seconds=3600, retain_bytes=1 << 20)
    assert len(list(tmp_path.glob("*.journal"))) == 5
    store.trim(retain_seconds=3600, retain_bytes=120)
    assert sorted(int(p.stem) for p in tmp_path.glob("*.journal")) == [3, 4, 5]
    os.utime(store.path(3), (1, 1))  # when it was written does not matter: an outage may have been long
    store.trim(retain_seconds=3600, retain_bytes=1 << 20)
    assert sorted(int(p.stem) for p in tmp_path.glob("*.journal")) == [3, 4, 5]
    later = time.monotonic() + 3601
    monkeypatch.setattr("collector.store.time.monotonic", lambda: later)
    store.trim(retain_seconds=3600, retain_bytes=1 << 20)
    assert sorted(int(p.stem) for p in tmp_path.glob("*.journal")) == [4, 5]
    assert store.pending_bytes() == 2 * 116
    store.acknowledge(Cursor(5, 10_000))
    assert store.pending_bytes() == 0
    store.close()


def test_failed_write_leaves_nothing_and_the_row_is_written_when_space_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = JournalStore(tmp_path)
    j = journal(store, config(tmp_path))
    j.start()
    monkeypatch.setattr("collector.journal.RETRY_SECONDS", 0.01)
    real = store.append
    failures = iter([OSError(28, "No space left on device")] * 3)

    def append(pieces: list[bytes]) -> None:
        error = next(failures, None)
        if error is not None:
            raise error
        real(pieces)

    monkeypatch.setattr(store, "append", append)
    j.add(trade(1), 1)
    assert j.close(5)
    store.close()
    assert len(lines(tmp_path)) == 1


def test_shedding_begins_with_books_and_ends_with_trades(tmp_path: Path) -> None:
    store = JournalStore(tmp_path)
    settings = config(tmp_path, max_bytes=Size(1 << 20), segment_bytes=Size(1 << 16))
    j = journal(store, settings)
    store.begin_segment(SEGMENT_HEADER)
    seen = []
    for fill in (0.5, 0.81, 0.91, 0.985):
        store.append([b"x" * (int((1 << 20) * fill) - store.total_bytes())])
        j._update_shedding()
        seen.append(j.shedding)
    assert seen == [
        frozenset(),
        {BookSnapshot},
        {BookSnapshot, Ticker},
        {BookSnapshot, Ticker, Trade, Liquidation},
    ]
    assert SHED_ORDER[0][1] == seen[-1]
    store.acknowledge(Cursor(1, int((1 << 20) * 0.15)))
    j._update_shedding()
    assert j.shedding == {BookSnapshot}  # fill 0.83: above, and within the margin of, its threshold
    store.acknowledge(Cursor(1, int((1 << 20) * 0.3)))
    j._update_shedding()
    assert j.shedding == frozenset()
    store.close()


def test_record_pieces_are_one_record(tmp_path: Path) -> None:
    from array import array

    store = JournalStore(tmp_path)
    store.begin_segment(SEGMENT_HEADER)
    store.append(encode_record(b"abc", array("I", [1, 3]), 9))
    store.close()
    assert lines(tmp_path) == [b"a", b"bc"]


def test_streams_are_named_on_disk_before_their_first_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill -9 right after the first rows must find a state that names their streams, or nobody declares the hole."""
    store, done, begun = JournalStore(tmp_path), [], [0]
    append, save = store.append, store.save

    def appended(pieces: Sequence[bytes]) -> None:
        append(pieces)
        done.append("rows")

    def saved(name: str, data: bytes, durable: bool = False) -> None:
        save(name, data, durable)
        done.append(data.decode())

    monkeypatch.setattr(store, "append", appended)
    monkeypatch.setattr(store, "save", saved)
    slow = config(tmp_path, fsync_interval=Duration(60))
    j = Journal(slow, store, Metrics(), lambda: str(begun[0]).encode(), lambda paused: None, lambda: begun[0])
    j.start()
    for now_begun in (2, 2, 3):
        begun[0] = now_begun
        j.add(trade(1), 1)
        j.seal()
    assert j.close(5)
    store.close()
    assert done == ["2", "rows", "rows", "3", "rows", "3"]
