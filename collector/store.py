"""The journal's folder: segments, cursor and lock. Shared by the writer's and the shipper's thread."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog
from crc32c import crc32c

from collector.errors import OperatorError
from collector.segment import Record, is_foreign, read_records, segment_begun, whole_length

log = structlog.get_logger()

SUFFIX = ".journal"
NAME_DIGITS = 20
FOR_EVER = 1 << 62


class Cursor(msgspec.Struct, frozen=True, gc=False):
    """Everything before it is acknowledged."""

    segment: int
    offset: int
    server: str = ""
    """Identity of the server that acknowledged."""


class SavedCursor(msgspec.Struct, frozen=True):
    segment: int
    offset: int
    server: str = ""
    crc: int | None = None


def checksum(cursor: Cursor) -> int:
    return crc32c(f"{cursor.segment} {cursor.offset} {cursor.server}".encode())


class JournalStore:
    """Owns the folder: one process at a time.

    Raises OperatorError when another process holds it or it can't be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = os.fdopen(os.open(folder / "lock", os.O_WRONLY | os.O_CREAT, 0o600), "w")
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorError(
                f"journal {folder}: in use by another collector; stop that one, or give this one a journal.path of its own"
            ) from error
        except OSError as error:
            raise OperatorError(
                f"journal {folder}: can't be used ({error.strerror}); make it writable or set journal.path"
            ) from error
        self.grown = threading.Condition()
        """Notified when there is more to read."""
        self._sizes: dict[int, int] = {}
        self._file: int | None = None
        """Descriptor of the current segment; None until this process has begun one."""
        self._acknowledged: dict[int, float] = {}
        """Segment → when (monotonic) it was first seen to be acknowledged whole."""
        self._saved: dict[str, tuple[Path, Path]] = {}
        """Name → temporary and final file. A Path that is made anew for each save interns its parts, and CPython's table of
        interned names, which never shrinks, then doubles after some minutes."""
        self.torn_since: int | None = None
        """Set when rows at the journal's end are lost: time of receipt (µs) of the newest row before; 0: none is known."""
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            if len(path.stem) == NAME_DIGITS and path.stem.isdigit():
                if is_foreign(path):
                    self._set_aside(path)
                else:
                    self._sizes[int(path.stem)] = path.stat().st_size
        self._current = max(self._sizes, default=0)
        self._cut_torn_tail()
        self.cursor = self._load_cursor()
        self.collector = self._load_name()
        """The name of who writes this journal, unlike any other's, the same after a restart."""

    def path(self, segment: int) -> Path:
        return self.folder / f"{segment:0{NAME_DIGITS}d}{SUFFIX}"

    def _set_aside(self, path: Path) -> None:
        """A file of another program or version: kept under another name, and what it may hold declared."""
        aside = path.with_suffix(".foreign")
        log.error(
            "a segment of the journal is not of this version, set aside",
            file=path.name,
            now=aside.name,
            remedy="start the version that wrote it with this journal once, to send what it holds",
        )
        self.torn_since = min(self.torn_since or FOR_EVER, self._newest_before(int(path.stem)))
        path.rename(aside)

    def _newest_before(self, segment: int) -> int:
        """Time of receipt (µs) of the newest row in an earlier segment; 0 where there is none."""
        for number in sorted((n for n in self._sizes if n < segment), reverse=True):
            _, newest = whole_length(self.path(number))
            if newest:
                return newest
        return 0

    def newest_before(self, cursor: Cursor) -> int:
        """Time of receipt (µs) of the newest row before a cursor, or when the oldest segment was begun; 0: nothing tells.
        Reads a whole segment: for rare questions."""
        newest = 0
        with contextlib.suppress(OSError), self.path(cursor.segment).open("rb") as file:
            for _, item in read_records(file, 0, cursor.offset):
                newest = item.recv_us if isinstance(item, Record) else newest
        newest = newest or self._newest_before(cursor.segment)
        if not newest and self._sizes:
            with contextlib.suppress(OSError):
                newest = segment_begun(self.path(min(self._sizes))) * 1_000_000
        return newest

    def _cut_torn_tail(self) -> None:
        if not self._sizes:
            return
        path = self.path(self._current)
        whole, newest = whole_length(path)
        if whole < self._sizes[self._current]:
            log.warning(
                "journal tail was torn, cut", file=path.name, bytes=self._sizes[self._current] - whole
            )
            os.truncate(path, whole)
            before = [number for number in self._sizes if number < self._current]
            if not newest and before:  # the segment before was written to until this one began
                newest = int(self.path(max(before)).stat().st_mtime * 1e6)
            self.torn_since = newest
            self._sizes[self._current] = whole

    def _load_cursor(self) -> Cursor:
        first = Cursor(min(self._sizes, default=0), 0)
        try:
            saved = msgspec.json.decode((self.folder / "cursor.json").read_bytes(), type=SavedCursor)
        except FileNotFoundError:
            return first
        except (msgspec.DecodeError, ValueError) as error:
            log.warning("journal cursor unreadable, sending all again", cause=str(error))
            return first
        cursor = Cursor(saved.segment, saved.offset, saved.server)
        if saved.crc not in (None, checksum(cursor)):  # None: of an older version
            log.warning("journal cursor damaged, sending all again", remedy="check the journal's disk")
            return first
        return max(cursor, first, key=lambda c: (c.segment, c.offset))

    def _load_name(self) -> str:
        name = (self.load("collector") or b"").decode(errors="replace").strip()
        if not name:
            name = f"{socket.gethostname()}-{secrets.token_hex(3)}"
            try:
                self.save("collector", name.encode(), durable=True)
            except OSError as error:
                raise OperatorError(
                    f"journal {self.folder}: can't be written ({error.strerror}); free space on its disk, or set "
                    "journal.path"
                ) from error
        return name

    def begin_segment(self, header: bytes) -> None:
        """Close the current segment and open the next. Raises OSError, and then all is as it was."""
        number = max(self._current, self.cursor.segment) + 1
        path = self.path(number)
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _write(file, header, 0)
            _sync_folder(self.folder)  # else a power cut may take the whole file, however often it was synced
            if self._file is not None:
                os.ftruncate(self._file, self._sizes[self._current])  # if a failed write could not be undone
        except OSError:
            os.close(file)
            path.unlink(missing_ok=True)
            raise
        self._close_file()
        self._file = file
        with self.grown:
            self._sizes[number] = len(header)
            self._current = number
            self.grown.notify_all()

    def append(self, pieces: Sequence[bytes]) -> None:
        """Append one record to the current segment; a write that fails leaves nothing behind. Raises OSError."""
        assert self._file is not None
        record = b"".join(pieces)
        size = self._sizes[self._current]
        _write(self._file, record, size)
        with self.grown:
            self._sizes[self._current] = size + len(record)
            self.grown.notify_all()

    def sync(self) -> None:
        assert self._file is not None
        os.fsync(self._file)

    def size(self) -> int:
        """Bytes of the current segment."""
        return self._sizes[self._current]

    def readable(self, segment: int) -> tuple[int, int | None]:
        """How far a segment may be read now, and the next segment's number if there is one."""
        with self.grown:
            return self._sizes.get(segment, 0), min((n for n in self._sizes if n > segment), default=None)

    def acknowledge(self, cursor: Cursor) -> None:
        saved = SavedCursor(cursor.segment, cursor.offset, cursor.server, checksum(cursor))
        self.save("cursor.json", msgspec.json.encode(saved))
        self.cursor = cursor

    def acknowledged_us(self) -> int:
        """When something was last acknowledged (µs), also in an earlier run; 0: never."""
        try:
            return (self.folder / "cursor.json").stat().st_mtime_ns // 1000
        except OSError:
            return 0

    def end(self) -> tuple[int, int]:
        """Segment and offset after all that can be read now."""
        with self.grown:
            return self._current, self._sizes.get(self._current, 0)

    def forget(self, segment: int) -> None:
        """The segment's file is gone."""
        with self.grown:
            if segment != self._current:
                self._sizes.pop(segment, None)

    def oldest(self, server: str) -> Cursor:
        """The beginning of all that is still here, to be sent to `server`."""
        with self.grown:
            return Cursor(min(self._sizes), 0, server)

    def total_bytes(self) -> int:
        with self.grown:
            return sum(self._sizes.values())

    def pending_bytes(self) -> int:
        with self.grown:
            return sum(
                max(0, size - (self.cursor.offset if number == self.cursor.segment else 0))
                for number, size in self._sizes.items()
                if number >= self.cursor.segment
            )

    def oldest_pending_us(self) -> int:
        """Time of receipt (µs) of the oldest record that is not acknowledged; 0: there is none. Reads that record."""
        cursor = self.cursor
        end, following = self.readable(cursor.segment)
        if cursor.offset >= end and following is not None:
            cursor = Cursor(following, 0)
            end, _ = self.readable(following)
        with contextlib.suppress(OSError), self.path(cursor.segment).open("rb") as file:
            for _, item in read_records(file, cursor.offset, end):
                if isinstance(item, Record):
                    return item.recv_us
        return 0

    def trim(self, retain_seconds: float, retain_bytes: int) -> None:
        """Delete segments that were acknowledged more than `retain_seconds` ago, and the oldest beyond `retain_bytes`."""
        now = time.monotonic()
        with self.grown:
            done = sorted((n for n in self._sizes if n < self.cursor.segment), reverse=True)
            kept = 0
            for number in done:
                kept += self._sizes[number]
                since = self._acknowledged.setdefault(number, now)
                if kept > retain_bytes or now - since >= retain_seconds:
                    self.path(number).unlink(missing_ok=True)
                    kept -= self._sizes.pop(number)
                    del self._acknowledged[number]

    def save(self, name: str, data: bytes, durable: bool = False) -> None:
        """Replace a small file atomically. `durable`: also should the power fail at once."""
        if name not in self._saved:
            self._saved[name] = self.folder / f"{name}.new", self.folder / name
        temporary, file_path = self._saved[name]
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(file_path)

    def discard(self, name: str) -> None:
        (self.folder / name).unlink(missing_ok=True)

    def load(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def close(self) -> None:
        self._close_file()
        self._lock_file.close()

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _write(file: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`, which is the file's end. Raises OSError, and then the end is where it was; should the
    disk not even allow that, the next write goes over what is left."""
    try:
        if os.pwrite(file, data, offset) < len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file, offset)
        raise


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
