"""Structured logs on stderr: for people on a terminal, else JSON lines. A message that repeats itself is counted, and no
secret is written.

The other program has the same file, for neither imports the other (tests/test_structure.py compares them).
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

SAME_SECONDS = 60.0
"""The very same message is written once in this time…"""
ALIKE_SECONDS, ALIKE = 10.0, 50
"""…and of messages that differ in their details only, so many in that time."""
MOST_KINDS = 1000
SHORTEST_SECRET = 4
"""Characters: masking a shorter text would mask half of every line."""
MASK = "***"
LEVELS = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Of syslog, as systemd's journal reads them at the beginning of a line."""
PASSWORD = re.compile(r"(?<=:)[^/@:]+(?=@)|(?<=password=)\S+")
WORD = 8
"""Characters: a shorter secret of letters and digits alone is masked where it stands by itself. QuestDB's first password is
"quest", and half of its log begins so."""
_secrets: dict[str, re.Pattern[str]] = {}


def hide(*secrets: str) -> None:
    """Never write these from now on."""
    for secret in secrets:
        if len(secret) >= SHORTEST_SECRET:
            for written in (secret, quote(secret, safe=""), json.dumps(secret)[1:-1]):
                alone = r"(?<!\w){}(?!\w)" if len(written) < WORD and written.isalnum() else "{}"
                _secrets[written] = re.compile(alone.format(re.escape(written)))


def hide_passwords(questdb: object) -> None:
    """Of the configuration's section: the password, and one in an address, however it is written."""
    if isinstance(questdb, dict):
        addresses = f"{questdb.get('pg')} {questdb.get('url')}"
        found = [
            *(str(questdb.get(key, "")) for key in ("password", "reader_password")),
            *PASSWORD.findall(addresses),
        ]
        hide(*found, *map(unquote, found))


def masked(text: str) -> str:
    """Without the secrets that `hide` was told."""
    for secret in _secrets.values():
        text = secret.sub(MASK, text)
    return text


class Repeats:
    """Lets a message through `limit` times in `seconds`. How often it came beyond that is told as `repeated`: by the next
    one, or when another message comes after that time."""

    def __init__(self, limit: int, seconds: float, key: Callable[[EventDict], object]) -> None:
        self._limit, self._seconds, self._key = limit, seconds, key
        self._seen: OrderedDict[object, tuple[float, int, EventDict]] = OrderedDict()
        """Key → when its time began (monotonic), how often it came since, and the newest; oldest first."""
        self._lock = threading.Lock()

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        key, now = self._key(event), time.monotonic()
        with self._lock:
            over = self._take_over(now)
            mine = over.pop(key, None)
            since, count, _ = self._seen.get(key, (now, 0, None))
            self._seen[key] = (since, count + 1, dict(event))
        for other, left_out in over.values():
            level = other.pop("level")
            structlog.get_logger().log(getattr(logging, level.upper()), **other, repeated=left_out)
        if count >= self._limit:
            raise structlog.DropEvent
        return {**event, "repeated": mine[1]} if mine else event

    def _take_over(self, now: float) -> dict[object, tuple[EventDict, int]]:
        """Those whose time is over, or whose place is needed, and that were left out since."""
        over: dict[object, tuple[EventDict, int]] = {}
        while self._seen:
            key, (since, count, event) = next(iter(self._seen.items()))
            if now - since < self._seconds and len(self._seen) < MOST_KINDS:
                break
            del self._seen[key]
            if count > self._limit:
                over[key] = (event, count - self._limit)
        return over


def _whole(event: EventDict) -> object:
    return repr(sorted(event.items(), key=lambda item: item[0]))


def _kind(event: EventDict) -> object:
    return event.get("level"), event.get("event")


def _mask(logger: WrappedLogger, method: str, line: Any) -> str:
    return masked(line)


def _priority(logger: WrappedLogger, method: str, line: Any) -> str:
    """For systemd's journal, which takes it off again."""
    return f"<{LEVELS.get(method, 6)}>{line}"


def _to_journal() -> bool:
    """Whether stderr is a stream of systemd's journal, as systemd.exec(5) has it tested."""
    try:
        status = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class _Forward(logging.Handler):
    """What libraries log by the standard library's way."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        log.log(record.levelno, record.getMessage(), library=record.name, exc_info=record.exc_info)


def configure() -> None:
    processors: list[Processor] = [
        structlog.processors.add_log_level,
        Repeats(1, SAME_SECONDS, _whole),
        Repeats(ALIKE, ALIKE_SECONDS, _kind),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        processors.append(structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback))
    else:
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    processors.append(_mask)
    if _to_journal():
        processors.append(_priority)
    structlog.configure(
        processors=processors,
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Forward()], force=True)
