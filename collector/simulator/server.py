"""The simulator's I/O: paces the market model, hands its messages to the subscribers, keeps the ledger.

Two policies for slow readers. At a finite rate the market does not wait: a client with more than 64 MiB unread is
disconnected. At rate 0 the market waits for the slowest client, and while nobody is subscribed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import chain, islice
from pathlib import Path

import msgspec

from collector.simulator import SIMULATORS, ledger, posts
from collector.simulator.ledger import LedgerWriter
from collector.simulator.market import Event, Market
from collector.simulator.sockets import Client, frame, listen, ready_line
from collector.simulator.wire import Message, Session, Topic

TICK = 0.005
"""Seconds between two batches at a finite rate."""
MOST_BATCH = 1000
MOST_BEHIND = 0.05
"""Seconds whose messages a tame market makes at once."""
UNPACED_BATCH = 250
UNPACED_BUFFERED = 1 << 20
"""Bytes that a client may leave unread before an unpaced market waits."""
HOUSEKEEPING = 0.1
SETTLED = 3.0
"""Seconds after its last subscription in which a connection is not relied upon."""


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


class Channel:
    """A topic that has been subscribed at least once, and who has it now."""

    __slots__ = ("clients", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.clients: list[Client] = []


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
        self.sent = 0
        """Frames written, over all clients."""
        self.stopped = asyncio.Event()
        """The market has made all its messages."""
        self._model = Market(options.symbols, options.seed, options.rate, options.plants)
        self._events = self._model.events()
        self._now_ms = time.time_ns() // 1_000_000
        self._exchange = self.wire.exchange(self._model, self._now_ms)
        self._ledger = (
            LedgerWriter(options.ledger, options.exchange, options.seed)
            if options.ledger is not None
            else None
        )
        self._channels: dict[tuple[str, str], Channel] = {}
        self._shown: list[list[list[Channel]]] = [[[] for _ in range(4)] for _ in options.symbols]
        """[symbol][kind of event] → channels."""
        self.clients: set[Client] = set()
        self._deltas = self._asked = 0
        self._since_ms: int | None = None
        """When the planted events began to count."""

    @property
    def ready(self) -> dict[str, object]:
        return ready_line(self.wire, self.options.host, self.port, self.posts)

    def url(self, market: str) -> str:
        return f"ws://{self.options.host}:{self.port}{self.wire.bases[market]}"

    def _clock(self) -> int:
        """Milliseconds since the epoch, never backwards."""
        self._now_ms = max(self._now_ms, time.time_ns() // 1_000_000)
        return self._now_ms

    # Requests

    def session(self, path: str, conn_id: str) -> Session:
        return self.wire.session(
            path, conn_id, lambda topic: self._accepts(self.wire.paths[path], topic, conn_id)
        )

    def _accepts(self, market: str, topic: str, conn_id: str) -> bool:
        """Whether a subscription is granted; one in `refuse_every` is not."""
        gone = {
            self.wire.symbol(market, one.instrument.symbol) for one in self._model.symbols if one.delisted
        }
        if not self._exchange.knows(market, topic) or self.wire.offers(market, topic) in gone:
            return False
        if not self.options.refuse_every:
            return True
        client = next((one for one in self.clients if one.name == conn_id), None)
        if self.options.spare and (client is None or not self._spares(client, [(market, topic)])):
            return True
        self._asked += 1
        refused = self._asked % self.options.refuse_every == 0
        if refused and client is not None:
            client.harmed = True
        return not refused

    def rest(self, path: str, query: dict[str, str]) -> tuple[int, str]:
        status, answer = self._exchange.rest(path, query, self._clock())
        if self._ledger is not None:
            self._ledger.add(answer.entries, 1)
        return status, answer.text

    async def serve_client(self, client: Client) -> None:
        self.clients.add(client)
        try:
            async for text in client.requests():
                if client not in self.clients:
                    break  # its connection is going, and it has been forgotten
                reply = client.session.handle(text)
                client.out.extend(map(frame, reply.texts))
                for name in reply.unsubscribed:
                    self._channels[client.market, name].clients.remove(client)
                for name in reply.subscribed:
                    self._subscribe(client, name)
                client.flush()
        finally:
            self._forget(client)

    def _forget(self, client: Client) -> None:
        self.clients.discard(client)
        for channel in self._channels.values():
            if client in channel.clients:
                channel.clients.remove(client)

    def _subscribe(self, client: Client, name: str) -> None:
        channel = self._channels.get((client.market, name))
        if channel is None:
            topic = self._exchange.topic(client.market, name)
            channel = self._channels[client.market, name] = Channel(topic)
            self._shown[topic.index][topic.kind].append(channel)
            also = topic.also
            while also is not None:
                other = Channel(also)
                other.clients = channel.clients
                self._shown[also.index][also.kind].append(other)
                also = also.also
        channel.clients.append(client)
        client.since = time.monotonic()
        self._send(channel.topic.snapshot(self._clock()), [client])

    def _send(self, message: Message | None, clients: list[Client], without: Sequence[Client] = ()) -> None:
        """`without`: those from whom the message is kept, although it is counted."""
        if message is None:
            return
        if self.wire.stamped:
            for client in clients:
                text = client.session.stamp(message.text)
                if client not in without:
                    client.out.append(frame(text))
            clients = [client for client in clients if client not in without]
        elif clients := [client for client in clients if client not in without] if without else clients:
            data = b"".join(map(frame, (message.text, *message.more)))
            for client in clients:
                client.out.append(data)
        self.sent += len(clients)
        if self._ledger is not None:
            self._ledger.add(message.entries, len(clients))

    # The market

    def _step(self, count: int) -> None:
        """Make the next `count` messages and write them."""
        for client in [client for client in self.clients if not client.open]:
            self._forget(client)
        now_ms, shown, skip_every, send = self._clock(), self._shown, self.options.skip_every, self._send
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
        if self._channels:
            self.messages += count
        for client in self.clients:
            client.flush()

    def _planted(self, now_ms: int) -> list[Event]:
        """Events beside the market's own; the first cycle begins with the first subscription."""
        plants = self._model.plants
        if plants is None:
            return []
        if self._since_ms is None and self._channels:
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
            if self._spares(client, self._topics_of(client)):
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
        return any(channel.clients for channel in self._channels.values()) and all(
            client.buffered < UNPACED_BUFFERED for client in self.clients if client.open
        )

    async def run(self) -> None:
        await (self._paced() if self.options.rate else self._unpaced())
        self._flush()
        self.stopped.set()

    async def housekeeping(self) -> None:
        """Repetitions every 100 ms, the ledger every second."""
        for turn in range(1, 1 << 62):
            await asyncio.sleep(HOUSEKEEPING)
            now_ms = self._clock()
            for channel in self._channels.values():
                self._send(channel.topic.repeat(now_ms), channel.clients)
            for client in self.clients:
                client.flush()
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
            return list(self.clients)
        spared = [client for client in self.clients if self._spares(client, self._topics_of(client))]
        return sorted(spared, key=lambda client: (not client.harmed, client.number))[:1]

    def _topics_of(self, client: Client) -> list[tuple[str, str]]:
        return [key for key, channel in self._channels.items() if client in channel.clients]

    def _spares(self, client: Client, topics: Iterable[tuple[str, str]]) -> bool:
        """Whether another connection has each of these topics, whole and not just now."""
        now = time.monotonic()
        return all(
            any(
                other is not client and not other.harmed and now - other.since > SETTLED
                for other in (self._channels[key].clients if key in self._channels else ())
            )
            for key in topics
        )

    async def delist(self) -> None:
        while not self._channels:  # noqa: ASYNC110 - a busy machine may take long to begin
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
                simulator.session,
                simulator.serve_client,
                simulator.rest,
            )
        )
        if simulator.wire.rest_by_post:
            simulator.posts = stack.enter_context(
                posts.listen(options.host, simulator.rest, asyncio.get_running_loop())
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
