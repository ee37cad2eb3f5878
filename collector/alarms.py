"""What the operator must know now: rows in `alerts`, written when it begins and when it is over, and an error in the log."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import msgspec
import structlog

from collector.journal import Journal
from collector.rows import Alert
from collector.store import JournalStore

log = structlog.get_logger()

UNAVAILABLE_SECONDS = 10.0
"""QuestDB may be away for this long without an alert: a restart takes less."""


class Alarms:
    """Looked after by the event loop."""

    def __init__(self, journal: Journal, unavailable: Callable[[], str], store: JournalStore) -> None:
        """`unavailable()` tells why QuestDB takes no rows just now, else "". `store` keeps what fires for the next start,
        which resolves what is over by then."""
        self._journal, self._unavailable, self._store = journal, unavailable, store
        self._firing: dict[str, str] = {}
        with contextlib.suppress(msgspec.DecodeError, ValueError):
            self._firing = msgspec.json.decode(store.load("alarms.json") or b"{}", type=dict[str, str])
        self._away_since = 0.0

    def look(self) -> None:
        """Several times a second."""
        shed = ", ".join(sorted(kind.__name__ for kind in self._journal.shedding))
        self._set(
            "journal_quota",
            f"the journal is nearly full: rows of these kinds are given up, and declared in gaps: {shed}; "
            "bring QuestDB back, free space on the journal's disk, or raise journal.max_bytes"
            if shed
            else "",
            self._journal.fill,
        )
        cause, now = self._unavailable(), time.monotonic()
        self._away_since = (self._away_since or now) if cause else 0.0
        away = now - self._away_since if cause else 0.0
        self._set(
            "questdb_unavailable",
            f"QuestDB takes no rows, they wait in the journal: {cause}" if away > UNAVAILABLE_SECONDS else "",
            away,
        )

    def _set(self, rule: str, message: str, value: float) -> None:
        """Fire with a message, resolve with none. A message that changes while firing is told again."""
        before = self._firing.get(rule, "")
        if bool(message) == bool(before) and (rule != "journal_quota" or message == before):
            return
        if message:
            self._firing[rule] = message
            log.error("alert", rule=rule, message=message)
        else:
            del self._firing[rule]
            log.info("alert resolved", rule=rule)
        with contextlib.suppress(OSError):  # the disk may be full, which is why it fires
            self._store.save("alarms.json", msgspec.json.encode(self._firing))
        now = time.time_ns() // 1000
        state = "firing" if message else "resolved"
        self._journal.add(Alert(now, rule, "critical", state, value, message or "over"), now)
