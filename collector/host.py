"""What the machine allows this process, and what it did to it: the control group's memory, out-of-memory kills, reboots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

UNLIMITED = 1 << 60
"""Version 1 tells "no limit" as a number above this."""


class OomKills(msgspec.Struct, frozen=True):
    """How many processes the kernel has killed in one control group for want of memory."""

    group: str
    inode: int
    """Another group may have had the same name before."""
    count: int


class ControlGroup:
    """The memory controller of this process, version 2 or 1. All answers are empty where there is none."""

    def __init__(self, proc: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> None:
        self._folders: list[Path] = []
        """The process's own group and those above it."""
        self._limit, self._events = "memory.max", "memory.events"
        for hierarchy, controllers, path in _memberships(proc):
            if hierarchy == "0" and not self._folders:
                self._folders = _and_above(root, path)
            elif "memory" in controllers.split(","):
                self._folders = _and_above(root / "memory", path)
                self._limit, self._events = "memory.limit_in_bytes", "memory.oom_control"

    def memory_limit(self) -> int:
        """Bytes, the least of all groups that hold this process; 0: no limit."""
        texts = [text for folder in self._folders if (text := _read(folder / self._limit).strip()).isdigit()]
        return min((int(text) for text in texts if int(text) < UNLIMITED), default=0)

    def oom_kills(self) -> list[OomKills]:
        """Of the process's own group."""
        for folder in self._folders[:1]:
            for line in _read(folder / self._events).splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill" and count.isdigit():
                    return [OomKills(str(folder), folder.stat().st_ino, int(count))]
        return []


def _memberships(proc: Path) -> Iterator[tuple[str, str, str]]:
    """(hierarchy, controllers, path) of each line."""
    for line in _read(proc).splitlines():
        hierarchy, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        yield hierarchy, controllers, path


def _and_above(root: Path, path: str) -> list[Path]:
    folder = root / path.lstrip("/")
    if not folder.is_dir():  # in a container the paths of the host may show, which are not there
        folder = root
    return [one for one in (folder, *folder.parents) if one == root or root in one.parents]


def boot_id() -> str:
    """Changes when the machine is started; "" where the kernel does not tell."""
    return _read(Path("/proc/sys/kernel/random/boot_id")).strip()


def pss_bytes() -> int | None:
    """Proportional set size: shared pages divided by those who share them; None where the kernel does not tell."""
    return _kilobytes(Path("/proc/self/smaps_rollup"), "Pss:")


def swap_bytes() -> int:
    """Of this process; 0 where the kernel does not tell."""
    return _kilobytes(Path("/proc/self/status"), "VmSwap:") or 0


def _kilobytes(path: Path, key: str) -> int | None:
    for line in _read(path).splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
    return None


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
