"""The streams of one plan, for ever: connects, reconnects, and replaces a connection before the exchange cuts it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

import structlog
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from collector.backoff import backoff
from collector.connection import Connection, now_us
from collector.exchanges.base import Stream
from collector.metrics import Metrics
from collector.recorder import Recorder
from collector.venue import Venue

log = structlog.get_logger()

RETRY_FIRST, RETRY_CAP = 0.5, 30.0
HEALTHY_SECONDS = 10.0
"""A connection that brought data for this long makes the next wait short again."""
OVERLAP_SECONDS = 30.0
"""How long a successor may take to have everything that its predecessor has."""
REPLACE_AT = 0.95
"""Fraction of the exchange's limit at which a connection is replaced, or less: chance spreads them."""
OVERLAP_LOOK = 0.1


class Feed:
    """At any time one connection (or `connections` of them), and another while it takes over from one."""

    def __init__(
        self,
        venue: Venue,
        streams: Sequence[Stream],
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self.name = venue.name
        self.streams = streams
        self.recorder = recorder
        self._venue, self._metrics = venue, metrics
        self._max_age = float(venue.feed.max_age) or venue.exchange.limits.max_age * REPLACE_AT
        self._live: dict[Connection, asyncio.Task[str]] = {}
        self._last_push_us = 0
        """Event time of the newest message, over the connections that have ended."""
        self._paused = False

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await asyncio.gather(*(self._connect() for _ in range(self._venue.feed.connections)))
        finally:
            tasks = list(self._live.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self) -> None:
        """One connection after the other; a second one beside the first carries the same streams."""
        delays = backoff(RETRY_FIRST, RETRY_CAP)
        while True:
            first = await self._open()
            if first is not None:
                last, reason = await self._carry(first)
                if last.last_message - first.opened_at > HEALTHY_SECONDS:
                    delays = backoff(RETRY_FIRST, RETRY_CAP)
                log.warning("disconnected", feed=self.name, cause=reason)
            await asyncio.sleep(next(delays))
            self._metrics.reconnects += 1
            self.recorder.tally.reconnected(self.streams)

    async def _open(self) -> Connection | None:
        """A connection that is being served, or None: the reason is told."""
        instruments = await self._venue.instruments()
        await self._venue.gate.connect()
        connection = Connection(
            next(self.recorder.numbers), self._venue, instruments, self.streams, self.recorder, self._metrics
        )
        try:
            await connection.open(self._paused)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            reason = f"connecting to {connection.url} failed: {type(error).__name__}: {error}"
            self.recorder.event("connect_failed", now_us(), detail=reason)
            log.warning("connecting failed, trying again", feed=self.name, cause=reason)
            if isinstance(error, InvalidStatus):
                away = self._venue.gate.refused(error.response.status_code, error.response.headers)
                if away:
                    self.recorder.event("banned", now_us(), detail=f"for {away:.0f} s: {reason}")
            return None
        task = self._live[connection] = asyncio.create_task(connection.serve())
        task.add_done_callback(lambda _: self._forget(connection))
        return connection

    def _forget(self, connection: Connection) -> None:
        self._live.pop(connection, None)
        self._last_push_us = max(self._last_push_us, connection.decoder.last_push_us)

    async def _carry(self, connection: Connection) -> tuple[Connection, str]:
        """Serve the streams by `connection` and its successors; the last of them, and why it ended."""
        task = self._live[connection]
        while True:
            age = self._max_age * random.uniform(0.9, 1.0)  # noqa: S311 - spreads load, guards nothing
            left = connection.opened_at + age - time.monotonic() if age else None
            done, _ = await asyncio.wait({task}, timeout=left if left is None else max(left, RETRY_FIRST))
            if done:
                return connection, task.result()
            successor = await self._replace(connection, task)
            if successor is None:
                await asyncio.wait({task}, timeout=RETRY_CAP)
            else:
                connection, task = successor, self._live[successor]

    async def _replace(self, old: Connection, old_task: asyncio.Task[str]) -> Connection | None:
        """A successor that has all that `old` has, which is ended then. None: none came about, and `old` goes on."""
        new = await self._open()
        if new is None:
            return None
        new_task = self._live[new]
        deadline = time.monotonic() + OVERLAP_SECONDS
        while time.monotonic() < deadline and not new_task.done():
            if old_task.done():
                return new  # it went early: what neither has is declared
            if new.decoder.last_push_us and self.recorder.gaps.covers({new.number}, {old.number}):
                old.retire("replaced before the exchange cuts it")
                await asyncio.wait({old_task})
                return new
            await asyncio.wait(
                {old_task, new_task}, timeout=OVERLAP_LOOK, return_when=asyncio.FIRST_COMPLETED
            )
        if not new_task.done():
            new.retire("a successor that did not become whole")
            await asyncio.wait({new_task})
        return None

    async def retire(self, reason: str) -> None:
        """End all connections in good order; `run` is to be cancelled then."""
        tasks = list(self._live.values())
        for connection in self._live:
            connection.retire(reason)
        if tasks:
            await asyncio.wait(tasks)

    @property
    def numbers(self) -> list[int]:
        """Of the connections that are open."""
        return [connection.number for connection in self._live]

    def pause(self, paused: bool) -> None:
        """Stop or go on reading; the kernel's buffers and the venue hold what comes meanwhile."""
        self._paused = paused
        for connection in self._live:
            connection.pause(paused)

    @property
    def held(self) -> int:
        """Bytes of messages that are not whole yet, of the fullest connection."""
        return max((connection.held for connection in list(self._live)), default=0)

    @property
    def connected(self) -> bool:
        return bool(self._live)

    def newest_push_us(self) -> int:
        return max((self._last_push_us, *(one.decoder.last_push_us for one in self._live)))
