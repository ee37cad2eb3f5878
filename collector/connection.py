"""One connection, from its opening to its end: subscribe, ping, decode, watch for silence. It never raises for the venue."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Mapping, Sequence

import structlog
from websockets.exceptions import ConnectionClosed

from collector.capture import CapturedConnection
from collector.exchanges.base import Fetch, Instrument, Stream
from collector.metrics import Metrics
from collector.recorder import Recorder, Source
from collector.rest import RequestRefusedError
from collector.stopwatch import Stopwatch
from collector.transport import FeedConnection, open_connection
from collector.venue import Venue

log = structlog.get_logger()

TICK = 0.02
"""Seconds between looks at the clock: books that are due, pings, silence."""
CLOCK_JUMP = 5.0
"""Seconds by which the system's clock may be set without our noticing."""
QUIET_US = 5_000_000
"""An acknowledged stream is taken as whole after this, though no message has come on its connection."""


def now_us() -> int:
    return time.time_ns() // 1000


class Connection:
    """Carries the streams of one plan. `number` tells it from the others of its recorder, before and beside it."""

    def __init__(
        self,
        number: int,
        venue: Venue,
        instruments: Mapping[str, Instrument],
        streams: Sequence[Stream],
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self.number, self.streams = number, streams
        self.url = venue.exchange.ws_url(venue.feed, streams)
        self.decoder = venue.exchange.decoder(venue.feed, streams, instruments)
        self.opened_at = 0.0
        """Monotonic, as `last_message`."""
        self.last_message = 0.0
        self._venue, self._recorder, self._metrics = venue, recorder, metrics
        self._socket: FeedConnection | None = None
        self._outbox: deque[str] = deque()
        """Frames for the venue; a stream asks for one thing at a time, so there are few."""
        self._to_send = asyncio.Event()
        self._fetches: set[asyncio.Task[None]] = set()
        """Requests to REST; a stream asks for one thing at a time."""
        self._captured: CapturedConnection | None = None
        self._decode = self.decoder.decode
        self._stopwatch = Stopwatch(self.decoder.decode, metrics.times)
        self._paused = False
        self._retired = ""
        self._over = False
        self._asked_us = 0
        """When the streams were subscribed."""

    async def open(self, paused: bool) -> None:
        """Raises OSError, TimeoutError or a websockets exception."""
        decoder = self.decoder
        self._recorder.opened(
            self.number, Source(self._enqueue, self._fetch, decoder.last_ts, decoder.received)
        )
        if (capture := self._venue.capture) is not None:
            self._captured = capture.connection(self._venue.feed.market, self.url)
        try:
            self._socket = await open_connection(self.url, self._on_messages)
        except BaseException:
            self._recorder.closed(self.number)
            if self._captured is not None:
                self._captured.closed()
            raise
        self.opened_at = self.last_message = time.monotonic()
        self._metrics.connects += 1
        self._recorder.event("connected", now_us(), detail=self.url)
        log.info("connected", url=self.url, streams=len(self.streams))
        self.pause(paused)

    async def serve(self) -> str:
        """Look after the connection until it ends; why it ended."""
        assert self._socket is not None
        reason = "cancelled"
        self._asked_us = now_us()
        for frame in self.decoder.subscribe():
            self._enqueue(frame)
        reader = asyncio.create_task(self._read_fragmented(self._socket))
        sender = asyncio.create_task(self._send(self._socket))
        try:
            reason = await self._watch(reader)
        finally:
            self._ended(reason)
            tasks = [sender, reader, *self._fetches]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._socket.close()
        return reason

    async def _watch(self, reader: asyncio.Task[str]) -> str:
        assert self._socket is not None
        ping_due = time.monotonic() + self._venue.exchange.ping_interval
        clock = time.time() - time.monotonic()
        while not reader.done():
            await asyncio.wait((reader,), timeout=TICK)
            recv_us, now = now_us(), time.monotonic()
            self._socket.on_messages = self._timed
            if self._retired:
                return self._retired
            if abs(jump := recv_us / 1e6 - now - clock) > CLOCK_JUMP:
                # Every wait that counts from a time of receipt would be wrong: begin anew, and declare the moment.
                return f"the clock of this machine was set by {jump:+.1f} s"
            self._flush(recv_us)
            if now >= ping_due:
                ping_due = now + self._venue.exchange.ping_interval
                if ping := self._venue.exchange.ping():
                    self._enqueue(ping, urgent=True)
            if self._paused:
                self.last_message = now  # silence of our own making
            elif now - self.last_message > self._venue.feed.silence:
                self._recorder.tally.silent({channel for channel, _ in self.streams})
                return f"silent for {self._venue.feed.silence:g} s"
            elif stalled := self.decoder.stalled(recv_us):
                return stalled
        return await reader

    def retire(self, reason: str) -> None:
        """End it in good order."""
        self._retired = reason

    def _enqueue(self, frame: str, urgent: bool = False) -> None:
        if urgent:
            self._outbox.appendleft(frame)
        else:
            self._outbox.append(frame)
        self._to_send.set()

    async def _send(self, socket: FeedConnection) -> None:
        """Frames for the venue, no faster than it allows."""
        while True:
            await self._to_send.wait()
            self._to_send.clear()
            while self._outbox:
                frame = self._outbox.popleft()
                if self._captured is not None:
                    self._captured.sent(frame)
                with contextlib.suppress(ConnectionClosed):  # the reader tells
                    await socket.send(frame)
                await asyncio.sleep(self._venue.exchange.limits.frame_interval)

    def _fetch(self, item: Fetch) -> None:
        task = asyncio.create_task(self._answer(item))
        self._fetches.add(task)
        task.add_done_callback(self._fetches.discard)

    async def _answer(self, item: Fetch) -> None:
        """Ask the venue's REST what the decoder wants to know."""
        try:
            body = await self._venue.rest.fetch(item.request)
        except RequestRefusedError as error:
            body = b""
            self._recorder.event("request_refused", now_us(), detail=str(error))
        recv_us = now_us()
        if not self._over:
            self._recorder.take(self.decoder.answer(item.tag, body, recv_us), recv_us, body, self.number)

    async def _read_fragmented(self, socket: FeedConnection) -> str:
        """Messages that came in several frames or as binary ones; ends with the connection, and says why."""
        try:
            while True:
                self._on_messages([await socket.recv(decode=False)])
        except ConnectionClosed as error:
            return f"{type(error).__name__}: {error}"

    def _timed(self, messages: Sequence[bytes]) -> None:
        """Those of one read, each by itself; those of the next are heard untimed."""
        assert self._socket is not None
        self._socket.on_messages, self._decode = self._on_messages, self._stopwatch.decode
        for raw in messages:
            self._stopwatch.time(self._hear, raw)
        self._decode = self.decoder.decode

    def _hear(self, raw: bytes) -> None:
        self._on_messages((raw,))

    def _on_messages(self, messages: Sequence[bytes]) -> None:
        """Those of one read, in order."""
        if self._over:
            return  # its end is declared: what still comes must not seem to close the hole
        self._metrics.messages += len(messages)
        self.last_message = time.monotonic()
        decoder, recorder, number, clock_ns = self.decoder, self._recorder, self.number, time.time_ns
        gaps, decode, take, captured = recorder.gaps, self._decode, recorder.take, self._captured
        for raw in messages:
            # A time of its own for each: where a venue tells none, it is the row's.
            recv_us = clock_ns() // 1000
            if captured is not None:
                captured.received(raw)
            try:
                items = decode(raw, recv_us)
            except Exception as error:  # a mistake of ours must not cost the socket
                log.exception(
                    "decoder failed, message put aside", url=self.url, remedy="report it with the dead letter"
                )
                recorder.decoder_failed(error, recv_us, raw, number)
                continue
            if gaps.awaiting and decoder.last_push_us:
                gaps.received(decoder.last_push_us, recv_us, number)
            if items:
                take(items, recv_us, raw, number)

    def _flush(self, recv_us: int) -> None:
        recorder, gaps = self._recorder, self._recorder.gaps
        recorder.take(self.decoder.flush(recv_us), recv_us, source=self.number)
        recorder.look(recv_us, self.number)
        if self._venue.capture is not None:
            for event, detail in self._venue.capture.take_news():
                recorder.event(event, recv_us, detail=detail)
        acknowledged = gaps.acknowledged(self.number)
        if acknowledged and recv_us - acknowledged > QUIET_US:
            gaps.received(0, recv_us, self.number)

    def _ended(self, reason: str) -> None:
        """Let out what is held, and declare what follows as missing, unless another connection has it."""
        self._over = True
        recv_us = now_us()
        if self._captured is not None:
            self._captured.closed()
        recorder, decoder = self._recorder, self.decoder
        recorder.take_last(decoder.drain(), recv_us, self.number)
        cause = "collector_stopped" if reason == "cancelled" else "disconnected"
        recorder.event("replaced" if self._retired else cause, recv_us, detail=reason)
        if self._retired:
            recorder.gaps.left(self.number)
        recorder.gaps.disconnected(
            self.streams,
            cause,
            decoder.last_ts,
            decoder.last_push_us,
            recv_us,
            self.number,
            self._asked_us,
        )
        recorder.closed(self.number)

    @property
    def held(self) -> int:
        """Bytes of a message that is not whole yet."""
        return self._socket.held if self._socket is not None else 0

    def pause(self, paused: bool) -> None:
        """Stop or go on reading the socket; the kernel's buffers and the venue hold what comes meanwhile."""
        self._paused = paused
        if self._socket is not None:
            if paused:
                self._socket.transport.pause_reading()
            else:
                self._socket.transport.resume_reading()
