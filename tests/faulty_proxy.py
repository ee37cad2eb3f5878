"""An HTTP proxy in front of a real server that misbehaves on demand. For tests only."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

Fault = str | int | None
"""None: forward. A number: answer that status without forwarding. "reset": reset the connection before forwarding;
"lost-answer": forward, then reset instead of answering."""


class FaultyProxy:
    """Forwards to `target`; `fault(n)` says what to do with the n-th POST."""

    def __init__(self, target: str, fault: Callable[[int], Fault]) -> None:
        self.requests = 0
        self.fault = fault
        self.delay = 0.0
        """Seconds before each answer to a POST."""
        proxy = self
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    number = proxy.requests
                    proxy.requests += 1
                fault = proxy.fault(number)
                time.sleep(proxy.delay)
                if isinstance(fault, int):
                    self._answer(fault, b"out of order")
                elif fault == "reset":
                    self._reset()
                else:
                    answer = httpx.post(target + self.path, content=body, timeout=30)
                    if fault == "lost-answer":
                        self._reset()
                    else:
                        self._answer(answer.status_code, answer.content)

            def do_GET(self) -> None:
                answer = httpx.get(target + self.path, timeout=30)
                self._answer(answer.status_code, answer.content)

            def _answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                if status != 204:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                if status != 204:
                    self.wfile.write(body)

            def _reset(self) -> None:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                self.connection.close()
                self.close_connection = True

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Connections that end early are what this is for."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
