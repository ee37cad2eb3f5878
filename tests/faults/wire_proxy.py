"""A proxy between an exchange and the collector that knows WebSocket frames and misbehaves on demand. For tests only."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from urllib.parse import urlsplit

from collector.simulator.sockets import frame_bytes

Mutate = Callable[[bytes], list[bytes]]
"""A server's text message → the messages (bytes that begin with FRAME are whole frames) that are sent instead."""
FRAME = b"\x00frame\x00"
"""Marks what is to be sent as it is, for frames that break the protocol."""


def split_frame(data: bytes | bytearray) -> tuple[bytes, bytes, int] | None:
    """(whole frame, payload, length) of the first frame from a server, which masks nothing; None: it is not whole yet."""
    if len(data) < 2:
        return None
    size, start = data[1] & 127, 2
    if size == 126:
        start = 4
    elif size == 127:
        start = 10
    if len(data) < start:
        return None
    if start > 2:
        size = int.from_bytes(data[2:start], "big")
    if len(data) < start + size:
        return None
    return bytes(data[: start + size]), bytes(data[start : start + size]), start + size


class WireProxy:
    """Listens, and forwards each connection to `target` (ws://host:port/…)."""

    def __init__(self, target: str) -> None:
        parts = urlsplit(target)
        assert parts.hostname and parts.port
        self._target = (parts.hostname, parts.port)
        self.mutate: Mutate = lambda payload: [payload]
        self.requests: list[bytes] = []
        """What came from clients, unmasked."""
        self.refuse: int = 0
        """HTTP status for every new connection; 0: none."""
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        host, port = self._listener.getsockname()
        self.url = f"ws://{host}:{port}{parts.path}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refuse:
                with contextlib.suppress(OSError):
                    client.recv(65536)
                    head = f"HTTP/1.1 {self.refuse} No\r\nRetry-After: 2\r\nContent-Length: 0\r\n\r\n"
                    client.sendall(head.encode())
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:  # the exchange has ended
                client.close()
                continue
            self._open += [client, server]
            threading.Thread(target=self._from_client, args=(client, server), daemon=True).start()
            threading.Thread(target=self._from_server, args=(client, server), daemon=True).start()

    def freeze(self) -> None:
        """Half-open: the connections of now pass nothing any more; new ones do."""
        self._open.clear()

    def _passes(self, client: socket.socket) -> bool:
        return client in self._open

    def _from_client(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if not self._passes(client):
                    continue
                if data[:1] == b"\x81" and len(data) > 6:
                    self.requests.append(unmasked(data))
                server.sendall(data)
        if self._passes(client):
            self._end(client, server)

    def _from_server(self, client: socket.socket, server: socket.socket) -> None:
        buffer = bytearray()
        handshaken = False
        with contextlib.suppress(OSError):
            while data := server.recv(1 << 18):
                if not self._passes(client):
                    continue
                buffer += data
                if not handshaken:
                    end = buffer.find(b"\r\n\r\n") + 4
                    if end < 4:
                        continue
                    client.sendall(buffer[:end])
                    del buffer[:end]
                    handshaken = True
                out = []
                while (frame := split_frame(buffer)) is not None:
                    whole, payload, size = frame
                    del buffer[:size]
                    if whole[0] == 0x81:
                        out += [
                            one.removeprefix(FRAME) if one.startswith(FRAME) else frame_bytes(one)
                            for one in self.mutate(payload)
                        ]
                    else:
                        out.append(whole)
                if out:
                    client.sendall(b"".join(out))
        if self._passes(client):
            self._end(client, server)

    def _end(self, *sockets: socket.socket) -> None:
        for one in sockets:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def cut(self) -> None:
        """Reset every connection."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._end(one)
        self._open.clear()

    def close(self) -> None:
        self._listener.close()
        self.cut()


def unmasked(data: bytes) -> bytes:
    """The payload of a client's first frame."""
    size, start = data[1] & 127, 2
    if size == 126:
        size, start = int.from_bytes(data[2:4], "big"), 4
    mask, payload = data[start : start + 4], data[start + 4 : start + 4 + size]
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
