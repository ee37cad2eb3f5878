"""The journal read in order from its cursor on: whole records, and what damage may have cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import structlog

from collector import bounds
from collector.deadletters import DeadLetters
from collector.metrics import Metrics
from collector.outages import Position
from collector.segment import SEGMENT_HEADER, Damage, Record, read_records
from collector.store import Cursor, JournalStore

log = structlog.get_logger()

POST_BYTES = bounds.POST.limit
UNKNOWN_US = 86_400_000_000
"""How far back lost rows are declared where nothing tells when they were received."""


class JournalReader:
    """For one thread."""

    def __init__(
        self,
        store: JournalStore,
        dead: DeadLetters,
        metrics: Metrics,
        on_damage: Callable[[int, int], None],
    ) -> None:
        """`on_damage(since, until)`: rows received between (µs) are lost, for their bytes are damaged."""
        self._store, self._dead, self._metrics, self._on_damage = store, dead, metrics, on_damage
        self._file: BinaryIO | None = None
        self._file_segment = 0
        self._damaged_since: int | None = None
        """Time of receipt (µs) of the newest row before damage whose end is not yet known; 0: nothing tells."""
        self._recv_us = 0
        self._bytes = 0
        self._largest_record = 0
        self.parts: list[tuple[Position, int]] = []
        """Of the records read last: where each begins, and its rows."""
        metrics.fills[bounds.POST.name] = lambda: self._bytes
        metrics.fills[bounds.RECORD.name] = lambda: self._largest_record

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def restart(self) -> None:
        """The cursor goes back: what was seen last is no longer what comes before."""
        self._recv_us, self._damaged_since = 0, None

    def drained(self) -> bool:
        """Whether everything in the journal is acknowledged; for any thread."""
        cursor = self._store.cursor
        size, following = self._store.readable(cursor.segment)
        return following is None and cursor.offset >= size

    def read(self) -> tuple[list[Record], Cursor]:
        """The records after the store's cursor, at most POST_BYTES, and the cursor after them."""
        records: list[Record] = []
        self.parts = []
        size = 0
        cursor = self._store.cursor
        end, following = self._store.readable(cursor.segment)
        if cursor.offset >= end and following is not None:
            cursor = Cursor(following, 0, cursor.server)
            end, _ = self._store.readable(following)
        if cursor.offset < len(SEGMENT_HEADER) <= end:
            cursor = Cursor(cursor.segment, len(SEGMENT_HEADER), cursor.server)
        if (
            cursor.offset < end < len(SEGMENT_HEADER) and following is not None
        ):  # less than a header, and no more will come
            self._damage_begins(cursor)
            return records, Cursor(cursor.segment, end, cursor.server)
        for after, item in self._records(cursor, end):
            if isinstance(item, Damage):
                self._quarantine(cursor.segment, item)
                self._damage_begins(cursor)
            else:
                if self._damaged_since is not None:
                    self._damage_ends(item.recv_us)
                self._recv_us = item.recv_us
                records.append(item)
                self.parts.append(((cursor.segment, cursor.offset), len(item.ends)))
                size += len(item.data)
                self._largest_record = max(self._largest_record, len(item.data))
            cursor = Cursor(cursor.segment, after, cursor.server)
            if size >= POST_BYTES:
                break
        self._bytes = size
        return records, cursor

    def _records(self, cursor: Cursor, end: int) -> Iterator[tuple[int, Record | Damage]]:
        if cursor.offset >= end:
            return
        if self._file is None or self._file_segment != cursor.segment:
            if self._file is not None:
                self._file.close()
            try:
                self._file = self._store.path(cursor.segment).open("rb")
            except FileNotFoundError:
                self._file = None
                log.error("a segment of the journal is gone, its rows are lost", segment=cursor.segment)
                self._damage_begins(cursor)
                self._store.forget(cursor.segment)
                return
            self._file_segment = cursor.segment
        yield from read_records(self._file, cursor.offset, end)

    def _damage_begins(self, cursor: Cursor) -> None:
        if self._damaged_since is None:
            self._damaged_since = self._recv_us or self._store.newest_before(cursor)

    def _damage_ends(self, until_us: int) -> None:
        since = self._damaged_since or until_us - UNKNOWN_US
        self._damaged_since = None
        self._on_damage(min(since, until_us), until_us)

    def tell_damage(self) -> None:
        """Damage at the very end of what there is: it lasts until now."""
        if self._damaged_since is not None and self.drained():
            self._damage_ends(time.time_ns() // 1000)

    def _quarantine(self, segment: int, damage: Damage) -> None:
        path: Path = self._store.path(segment)
        log.error(
            "journal damaged, the bytes are put aside",
            file=path.name,
            offset=damage.offset,
            bytes=damage.end - damage.offset,
        )
        self._metrics.damaged_bytes += damage.end - damage.offset
        assert self._file is not None
        self._file.seek(damage.offset)
        data = self._file.read(min(damage.end - damage.offset, 16 << 20))
        self._dead.add("damaged", f"{path.name}@{damage.offset}", "checksum or framing is wrong", data)
