"""The journal's folder: segments, cursor and lock. Shared by the writer's and the shipper's thread."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import structlog

from collector.errors import OperatorError
from collector.segment import whole_length

log = structlog.get_logger()

SUFFIX = ".journal"


class Cursor(msgspec.Struct, frozen=True, gc=False):
    """Everything before it is acknowledged."""

    segment: int
    offset: int
    server: str = ""
    """Identity of the server that acknowledged."""


class JournalStore:
    """Owns the folder: one process at a time.

    Raises OperatorError when another process holds it or it can't be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock_file = (folder / "lock").open("a")
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
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            self._sizes[int(path.stem)] = path.stat().st_size
        self._current = max(self._sizes, default=0)
        self.torn_since: int | None = None
        """Set when the tail was torn: time of receipt (µs) of the newest row before it; 0: none is known."""
        self._cut_torn_tail()
        self.cursor = self._load_cursor()

    def path(self, segment: int) -> Path:
        return self.folder / f"{segment:020d}{SUFFIX}"

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
            cursor = msgspec.json.decode((self.folder / "cursor.json").read_bytes(), type=Cursor)
        except FileNotFoundError:
            return first
        except msgspec.DecodeError as error:
            log.warning("journal cursor unreadable, sending all again", cause=str(error))
            return first
        return max(cursor, first, key=lambda c: (c.segment, c.offset))

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
        self.save("cursor.json", msgspec.json.encode(cursor))
        self.cursor = cursor

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
                size - (self.cursor.offset if number == self.cursor.segment else 0)
                for number, size in self._sizes.items()
                if number >= self.cursor.segment
            )

    def trim(self, retain_seconds: float, retain_bytes: int) -> None:
        """Delete acknowledged segments that are older than `retain_seconds`, and the oldest beyond `retain_bytes`."""
        with self.grown:
            done = sorted((n for n in self._sizes if n < self.cursor.segment), reverse=True)
            kept = 0
            for number in done:
                path = self.path(number)
                kept += self._sizes[number]
                if kept > retain_bytes or time.time() - path.stat().st_mtime > retain_seconds:
                    path.unlink()
                    kept -= self._sizes.pop(number)

    def save(self, name: str, data: bytes) -> None:
        """Replace a small file atomically."""
        temporary = self.folder / f"{name}.new"
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:  # noqa: PTH123
            file.write(data)
        temporary.replace(self.folder / name)

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
