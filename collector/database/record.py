"""Which server runs in a folder: `evenkeel-server.json` in it.

That file is the contract by which the analyzer finds the server: `pid`; `http`, its URL; `pg`, a PostgreSQL URL without
secrets; `version`; `started`, ISO 8601 UTC. It exists from the start of the process on, so the server may not answer yet.
"""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import psutil

STATE_FILE = "evenkeel-server.json"
MAIN_CLASS = "io.questdb/io.questdb.ServerMain"
EXEC_LOOKS, EXEC_PAUSE = 500, 0.01
"""How often, and at what distance (s), a process without arguments is looked at again."""


class ManagedServer(msgspec.Struct, frozen=True):
    """A managed server's process; see the module's head."""

    pid: int
    http: str
    pg: str
    version: str
    started: str


def recorded(folder: Path) -> ManagedServer | None:
    """The server that was started there last and not ended by us, whether or not it still runs."""
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=ManagedServer)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def process_of(server: ManagedServer, folder: Path) -> psutil.Process | None:
    """The process, when it still is the server of that folder: pids are used again."""
    try:
        process = psutil.Process(server.pid)
        for _ in range(EXEC_LOOKS):
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            if command := process.cmdline():
                break
            time.sleep(EXEC_PAUSE)  # the kernel is about to run it: it has no arguments yet
        else:
            return None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if MAIN_CLASS in command and str(folder) in command else None


def write_record(server: ManagedServer, folder: Path) -> None:
    temporary = folder / f"{STATE_FILE}.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(server)))
    temporary.replace(folder / STATE_FILE)
