"""When QuestDB was away, as rows of `process_events`: since when and until when, how it ended as far as that can be known,
how many attempts failed, how many rows waited in the journal meanwhile, and when it had the last of them.

The shipper's thread tells what it meets; the event loop takes the rows. `outages.json` in the journal's folder keeps what is
not over for the next start.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from collector.database.observed import Observed, OfUrl
from collector.rows import ProcessEvent
from collector.store import JournalStore

log = structlog.get_logger()

PROGRAM = "questdb"
FILE = "outages.json"
BLIP_US = 10_000_000
"""A server that answers again within this time, and is the same, was not away."""
APART, AT_ONCE = 60.0, 20
"""Outages that have a row of their own: one in so many seconds, and so many at once. Those beyond that are told as one with
the one before, and not more often, so that a server that is started again and again fills neither table nor journal."""
MOST_BEHIND = 8
"""Outages whose rows are not all sent; one more goes on as the newest of them."""
MOST_WORDS = 300
"""Characters of a cause."""

Position = tuple[int, int]
"""Segment and offset in the journal."""


class Outage(msgspec.Struct):
    since_us: int
    """The first attempt that failed; where nobody looked, the last answer before."""
    server: str
    """Identity of the server before; "": none had been reached."""
    counted: Position
    """Up to here rows of the journal are counted, from what the server had not acknowledged."""
    cause: str = ""
    """Of the first failure."""
    attempts: int = 0
    times: int = 1
    until_us: int = 0
    """0: it lasts."""
    started: str = ""
    """Identity of the server that answers afterwards."""
    mark: Position | None = None
    """The journal's end when it answered again."""
    waiting_rows: int | None = 0
    caught_up_us: int | None = None
    rows: list[ProcessEvent] = msgspec.field(default_factory=list)
    """How its end and the start after it are told; what may change is filled in when they are taken."""
    told_at: float = 0.0
    """Monotonic."""


