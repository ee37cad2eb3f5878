"""One collector process: wires the parts together, and stops them in the order in which messages travel."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Set
from typing import Any

import msgspec
import structlog

from collector import bounds, state
from collector.alarms import Alarms
from collector.capture import captures_of
from collector.connection import now_us
from collector.database.endpoint import Endpoint
from collector.database.observed import observed
from collector.deadletters import DeadLetters
from collector.delivery import Delivery
from collector.errors import OperatorError
from collector.exchanges.base import Stream
from collector.feed import Feed
from collector.gaps import QUIET_MARGIN_US, GapTracker
from collector.gate import Gates
from collector.instruments import Directory, rest_url
from collector.journal import Journal
from collector.life import Life
from collector.metrics import Metrics
from collector.outages import Outages
from collector.progress import Progress
from collector.repair import Repairer, is_repairable
from collector.roster import Roster
from collector.rows import Row
from collector.settings import Config
from collector.stats import Sampler, process_name
from collector.store import JournalStore
from collector.venue import Venue

log = structlog.get_logger()

SEAL_SECONDS = 0.02
"""How long a row may wait in memory for its batch to fill."""
ALARM_SECONDS = 0.25
LIVE_SECONDS = 30.0
"""An event loop that has not run for so long counts as dead."""
JOURNAL_TIMEOUT = 10.0


class App:
    """One collector process."""

    def __init__(self, config: Config, store: JournalStore, directory: Directory) -> None:
        self.metrics = Metrics()
        self._config, self._store = config, store
        self._dead = DeadLetters(store.folder / "dead-letters", self.metrics)
        self.journal = Journal(
            config.journal,
            store,
            self.metrics,
            self._state,
            self._on_pressure,
            lambda: sum(len(feed.recorder.gaps.begun) for feed in self.feeds),
        )
        gates = Gates()
        self._captures = captures_of(config.feeds)
        self._venues = [
            Venue(feed, gates, directory, self._captures.get((feed.capture, feed.exchange)))
            for feed in config.feeds
        ]
        self.metrics.fills[bounds.CAPTURE_QUEUE.name] = lambda: max(
            (capture.queued for capture in self._captures.values()), default=0
        )
        self.rosters = [
            Roster(venue, self.journal, self._dead, self.metrics, self._begun) for venue in self._venues
        ]
        self._ended = False
        self._late_damage: list[tuple[int, int]] = []
        self._found_damage: list[tuple[int, int]] = []
        """(since, until) in µs: damage met in the last moments of this run, and of the last one."""
        self._past: state.State | None = None
        """What the last run left in state.json."""
        self.metrics.fills[bounds.MESSAGE.name] = lambda: max((feed.held for feed in self.feeds), default=0)
        self.metrics.fills[bounds.REST_ANSWER.name] = lambda: max(
            (venue.rest.largest_answer for venue in self._venues), default=0
        )
        self._repairers = [
            Repairer(venue, self._add, lambda: self._delivery.endpoint)
            for venue in self._venues
            if venue.feed.repair and is_repairable(venue.feed) and rest_url(venue.feed)
        ]
        self.life = Life(store, process_name())
        self._sampler = Sampler(
            self.journal, store, self.metrics, config.questdb.watched_disk, self.life.look
        )
        self._outages = Outages(store, observed(config.questdb))
        self._delivery = Delivery(config, store, self._dead, self.metrics, self._on_damage, self._outages)
        self._progress = Progress(self.journal, lambda: self._delivery.shipper)
        self._clean = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started = time.monotonic()

    def _add(self, row: Row) -> None:
        """A row that no feed brings."""
        self.journal.add(row, now_us())

    @property
    def feeds(self) -> list[Feed]:
        return [feed for roster in self.rosters for feed in roster.feeds]

    def _begun(self, feeds: list[Feed]) -> None:
        """Feeds whose symbols are known now: declare the hole that the last run left in them."""
        if self._past is not None and feeds:
            alone = [roster.venue.name for roster in self.rosters].count(feeds[0].name) == 1
            state.restore(self._past, feeds, now_us(), self._store.torn_since, alone)
            for feed in feeds:
                gaps = feed.recorder.gaps
                for since_us, until_us in self._found_damage:
                    declare_damage(gaps, gaps.begun & set(feed.streams), since_us, until_us)

    def _state(self) -> bytes:
        waiting = {roster.venue.name for roster in self.rosters if not roster.feeds}
        past = self._past.feeds if self._past is not None else []
        carried = [feed for feed in past if feed.feed in waiting]
        return state.encode(self.feeds, now_us(), self._clean, carried)

    def _on_pressure(self, paused: bool) -> None:
        log.warning("journal writer is behind, reading stops" if paused else "journal writer has caught up")
        if self._loop is not None:
            for feed in self.feeds:
                self._loop.call_soon_threadsafe(feed.pause, paused)

    def _on_damage(self, since_us: int, until_us: int) -> None:
        """Rows received in between are lost in the journal; which ones can't be told."""

        def declare() -> None:
            if self._ended:  # since this call was asked for
                leave_to_next_start()
                return
            for roster in self.rosters:
                gaps = roster.recorder.gaps
                declare_damage(gaps, gaps.begun, since_us, until_us)

        def leave_to_next_start() -> None:
            self._late_damage.append((since_us, until_us))
            self._store.save("damage.json", msgspec.json.encode(self._late_damage), durable=True)

        if self._ended:
            leave_to_next_start()  # met while the last rows are sent, when no row can be added any more
        elif self._loop is not None:
            self._loop.call_soon_threadsafe(declare)

    def hurry(self) -> None:
        """A second request to stop: don't wait for QuestDB, the journal has the rows."""
        log.warning("stopping at once, what QuestDB lacks waits in the journal")
        self._delivery.hurry()

    def _status(self) -> str:
        """The second half of systemd's status line."""
        feeds = self.feeds
        connected, waiting = sum(feed.connected for feed in feeds), self._store.pending_bytes() / 2**20
        cause = self._delivery.unavailable()
        return f"{connected} of {len(feeds)} connected; {waiting:.1f} MiB wait for QuestDB" + (
            f": {cause}" if cause else ""
        )

    def health(self) -> dict[str, Any]:
        """What /health answers. Live: event loop and journal's writer run. Ready: rows are taken in and can be stored."""
        dead = []
        if (late := time.monotonic() - self._sampler.beat) > LIVE_SECONDS:
            dead.append(f"the event loop has not run for {late:.0f} s")
        if self.journal.failure is not None:
            dead.append(f"the journal's writer has failed: {self.journal.failure!r}")
        reasons = dead + [
            f"symbols of feed {roster.venue.name} are not known yet"
            for roster in self.rosters
            if not roster.feeds
        ]
        reasons += [f"feed {feed.name} is not connected" for feed in self.feeds if not feed.connected]
        if cause := self._delivery.unavailable():
            reasons.append(f"QuestDB takes no rows, they wait in the journal: {cause}")
        if self.journal.shedding:
            reasons.append("the journal is nearly full, rows are given up")
        return {
            "live": not dead,
            "ready": not reasons,
            "reasons": reasons,
            "uptime_s": round(time.monotonic() - self._started, 1),
            "messages": self.metrics.messages,
            "rows": self.metrics.rows,
            "journal_pending_bytes": self._store.pending_bytes(),
        }

    async def run(self, stop: asyncio.Event, endpoint: Endpoint | None, duration: float | None) -> None:
        """Record until `stop` is set or `duration` seconds are over."""
        self._loop = asyncio.get_running_loop()
        self.journal.start()
        if (past := self._store.load("state.json")) is not None:
            try:
                self._past = state.decode(past)
            except msgspec.DecodeError as error:
                log.warning(
                    "state.json unreadable: the hole since the last run can't be declared", cause=str(error)
                )
        for row in self.life.begun(self._past):
            self._add(row)
        if (damage := self._store.load("damage.json")) is not None:
            with contextlib.suppress(msgspec.DecodeError):
                self._found_damage = msgspec.json.decode(damage, type=list[tuple[int, int]])
            self._store.discard("damage.json")
        self._delivery.start(endpoint)
        tasks = [asyncio.create_task(work) for work in (self._seal(), self._watch(), self._sampler.run())]
        tasks += [asyncio.create_task(repairer.run()) for repairer in self._repairers]
        feeds = [asyncio.create_task(roster.run()) for roster in self.rosters]
        told = asyncio.create_task(self._progress.run(self.metrics, self._status))
        try:
            async with asyncio.timeout(duration):
                done, _ = await asyncio.wait(
                    [asyncio.create_task(stop.wait()), *tasks, *feeds], return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()  # a crash of ours is not to be mistaken for a stop
        except TimeoutError:
            pass
        log.info("stopping", messages=self.metrics.messages)
        self._progress.stopping()
        await self._cancel([told, *feeds])
        for venue in self._venues:
            await venue.rest.close()
        await self._cancel(tasks)
        for capture in self._captures.values():
            await asyncio.to_thread(capture.close)
        self._sampler.write()
        for row in [*self._outages.take(), self.life.ended()]:
            self._add(row)
        self._clean = True
        self._ended = True
        written = await asyncio.to_thread(self.journal.close, JOURNAL_TIMEOUT)
        shipped = await asyncio.to_thread(self._delivery.stop)
        log.info(
            "stopped",
            messages=self.metrics.messages,
            rows=self.metrics.rows,
            journal="complete" if written else "NOT all rows were written: the disk did not take them",
            questdb="has every row"
            if shipped
            else "lacks some rows: they wait in the journal for the next start",
            pending_bytes=self._store.pending_bytes(),
        )
        if not written:
            raise OperatorError("the journal's disk did not take the last rows; free space on it")

    async def _cancel(self, tasks: list[asyncio.Task[Any]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _seal(self) -> None:
        while True:
            await asyncio.sleep(SEAL_SECONDS)
            if self.journal.failure is not None:
                raise self.journal.failure
            self.journal.seal()

    async def _watch(self) -> None:
        alarms = Alarms(self.journal, self._delivery.unavailable, self._store)
        while True:
            await asyncio.sleep(ALARM_SECONDS)
            alarms.look()
            for row in self._outages.take():
                self._add(row)


def declare_damage(gaps: GapTracker, streams: Set[Stream], since_us: int, until_us: int) -> None:
    """Rows of these streams that were received between (µs) are lost in the journal."""
    for stream in sorted(streams):
        gaps.declare(stream, since_us - QUIET_MARGIN_US, until_us, "journal_damaged", None, now_us())
