"""Whether what arrives is stored: what the watchdog is tied to, and systemd's status line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from collector.journal import Journal
from collector.metrics import Metrics
from collector.notify import Notifier
from collector.shipper import Shipper

log = structlog.get_logger()


class Progress:
    """Looked at a few times in the watchdog's time.

    The journal's writer must move while rows wait for it, and the shipper must move. To retry counts as moving: neither a
    full disk nor a database that is away is cured by a restart, which would cost what waits in memory."""

    def __init__(
        self, journal: Journal, shipper: Callable[[], Shipper | None], notifier: Notifier | None = None
    ) -> None:
        """`shipper()`: None until the database has been reached."""
        self._journal, self._shipper = journal, shipper
        self._notifier = notifier or Notifier()
        self._written: int | None = None
        self._shipped: int | None = None

    def stuck(self) -> str:
        """What has not moved since the last look although it had to, else ""."""
        written = self._journal.turns if self._journal.queued else None
        shipper = self._shipper()
        shipped = shipper.turns if shipper is not None and shipper.is_alive() else None
        writer_stuck = written is not None and written == self._written
        shipper_stuck = shipped is not None and shipped == self._shipped
        self._written, self._shipped = written, shipped
        if writer_stuck:
            return f"the journal's writer stands still, {self._journal.queued} bytes wait for it"
        if shipper_stuck:
            return "the shipper stands still"
        return ""

    async def run(self, metrics: Metrics, status: Callable[[], str]) -> None:
        """Until cancelled. `status()` adds to the line what is not known here."""
        notifier = self._notifier
        notifier.ready("recording")
        if not notifier.wanted:
            return
        messages, at = metrics.messages, time.monotonic()
        while True:
            await asyncio.sleep(notifier.interval)
            now = time.monotonic()
            rate, messages, at = (metrics.messages - messages) / (now - at), metrics.messages, now
            if stuck := self.stuck():
                log.error("no progress, systemd's watchdog is not told of any", cause=stuck)
            notifier.progress(f"{rate:,.0f} messages/s; {status()}", stuck)

    def stopping(self) -> None:
        self._notifier.stopping("sending what the journal holds")
