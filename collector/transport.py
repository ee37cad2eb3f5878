"""The socket: websockets' client connection, with a shortcut for whole text frames.

`ClientConnection.recv()` wakes a task for every message and parses frames in generators, at 5 µs a message. Here complete,
final, unmasked text frames, which is what exchanges send, are cut out of the bytes read and go straight to a callback,
those of one read together: less than 1 µs, and nothing to bound, since nothing is read while the callback runs. Every
other frame (ping, pong, close, fragments, errors) goes to the library, whole and in order; so do handshake, TLS,
keepalive and all that is sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast
from urllib.parse import urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.protocol import State

from collector import __version__, bounds

MAX_MESSAGE = bounds.MESSAGE.limit
FINAL_TEXT = 0x81
"""First byte of a frame: FIN, no extension, opcode text (RFC 6455, section 5.2)."""
OPEN_TIMEOUT = 10.0
KEEPALIVE = 20.0


class FeedConnection(ClientConnection):
    """Calls `on_messages` with the whole text frames of a read; other messages are had from `recv()`."""

    on_messages: Callable[[list[bytes]], None]
    _shortcut = False
    _rest = b""

    def data_received(self, data: bytes) -> None:
        if not self._shortcut:
            super().data_received(data)
            # Only from a frame's boundary on: what came with the handshake's end may be half a frame.
            self._shortcut = self.response is not None and data.endswith(b"\r\n\r\n")
            return
        if self._rest:
            data = self._rest + data
        messages: list[bytes] = []
        position, end = 0, len(data)
        while end - position >= 2:
            length = data[position + 1]
            if length == 126:
                start = position + 4
                if start > end:
                    break
                length = data[position + 2] << 8 | data[position + 3]
            elif length < 126:
                start = position + 2
            elif length == 127:
                start = position + 10
                length = int.from_bytes(data[position + 2 : start], "big")
            else:  # masked: not from a server
                start, length = position, MAX_MESSAGE + 1
            stop = start + length
            if stop > end or start > end:
                if length > MAX_MESSAGE and end >= start:
                    self._hand_over(messages)
                    # The library closes the connection over it, and needs no shortcut after.
                    self._shortcut, self._rest = False, b""
                    super().data_received(data[position:])
                    return
                break
            if data[position] == FINAL_TEXT:
                messages.append(data[start:stop])
            else:
                self._hand_over(messages)
                super().data_received(data[position:stop])
                if self.protocol.state is not State.OPEN or self.protocol.parser_exc is not None:
                    # A frame that ends the connection, or breaks the protocol: what follows it is not heard.
                    self._shortcut, self._rest = False, b""
                    return
            position = stop
        self._rest = data[position:]
        self._hand_over(messages)

    def _hand_over(self, messages: list[bytes]) -> None:
        """Those so far, and the list is empty again."""
        if messages:
            self.on_messages(messages)
            messages.clear()

    @property
    def held(self) -> int:
        """Bytes of a message that is not whole yet."""
        return len(self._rest)


async def open_connection(url: str, on_messages: Callable[[list[bytes]], None]) -> FeedConnection:
    """Connect. Raises OSError, TimeoutError or a websockets exception."""

    def create(*args: Any, **kwargs: Any) -> FeedConnection:
        connection = FeedConnection(*args, **kwargs)
        connection.on_messages = on_messages
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
