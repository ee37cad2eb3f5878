"""Where QuestDB is, whether it answers, and whether it is new enough."""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from collector.errors import OperatorError
from collector.settings import QuestDBConfig

OLDEST = (9, 0)
"""Arrays (`DOUBLE[][]`) and line protocol 2 came with 9.0."""
PG_PORT = 8812
PG_USER, PG_PASSWORD = "admin", "quest"
CONNECT_TIMEOUT = 5


class DatabaseError(OperatorError):
    """An operation on the database failed."""

    def __init__(self, operation: str, subject: str, cause: str, next_step: str) -> None:
        super().__init__(f"{operation}: {subject}: {cause}; {next_step}")
        self.operation, self.subject, self.cause, self.next_step = operation, subject, cause, next_step


class UnsupportedServerError(DatabaseError):
    """A server answers, but waiting won't make it one that Evenkeel can use."""


class Endpoint(msgspec.Struct, frozen=True):
    """One QuestDB server."""

    http_url: str
    """Without a slash at the end."""
    pg: str
    """What `psycopg.connect` takes. Holds the password: not for logs."""
    user: str = ""
    """For HTTP; empty: none is sent."""
    password: str = ""

    def __repr__(self) -> str:
        return f"Endpoint(http_url={self.http_url!r}, user={self.user!r})"

    @property
    def auth(self) -> tuple[str, str] | None:
        """HTTP basic authentication, as httpx takes it."""
        return (self.user, self.password) if self.user else None


def resolve(config: QuestDBConfig) -> Endpoint:
    """The server that the configuration means; the managed one is started where it isn't running.

    Raises DatabaseError.
    """
    if config.url != "managed":
        return of_url(config)
    # Only here: the managed server's tools stay out of processes that use a server of their own.
    from collector.database import managed

    return managed.endpoint_of(managed.start(config), config)


def of_url(config: QuestDBConfig) -> Endpoint:
    """The endpoint of a server that somebody else runs."""
    if config.pg:
        try:
            given = conninfo_to_dict(config.pg)
        except psycopg.ProgrammingError as error:
            raise DatabaseError(
                "read the configuration",
                "questdb.pg",
                f"not a PostgreSQL address ({str(error).strip()})",
                'write "postgresql://user@host:8812/qdb"',
            ) from error
        missing = {
            "user": config.user or PG_USER,
            "password": config.password or PG_PASSWORD,
            "dbname": "qdb",
        }
        pg = make_conninfo(config.pg, **{key: value for key, value in missing.items() if key not in given})
    else:
        pg = pg_url(urlsplit(config.url).hostname or "", PG_PORT, config)
    return Endpoint(config.url.rstrip("/"), pg, config.user, config.password)


def pg_url(host: str, port: int, config: QuestDBConfig) -> str:
    user, password = quote(config.user or PG_USER, safe=""), quote(config.password or PG_PASSWORD, safe="")
    return f"postgresql://{user}:{password}@{f'[{host}]' if ':' in host else host}:{port}/qdb"


def connect(endpoint: Endpoint) -> psycopg.Connection[tuple[Any, ...]]:
    """A PGWire connection, autocommitting. Raises DatabaseError."""
    try:
        return psycopg.connect(endpoint.pg, autocommit=True, connect_timeout=CONNECT_TIMEOUT)
    except psycopg.Error as error:
        raise DatabaseError(
            "connect over PGWire",
            f"QuestDB at {endpoint.http_url}",
            str(error).strip(),
            "check that its PGWire port is reachable and that questdb.pg and EVENKEEL_QUESTDB_USER/_PASSWORD_FILE are right",
        ) from error


def server_version(endpoint: Endpoint) -> str:
    """The server's version, for example "9.3.4". Raises DatabaseError."""
    subject = f"QuestDB at {endpoint.http_url}"
    try:
        response = httpx.get(f"{endpoint.http_url}/settings", auth=endpoint.auth, timeout=CONNECT_TIMEOUT)
    except httpx.HTTPError as error:
        raise DatabaseError(
            "reach the database",
            subject,
            str(error) or type(error).__name__,
            "start it ('collector db start' for the managed one) or correct questdb.url",
        ) from error
    if response.status_code in (401, 403):
        raise DatabaseError(
            "reach the database",
            subject,
            f"HTTP {response.status_code}, it refuses this user",
            "set EVENKEEL_QUESTDB_USER and EVENKEEL_QUESTDB_PASSWORD_FILE",
        )
    if response.status_code >= 500:
        raise DatabaseError(
            "reach the database",
            subject,
            f"HTTP {response.status_code}",
            "look at the server's (or its proxy's) log",
        )
    try:
        settings = msgspec.json.decode(response.content, type=dict[str, Any])
    except msgspec.DecodeError:
        settings = {}
    found = settings.get("config", settings)
    version = found.get("release.version") if isinstance(found, dict) else None
    if not isinstance(version, str):
        raise UnsupportedServerError(
            "ask for the version",
            subject,
            f"/settings names none (HTTP {response.status_code}): not QuestDB, or one older than {OLDEST[0]}.{OLDEST[1]}",
            f"correct questdb.url or upgrade to QuestDB {OLDEST[0]}.{OLDEST[1]} or newer",
        )
    return version


def require_supported(endpoint: Endpoint) -> str:
    """The server's version. Raises UnsupportedServerError when it is too old, DatabaseError when it is down."""
    version = server_version(endpoint)
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < OLDEST:
        raise UnsupportedServerError(
            "check the version",
            f"QuestDB at {endpoint.http_url}",
            f"it is {version}, and {OLDEST[0]}.{OLDEST[1]} or newer is needed (array columns)",
            "upgrade the server; 9.3.4 is the version tested",
        )
    return version


def answers(http_url: str, timeout: float = CONNECT_TIMEOUT) -> bool:
    """Whether a QuestDB answers there within `timeout` seconds. /ping needs no password."""
    try:
        return httpx.get(f"{http_url}/ping", timeout=timeout).status_code == 204
    except httpx.HTTPError:
        return False


def wait_until_ready(endpoint: Endpoint, timeout: float | None = None) -> None:
    """Return when the server answers; `timeout` in seconds, None waits for ever. Raises DatabaseError."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while not answers(endpoint.http_url):
        if deadline is not None and time.monotonic() >= deadline:
            raise DatabaseError(
                "wait for the database",
                f"QuestDB at {endpoint.http_url}",
                f"no answer within {timeout:g} s",
                "start it ('collector db start' for the managed one) or correct questdb.url",
            )
        time.sleep(0.1)
