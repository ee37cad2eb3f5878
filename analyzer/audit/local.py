"""What this machine knows of collectors that run on it: whether their processes are there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

SLACK_S = 60.0
"""A process tells of its start some time after it, and by a clock that may be set."""


class Start(Protocol):
    @property
    def ts(self) -> int: ...
    @property
    def process(self) -> str: ...
    @property
    def event(self) -> str: ...
    @property
    def place(self) -> str: ...


def place() -> str:
    """This machine's boot and the process namespace, as collectors write it: a pid of the same place names one process."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def dead(events: Sequence[Start]) -> set[str]:
    """Those started here, by their names, whose process is no more."""
    here = place()
    started = {one.process: one.ts for one in events if here and one.event == "started" and one.place == here}
    return {process for process, ts in started.items() if not _is_there(process, ts)}


def _is_there(process: str, started_us: int) -> bool:
    import psutil

    pid = process.rpartition(":")[2]
    if not pid.isdigit():
        return True
    try:
        found = psutil.Process(int(pid))
        return found.status() != psutil.STATUS_ZOMBIE and found.create_time() < started_us / 1e6 + SLACK_S
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True
