"""REST by POST, on a port of its own: the WebSocket library's server takes GET alone."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MOST_BYTES = 1 << 20
ANSWER_SECONDS = 5.0


@contextmanager
def listen(
    host: str, rest: Callable[[str, dict[str, str]], tuple[int, str]], loop: asyncio.AbstractEventLoop
) -> Iterator[str]:
    """Until the context ends; gives host:port. `rest(path, members of the body)` is called in `loop`."""

    async def ask(path: str, members: dict[str, str]) -> tuple[int, str]:
        return rest(path, members)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            try:
                size = min(int(self.headers.get("Content-Length", "0")), MOST_BYTES)
                members = json.loads(self.rfile.read(size))
                if not isinstance(members, dict):
                    raise ValueError("not an object")
                status, text = asyncio.run_coroutine_threadsafe(ask(self.path, members), loop).result(
                    ANSWER_SECONDS
                )
            except (ValueError, TimeoutError) as error:
                status, text = 400, str(error)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield f"{host}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
