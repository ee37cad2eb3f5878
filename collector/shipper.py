"""The reading side of the journal: records in order to the sink, the cursor after the acknowledgement and never before."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from collector.backoff import backoff
from collector.deadletters import DeadLetters
from collector.metrics import Metrics
from collector.outages import Outages
from collector.reader import POST_BYTES, JournalReader
from collector.segment import Record
from collector.settings import JournalConfig
from collector.sink import RefusedError, Sink, UnavailableError
from collector.store import Cursor, JournalStore

log = structlog.get_logger()

POST_INTERVAL = 0.1
"""Seconds between posts while there is less than a full one to send."""
RETRY_FIRST, RETRY_CAP = 0.1, 10.0
TRIM_SECONDS = 5.0
LOOK_SECONDS = 5.0
"""How often the server is asked who it is and whether a table is suspended."""


class Shipper(threading.Thread):
    """A thread of its own, so that a slow database never slows the sockets."""

    def __init__(
        self,
        config: JournalConfig,
        store: JournalStore,
        sink: Sink,
        dead: DeadLetters,
        metrics: Metrics,
        on_damage: Callable[[int, int], None] = lambda since, until: None,
        outages: Outages | None = None,
    ) -> None:
        """`on_damage(since, until)`: rows received between (µs) are lost, for their bytes in the journal are damaged; called
        from this thread. `outages` is told when the server is away."""
        super().__init__(name="shipper", daemon=True)
        self._config, self._store, self._sink, self._dead, self._metrics = config, store, sink, dead, metrics
        self._stop_at: float | None = None
        self._wake = threading.Event()
        self._failed = False
        self._outages = outages or Outages(store)
        self._reader = JournalReader(store, dead, metrics, on_damage)
        self.turns = 0
        """Rounds, looks at the server and attempts to post, whether or not they succeed."""
        self.unavailable = ""
        """Why QuestDB takes nothing just now, else ""."""

    def hurry(self) -> None:
        """End the drain that `stop` began."""
        self._stop_at = time.monotonic()

    def stop(self, timeout: float) -> bool:
        """Post what the journal holds, for at most `timeout` seconds. True when all of it was acknowledged."""
        self._stop_at = time.monotonic() + timeout
        self._wake.set()
        self.join(timeout + 5)
        return self.drained()

    def attempt(self) -> None:
        """Try at once: whatever kept QuestDB away is known to be over."""
        self._wake.set()

    def _pause(self, seconds: float) -> bool:
        """Wait, unless there is a reason to try at once. True when asked to stop."""
        self._wake.wait(max(seconds, 0.0))
        if self._stop_at is None:
            self._wake.clear()
        return self._stop_at is not None

    def run(self) -> None:
        while True:
            try:
                self._ship()
                break
            except Exception as error:  # a thread that dies silently would be the end of shipping
                log.exception("shipper failed, starting over", remedy="report it; rows wait in the journal")
                self.unavailable = f"shipper failed: {error!r}"
                if self._stop_at is not None or self._pause(RETRY_CAP):
                    break
        self._reader.close()
        self._sink.close()

    def _ship(self) -> None:
        trim_at = look_at = 0.0
        while True:
            self.turns += 1
            started = time.monotonic()
            if started >= look_at:
                if not self._look_at_server():
                    break
                look_at = started + LOOK_SECONDS
            records, cursor = self._reader.read()
            if records:
                if not self._deliver(records):
                    break
                self._metrics.shipped_recv_us = records[-1].recv_us
                self._outages.delivered(self._reader.parts, (cursor.segment, cursor.offset))
            if self._failed:
                # It may have been started anew: look before the cursor says that its predecessor's rows are safe.
                look_at, self._failed = 0.0, False
            if cursor != self._store.cursor:
                self._acknowledge(cursor)
            self._outages.reached((cursor.segment, cursor.offset))
            self._reader.tell_damage()
            if started >= trim_at:
                self._store.trim(
                    self._config.retain, min(self._config.retain_bytes, self._config.max_bytes // 4)
                )
                trim_at = started + TRIM_SECONDS
            if self._stop_at is not None and (self.drained() or time.monotonic() > self._stop_at):
                break
            if sum(len(record.data) for record in records) < POST_BYTES // 2:
                self._wait_for_more(started + POST_INTERVAL - time.monotonic())

    def _look_at_server(self) -> bool:
        """Send again what a server that was started anew may have lost; hold while a table is suspended.

        False when stopped meanwhile: asked to stop, it looks once more, for what was the matter may just have ended."""
        delays = backoff(RETRY_FIRST, LOOK_SECONDS)
        stopping = False
        while True:
            self.turns += 1
            try:
                server = self._sink.identity()
                self._outages.identified(server)
                cause, remedy = self._sink.ailment()
            except UnavailableError as error:
                cause, remedy = str(error), error.remedy
                self._tell_away(error)
            if not cause:
                break
            self._tell_unavailable(cause, remedy)
            if self._stop_at is not None or self._pause(next(delays)):
                if stopping:
                    return False
                stopping = True
        self._tell_available()
        cursor = self._store.cursor
        if cursor.server != server:
            if cursor.server:
                self._reader.restart()
                # Its acknowledgement may have come before its fsync; deduplication makes what it has harmless.
                log.warning("QuestDB was started anew, sending again what the journal still holds")
                cursor = self._store.oldest(server)
            self._acknowledge(Cursor(cursor.segment, cursor.offset, server))
        return True

    def _tell_unavailable(self, cause: str, remedy: str) -> None:
        self._metrics.post_failures += 1
        self._failed = True
        if cause != self.unavailable:
            log.warning("QuestDB takes no rows, retrying", cause=cause, remedy=remedy or "none needed")
        self.unavailable = cause

    def _tell_away(self, error: UnavailableError) -> None:
        if error.away:
            self._outages.failed(str(error))
        else:
            self._outages.answered()

    def _tell_available(self) -> None:
        if self.unavailable:
            log.info("QuestDB takes rows again")
        self.unavailable = ""

    def drained(self) -> bool:
        """Whether everything in the journal is acknowledged."""
        return self._reader.drained()

    def _wait_for_more(self, pause: float) -> None:
        if self._stop_at is None and not self._pause(pause):
            with self._store.grown:
                if self.drained() and self._stop_at is None:
                    self._store.grown.wait(0.5)

    def _acknowledge(self, cursor: Cursor) -> None:
        try:
            self._store.acknowledge(cursor)
        except OSError as error:
            # Harmless for the data: after a restart the rows are sent again and deduplicated.
            self._store.cursor = cursor
            log.error(
                "journal cursor not saved", cause=error.strerror, remedy="free space on the journal's disk"
            )

    def _deliver(self, records: list[Record]) -> bool:
        """Post the records; isolate and put aside rows that QuestDB refuses. False when stopped before the end."""
        try:
            return self._post([record.data for record in records], sum(len(r.ends) for r in records))
        except RefusedError:
            return all(self._bisect(record, 0, len(record.ends)) for record in records)

    def _bisect(self, record: Record, first: int, last: int) -> bool:
        data = record.rows(first, last)
        try:
            return self._post([data], last - first)
        except RefusedError as error:
            if last - first == 1:
                log.error("row refused by QuestDB, put aside", cause=str(error))
                self._dead.add("rows", "questdb", str(error), data)
                return True
        middle = (first + last) // 2
        return self._bisect(record, first, middle) and self._bisect(record, middle, last)

    def _post(self, pieces: list[bytes], rows: int) -> bool:
        """Post until it is acknowledged. False when stopped before. Raises RefusedError."""
        delays = backoff(RETRY_FIRST, RETRY_CAP)
        stopping = False
        while True:
            self.turns += 1
            try:
                self._sink.post(pieces)
            except UnavailableError as error:
                self._tell_away(error)
                self._tell_unavailable(str(error), error.remedy)
                delay = max(next(delays), error.retry_after)
            else:
                self._tell_available()
                self._outages.answered()
                self._metrics.posts += 1
                self._metrics.posted_rows += rows
                self._metrics.posted_bytes += sum(len(piece) for piece in pieces)
                return True
            # Once asked to stop, one attempt more is enough: the journal keeps the rows for the next start.
            if self._stop_at is not None or self._pause(delay):
                if stopping:
                    return False
                stopping = True
