"""Starts and ends of this process as rows of `process_events`: an end that it could not tell is told by the next start.

`process.json` in the journal's folder says who ran last; `state.json` whether that ended clean, and its last sign of life;
`service-result`, which the systemd unit writes after each end, how systemd saw it.
"""

from __future__ import annotations

import contextlib
import os
import time

import msgspec
import structlog

from collector import __version__
from collector.host import ControlGroup, OomKills, boot_id
from collector.rows import ProcessEvent
from collector.state import State
from collector.store import JournalStore
from collector.whereabouts import log_of, place

log = structlog.get_logger()

PROGRAM = "collector"
FILE = "process.json"
SERVICE_RESULT = "service-result"
"""$SERVICE_RESULT $EXIT_CODE $EXIT_STATUS, as systemd.exec(5) defines them."""
CAUSES = {"oom-kill": "oom", "watchdog": "watchdog", "exit-code": "error"}
"""systemd's word → ours; all others are `killed`."""


class Seen(msgspec.Struct):
    """A process, as its successor must know it."""

    process: str
    pid: int
    version: str
    started_us: int
    seen_us: int
    boot: str
    oom_kills: list[OomKills] = msgspec.field(default_factory=list)
    came_after: str = "first"
    """How the run before it ended: first (there was none), stopped, crashed."""
    told: str = ""
    """By systemd, of that end."""
    error: str = ""
    """What it died of, where it could still tell."""
    log: str = ""
    place: str = ""
    """as in `ProcessEvent`"""


class Life:
    def __init__(self, store: JournalStore, process: str, group: ControlGroup | None = None) -> None:
        """`process`: host:pid"""
        self.stop_cause = "duration"
        """Why it stops, if it does so by itself."""
        self._store, self._group = store, group or ControlGroup()
        now = _now_us()
        self._seen = Seen(process, os.getpid(), __version__, now, now, boot_id(), self._group.oom_kills())
        self._seen.log, self._seen.place = log_of(), place()

    def begun(self, past: State | None) -> list[ProcessEvent]:
        """The rows of this start, and of the end before it where that was none of its own. `past`: what it left."""
        before: Seen | None = None
        with contextlib.suppress(msgspec.DecodeError):
            before = msgspec.json.decode(self._store.load(FILE) or b"", type=Seen)
        told = (self._store.load(SERVICE_RESULT) or b"").decode(errors="replace").strip()
        self._store.discard(SERVICE_RESULT)
        me = self._seen
        me.told = told
        self.look()
        rows = []
        if before is None:
            me.came_after = "first" if past is None else "stopped" if past.clean else "crashed"
        elif past is not None and past.clean and past.at_us >= before.started_us:
            me.came_after = "stopped"
        else:
            me.came_after = "crashed"
            # Its own row may have died with it; the same key makes it one.
            rows = [_start(before), self._crash(before, max(past.at_us if past else 0, before.seen_us), told)]
        self._save()
        return [*rows, _start(me)]

    def _crash(self, before: Seen, at_us: int, told: str) -> ProcessEvent:
        cause, detail = self._cause(before, told)
        log.warning("the last run did not end by itself", process=before.process, cause=cause, detail=detail)
        return _event(before, at_us, "crashed", cause, detail)

    def _cause(self, before: Seen, told: str) -> tuple[str, str]:
        """(cause, detail)"""
        me = self._seen
        if before.error:
            return "error", before.error
        if before.boot and me.boot and before.boot != me.boot:
            return "reboot", "the machine was started anew since"
        if told:
            return CAUSES.get(told.split()[0], "killed"), f"systemd: {told}"
        earlier = {(one.group, one.inode): one.count for one in before.oom_kills}
        for now in me.oom_kills:
            if now.count > earlier.get((now.group, now.inode), now.count):
                return "oom", f"the kernel killed a process of {now.group} for want of memory"
        return "killed", "by SIGKILL, or a crash of the interpreter: nothing tells which"

    def look(self) -> None:
        """A sign of life, every 10 s: reads and writes a file each."""
        self._seen.seen_us = _now_us()
        self._seen.oom_kills = self._group.oom_kills()
        self._save()

    def died(self, error: BaseException) -> None:
        """Last words of a process that ends by a mistake of ours, or because the disk refuses."""
        self._seen.error = f"{type(error).__name__}: {error}"[:500]
        self._save()

    def ended(self) -> ProcessEvent:
        """The row of an end by itself."""
        return _event(self._seen, _now_us(), "stopped", self.stop_cause)

    def _save(self) -> None:
        with contextlib.suppress(OSError):  # the disk may be full; the rows are what counts
            self._store.save(FILE, msgspec.json.encode(self._seen))


def _start(who: Seen) -> ProcessEvent:
    started = _event(who, who.started_us, "started", who.came_after, who.told)
    return msgspec.structs.replace(started, uptime_s=None)


def _event(who: Seen, at_us: int, event: str, cause: str, detail: str = "") -> ProcessEvent:
    lived = max(0.0, (at_us - who.started_us) / 1e6)
    return ProcessEvent(
        at_us,
        PROGRAM,
        who.process,
        event,
        cause,
        who.pid,
        who.version,
        lived,
        detail,
        log=who.log,
        place=who.place,
    )


def _now_us() -> int:
    return time.time_ns() // 1000
