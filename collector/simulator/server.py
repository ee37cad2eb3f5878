"""The simulator's pace and disturbances: when the market's messages are made, and when a connection is cut, a message
skipped or a symbol delisted.

Two policies for slow readers. At a finite rate the market does not wait: a client with more than 64 MiB unread is
disconnected. At rate 0 the market waits for the slowest client, and while nobody is subscribed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain, islice
from pathlib import Path

import msgspec

from collector.simulator import SIMULATORS, ledger, posts
from collector.simulator.ledger import LedgerWriter
from collector.simulator.market import Event, Market
from collector.simulator.sockets import Client, listen, ready_line
from collector.simulator.subscriptions import Channel, Subscriptions

TICK = 0.005
"""Seconds between two batches at a finite rate."""
MOST_BATCH = 1000
MOST_BEHIND = 0.05
"""Seconds whose messages a tame market makes at once."""
UNPACED_BATCH = 250
UNPACED_BUFFERED = 1 << 20
"""Bytes that a client may leave unread before an unpaced market waits."""
HOUSEKEEPING = 0.1


class Options(msgspec.Struct, frozen=True, kw_only=True):
    exchange: str
    host: str = "127.0.0.1"
    port: int = 0
    symbols: list[str] = msgspec.field(default_factory=lambda: ["BTCUSDT", "ETHUSDT", "SOLUSDT"])
    rate: float = 1000.0
    """Messages/s over all symbols; 0: as fast as the clients read."""
    messages: int = 0
    """The market stops after this many messages since the first subscription; 0: never."""
    seed: int = 1
    ledger: Path | None = None
    disconnect_every: float = 0.0
    """Seconds; 0: never."""
    skip_every: int = 0
    """One book delta in this many is counted but not sent; 0: none."""
    refuse_every: int = 0
    """One subscription in this many is refused; 0: none."""
    spare: bool = False
    """Disconnect, skip and refuse only where another connection has the same topics whole: then nobody loses anything who
    has two."""
    plants: list[str] | None = None
    """What is planted into a tame market (see plants); None: a wild market, of which nobody says what happens."""
    delist_after: float = 0.0
    """Seconds from the first subscription until the last symbol is delisted; 0: never."""


class Simulator:
    """A running exchange; see `serve`."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.wire = SIMULATORS[options.exchange]
        self.port = options.port
        self.posts = ""
        """host:port of REST by POST."""
        self.messages = 0
        """Of the market, since the first subscription."""
        self.stopped = asyncio.Event()
        """The market has made all its messages."""
        self._model = Market(options.symbols, options.seed, options.rate, options.plants)
        self._events = self._model.events()
        self._ledger = (
            LedgerWriter(options.ledger, options.exchange, options.seed)
            if options.ledger is not None
            else None
        )
        self.subscriptions = Subscriptions(
            self.wire, self._model, self._ledger, options.refuse_every, options.spare
        )
        self._deltas = 0
        self._since_ms: int | None = None
        """When the planted events began to count."""

    @property
    def ready(self) -> dict[str, object]:
        return ready_line(self.wire, self.options.host, self.port, self.posts)

    def url(self, market: str) -> str:
        return f"ws://{self.options.host}:{self.port}{self.wire.bases[market]}"

    def _step(self, count: int) -> None:
        """Make the next `count` messages and write them."""
        to, skip_every = self.subscriptions, self.options.skip_every
        for client in [client for client in to.clients if not client.open]:
            to.forget(client)
        now_ms, shown, send = to.clock(), to.shown, to.send
        for kind, symbol, fills in chain(self._planted(now_ms), islice(self._events, count)):
            if symbol.delisted:
                continue
            for channel in shown[symbol.index][kind]:
                message = channel.topic.publish(fills, now_ms)
                without: Sequence[Client] = ()
                if skip_every and message is not None and channel.topic.is_delta:
                    self._deltas += 1
                    if self._deltas % skip_every == 0:
                        without = self._to_be_skipped(channel)
                send(message, channel.clients, without)
        if to.channels:
            self.messages += count
        to.flush()

    def _planted(self, now_ms: int) -> list[Event]:
        """Events beside the market's own; the first cycle begins with the first subscription."""
        plants = self._model.plants
        if plants is None:
            return []
        if self._since_ms is None and self.subscriptions.channels:
            self._since_ms = now_ms
        counted = -1.0 if self._since_ms is None else (now_ms - self._since_ms) / 1000
        events = list(plants.step(now_ms / 1000, counted))
        if plants.told and self._ledger is not None:
            self._ledger.add([ledger.planted(now_ms, *one) for one in plants.told], 0)
        plants.told.clear()
        return events

    def _to_be_skipped(self, channel: Channel) -> Sequence[Client]:
        if not self.options.spare:
            return channel.clients
        for client in sorted(channel.clients, key=lambda client: not client.harmed):
            if self.subscriptions.spares(client):
                client.harmed = True
                return [client]
        return ()

    def _left(self) -> int:
        return self.options.messages - self.messages if self.options.messages else MOST_BATCH

    async def _paced(self) -> None:
        rate, clock = self.options.rate, asyncio.get_running_loop().time
        most, least_pause = MOST_BATCH, 0.0
        if self.options.plants is not None:
            # What a tame market is behind with must not come in one millisecond: that would be a whale.
            most, least_pause = max(1, min(MOST_BATCH, int(rate * MOST_BEHIND))), 0.001
        start, done = clock(), 0
        while (left := self._left()) > 0:
            due = int((clock() - start) * rate) - done
            count = min(due, most, left)
            if count > 0:
                self._step(count)
                done += count
            if due > rate + MOST_BATCH:  # a second behind: this machine can't, so don't chase it
                start, done = clock(), 0
            pause = max(TICK, (done + 1) / rate - (clock() - start))
            await asyncio.sleep(least_pause if due > most else pause)

    async def _unpaced(self) -> None:
        while (left := self._left()) > 0:
            await asyncio.sleep(0)
            while not self._ready_readers():  # noqa: ASYNC110 - a transport tells of no event
                await asyncio.sleep(0.001)
            self._step(min(UNPACED_BATCH, left))

    def _ready_readers(self) -> bool:
        return any(channel.clients for channel in self.subscriptions.channels.values()) and all(
            client.buffered < UNPACED_BUFFERED for client in self.subscriptions.clients if client.open
        )

    async def run(self) -> None:
        await (self._paced() if self.options.rate else self._unpaced())
        self._flush()
        self.stopped.set()

    async def housekeeping(self) -> None:
        """Repetitions every 100 ms, the ledger every second."""
        for turn in range(1, 1 << 62):
            await asyncio.sleep(HOUSEKEEPING)
            self.subscriptions.repeat()
            if turn % round(1 / HOUSEKEEPING) == 0:
                self._flush()

    async def disconnect(self) -> None:
        """Cut every connection now and then, without a closing handshake, as a failing network does."""
        while True:
            await asyncio.sleep(self.options.disconnect_every)
            for client in self._to_be_cut():
                client.connection.transport.abort()

    def _to_be_cut(self) -> list[Client]:
        """All connections, or one of those that can be spared: one that has been harmed already, else the oldest."""
        if not self.options.spare:
            return list(self.subscriptions.clients)
        spared = [client for client in self.subscriptions.clients if self.subscriptions.spares(client)]
        return sorted(spared, key=lambda client: (not client.harmed, client.number))[:1]

    async def delist(self) -> None:
        while not self.subscriptions.channels:  # noqa: ASYNC110 - a busy machine may take long to begin
            await asyncio.sleep(HOUSEKEEPING)
        await asyncio.sleep(self.options.delist_after)
        self._model.symbols[-1].delisted = True

    def _flush(self) -> None:
        if self._ledger is not None:
            self._ledger.flush()

    def close(self) -> None:
        if self._ledger is not None:
            self._ledger.close()


@asynccontextmanager
async def serve(options: Options) -> AsyncIterator[Simulator]:
    """A simulated exchange that runs until the context ends. Raises OperatorError."""
    simulator = Simulator(options)
    async with AsyncExitStack() as stack:
        stack.callback(simulator.close)
        simulator.port = await stack.enter_async_context(
            listen(
                simulator.wire,
                options.host,
                options.port,
                simulator.subscriptions.session,
                simulator.subscriptions.serve_client,
                simulator.subscriptions.rest,
            )
        )
        if simulator.wire.rest_by_post:
            simulator.posts = stack.enter_context(
                posts.listen(options.host, simulator.subscriptions.rest, asyncio.get_running_loop())
            )
        group = await stack.enter_async_context(asyncio.TaskGroup())  # a task that fails ends the context
        tasks = [group.create_task(simulator.run()), group.create_task(simulator.housekeeping())]
        if options.disconnect_every:
            tasks.append(group.create_task(simulator.disconnect()))
        if options.delist_after:
            tasks.append(group.create_task(simulator.delist()))
        try:
            yield simulator
        finally:
            for task in tasks:
                task.cancel()
