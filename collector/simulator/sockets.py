"""The listening side that the simulator and the replay share: WebSockets and REST on one port, and bounded raw writing.

Data frames are made once for all receivers and written in batches straight to the transport: the websockets library
does the handshake, reads requests and answers protocol pings. All our own frames go this one way, so that they keep
their order.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import parse_qsl, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State

from collector.errors import BAD_CONFIG, OperatorError
from collector.simulator.wire import Session, Wire

MOST_BUFFERED = 64 << 20
"""A client that leaves more than this unread (bytes) is disconnected, as exchanges do."""
Rest = Callable[[str, dict[str, str]], tuple[int, str]]
"""(path, query) → (HTTP status, body)"""


def frame(text: str) -> bytes:
    """One unmasked text frame."""
    return frame_bytes(text.encode())


def frame_bytes(payload: bytes) -> bytes:
    """As `frame`; what is framed need not be text."""
    size = len(payload)
    if size < 126:
        return b"\x81" + size.to_bytes(1, "big") + payload
    if size < 1 << 16:
        return struct.pack(">BBH", 0x81, 126, size) + payload
    return struct.pack(">BBQ", 0x81, 127, size) + payload


class Client:
    """One connection, its requests and its unsent frames."""

    def __init__(
        self, connection: ServerConnection, market: str, session: Session, name: str, number: int
    ) -> None:
        self.connection, self.market, self.session = connection, market, session
        self.name, self.number = name, number
        self.since = 0.0
        """Monotonic, of the last subscription."""
        self.harmed = False
        """Something was kept from it, or refused to it."""
        self.out: list[bytes] = []

    @property
    def open(self) -> bool:
        return self.connection.state is State.OPEN and not self.connection.transport.is_closing()

    @property
    def buffered(self) -> int:
        """Bytes that the client has not taken."""
        return self.connection.transport.get_write_buffer_size()

    def flush(self) -> None:
        if self.out:
            if self.open:
                self.connection.transport.write(b"".join(self.out))
                if self.buffered > MOST_BUFFERED:
                    self.connection.transport.abort()
            self.out.clear()

    async def requests(self) -> AsyncIterator[str]:
        try:
            async for message in self.connection:
                yield message if isinstance(message, str) else message.decode(errors="replace")
        except ConnectionClosed:
            pass


@asynccontextmanager
async def listen(
    wire: Wire,
    host: str,
    port: int,
    make_session: Callable[[str, str], Session],
    serve_client: Callable[[Client], Awaitable[None]],
    rest: Rest,
) -> AsyncIterator[int]:
    """Listen until the context ends; gives the port. `make_session(path, connection id)`. Raises OperatorError."""
    numbers = itertools.count(1)

    def on_request(connection: ServerConnection, request: Request) -> Response | None:
        url = urlsplit(request.path)
        if url.path in wire.paths:
            return None
        status, body = rest(url.path, dict(parse_qsl(url.query)))
        response = connection.respond(HTTPStatus(status), body)
        if status == HTTPStatus.OK:
            del response.headers["Content-Type"]
            response.headers["Content-Type"] = "application/json; charset=utf-8"
        return response

    async def on_connection(connection: ServerConnection) -> None:
        assert connection.request is not None
        path = urlsplit(connection.request.path).path
        number = next(numbers)
        name = f"{wire.name}-{number}"
        await serve_client(Client(connection, wire.paths[path], make_session(path, name), name, number))

    try:
        server: Server = await serve(
            on_connection,
            host,
            port,
            process_request=on_request,
            compression=None,
            ping_interval=None,
            close_timeout=1,
        )
    except OSError as error:
        raise OperatorError(
            f"listen on {host}:{port}: {error.strerror or error}; choose another --port (0 takes any free one)",
            BAD_CONFIG,
        ) from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def ready_line(wire: Wire, host: str, port: int, posts: str = "") -> dict[str, object]:
    """What a starting process prints for whoever started it. `posts`: host:port of REST where it is not here."""
    at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return {
        "ready": True,
        "port": port,
        "ws_url_base": f"ws://{at}",
        "ws_urls": {market: f"ws://{at}{path}" for market, path in wire.bases.items()},
        "rest_url": f"http://{posts or at}",
    }
