"""The journal: every row is on disk here before it is sent anywhere.

The event loop encodes rows into a batch and hands the batch to one writer thread, which appends it to the current segment,
calls fsync at an interval, and publishes how far the file may be read. Memory is bounded by `MAX_QUEUED`: above it the
feeds stop reading their sockets. Disk is bounded by the quota: near it rows are shed, cheapest kind first.
"""

from __future__ import annotations

import errno
import os
import queue
import shutil
import threading
import time
from array import array
from collections.abc import Callable
from typing import NamedTuple

import structlog

from collector import bounds
from collector.encode import RowEncoder
from collector.errors import OperatorError
from collector.metrics import Metrics
from collector.rows import BookSnapshot, Liquidation, Row, Ticker, Trade
from collector.segment import encode_record, segment_header
from collector.settings import JournalConfig
from collector.store import JournalStore

log = structlog.get_logger()

BATCH_BYTES = bounds.BATCH.limit
MAX_QUEUED = bounds.JOURNAL_QUEUE.limit
SHED_ORDER: tuple[tuple[float, frozenset[type]], ...] = (
    (0.98, frozenset({BookSnapshot, Ticker, Trade, Liquidation})),
    (0.90, frozenset({BookSnapshot, Ticker})),
    (0.80, frozenset({BookSnapshot})),
)
"""Fill of the quota from which the kinds are shed. `gaps` and `feed_events` are always written."""
RETRY_SECONDS = 1.0
DISK_RESERVE = 8 << 20
"""Bytes of the disk left for cursor, state, and the rows of `gaps`, which are always written."""


class _Item(NamedTuple):
    """What the writer is given."""

    data: bytes = b""
    ends: array[int] = array("I")
    recv_us: int = 0
    state: bytes | None = None
    first: bool = False
    """Whether the state must be on disk before the data: it names streams that no older one does."""


