"""How the managed server last ended, as far as it can be known: noted in its folder by who ended it or found it ended."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import msgspec
import psutil

FILE = "evenkeel-server.ended"
LOG, LAST_LOG = Path("log/server.log"), Path("log/server.log.1")
"""What the server of that folder writes now, and what the one before it wrote."""
SHUTDOWN = "QuestDB is shutting down"
"""In its log when it ends by SIGTERM or SIGINT."""
LOG_TAIL = 16 << 10
PAUSE = 0.02
"""Seconds between looks whether a process has ended."""


class Ended(msgspec.Struct, frozen=True):
    """The end of one server's process."""

    pid: int
    version: str
    event: str
    """stopped: in order; crashed"""
    cause: str
    """stopped: SIGTERM, SIGINT. crashed: killed, reboot, error."""
    detail: str
    noticed_us: int
    ended_us: int | None
    """None: some time before it was noticed"""


def await_end(process: psutil.Process, timeout: float) -> bool:
    """Whether it ends within `timeout` seconds, also where its parent, a collector perhaps, has not asked how."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        try:
            # Its first thread may have ended before the others.
            if process.status() == psutil.STATUS_ZOMBIE and process.num_threads() <= 1:
                reap(process.pid)
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(PAUSE)
    return False


def reap(pid: int) -> int | None:
    """The exit code, negative for a signal, of a child of this process that has ended; None: it has not, or is none."""
    with contextlib.suppress(ChildProcessError):
        reaped, status = os.waitpid(pid, os.WNOHANG)
        if reaped:
            return os.waitstatus_to_exitcode(status)
    return None


def note(
    folder: Path, pid: int, version: str, started: str, asked: str = "", at_us: int | None = None
) -> Ended:
    """Find out how the server of that folder has ended, and keep it for `last`. `asked`: who ended it by SIGTERM; `at_us`:
    when it ended, where that is known. Its log must not have been replaced yet."""
    event, cause, detail = ("stopped", "SIGTERM", asked) if asked else _found(folder, pid, started)
    ended = Ended(pid, version, event, cause, detail, time.time_ns() // 1000, at_us)
    temporary = folder / f"{FILE}.tmp"
    with contextlib.suppress(OSError):  # a full disk must not keep the server from being started
        temporary.write_bytes(msgspec.json.encode(ended))
        temporary.replace(folder / FILE)
    return ended


def last(folder: Path) -> Ended | None:
    """The newest end that was noted; None: none was."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Ended)
    except (OSError, msgspec.DecodeError):
        return None


def _found(folder: Path, pid: int, started: str) -> tuple[str, str, str]:
    """(event, cause, detail)"""
    if (code := reap(pid)) is not None:
        return _by_status(code)
    with contextlib.suppress(ValueError):
        if datetime.fromisoformat(started).timestamp() < psutil.boot_time():
            return "crashed", "reboot", "the machine was started anew since"
    dump = folder / f"hs_err_pid{pid}.log"
    if dump.exists():
        return "crashed", "error", f"Java crashed: {dump}"
    if SHUTDOWN in _tail(folder / LOG):
        return "stopped", "SIGTERM", "its log has an orderly end, not by 'collector db stop'"
    return "crashed", "killed", "its log breaks off: SIGKILL by hand, or by the kernel for want of memory"


def _by_status(code: int) -> tuple[str, str, str]:
    if code == -signal.SIGKILL:
        return "crashed", "killed", "by SIGKILL: by hand, or by the kernel for want of memory"
    for number in (signal.SIGTERM, signal.SIGINT):  # Java ends in order, and says so by its exit code
        if code in (-number, 128 + number):
            return "stopped", number.name, "by a signal, not by 'collector db stop'"
    if code < 0:
        return "crashed", "error", f"by {signal.Signals(-code).name}"
    return "crashed", "error", f"exit code {code}"


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_TAIL))
            return file.read().decode(errors="replace")
    except OSError:
        return ""
