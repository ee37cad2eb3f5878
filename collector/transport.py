"""The socket: websockets' client connection, handing over messages without a queue in between.

`ClientConnection.recv()` wakes a task for every message. Here whole text frames go to a callback as they are parsed, which
takes 0.7 of the CPU time and leaves nothing to bound: while the callback runs, nothing is read. Everything else (handshake,
TLS, keepalive, close) is the library's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode
from websockets.protocol import Event

from collector import __version__

MAX_MESSAGE = 16 << 20
"""Bytes; a larger message, decompressed, closes the connection."""
OPEN_TIMEOUT = 10.0
KEEPALIVE = 20.0


class FeedConnection(ClientConnection):
    """Calls `on_message(bytes)` for every data message."""

    on_message: Callable[[bytes], None]

    def process_event(self, event: Event) -> None:
        if type(event) is Frame and event.opcode is Opcode.TEXT and event.fin and self.response is not None:
            # The library hands out a bytearray or a memoryview, by version and by how the frame came.
            self.on_message(bytes(event.data))
        else:
            super().process_event(event)


async def open_connection(url: str, on_message: Callable[[bytes], None]) -> FeedConnection:
    """Connect. Raises OSError, TimeoutError or a websockets exception."""

    def create(*args: Any, **kwargs: Any) -> FeedConnection:
        connection = FeedConnection(*args, **kwargs)
        connection.on_message = on_message
        return connection

    loopback = urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
    connection = await connect(
        url,
        create_connection=cast(type[ClientConnection], create),
        compression=None,
        max_size=MAX_MESSAGE,
        open_timeout=OPEN_TIMEOUT,
        close_timeout=2.0,
        ping_interval=KEEPALIVE,
        ping_timeout=KEEPALIVE,
        user_agent_header=f"evenkeel/{__version__}",
        proxy=None if loopback else True,
    )
    return cast(FeedConnection, connection)
