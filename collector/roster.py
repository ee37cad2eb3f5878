"""One feed of the configuration while it runs: resolves its symbols, keeps a connection plan going, and renews both when
the venue's list changes, without a hole in what stays."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import httpx
import structlog

from collector.backoff import backoff
from collector.connection import now_us
from collector.deadletters import DeadLetters
from collector.exchanges.base import BadAnswerError
from collector.feed import Feed
from collector.instruments import UNANSWERED, listed_rows
from collector.journal import Journal
from collector.metrics import Metrics
from collector.recorder import Recorder
from collector.rest import RequestRefusedError
from collector.symbols import select
from collector.venue import Venue

log = structlog.get_logger()

RETRY_FIRST, RETRY_CAP = 1.0, 600.0
CONFIRM_SECONDS = 60.0
"""A symbol that has vanished is looked for once more after this."""
TAKE_OVER_SECONDS = 120.0
"""How long new connections may take to have everything that the old ones have."""
LOOK_SECONDS = 0.2


class Roster:
    """The feeds of one [[feeds]] table."""

    def __init__(
        self,
        venue: Venue,
        journal: Journal,
        dead: DeadLetters,
        metrics: Metrics,
        begun: Callable[[list[Feed]], None],
    ) -> None:
        """`begun(feeds)` is called once, when the first connection plan is made, before anything is connected."""
        self.venue = venue
        self.recorder = Recorder(venue.feed, journal, dead, metrics)
        self.feeds: list[Feed] = []
        self._journal, self._metrics, self._begun = journal, metrics, begun
        self._refresh = float(venue.feed.symbols_refresh)
        self._tasks: dict[Feed, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Until cancelled."""
        # Whatever keeps the first connection from coming about: a `starting` without a later `subscribed` tells of it.
        self.recorder.event("starting", now_us())
        listing = asyncio.create_task(self.venue.capture_listing())
        try:
            if self.venue.dynamic:
                self.venue.record(await self._first_symbols())
            self.feeds = self._plan()
            self._begun(self.feeds)
            for feed in self.feeds:
                self._start(feed)
            self._write_listing()
            await asyncio.gather(self._renew(), self._supervise())
        finally:
            tasks = [listing, *self._tasks.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _plan(self) -> list[Feed]:
        return [Feed(self.venue, streams, self.recorder, self._metrics) for streams in self.venue.plan]

    def _start(self, feed: Feed) -> None:
        self._tasks[feed] = asyncio.create_task(feed.run())

    async def _supervise(self) -> None:
        """A feed that ends by itself is a mistake of ours, not to be passed over."""
        while True:
            await asyncio.sleep(1.0)
            for task in self._tasks.values():
                if task.done():
                    task.result()

    async def _first_symbols(self) -> list[str]:
        """Patterns and `top` need the venue's list: waited for, for ever, unless the last run's choice is kept."""
        delays = backoff(RETRY_FIRST, RETRY_CAP)
        while True:
            try:
                symbols = await self._selected()
                cause = "no symbol that is being traded fits"
            except UNANSWERED as error:
                symbols, cause = self.venue.kept_symbols(), f"{type(error).__name__}: {error}"
            if symbols:
                return symbols
            log.error(
                "symbols can't be chosen, trying again",
                feed=self.venue.name,
                symbols=self.venue.selectors,
                cause=cause,
                remedy="check the feed's symbols with 'collector symbols', and its rest_url",
            )
            await asyncio.sleep(next(delays))

    async def _selected(self) -> list[str]:
        """Raises one of UNANSWERED."""
        listing = await self.venue.refreshed()
        return select(self.venue.selectors, listing, await self.venue.turnover())

    async def _renew(self) -> None:
        """Now and then: what does the venue list now?"""
        if not self.venue.listed:
            return
        while True:
            await asyncio.sleep(self._refresh * random.uniform(0.95, 1.05))  # noqa: S311 - spreads load
            try:
                chosen = await self._selected()
                if set(self.venue.feed.symbols) - set(chosen):
                    await asyncio.sleep(min(CONFIRM_SECONDS, self._refresh))
                    chosen = await self._selected()
            except (httpx.HTTPError, RequestRefusedError, BadAnswerError) as error:
                log.warning("symbols not refreshed", feed=self.venue.name, cause=str(error))
                continue
            self._write_listing()
            if chosen and set(chosen) != set(self.venue.feed.symbols):
                await self._change(chosen)

    def _write_listing(self) -> None:
        """Rows of `instruments`."""
        feed, now = self.venue.feed, now_us()
        for row in listed_rows(feed, self.venue.known, now):
            self._journal.add(row, now)

    async def _change(self, symbols: list[str]) -> None:
        """New connections for the new symbols take over from the old ones; what both have loses nothing."""
        before = set(self.venue.feed.symbols)
        gone, come = before - set(symbols), set(symbols) - before
        log.info("symbols change", feed=self.venue.name, dropped=sorted(gone), added=sorted(come))
        self.venue.record(symbols)
        old, new = self.feeds, self._plan()
        self.feeds = old + new
        for feed in new:
            self._start(feed)
        deadline = time.monotonic() + TAKE_OVER_SECONDS
        while time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            if self._taken_over(old, new, gone):
                break
        now, gaps = now_us(), self.recorder.gaps
        for stream in sorted(stream for stream in gaps.begun if stream[1] in gone):
            gaps.dropped(stream, now)
        for feed in old:
            await feed.retire("other symbols")
            await self._end(feed)
        self.feeds = new
        for symbol in sorted(gone):
            self.recorder.event("dropped", now, symbol=symbol, detail="no longer listed or chosen")
        for symbol in sorted(come):
            self.recorder.event("added", now, symbol=symbol)

    def _taken_over(self, old: list[Feed], new: list[Feed], gone: set[str]) -> bool:
        """Whether the new connections bring everything, but for what goes, that the old ones bring."""
        fresh = {number for feed in new for number in feed.numbers}
        stale = {number for feed in old for number in feed.numbers}
        return all(feed.connected for feed in new) and self.recorder.gaps.covers(fresh, stale, gone)

    async def _end(self, feed: Feed) -> None:
        task = self._tasks.pop(feed)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
