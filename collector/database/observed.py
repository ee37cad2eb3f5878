"""What is known of the database's server beside what it answers: which process it is, and how the one before it ended."""

from __future__ import annotations

import socket
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from collector.database import ending
from collector.settings import QuestDBConfig


class Server(NamedTuple):
    process: str
    """host:pid of a managed one, else its host:port"""
    pid: int | None
    version: str
    """"": not known"""
    log: str = ""
    """as in `ProcessEvent`"""


class Observed(Protocol):
    def now(self) -> Server:
        """Who answers."""

    def ended(self) -> tuple[Server, ending.Ended] | None:
        """The one before, and how it ended; None: nothing tells."""


class OfUrl:
    """A server that somebody else runs: only its address is known."""

    def __init__(self, url: str) -> None:
        self._server = Server(urlsplit(url).netloc, None, "")

    def now(self) -> Server:
        return self._server

    def ended(self) -> None:
        return None


class Managed:
    def __init__(self, config: QuestDBConfig) -> None:
        self._config = config

    def now(self) -> Server:
        from collector.database import managed

        server = managed.status(self._config)
        folder = managed.data_dir(self._config)
        if server is None:
            return Server(socket.gethostname(), None, "")
        return Server(_process(server.pid), server.pid, server.version, f"file:{folder / ending.LOG}")

    def ended(self) -> tuple[Server, ending.Ended] | None:
        from collector.database import managed

        folder = managed.data_dir(self._config)
        found = ending.last(folder)
        if found is None:
            return None
        ending.reap(found.pid)  # a child of ours that somebody else has stopped
        log = f"file:{folder / ending.LAST_LOG}"
        return Server(_process(found.pid), found.pid, found.version, log), found


def observed(config: QuestDBConfig) -> Observed:
    return Managed(config) if config.url == "managed" else OfUrl(config.url)


def _process(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"
