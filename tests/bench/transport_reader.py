"""Reads a simulator's stream into a callback that does nothing, by one library, and tells the CPU that a message took.

Arguments: transport, URL, messages. Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvloop
from websockets.asyncio.client import connect

from collector.transport import open_connection
from tests.bench.collector_bench import SYMBOLS

TOPICS = [f"{kind}.{symbol}" for kind in ("publicTrade", "orderbook.50") for symbol in SYMBOLS.split(",")]
SUBSCRIBE = json.dumps({"op": "subscribe", "args": TOPICS})
WARM_UP = 20_000
"""Messages before the clock starts."""


class Counter:
    """The callback: counts, and notes CPU and bytes between the warm-up's end and the last message."""

    def __init__(self, messages: int) -> None:
        self._last = WARM_UP + messages
        self.count = self.size = 0
        self.cpu = 0.0
        self.done = asyncio.Event()

    def __call__(self, message: bytes | bytearray | memoryview) -> None:
        self.count += 1
        if self.count == WARM_UP:
            self.cpu = time.process_time()
        elif self.count == self._last:
            self.cpu = time.process_time() - self.cpu
            self.done.set()


async def ours(url: str, counter: Counter) -> None:
    """`collector.transport`: websockets, with a shortcut for whole text frames."""

    def count(messages: list[bytes]) -> None:
        for message in messages:
            counter(message)

    connection = await open_connection(url, count)
    await connection.send(SUBSCRIBE)
    await counter.done.wait()
    connection.transport.abort()


async def websockets(url: str, counter: Counter) -> None:
    """The library's own way."""
    async with connect(url, compression=None, max_queue=1024, close_timeout=0.1) as connection:
        await connection.send(SUBSCRIBE)
        while not counter.done.is_set():
            counter(await connection.recv(decode=False))
        connection.transport.abort()


async def picows(url: str, counter: Counter) -> None:
    """A listener in Cython. The payload is copied, as a decoder that outlives the callback needs it."""
    library: Any = importlib.import_module("picows")
    text = library.WSMsgType.TEXT

    class Listener(library.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == text:
                counter(frame.get_payload_as_bytes())

    transport, _ = await library.ws_connect(Listener, url)
    transport.send(text, SUBSCRIBE.encode())
    await counter.done.wait()
    transport.disconnect(graceful=False)


async def picows_view(url: str, counter: Counter) -> None:
    """The same without the copy: a memoryview that is good during the callback, which our decoders could take."""
    library: Any = importlib.import_module("picows")
    text = library.WSMsgType.TEXT

    class Listener(library.WSListener):  # type: ignore[misc]
        def on_ws_frame(self, transport: Any, frame: Any) -> None:
            if frame.msg_type == text:
                counter(frame.get_payload_as_memoryview())

    transport, _ = await library.ws_connect(Listener, url)
    transport.send(text, SUBSCRIBE.encode())
    await counter.done.wait()
    transport.disconnect(graceful=False)


TRANSPORTS: dict[str, Callable[[str, Counter], Awaitable[None]]] = {
    "ours": ours,
    "websockets": websockets,
    "picows": picows,
    "picows_view": picows_view,
}


async def read(transport: str, url: str, messages: int) -> None:
    counter = Counter(messages)
    await TRANSPORTS[transport](url, counter)
    print(json.dumps({"cpu_us": counter.cpu / messages * 1e6}))


if __name__ == "__main__":
    uvloop.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3])))
