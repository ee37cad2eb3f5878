"""The socket's shortcut against the library's own reading, over real connections."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from collector.transport import MAX_MESSAGE, FeedConnection, open_connection

Handler = Callable[[ServerConnection], Coroutine[Any, Any, None]]


def wire(opcode: Opcode, data: bytes, fin: bool = True) -> bytes:
    """A frame as a server sends it, made by the library."""
    return Frame(opcode, data, fin).serialize(mask=False)


def url(server: Server) -> str:
    host, port = next(iter(server.sockets)).getsockname()[:2]
    return f"ws://{host}:{port}"


async def receive(handler: Handler) -> tuple[list[bytes], list[bytes], FeedConnection]:
    """What arrived by the callback, what by `recv()`, and the closed connection."""
    whole: list[bytes] = []
    others: list[bytes] = []
    async with serve(handler, "127.0.0.1", 0, compression=None) as server:
        connection = await open_connection(url(server), whole.extend)
        with contextlib.suppress(ConnectionClosed):
            async with asyncio.timeout(20):
                while True:
                    others.append(bytes(await connection.recv(decode=False)))
        await connection.wait_closed()
    return whole, others, connection


@pytest.mark.parametrize("seed", range(6))
def test_frames_of_every_kind_and_size_cut_anywhere(seed: int) -> None:
    rng = random.Random(seed)
    sizes = [0, 1, 124, 125, 126, 127, 1000, 65535, 65536, 70000]
    messages: list[bytes] = []
    fragmented: list[bytes] = []
    stream = b""
    for n in range(60):
        data = bytes(rng.randrange(32, 127) for _ in range(rng.choice(sizes[:7] if n % 9 else sizes)))
        match rng.randrange(6):
            case 0:
                stream += wire(Opcode.PING, b"are you there")
            case 1:
                cut = len(data) // 2
                stream += wire(Opcode.TEXT, data[:cut], fin=False)
                stream += wire(Opcode.PING, b"between")
                stream += wire(Opcode.CONT, data[cut:])
                fragmented.append(data)
            case 2:
                stream += wire(Opcode.BINARY, data)
                fragmented.append(data)
            case _:
                stream += wire(Opcode.TEXT, data)
                messages.append(data)

    async def handler(connection: ServerConnection) -> None:
        position = 0
        await asyncio.sleep(0.05)  # apart from the handshake
        while position < len(stream):
            step = rng.choice([1, 2, 3, 5, 130, 4000, 100_000])
            connection.transport.write(stream[position : position + step])
            position += step
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        await connection.close()

    whole, others, connection = asyncio.run(receive(handler))
    assert whole == messages
    assert others == fragmented
    assert connection.close_code == 1000


def test_pings_are_answered_and_requests_are_sent() -> None:
    answered: list[bool] = []
    requests: list[str | bytes] = []

    async def handler(connection: ServerConnection) -> None:
        connection.transport.write(wire(Opcode.TEXT, b"hello"))
        pong = await connection.ping()
        await asyncio.wait_for(pong, 5)
        answered.append(True)
        requests.append(await connection.recv())

    async def main() -> None:
        async with serve(handler, "127.0.0.1", 0, compression=None) as server:
            connection = await open_connection(url(server), lambda messages: None)
            await connection.send("subscribe")
            await connection.wait_closed()

    asyncio.run(main())
    assert answered == [True]
    assert requests == ["subscribe"]


def test_too_large_a_message_closes_the_connection() -> None:
    async def handler(connection: ServerConnection) -> None:
        await asyncio.sleep(0.05)
        connection.transport.write(wire(Opcode.TEXT, b"first"))
        await asyncio.sleep(0.05)
        connection.transport.write(wire(Opcode.TEXT, b"x" * (MAX_MESSAGE + 1)))
        await connection.wait_closed()

    whole, others, connection = asyncio.run(receive(handler))
    assert whole == [b"first"]
    assert others == []
    assert connection.protocol.close_sent is not None
    assert connection.protocol.close_sent.code == 1009  # message too big


def test_a_masked_frame_is_a_protocol_error() -> None:
    async def handler(connection: ServerConnection) -> None:
        await asyncio.sleep(0.05)
        connection.transport.write(Frame(Opcode.TEXT, b"masked").serialize(mask=True))
        await connection.wait_closed()

    whole, _, connection = asyncio.run(receive(handler))
    assert whole == []
    assert connection.protocol.close_sent is not None
    assert connection.protocol.close_sent.code == 1002  # protocol error


def test_data_that_comes_with_the_handshake_is_not_lost() -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from websockets.http11 import Request
        from websockets.server import ServerProtocol

        protocol = ServerProtocol()
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        text = wire(Opcode.TEXT, b"welcome")
        writer.write(b"".join(protocol.data_to_send()) + text[:4])
        await asyncio.sleep(0.05)
        writer.write(text[4:] + wire(Opcode.TEXT, b"more") + wire(Opcode.CLOSE, b"\x03\xe8"))
        await asyncio.sleep(0.2)
        writer.close()

    async def main() -> list[bytes]:
        got: list[bytes] = []
        server = await asyncio.start_server(respond, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        connection = await open_connection(f"ws://127.0.0.1:{port}", got.extend)
        with contextlib.suppress(ConnectionClosed):
            while True:
                got.append(bytes(await connection.recv(decode=False)))
        server.close()
        return got

    assert asyncio.run(main()) == [b"welcome", b"more"]
