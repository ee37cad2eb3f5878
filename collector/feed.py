"""One socket, for ever: connect, subscribe, ping, watch for silence, reconnect. A disconnect is an event, not an error."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence

import structlog
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from collector.backoff import backoff
from collector.config import FeedConfig
from collector.exchanges.base import Decoder, Exchange, Stream
from collector.metrics import Metrics
from collector.recorder import Recorder
from collector.transport import FeedConnection, open_connection

log = structlog.get_logger()

TICK = 0.02
"""Seconds between looks at the clock: books that are due, pings, silence."""
RETRY_FIRST, RETRY_CAP = 0.5, 30.0
HEALTHY_SECONDS = 10.0
"""A connection that brought data for this long makes the next wait short again."""
SEND_PAUSE = 0.1
"""Seconds between subscribe requests: venues limit messages per second."""


def now_us() -> int:
    return time.time_ns() // 1000


class Feed:
    """The streams of one connection."""

    def __init__(
        self,
        exchange: Exchange,
        feed: FeedConfig,
        streams: Sequence[Stream],
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self.name = f"{feed.exchange}/{feed.market}"
        self.streams = streams
        self.recorder = recorder
        self.decoder: Decoder | None = None
        self.connected = False
        self.last_push_us = 0
        """Event time of the newest message, over all connections so far."""
        self.last_message = 0.0
        """Monotonic time of the newest message."""
        self._exchange, self._feed, self._metrics = exchange, feed, metrics
        self._url = feed.ws_url or exchange.ws_url(feed.market)
        self._connection: FeedConnection | None = None
        self._paused = False

    async def run(self) -> None:
        """Until cancelled."""
        delays = backoff(RETRY_FIRST, RETRY_CAP)
        while True:
            opened = time.monotonic()
            reason = await self._connect_once()
            if self.last_message - opened > HEALTHY_SECONDS:
                delays = backoff(RETRY_FIRST, RETRY_CAP)
            delay = next(delays)
            log.warning("disconnected", feed=self.name, cause=reason, reconnect_in=round(delay, 2))
            await asyncio.sleep(delay)
            self._metrics.reconnects += 1

    async def _connect_once(self) -> str:
        """One connection, from opening to its end; why it ended."""
        try:
            connection = await open_connection(self._url, self._on_message)
        except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
            reason = f"connecting to {self._url} failed: {type(error).__name__}: {error}"
            self.recorder.event("connect_failed", now_us(), detail=reason)
            return reason
        self._metrics.connects += 1
        reason = "cancelled"
        sends: set[asyncio.Task[None]] = set()

        def send(text: str) -> None:
            task = asyncio.create_task(_send(connection, text))
            sends.add(task)
            task.add_done_callback(sends.discard)

        try:
            self.decoder = self._exchange.decoder(self._feed, self.streams)
            self.recorder.on_send(send)
            self._connection, self.connected = connection, True
            self.pause(self._paused)
            self.last_message = time.monotonic()
            self.recorder.event("connected", now_us(), detail=self._url)
            log.info("connected", feed=self.name, url=self._url, streams=len(self.streams))
            reason = await self._serve(connection)
        finally:
            self._disconnected(reason)
            for task in sends:
                task.cancel()
            await connection.close()
        return reason

    async def _serve(self, connection: FeedConnection) -> str:
        """Subscribe and look after the connection until it ends; why it ended."""
        assert self.decoder is not None
        reader = asyncio.create_task(self._read_fragmented(connection))
        subscriber = asyncio.create_task(self._subscribe(connection, self.decoder.subscribe()))
        ping_due = time.monotonic() + self._exchange.ping_interval
        try:
            while not reader.done():
                await asyncio.wait((reader,), timeout=TICK)
                self._flush()
                now = time.monotonic()
                if now >= ping_due:
                    ping_due = now + self._exchange.ping_interval
                    await _send(connection, self._exchange.ping())
                if self._paused:
                    self.last_message = now  # silence of our own making
                elif now - self.last_message > self._feed.silence:
                    return f"silent for {self._feed.silence:g} s"
                elif stalled := self.decoder.stalled(now_us()):
                    return stalled
            return await reader
        finally:
            subscriber.cancel()
            reader.cancel()
            await asyncio.gather(subscriber, reader, return_exceptions=True)

    async def _subscribe(self, connection: FeedConnection, frames: Sequence[str]) -> None:
        for frame in frames:
            await _send(connection, frame)
            await asyncio.sleep(SEND_PAUSE)

    async def _read_fragmented(self, connection: FeedConnection) -> str:
        """Messages that came in several frames or as binary ones; ends with the connection, and says why."""
        try:
            while True:
                message = await connection.recv(decode=False)
                self._on_message(message)
        except ConnectionClosed as error:
            return f"{type(error).__name__}: {error}"

    def _on_message(self, raw: bytes) -> None:
        decoder = self.decoder
        if decoder is None:
            return
        recv_us = time.time_ns() // 1000
        self._metrics.messages += 1
        self.last_message = time.monotonic()
        gaps = self.recorder.gaps
        try:
            items = decoder.decode(raw, recv_us)
        except Exception as error:  # a mistake of ours must not cost the socket
            log.exception(
                "decoder failed, message put aside", feed=self.name, remedy="report it with the dead letter"
            )
            self.recorder.decoder_failed(error, self.streams, decoder.last_ts, recv_us, raw)
            return
        if gaps.closing and decoder.last_push_us:
            gaps.received(decoder.last_push_us, recv_us)
        if items:
            self.recorder.take(items, recv_us, raw)

    def _flush(self) -> None:
        assert self.decoder is not None
        recv_us = now_us()
        self.recorder.take(self.decoder.flush(recv_us), recv_us)
        gaps = self.recorder.gaps
        if gaps.closing and recv_us - gaps.closing_since() > 5_000_000:
            gaps.received(0, recv_us)  # acknowledged and quiet

    def _disconnected(self, reason: str) -> None:
        """The stream of this connection ends here: let out what is held, and declare what follows as missing."""
        decoder, self.decoder = self.decoder, None
        self._connection, self.connected = None, False
        recv_us = now_us()
        if decoder is None:
            return
        self.recorder.take(decoder.drain(), recv_us)
        self.last_push_us = max(self.last_push_us, decoder.last_push_us)
        cause = "collector_stopped" if reason == "cancelled" else "disconnected"
        self.recorder.event(cause, recv_us, detail=reason)
        self.recorder.gaps.disconnected(self.streams, cause, decoder.last_ts, decoder.last_push_us, recv_us)

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the socket; the kernel's buffers and the venue hold what comes meanwhile."""
        self._paused = paused
        if self._connection is not None:
            transport = self._connection.transport
            if paused:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def newest_push_us(self) -> int:
        return max(self.last_push_us, self.decoder.last_push_us if self.decoder else 0)


async def _send(connection: FeedConnection, text: str) -> None:
    with contextlib.suppress(ConnectionClosed):  # the reader tells
        await connection.send(text)