class Journal:
    """The writing side. All methods are for the event loop's thread."""

    def __init__(
        self,
        config: JournalConfig,
        store: JournalStore,
        metrics: Metrics,
        state: Callable[[], bytes],
        on_pressure: Callable[[bool], None],
        begun: Callable[[], int] = lambda: 0,
    ) -> None:
        """`state()` gives what a restart must know (see state.py), `begun()` how many streams it names;
        `on_pressure(True)` asks the feeds to stop reading,
        `on_pressure(False)`, called from the writer's thread, to go on."""
        self.shedding: frozenset[type] = frozenset()
        """Kinds of rows that must not be added now."""
        self.fill = 0.0
        """Of the quota, or of what the disk leaves of it; 0 to 1."""
        self._disk_due = 0.0
        self._free = self._free_pending = 0
        self._config, self._store, self._metrics = config, store, metrics
        self._state, self._on_pressure, self._begun = state, on_pressure, begun
        self._named = 0
        """Streams that the newest state names."""
        self._encoder = RowEncoder(store.collector)
        self._recv_us = 0
        self._state_due = 0.0
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._queued = 0
        self._paused = False
        self.turns = 0
        """Of the writer: batches written, and attempts that failed."""
        self._lock = threading.Lock()
        self._give_up_at: float | None = None
        self.failure: Exception | None = None
        """What ended the writer, should anything: the process must end too, and declare the hole at its next start."""
        self._writer = threading.Thread(target=self._run_writer, name="journal", daemon=True)
        metrics.fills[bounds.BATCH.name] = lambda: self._encoder.size
        metrics.fills[bounds.JOURNAL_QUEUE.name] = lambda: self._queued
        metrics.gauges["journal_queue_bytes"] = (
            "Bytes waiting for the journal's writer",
            lambda: self._queued,
        )
        metrics.gauges["journal_fill_ratio"] = (
            "Of the quota, or of what the disk leaves of it, held by rows that QuestDB has not acknowledged",
            lambda: self.fill,
        )
        metrics.gauges["journal_bytes"] = ("Bytes of the journal on disk", store.total_bytes)
        metrics.gauges["journal_pending_bytes"] = (
            "Bytes that QuestDB has not acknowledged",
            store.pending_bytes,
        )

    @property
    def queued(self) -> int:
        """Bytes that wait for the writer."""
        return self._queued

    def start(self) -> None:
        """Raises OperatorError when the disk takes nothing."""
        try:
            self._store.begin_segment(segment_header(int(time.time())))
        except OSError as error:
            raise OperatorError(
                f"journal {self._config.path}: can't begin a segment ({error.strerror}); free space on its disk, or set "
                "journal.path"
            ) from error
        self._writer.start()

    def add(self, row: Row, recv_us: int) -> None:
        """Append one row. Raises one of encode.ENCODE_ERRORS for a row that can't be encoded."""
        self._recv_us = recv_us
        if self._encoder.add(row) >= BATCH_BYTES:
            self.seal()

    def seal(self) -> None:
        """Hand what was added to the writer. Called at least every few milliseconds."""
        if not len(self._encoder):
            return
        state = None
        now, begun = time.monotonic(), self._begun()
        first = begun != self._named
        if first or now >= self._state_due:
            state, self._state_due, self._named = self._state(), now + self._config.fsync_interval, begun
        data, ends = self._encoder.take()
        self._queue.put(_Item(data, ends, self._recv_us, state, first))
        with self._lock:
            self._queued += len(data)
            pause = self._queued > MAX_QUEUED and not self._paused
            self._paused = self._paused or pause
        if pause:
            self._on_pressure(True)

    def close(self, timeout: float) -> bool:
        """Write all that was added, with the state as it is now. False when the disk did not take it in time."""
        self._state_due = 0.0
        self.seal()
        self._queue.put(_Item(state=self._state()))
        self._give_up_at = time.monotonic() + timeout
        self._queue.put(None)
        self._writer.join(timeout + 2 * RETRY_SECONDS)
        return not self._writer.is_alive() and not self._queued and self.failure is None

    def _run_writer(self) -> None:
        try:
            self._write_all()
        except Exception as error:
            self.failure = error

    def _write_all(self) -> None:
        interval = self._config.fsync_interval
        synced, dirty, state = time.monotonic(), False, None
        while True:
            try:
                item = self._queue.get(timeout=interval if dirty or state else None)
            except queue.Empty:
                item = _Item()
            if item is not None:
                state = item.state or state
                if item.first and self._sync(False, state):
                    # Were we killed after the data alone, nothing would declare what these streams miss from then on.
                    state = None
                if item.data:
                    if not self._write(item.data, item.ends, item.recv_us):
                        return
                    dirty = True
            if item is None or time.monotonic() - synced >= interval:
                if self._sync(dirty, state):
                    dirty, state = False, None
                synced = time.monotonic()
            if item is None:
                return

    def _write(self, data: bytes, ends: array[int], recv_us: int) -> bool:
        record = encode_record(data, ends, recv_us)
        while True:
            self.turns += 1
            try:
                if self._store.size() >= self._config.segment_bytes:
                    self._store.sync()
                    self._store.begin_segment(segment_header(int(time.time())))
                self._store.append(record)
                break
            except OSError as error:
                # What is queued is bounded, so waiting is safe: reading stops, and the gap that follows is declared.
                remedy = (
                    "free space on the journal's disk"
                    if error.errno == errno.ENOSPC
                    else "check the journal's disk"
                )
                log.error(
                    "journal write failed, retrying", path=self._config.path, cause=str(error), remedy=remedy
                )
                if self._give_up_at is not None and time.monotonic() > self._give_up_at:
                    return False
                time.sleep(RETRY_SECONDS)
        with self._lock:
            self._queued -= len(data)
            resume = self._paused and self._queued < MAX_QUEUED // 2
            self._paused = self._paused and not resume
        if resume:
            self._on_pressure(False)
        self._update_shedding()
        return True

    def _update_shedding(self) -> None:
        pending = self._store.pending_bytes()
        # A disk that fills up for other reasons is a smaller quota.
        self.fill = fill = pending / max(1, min(self._config.max_bytes, pending + self._free_bytes(pending)))
        for threshold, kinds in SHED_ORDER:
            # Once shed, a kind stays out until the fill is 5 % lower, so that gaps are few and long.
            if fill >= threshold or (kinds <= self.shedding and fill >= threshold - 0.05):
                self.shedding = kinds
                return
        self.shedding = frozenset()

    def _free_bytes(self, pending: int) -> int:
        """What the disk leaves to the journal, looked up once a second."""
        now = time.monotonic()
        if now >= self._disk_due:
            self._disk_due = now + 1.0
            try:
                self._free = shutil.disk_usage(self._config.path).free - DISK_RESERVE
            except OSError:
                self._free = self._config.max_bytes
            self._free_pending = pending
        return max(0, self._free - max(0, pending - self._free_pending))

    def _sync(self, dirty: bool, state: bytes | None) -> bool:
        """False: to be tried again."""
        try:
            if dirty:
                self._store.sync()
            if state is not None:
                self._store.save("state.json", state, durable=True)
            return True
        except OSError as error:
            log.error(
                "journal fsync failed, retrying", path=self._config.path, cause=os.strerror(error.errno or 0)
            )
            return False
