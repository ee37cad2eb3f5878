"""Loopback ports for the managed server, checked before it starts: its own error would name nobody."""

from __future__ import annotations

import socket

import psutil

from collector.database.endpoint import DatabaseError, answers


def choose(port: int, key: str) -> int:
    """`port` when it is free, any free one for 0. Raises DatabaseError naming who holds it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError as error:
            raise DatabaseError(
                "start QuestDB",
                f"port {port} (questdb.{key})",
                "this user may not open it",
                f"set questdb.{key} to one above 1023, or to 0 for any free port",
            ) from error
        except OSError as error:
            raise DatabaseError(
                "start QuestDB",
                f"port {port} (questdb.{key})",
                f"in use by {_holder(port)}",
                f"stop that program, or set questdb.{key} to another port (0: any free one)"
                + (
                    f', or set questdb.url = "http://127.0.0.1:{port}" to use that server'
                    if _is_questdb(port)
                    else ""
                ),
            ) from error
        return int(probe.getsockname()[1])


def _is_questdb(port: int) -> bool:
    return answers(f"http://127.0.0.1:{port}", timeout=1.0)


def _holder(port: int) -> str:
    try:
        for connection in psutil.net_connections("tcp"):
            if connection.laddr and connection.laddr.port == port and connection.status == psutil.CONN_LISTEN:
                if connection.pid:
                    return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
                break
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        pass
    return "a QuestDB server" if _is_questdb(port) else "another program"