class Outages:
    def __init__(self, store: JournalStore, database: Observed | None = None) -> None:
        self._store, self._database = store, database or OfUrl("")
        self._lock = threading.Lock()
        self._budget, self._budget_at = float(AT_ONCE), time.monotonic()
        self._answered_us = store.acknowledged_us() or _now_us()
        """When the server last answered."""
        self._server = store.cursor.server
        """Identity of the server that answered last; "": none has."""
        self._open: Outage | None = None
        self._last: Outage | None = None
        """The newest that is over."""
        self._behind: list[Outage] = []
        """Over, and not all rows that waited are sent."""
        self._changed: list[Outage] = []
        self._load()

    def _load(self) -> None:
        """What the last run left: it is not known what was sent after it had been saved."""
        try:
            kept = msgspec.json.decode(self._store.load(FILE) or b"[]", type=list[Outage])
        except msgspec.DecodeError as error:
            log.warning("outages.json unreadable: an outage of QuestDB may not be told", cause=str(error))
            return
        cursor = self._store.cursor
        for one in kept:
            one.told_at = 0.0
            if (cursor.segment, cursor.offset) > one.counted:
                one.waiting_rows = None
            if not one.until_us:
                self._open = one
            else:
                self._behind.append(one)
                self._changed.append(one)
                self._last = one

    def failed(self, cause: str) -> None:
        """An attempt to reach the server."""
        with self._lock:
            one = self._open or self._begin(_now_us(), " ".join(cause.split())[:MOST_WORDS])
            one.attempts += 1
            one.until_us = 0
            if self._open is not one:
                self._open = one
                self._save()

    def answered(self) -> None:
        """Something, whoever it is."""
        with self._lock:
            self._answered_us = _now_us()
            if self._open is not None and not self._open.until_us:
                self._open.until_us = self._answered_us

    def identified(self, server: str) -> None:
        """That is who answers now. To be told before the journal's cursor is moved for it."""
        with self._lock:
            one = self._open
            if one is None and self._server and self._server != server:
                one = self._begin(self._answered_us, "")
            self._answered_us = _now_us()
            self._server, self._open = server, None
            if one is not None:
                try:
                    self._end(one, server)
                except Exception:  # rows go on being sent, whatever can't be told
                    log.exception("an outage of QuestDB can't be told", remedy="report it")

    def delivered(self, records: Sequence[tuple[Position, int]], after: Position) -> None:
        """Rows of the journal: where each record of them begins and how many it has, and where they end."""
        with self._lock:
            for one in [*self._behind, *([self._open] if self._open else [])]:
                for position, rows in records:
                    if position >= one.counted and (one.mark is None or position < one.mark):
                        one.waiting_rows = None if one.waiting_rows is None else one.waiting_rows + rows
                one.counted = max(one.counted, after)

    def reached(self, position: Position) -> None:
        """Everything before that is acknowledged by the server that answers now."""
        with self._lock:
            done = [one for one in self._behind if one.mark is not None and position >= one.mark]
            for one in done:
                one.caught_up_us = _now_us()
                self._changes(one)
            self._behind = [one for one in self._behind if one.caught_up_us is None]
            if done:
                self._save()

    def take(self) -> list[ProcessEvent]:
        """Rows for the journal that are due. For the event loop."""
        if not self._changed:
            return []
        now = time.monotonic()
        with self._lock:
            due = [one for one in self._changed if one.times == 1 or now >= one.told_at + APART]
            self._changed = [one for one in self._changed if all(one is not other for other in due)]
            for one in due:
                one.told_at = now
            return [row for one in due for row in _rows(one)]

    def _begin(self, since_us: int, cause: str) -> Outage:
        now = time.monotonic()
        self._budget = min(AT_ONCE, self._budget + (now - self._budget_at) / APART)
        self._budget_at = now
        cursor = self._store.cursor
        position = (cursor.segment, cursor.offset)
        one = self._last
        if one is None or (self._budget >= 1 and len(self._behind) < MOST_BEHIND):
            self._budget -= 1
            return Outage(since_us, self._server, position, cause)
        one.times += 1
        one.mark = one.caught_up_us = None
        one.counted = max(one.counted, position)
        for others in (self._behind, self._changed):
            others[:] = [other for other in others if other is not one]
        return one

    def _end(self, one: Outage, server: str) -> None:
        one.until_us = one.until_us or _now_us()
        start_us = _start_us(server)
        anew = one.server != server if one.server else start_us is not None and start_us >= one.since_us
        if not anew and one.times == 1 and one.until_us - one.since_us < BLIP_US:
            self._budget = min(AT_ONCE, self._budget + 1)
        else:
            one.started, one.mark = server, self._store.end()
            self._tell_apart(one, anew, start_us)
            self._last = one
            self._behind.append(one)
            self._changes(one)
        self._save()

    def _tell_apart(self, one: Outage, anew: bool, start_us: int | None) -> None:
        """Its rows: how it ended, and the start after it. An end is told once for all: event and time are a row's key."""
        now, found = self._database.now(), self._database.ended() if anew else None
        if not one.rows:
            if found is not None and found[1].noticed_us >= one.since_us:  # else it is of an earlier one
                who, ended = found
                event, cause, detail = ended.event, ended.cause, ended.detail
                if not one.attempts and ended.ended_us is not None:
                    one.since_us = ended.ended_us
            else:
                who, event, cause = now, "away", "unreachable" if one.attempts else "unseen"
                detail = one.cause or "it ended while no collector looked"
                if anew:
                    who = now._replace(process=now.process if now.pid is None else "", pid=None, log="")
                    detail += "; another process answered then, nothing tells how the one before ended"
                else:
                    detail += "; the same process answered again"
            began = _start_us(one.server)
            lived = None if began is None else max(0.0, (one.since_us - began) / 1e6)
            one.rows.append(
                ProcessEvent(
                    one.since_us,
                    PROGRAM,
                    who.process,
                    event,
                    cause,
                    who.pid,
                    who.version,
                    lived,
                    detail,
                    log=who.log,
                )
            )
        if anew:
            at, came_after = start_us or one.until_us, one.rows[0].event
            one.rows[1:] = [
                ProcessEvent(
                    at, PROGRAM, now.process, "started", came_after, now.pid, now.version, None, log=now.log
                )
            ]

    def _changes(self, one: Outage) -> None:
        if all(other is not one for other in self._changed):
            self._changed.append(one)

    def _save(self) -> None:
        kept = [*self._behind, *([self._open] if self._open else [])]
        with contextlib.suppress(OSError):  # the disk may be full; the rows are what counts
            if kept:
                self._store.save(FILE, msgspec.json.encode(kept))
            else:
                self._store.discard(FILE)


def _rows(one: Outage) -> list[ProcessEvent]:
    end, *started = one.rows
    more = f"; away {one.times} times until then" if one.times > 1 else ""
    told = msgspec.structs.replace(
        end,
        detail=end.detail + more,
        until_ts=one.until_us,
        attempts=one.attempts,
        waiting_rows=one.waiting_rows if one.caught_up_us else None,
        caught_up_ts=one.caught_up_us,
    )
    return [told, *started]


def _start_us(identity: str) -> int | None:
    """When a server was started: that is its identity."""
    try:
        at = datetime.fromisoformat(identity)
    except ValueError:
        return None
    return round(at.replace(tzinfo=at.tzinfo or UTC).timestamp() * 1e6)


def _now_us() -> int:
    return time.time_ns() // 1000
