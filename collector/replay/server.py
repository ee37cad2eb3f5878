"""Plays a recording to each client that connects, from its beginning, and keeps the ledger of what was played."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec

from collector.replay.recording import Recorded, Recording
from collector.simulator import posts
from collector.simulator.ledger import LedgerWriter
from collector.simulator.sockets import Client, frame, listen, ready_line
from collector.simulator.wire import Session

MOST_BUFFERED = 1 << 20
"""Bytes that a client may leave unread before its playing waits."""
BATCH = 100
EXIT_AFTER = 1.0


class Options(msgspec.Struct, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: int = 0
    speed: float = 1.0
    """Multiple of the recorded pace; 0: as fast as the client reads."""
    settle: float = 1.0
    """Seconds from a client's last subscription to the first message."""
    ledger: Path | None = None


class Playing:
    """One client's way through the recording."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.topics: set[str] = set()
        self.ever: set[str] = set()
        """Topics that it has had at any time."""
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        self.sent = 0

    def ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            print(f"error: {error}", file=sys.stderr, flush=True)  # noqa: T201
            self.client.connection.transport.abort()


class Replay:
    """A running replay; see `serve`."""

    def __init__(
        self, recording: Recording, options: Options, progress: Callable[[str, int, int], None] | None
    ) -> None:
        self.recording, self.options = recording, options
        self.wire = recording.wire
        self.port = options.port
        self.posts = ""
        """host:port of REST by POST."""
        self.finished = asyncio.Event()
        """Some client has had everything, on every path that was connected to."""
        self._progress = progress or (lambda market, sent, of: None)
        self._ledger = (
            LedgerWriter(options.ledger, self.wire.name, None) if options.ledger is not None else None
        )
        self._transcripts = {market: self.wire.transcript(market) for market in self.wire.paths.values()}
        self._told: dict[tuple[str, str], int] = {}
        """(market, topic) → number of the last message in the ledger."""
        self._asked: dict[tuple[str, frozenset[tuple[str, str]]], int] = {}
        """Request to REST → how often it was asked before, since the newest client came."""
        self._connected: set[str] = set()
        self._complete: set[str] = set()

    @property
    def ready(self) -> dict[str, object]:
        return ready_line(self.wire, self.options.host, self.port, self.posts)

    def session(self, path: str, conn_id: str) -> Session:
        market = self.wire.paths[path]
        return self.wire.session(path, conn_id, lambda topic: self.recording.knows(market, topic))

    def rest(self, path: str, query: dict[str, str]) -> tuple[int, str]:
        asked = path, frozenset(query.items())
        nth = self._asked[asked] = self._asked.get(asked, -1) + 1
        return self.recording.rest(path, query, time.time_ns() // 1_000_000, nth)

    async def serve_client(self, client: Client) -> None:
        playing = Playing(client)
        self._connected.add(client.market)
        self._asked.clear()  # it gets all from the beginning
        try:
            async for text in client.requests():
                reply = client.session.handle(text)
                client.out.extend(map(frame, reply.texts))
                client.flush()
                playing.topics.difference_update(reply.unsubscribed)
                playing.topics.update(reply.subscribed)
                playing.ever.update(reply.subscribed)
                if reply.subscribed and not playing.begun:
                    if playing.task is not None:
                        playing.task.cancel()
                    playing.task = asyncio.create_task(self._play(playing))
                    playing.task.add_done_callback(playing.ended)
        finally:
            if playing.task is not None:
                playing.task.cancel()
                await asyncio.wait([playing.task])

    async def _play(self, playing: Playing) -> None:
        await asyncio.sleep(self.options.settle)
        playing.begun = True
        client, speed = playing.client, self.options.speed
        clock = asyncio.get_running_loop().time
        start = clock()
        for message in self.recording.messages():
            if message.market != client.market or message.topic not in playing.ever:
                continue
            if speed and (wait := start + message.at / speed - clock()) > 0.001:
                client.flush()
                await asyncio.sleep(wait)
            if not client.open:
                return
            sending = message.topic in playing.topics
            if sending:
                client.out.append(frame(message.text))
                playing.sent += 1
            self._tell(message, int(sending))
            if len(client.out) >= BATCH:
                client.flush()
                await self._room(client, MOST_BUFFERED)
                self._progress(client.market, playing.sent, self._all(playing))
        client.flush()
        await self._room(client, 0)
        self._progress(client.market, playing.sent, self._all(playing))
        if self._ledger is not None:
            self._ledger.flush()
        if client.open:
            self._complete.add(client.market)
            if self._complete >= self._connected:
                self.finished.set()

    def _all(self, playing: Playing) -> int:
        """How many messages there are of what the client has subscribed."""
        topics = self.recording.topics[playing.client.market]
        return sum(topics.get(topic, 0) for topic in playing.ever)

    async def _room(self, client: Client, most: int) -> None:
        await asyncio.sleep(0)
        while client.open and client.buffered > most:  # noqa: ASYNC110 - a transport tells of no event
            await asyncio.sleep(0.001)

    def _tell(self, message: Recorded, receivers: int) -> None:
        """Into the ledger, each message once, however many clients play it."""
        where = (message.market, message.topic)
        if self._ledger is not None and message.number > self._told.get(where, -1):
            self._told[where] = message.number
            self._ledger.add(self._transcripts[message.market].entries(message.text), receivers)

    async def keep_flushed(self) -> None:
        while self._ledger is not None:
            await asyncio.sleep(1)
            self._ledger.flush()

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()


@asynccontextmanager
async def serve(
    recording: Recording, options: Options, progress: Callable[[str, int, int], None] | None = None
) -> AsyncIterator[Replay]:
    """A replay that runs until the context ends. `progress(market, sent, of)`. Raises OperatorError."""
    replay = Replay(recording, options, progress)
    async with AsyncExitStack() as stack:
        stack.callback(replay.close)
        replay.port = await stack.enter_async_context(
            listen(replay.wire, options.host, options.port, replay.session, replay.serve_client, replay.rest)
        )
        if replay.wire.rest_by_post:
            replay.posts = stack.enter_context(
                posts.listen(options.host, replay.rest, asyncio.get_running_loop())
            )
        flushing = asyncio.create_task(replay.keep_flushed())
        stack.callback(flushing.cancel)
        yield replay
