"""A TCP proxy in front of a real server that can be taken away, or frozen. For tests only."""

from __future__ import annotations

import contextlib
import socket
import threading


class TcpProxy:
    """Forwards to host:port."""

    def __init__(self, host: str, port: int) -> None:
        self.frozen = threading.Event()
        """While set, nothing is forwarded, and connections stay: a server that hangs."""
        self._target = (host, port)
        self._away = False
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def away(self, away: bool) -> None:
        """Whether connections are cut, and new ones ended at once."""
        self._away = away
        while away and self._open:
            self._end(self._open.pop())

    def close(self) -> None:
        self._listener.close()
        self.away(True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                if self._away:
                    self._end(client)
                    continue
                server = socket.create_connection(self._target)
                self._open += [client, server]
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if self.frozen.is_set():
                    return
                sink.sendall(data)
            self._end(sink)

    @staticmethod
    def _end(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        connection.close()
