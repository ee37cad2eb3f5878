"""The files of a raw capture: JSON lines in zstd frames, one frame a write, so that whatever ends a process costs the last
frame at most. EXCHANGE-YYYYMMDD-NNN.jsonl.zst, by day (UTC) and size, within a quota."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import zstandard

LEVEL = 3
READ = 1 << 20
NAME = re.compile(r"(.+)-(\d{8})-(\d{3,})\.jsonl\.zst")


class CaptureFiles:
    """Those of one exchange in one folder. `largest`, `quota`: compressed bytes of a file, of all."""

    def __init__(self, folder: Path, exchange: str, largest: int, quota: int) -> None:
        self._folder, self._exchange = folder, exchange
        self._largest, self._quota = largest, quota
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._file: IO[bytes] | None = None
        self._day = ""
        self._size = 0

    def write(self, lines: bytes, at_us: int, head: Callable[[], bytes]) -> list[Path]:
        """Append; `head()` is what a file begins with. The files that were deleted for it. Raises OSError: nothing of
        `lines` is kept then."""
        day = datetime.fromtimestamp(at_us / 1e6, UTC).strftime("%Y%m%d")
        deleted: list[Path] = []
        if self._file is None or day > self._day or self._size >= self._largest:
            self._open(max(day, self._day))
            lines = head() + lines
            deleted = self._within_quota()
        assert self._file is not None
        frame = self._compressor.compress(lines)
        try:
            self._file.write(frame)
        except OSError:
            self.close()  # half a frame is cut off when the file is opened again
            raise
        self._size += len(frame)
        return deleted

    def _open(self, day: str) -> None:
        """The file to go on with: the newest one of that day, unless it is full."""
        self.close()
        path = next((path for path in reversed(self.paths()) if _parts(path)[0] == day), None)
        if path is not None and path.stat().st_size < self._largest:
            whole = whole_bytes(path)
        else:
            number = _parts(path)[1] + 1 if path is not None else 1
            path, whole = self._folder / f"{self._exchange}-{day}-{number:03d}.jsonl.zst", 0
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._file.truncate(whole)
        self._day, self._size = day, whole

    def paths(self) -> list[Path]:
        """Oldest first."""
        there = self._folder.glob(f"{self._exchange}-*.jsonl.zst")
        return in_order(path for path in there if exchange_of(path) == self._exchange)

    def _within_quota(self) -> list[Path]:
        """Delete the oldest ones, so that the file that begins has room; never that one."""
        *older, _ = self.paths()
        sizes = {path: path.stat().st_size for path in older}
        total, deleted = sum(sizes.values()) + self._largest, []
        for path in older:
            if total <= self._quota:
                break
            path.unlink(missing_ok=True)
            total -= sizes[path]
            deleted.append(path)
        return deleted

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def exchange_of(path: Path) -> str:
    """That of a captured file by its name, "" for another file."""
    match = NAME.fullmatch(path.name)
    return match[1] if match else ""


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Captured files of one exchange, oldest first."""
    return sorted(paths, key=_parts)


def _parts(path: Path) -> tuple[str, int]:
    match = NAME.fullmatch(path.name)
    assert match is not None
    return match[2], int(match[3])


def frames(file: IO[bytes]) -> Iterator[tuple[bytes, int]]:
    """(content, where its frame ends) of each whole frame; what follows the last one is left out.

    Raises zstandard.ZstdError for bytes that are no frame."""
    end, rest = 0, b""
    while True:
        frame, content = zstandard.ZstdDecompressor().decompressobj(), []
        while not frame.eof:
            piece, rest = rest or file.read(READ), b""
            if not piece:
                return
            content.append(frame.decompress(piece))
            end += len(piece)
        rest = frame.unused_data
        end -= len(rest)
        yield b"".join(content), end


def whole_bytes(path: Path) -> int:
    """Bytes of a file up to its last whole frame."""
    end = 0
    with path.open("rb") as file:
        try:
            for _, whole in frames(file):
                end = whole
        except zstandard.ZstdError:
            pass  # written over: what follows can't be read
    return end
