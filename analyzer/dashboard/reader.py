"""Small, bounded answers from QuestDB over PGWire, as the user that may only read where there is one.

Windows of rows are read by `analyzer.source`.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from analyzer.config import Endpoint, UnreachableError
from analyzer.source import quoted

MAX_ROWS = 20_000
"""Rows beyond are left out; a chart asks for at most 720 points a line."""
TIMEOUT_S = 8.0
"""A query that takes longer is given up, however the server hangs."""
CONNECT_S = 2
CONNECTIONS = 2
"""Queries at once, whatever the number of browsers."""

Row = tuple[Any, ...]
Connection = psycopg.Connection[Row]
Instrument = tuple[str, str, str]
"""exchange, market, symbol"""


class UnavailableError(Exception):
    """QuestDB gives no answer; the message holds operation, object, cause and next step."""


class QueryError(Exception):
    """QuestDB refuses a query, most often as a table or a column is not there (yet)."""


class Reader:
    """Asks one server. Any thread may; a server that moved, as a managed one does at a restart, is found again."""

    def __init__(self, resolve: Callable[[], Endpoint]) -> None:
        """`resolve` says where the server is, and raises UnreachableError."""
        self.queries = 0
        """Sent so far."""
        self._resolve = resolve
        self._idle: queue.LifoQueue[Connection | None] = queue.LifoQueue()
        for _ in range(CONNECTIONS):
            self._idle.put(None)

    def rows(self, sql: str) -> list[Row]:
        """Raises UnavailableError, QueryError."""
        with self._connected() as connection, _deadline(connection):
            self.queries += 1
            try:
                return connection.execute(sql.encode()).fetchmany(MAX_ROWS)
            except psycopg.Error as error:
                if connection.closed or isinstance(error, psycopg.InterfaceError):
                    raise _away(connection.info.host, connection.info.port, error) from error
                raise QueryError(" ".join(str(error).split())) from error

    def columns(self, table: str) -> set[str]:
        """Names of a table's columns; none when there is no such table. Raises UnavailableError."""
        try:
            names = self.rows(f'SELECT "column" FROM table_columns({quoted(table)})')  # noqa: S608 - quoted
            return {str(name) for (name,) in names}
        except QueryError:
            return set()

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        """A connection for one query. Raises UnavailableError."""
        try:
            connection = self._idle.get(timeout=TIMEOUT_S)
        except queue.Empty:
            raise UnavailableError(
                f"QuestDB is busy: {CONNECTIONS} queries took longer than {TIMEOUT_S:g} s"
            ) from None
        try:
            if connection is None:
                connection = self._connect()
            yield connection
        finally:
            self._idle.put(None if connection is None or connection.closed else connection)

    def _connect(self) -> Connection:
        try:
            pg = self._resolve().pg
        except UnreachableError as error:
            raise UnavailableError(str(error)) from error
        try:
            return psycopg.connect(pg, autocommit=True, connect_timeout=CONNECT_S, prepare_threshold=None)
        except psycopg.Error as error:
            where = conninfo_to_dict(pg)
            raise _away(where.get("host"), where.get("port"), error) from error

    def close(self) -> None:
        """Of the connections that nobody uses."""
        with suppress(queue.Empty):
            while True:
                connection = self._idle.get_nowait()
                if connection is not None:
                    connection.close()


@contextmanager
def _deadline(connection: Connection) -> Iterator[None]:
    """Cuts the connection when the time is over: a server that is stopped or frozen keeps no time-out of its own."""

    def cut() -> None:
        with suppress(OSError), socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(TIMEOUT_S, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _away(host: object, port: object, error: Exception) -> UnavailableError:
    cause = " ".join(str(error).split())
    return UnavailableError(
        f"read from QuestDB at {host}:{port}: {cause}; check that it runs ('collector db status'), questdb.pg, and "
        "EVENKEEL_QUESTDB_READER or EVENKEEL_QUESTDB_USER with their password"
    )


def of_instrument(name: Instrument) -> str:
    """SQL: the rows of one instrument."""
    return " AND ".join(
        f"{column} = {quoted(value)}"
        for column, value in zip(("exchange", "market", "symbol"), name, strict=True)
    )
