"""Where this process runs and where its log goes, for those who later look for it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from collector.host import boot_id

STDERR = 2


def place() -> str:
    """The machine's boot and the process namespace, within which a pid names one process; "": the kernel does not tell."""
    boot = boot_id()
    try:
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}" if boot else ""
    except OSError:
        return ""


def log_of(descriptor: int = STDERR, group: Path = Path("/proc/self/cgroup")) -> str:
    """journal:UNIT, where systemd's journal takes it; file:PATH; terminal:DEVICE; "" for a pipe to who knows whom."""
    try:
        status = os.fstat(descriptor)
        if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":  # systemd.exec(5)
            return f"journal:{_unit(group)}"
        if os.isatty(descriptor):
            return f"terminal:{os.ttyname(descriptor)}"
        if stat.S_ISREG(status.st_mode):
            return f"file:{Path(f'/proc/self/fd/{descriptor}').readlink()}"
    except OSError:
        pass
    return ""


def _unit(group: Path) -> str:
    """As journalctl takes it: the unit of this process; --user before one of a user's own."""
    try:
        path = group.read_text().strip().rpartition("\n")[2].rpartition(":")[2]
    except OSError:
        return ""
    name = path.rpartition("/")[2]
    if not name.endswith(".service"):
        return ""
    return f"--user {name}" if "/user@" in path else name
