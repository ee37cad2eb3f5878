"""A copy of the managed server's data while it runs, and the way back.

QuestDB's checkpoint keeps the files as they were while they are copied; rows that come meanwhile go on into its write-ahead
log. A folder with a file `_restore` is brought to the checkpoint's state when a server starts in it.
https://questdb.com/docs/operations/backup/
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from collector.database import managed
from collector.database.endpoint import connect
from collector.errors import OperatorError
from collector.settings import QuestDBConfig

PARTS = ("db", "conf", ".checkpoint")
"""Folders of the server's data that a backup holds; the rest are logs, temporary files and the console's assets."""
TRIGGER = "_restore"
UNFINISHED = ".unfinished"

Progress = Callable[[int, int], None]
"""Bytes copied so far, and in all."""


def backup(config: QuestDBConfig, target: Path, progress: Progress = lambda done, total: None) -> int:
    """Copy the running server's data to a new folder; bytes copied. Raises OperatorError."""
    server = managed.status(config)
    if server is None:
        raise OperatorError(
            f"back up {managed.data_dir(config)}: no managed QuestDB runs there; start it with "
            "'collector db start', or copy the folder while it is stopped"
        )
    _must_be_new(target, "back up to")
    source = managed.data_dir(config)
    unfinished = target.with_name(target.name + UNFINISHED)
    shutil.rmtree(unfinished, ignore_errors=True)
    with connect(managed.endpoint_of(server, config)) as connection:
        connection.execute("CHECKPOINT CREATE")
        try:
            copied = _copy(source, unfinished, progress)
        except OSError as error:
            raise OperatorError(
                f"back up to {target}: {error}; free space there or name another folder"
            ) from error
        finally:
            connection.execute("CHECKPOINT RELEASE")
    (unfinished / TRIGGER).touch()
    unfinished.rename(target)  # only a whole backup has this name
    return copied


def restore(config: QuestDBConfig, source: Path, progress: Progress = lambda done, total: None) -> int:
    """Copy a backup to where the managed server has its data, which must be free; its next start takes it up. Bytes copied.
    Raises OperatorError."""
    if not (source / TRIGGER).exists() or not (source / "db").is_dir():
        raise OperatorError(f"restore {source}: not a backup; name a folder that 'collector db backup' made")
    folder = managed.data_dir(config)
    if managed.status(config) is not None:
        raise OperatorError(f"restore to {folder}: a server runs there; stop it with 'collector db stop'")
    if (folder / "db").exists():
        raise OperatorError(f"restore to {folder}: it holds data; move it away, or set questdb.data")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        copied = _copy(source, folder, progress)
    except OSError as error:
        shutil.rmtree(folder / "db", ignore_errors=True)
        raise OperatorError(f"restore to {folder}: {error}; free space there") from error
    (folder / TRIGGER).touch()
    return copied


def _must_be_new(target: Path, what: str) -> None:
    if target.exists():
        raise OperatorError(f"{what} {target}: it exists; name a folder that does not")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OperatorError(f"{what} {target}: {error.strerror}; name another folder") from error


def _copy(source: Path, target: Path, progress: Progress) -> int:
    """The parts of a data folder, with holes in files kept as holes."""
    total = sum(
        path.stat().st_blocks * 512 for part in PARTS for path in (source / part).rglob("*") if path.is_file()
    )
    done = 0

    def one(from_path: str, to_path: str) -> str:
        nonlocal done
        _copy_sparse(Path(from_path), Path(to_path))
        done += Path(to_path).stat().st_blocks * 512
        progress(min(done, total), total)
        return to_path

    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for part in PARTS:
        if (source / part).is_dir():
            shutil.copytree(source / part, target / part, copy_function=one)
    return done


def _copy_sparse(source: Path, target: Path) -> None:
    """QuestDB allocates files by the page: most of a small table's bytes are holes, which shutil would fill with zeros."""
    with source.open("rb") as reader, target.open("wb") as writer:
        size = os.fstat(reader.fileno()).st_size
        position = 0
        while position < size:
            try:
                start = os.lseek(reader.fileno(), position, os.SEEK_DATA)
            except OSError:  # nothing but a hole follows
                break
            end = os.lseek(reader.fileno(), start, os.SEEK_HOLE)
            reader.seek(start)
            writer.seek(start)
            left = end - start
            while left and (block := reader.read(min(left, 1 << 20))):
                writer.write(block)
                left -= len(block)
            position = end
        writer.truncate(size)
    shutil.copystat(source, target)
