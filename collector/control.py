"""A Unix socket in the journal's folder for questions to the running process. Only its own user and root may ask.

One line of JSON in, one answer out: {"do": "memory", "limit": 20} or {"do": "trace", "frames": 1, "seconds": 900} or
{"do": "stop"}; the answer is {"ok": …} or {"error": "…"}. A thread of its own serves one question after the other.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from collector.errors import OperatorError
from collector.memory import MOST_FRAMES, MOST_ROWS, Report, take
from collector.metrics import Metrics

log = structlog.get_logger()

NAME = "control.sock"
LONGEST_PATH = 107
"""Bytes that a Unix socket's address holds."""
MOST_REQUEST = 4096
PATIENCE = 10.0
"""Seconds that a client may take."""
LOOK_SECONDS = 0.1
"""Between looks whether it is to be closed: a stop takes no longer."""
MOST_TRACE_SECONDS = 3600.0
MOST_TRACING_BYTES = 256 << 20
"""Tracing that takes more memory than this ends by itself."""


class Request(msgspec.Struct, forbid_unknown_fields=True):
    do: str
    """memory, trace or stop"""
    limit: int = 20
    frames: int = 1
    seconds: float = 900.0
    """Tracing ends by itself after this, should nobody end it."""


class ControlServer:
    """Serves until closed."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        self._metrics = metrics
        self._path = folder / NAME
        self._closing = threading.Event()
        self._trace_until = 0.0
        self._traced_since_us: int | None = None
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._path.unlink(missing_ok=True)
        os.fchmod(self._socket.fileno(), 0o600)  # before there is a file that others could open
        with address(self._path) as short:
            self._socket.bind(short)
        self._socket.listen(4)
        self._socket.settimeout(LOOK_SECONDS)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closing.set()
        self._thread.join(PATIENCE)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._bound_tracing()
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE)
                try:
                    connection.sendall(self._answer(connection) + b"\n")
                except OSError as error:
                    log.warning("a question over the control socket was not answered", cause=str(error))

    def _answer(self, connection: socket.socket) -> bytes:
        uid = peer_uid(connection)
        if uid not in (0, os.getuid()):
            log.warning("another user asked over the control socket, refused", uid=uid)
            return msgspec.json.encode({"error": f"user {uid} may not ask; ask as user {os.getuid()}"})
        try:
            request = msgspec.json.decode(read_line(connection, MOST_REQUEST), type=Request)
            return msgspec.json.encode({"ok": self._do(request)})
        except (msgspec.DecodeError, ValueError, OperatorError) as error:
            return msgspec.json.encode({"error": str(error)})
        except Exception as error:  # a question must not end the thread, let alone the process
            log.exception("a question over the control socket failed", remedy="report it")
            return msgspec.json.encode({"error": repr(error)})

    def _do(self, request: Request) -> Report | None:
        if request.do == "memory":
            if not 1 <= request.limit <= MOST_ROWS:
                raise ValueError(f"limit must be between 1 and {MOST_ROWS}")
            return take(self._metrics, request.limit, self._traced_since_us)
        if request.do == "trace":
            self._trace(request)
        elif request.do == "stop":
            tracemalloc.stop()
        else:
            raise ValueError(f'"{request.do}" is not known; there are memory, trace, stop')
        return None

    def _trace(self, request: Request) -> None:
        if not 1 <= request.frames <= MOST_FRAMES or not 1 <= request.seconds <= MOST_TRACE_SECONDS:
            raise ValueError(f"frames must be 1 to {MOST_FRAMES}, seconds 1 to {MOST_TRACE_SECONDS:g}")
        self._trace_until = time.monotonic() + request.seconds
        if not tracemalloc.is_tracing():
            tracemalloc.start(request.frames)
            self._traced_since_us = time.time_ns() // 1000
            log.info("allocations are traced", frames=request.frames, seconds=request.seconds)

    def _bound_tracing(self) -> None:
        if tracemalloc.is_tracing():
            costs = tracemalloc.get_tracemalloc_memory()
            if time.monotonic() > self._trace_until or costs > MOST_TRACING_BYTES:
                tracemalloc.stop()
                log.info("allocations are traced no more", it_took_bytes=costs)


def ask(folder: Path, **request: Any) -> Report | None:
    """Put a question to the collector of that journal. Raises OperatorError."""
    path = folder / NAME
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, address(path) as short:
            connection.settimeout(120)
            connection.connect(short)
            with contextlib.suppress(
                BrokenPipeError
            ):  # who may not ask is answered before the question is heard
                connection.sendall(msgspec.json.encode(request) + b"\n")
            answer = msgspec.json.decode(read_line(connection, 16 << 20))
    except PermissionError as error:
        raise OperatorError(f"{path}: not allowed; ask as the user that the collector runs as") from error
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"{path}: no collector answers ({error}); is one running with this journal.path?"
        ) from error
    if "error" in answer:
        raise OperatorError(f"the collector refused: {answer['error']}")
    return None if answer["ok"] is None else msgspec.convert(answer["ok"], Report)


@contextlib.contextmanager
def address(path: Path) -> Iterator[str]:
    """The path, or a shorter one of the same file where it is too long for a socket's address."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{descriptor}/{path.name}"
    finally:
        os.close(descriptor)


def peer_uid(connection: socket.socket) -> int:
    """User of the process at the other end, as the kernel tells it (unix(7), SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)


def read_line(connection: socket.socket, most: int) -> bytes:
    """Up to the first newline, or the end. Raises ValueError for a longer one."""
    data = b""
    while not data.endswith(b"\n"):
        piece = connection.recv(1 << 16)
        if not piece:
            break
        data += piece
        if len(data) > most:
            raise ValueError(f"longer than {most} bytes")
    return data
