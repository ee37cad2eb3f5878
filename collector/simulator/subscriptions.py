"""Who has subscribed what at the simulator: answers requests, hands messages to subscribers, enters them in the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from collector.simulator.ledger import LedgerWriter
from collector.simulator.market import Market
from collector.simulator.sockets import Client, frame
from collector.simulator.wire import Message, Session, Topic, Wire

SETTLED = 3.0
"""Seconds after its last subscription in which a connection is not relied upon."""


class Channel:
    """A topic that has been subscribed at least once, and who has it now."""

    __slots__ = ("clients", "topic")

    def __init__(self, topic: Topic) -> None:
        self.topic = topic
        self.clients: list[Client] = []


class Subscriptions:
    """The connections of one simulated exchange, and the topics that were ever subscribed.

    `refuse_every`, `spare`: as in `server.Options`."""

    def __init__(
        self, wire: Wire, model: Market, ledger: LedgerWriter | None, refuse_every: int, spare: bool
    ) -> None:
        self.clients: set[Client] = set()
        self.channels: dict[tuple[str, str], Channel] = {}
        """(market, topic) → its channel."""
        self.shown: list[list[list[Channel]]] = [[[] for _ in range(4)] for _ in model.symbols]
        """[symbol][kind of event] → channels."""
        self.sent = 0
        """Frames written, over all clients."""
        self._wire, self._model, self._ledger = wire, model, ledger
        self._refuse_every, self._spare = refuse_every, spare
        self._asked = 0
        self._now_ms = time.time_ns() // 1_000_000
        self._exchange = wire.exchange(model, self._now_ms)

    def clock(self) -> int:
        """Milliseconds since the epoch, never backwards."""
        self._now_ms = max(self._now_ms, time.time_ns() // 1_000_000)
        return self._now_ms

    def session(self, path: str, conn_id: str) -> Session:
        return self._wire.session(
            path, conn_id, lambda topic: self._accepts(self._wire.paths[path], topic, conn_id)
        )

    def _accepts(self, market: str, topic: str, conn_id: str) -> bool:
        """Whether a subscription is granted; one in `refuse_every` is not."""
        gone = {
            self._wire.symbol(market, one.instrument.symbol) for one in self._model.symbols if one.delisted
        }
        if not self._exchange.knows(market, topic) or self._wire.offers(market, topic) in gone:
            return False
        if not self._refuse_every:
            return True
        client = next((one for one in self.clients if one.name == conn_id), None)
        if self._spare and (client is None or not self._spares(client, [(market, topic)])):
            return True
        self._asked += 1
        refused = self._asked % self._refuse_every == 0
        if refused and client is not None:
            client.harmed = True
        return not refused

    def rest(self, path: str, query: dict[str, str]) -> tuple[int, str]:
        status, answer = self._exchange.rest(path, query, self.clock())
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
                    self.channels[client.market, name].clients.remove(client)
                for name in reply.subscribed:
                    self._subscribe(client, name)
                client.flush()
        finally:
            self.forget(client)

    def forget(self, client: Client) -> None:
        self.clients.discard(client)
        for channel in self.channels.values():
            if client in channel.clients:
                channel.clients.remove(client)

    def _subscribe(self, client: Client, name: str) -> None:
        channel = self.channels.get((client.market, name))
        if channel is None:
            topic = self._exchange.topic(client.market, name)
            channel = self.channels[client.market, name] = Channel(topic)
            self.shown[topic.index][topic.kind].append(channel)
            also = topic.also
            while also is not None:
                other = Channel(also)
                other.clients = channel.clients
                self.shown[also.index][also.kind].append(other)
                also = also.also
        channel.clients.append(client)
        client.since = time.monotonic()
        self.send(channel.topic.snapshot(self.clock()), [client])

    def send(self, message: Message | None, clients: list[Client], without: Sequence[Client] = ()) -> None:
        """`without`: those from whom the message is kept, although it is counted."""
        if message is None:
            return
        if self._wire.stamped:
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

    def repeat(self) -> None:
        """Send what is due because nothing has been sent for a while."""
        now_ms = self.clock()
        for channel in self.channels.values():
            self.send(channel.topic.repeat(now_ms), channel.clients)
        self.flush()

    def flush(self) -> None:
        for client in self.clients:
            client.flush()

    def spares(self, client: Client) -> bool:
        """Whether another connection has each topic of this one."""
        return self._spares(
            client, [key for key, channel in self.channels.items() if client in channel.clients]
        )

    def _spares(self, client: Client, topics: Iterable[tuple[str, str]]) -> bool:
        """Whether another connection has each of these topics, whole and not just now."""
        now = time.monotonic()
        return all(
            any(
                other is not client and not other.harmed and now - other.since > SETTLED
                for other in (self.channels[key].clients if key in self.channels else ())
            )
            for key in topics
        )
