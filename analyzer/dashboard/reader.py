"""Small, bounded answers from QuestDB over `/exec`, for charts. Windows of rows are read by `analyzer.source`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import httpx
import msgspec

from analyzer.config import Endpoint, UnreachableError
from analyzer.source import quoted

MAX_ROWS = 20_000
"""An answer is cut here; a chart asks for at most 720 points a line."""
TIMEOUT_S = 8.0
CONNECT_S = 2.0
CONNECTIONS = 2
"""Queries at once, whatever the number of browsers."""

Row = list[Any]
Instrument = tuple[str, str, str]
"""exchange, market, symbol"""


class UnavailableError(Exception):
    """QuestDB gives no answer; the message holds operation, object, cause and next step."""


class QueryError(Exception):
    """QuestDB refuses a query, most often as a table or a column is not there (yet)."""


class Answer(msgspec.Struct):
    dataset: list[Row] = []
    error: str = ""


class Reader:
    """Asks one server. Any thread may; a server that moved, as a managed one does at a restart, is found again."""

    def __init__(self, resolve: Callable[[], Endpoint]) -> None:
        """`resolve` says where the server is, and raises UnreachableError."""
        self.queries = 0
        """Sent so far."""
        self._resolve = resolve
        self._client: httpx.Client | None = None
        self._endpoint: Endpoint | None = None
        self._doubtful = False
        self._lock = threading.Lock()

    def rows(self, sql: str) -> list[Row]:
        """Raises UnavailableError, QueryError."""
        client = self._connected()
        self.queries += 1
        try:
            answer = client.get("/exec", params={"query": sql, "limit": f"0,{MAX_ROWS}", "nm": "true"})
        except httpx.HTTPError as error:
            self._doubtful = True
            raise UnavailableError(
                f"read from QuestDB at {client.base_url}: {type(error).__name__}: {error}; "
                "check that it runs ('collector db status') and questdb.url"
            ) from error
        try:
            result = msgspec.json.decode(answer.content, type=Answer)
        except msgspec.DecodeError:
            result = Answer(error=answer.text[:200])
        if answer.status_code in (401, 403):
            raise UnavailableError(
                f"read from QuestDB at {client.base_url}: HTTP {answer.status_code}; "
                "set EVENKEEL_QUESTDB_USER and EVENKEEL_QUESTDB_PASSWORD_FILE"
            )
        if answer.status_code >= 500:
            raise UnavailableError(
                f"read from QuestDB at {client.base_url}: HTTP {answer.status_code} {result.error}; "
                "look at the server's log"
            )
        if answer.status_code != 200 or result.error:
            raise QueryError(result.error or f"HTTP {answer.status_code}")
        return result.dataset

    def columns(self, table: str) -> set[str]:
        """Names of a table's columns; none when there is no such table. Raises UnavailableError."""
        try:
            names = self.rows(f'SELECT "column" FROM table_columns({quoted(table)})')  # noqa: S608 - quoted
            return {str(name) for (name,) in names}
        except QueryError:
            return set()

    def _connected(self) -> httpx.Client:
        """The client of where the server is; asked again after a failure, as it may have moved."""
        with self._lock:
            if self._client is None or self._doubtful:
                try:
                    endpoint = self._resolve()
                except UnreachableError as error:
                    raise UnavailableError(str(error)) from error
                if self._client is None or endpoint != self._endpoint:
                    self._client, self._endpoint = _client(endpoint), endpoint
                self._doubtful = False
            return self._client

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()


def _client(endpoint: Endpoint) -> httpx.Client:
    return httpx.Client(
        base_url=endpoint.http_url,
        auth=(endpoint.user, endpoint.password) if endpoint.user else None,
        timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S),
        limits=httpx.Limits(max_connections=CONNECTIONS),
        headers={"Statement-Timeout": str(round(TIMEOUT_S * 1000))},
        trust_env=False,
    )


def of_instrument(name: Instrument) -> str:
    """SQL: the rows of one instrument."""
    return " AND ".join(
        f"{column} = {quoted(value)}"
        for column, value in zip(("exchange", "market", "symbol"), name, strict=True)
    )
