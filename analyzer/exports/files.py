"""Files that are whole or not there, under names that a symbol can't choose."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

LONGEST = 180
"""Bytes of a name: file systems take 255, and there is more to it than the symbol."""


class ExportError(Exception):
    """A file could not be written; the message holds operation, object, cause and next step."""


def safe(name: str) -> str:
    """As one component of a path: letters, digits, `_ - . ~`, the rest as %XX (as in URLs, which readers of hive paths
    decode). A longer one is cut, and ends with a digest of the whole."""
    text = quote(name, safe="")
    if len(text) > LONGEST:
        cut = name[:LONGEST]
        while len(quote(cut, safe="")) > LONGEST:  # whole characters, which can be decoded
            cut = cut[:-1]
        text = f"{quote(cut, safe='')}~{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    if text.startswith("."):
        text = f"%2E{text[1:]}"
    return text or "_"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place when it is written, and is removed when that fails.

    Raises ExportError."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(
            f"write {path}: {error.strerror or error}; make the folder writable, free space, or name another with --out"
        ) from error


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """One export at a time writes to a folder: a second one raises ExportError. The lock goes with its process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".export.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ExportError(f"write to {folder}: {error.strerror}; name another folder with --out") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ExportError(
                f"write to {folder}: another export does; wait for it, or name another folder"
            ) from error
        yield
    finally:
        os.close(descriptor)
