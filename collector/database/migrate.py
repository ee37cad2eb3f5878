"""Brings the tables in `sql/` up to date: every numbered file once and in order, then the TTLs of the configuration.

Files are named `NNNN_words.sql` and never change once released. QuestDB has neither transactions over DDL nor locks for
its clients, so two processes may apply the same file at once, or one again that failed half-way: every statement must
bear that (`IF NOT EXISTS`, `OR REPLACE`). A file is recorded in `schema_migrations` when all of its statements have
succeeded, by each of the processes that applied it.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from collector.database.endpoint import DatabaseError, Endpoint, connect
from collector.settings import RetentionConfig

Connection = psycopg.Connection[tuple[Any, ...]]

APPLY_TIMEOUT = 60.0
"""Seconds for the server to apply what it has accepted."""
RACE_TRIES = 20
BUSY = (
    "table busy",
    "could not lock",
    "table exists",
    "already exists",
    "duplicate column",
    "timeout",
    "cannot acquire",
)
"""In an error: another process is at the same statement. Statements can be repeated, so the next try settles it."""
NOTHING_TO_DO = "statement is either no-op"
"""What the server says of a column that is there already, in spite of `IF NOT EXISTS`."""
TTL_HOURS = {"HOUR": 1, "DAY": 24, "WEEK": 168}
PIECE = re.compile(r"'(?:[^']|'')*'|\"[^\"]*\"|--[^\n]*|/\*.*?\*/|;|[^'\";/-]+|[/-]", re.DOTALL)

LEDGER = """
CREATE TABLE IF NOT EXISTS schema_migrations (ts TIMESTAMP, version INT, name VARCHAR, sha256 VARCHAR)
TIMESTAMP(ts) PARTITION BY YEAR WAL DEDUP UPSERT KEYS(ts, version)"""


class Migration(msgspec.Struct, frozen=True):
    version: int
    name: str
    """The file's name."""
    sha256: str
    statements: list[str]


def sql_dir() -> Path:
    """`sql/`: inside the package when installed, beside it in the repository."""
    package = Path(__file__).parents[1]
    inside = package / "sql"
    return inside if inside.is_dir() else package.parent / "sql"


def split(script: str) -> list[str]:
    """The statements of a script, without comments.

    A semicolon ends a statement unless it stands in '…', "…", a `--` or a `/* */` comment. QuestDB has no other quotes.
    """
    statements, current = [], ""
    for piece in PIECE.findall(script):
        if piece == ";":
            statements.append(current.strip())
            current = ""
        elif not piece.startswith(("--", "/*")):
            current += piece
    return [statement for statement in [*statements, current.strip()] if statement]


def migrations(folder: Path | None = None) -> list[Migration]:
    """All files of the folder, in order. Raises DatabaseError for two files with one number."""
    folder = folder or sql_dir()
    found: dict[int, Migration] = {}
    for path in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*.sql")):
        body = path.read_bytes()
        version = int(path.name[:4])
        if version in found:
            raise DatabaseError(
                "migrate",
                str(path),
                f"{found[version].name} has the same number",
                "give it the next free number",
            )
        found[version] = Migration(version, path.name, hashlib.sha256(body).hexdigest(), split(body.decode()))
    if not found:
        raise DatabaseError(
            "migrate",
            str(folder),
            "there is no NNNN_*.sql file in it",
            "install Evenkeel again: its sql/ is missing",
        )
    return list(found.values())


def migrate(endpoint: Endpoint, retention: RetentionConfig, folder: Path | None = None) -> list[str]:
    """Apply what is missing; the names of the files applied. When it returns, the tables take rows.

    Raises DatabaseError: a statement failed (its file is not recorded), an applied file has changed, a table is suspended.
    """
    wanted = migrations(folder)
    with connect(endpoint) as connection:
        _repeatable(connection, LEDGER, "schema_migrations")
        _await_applied(connection, ["schema_migrations"])
        missing = _missing(wanted, applied(connection))
        for migration in missing:
            for statement in migration.statements:
                _repeatable(connection, statement, migration.name)
            connection.execute(
                "INSERT INTO schema_migrations VALUES (now(), %s, %s, %s)",
                (migration.version, migration.name, migration.sha256),
            )
        _await_applied(connection, [*set_ttls(connection, retention), "schema_migrations"])
        return [migration.name for migration in missing]


def pending(endpoint: Endpoint, folder: Path | None = None) -> list[str]:
    """The names of the files that `migrate` would apply. Writes nothing. Raises DatabaseError as `migrate` does."""
    wanted = migrations(folder)
    with connect(endpoint) as connection:
        ledger = connection.execute(
            "SELECT 1 FROM tables() WHERE table_name = 'schema_migrations'"
        ).fetchone()
        known = applied(connection) if ledger else {}
    return [migration.name for migration in _missing(wanted, known)]


def _missing(wanted: list[Migration], known: dict[int, str]) -> list[Migration]:
    for migration in wanted:
        if known.get(migration.version, migration.sha256) != migration.sha256:
            raise DatabaseError(
                "migrate",
                migration.name,
                "it has changed since it was applied to this database",
                "put the released file back and write the change as a new file with the next number",
            )
    return [migration for migration in wanted if migration.version not in known]


def applied(connection: Connection) -> dict[int, str]:
    """Version → SHA-256 of the files that this database has had."""
    return dict(connection.execute("SELECT version, sha256 FROM schema_migrations").fetchall())


def _repeatable(connection: Connection, statement: str, name: str) -> None:
    for attempt in range(RACE_TRIES):
        try:
            connection.execute(statement)
            return
        except psycopg.Error as error:
            told = str(error).partition("\n")[0]
            if NOTHING_TO_DO in told:
                return
            if attempt < RACE_TRIES - 1 and any(word in told.lower() for word in BUSY):
                time.sleep(0.05)
                continue
            raise DatabaseError(
                "migrate",
                f'{name}, statement "{_short(statement)}"',
                told,
                "mend the cause and run 'collector migrate' again: statements already applied are skipped",
            ) from error


def _short(statement: str) -> str:
    line = " ".join(statement.split())
    return line if len(line) <= 80 else f"{line[:79]}…"


def set_ttls(connection: Connection, retention: RetentionConfig) -> list[str]:
    """Give every table its TTL where it has another; the tables changed.

    QuestDB drops a partition when it is older than the TTL, counted from the newest row, or from now where that is earlier.
    """
    changed = []
    for table, view, value, unit in connection.execute(
        "SELECT table_name, matView, ttlValue, ttlUnit FROM tables() ORDER BY table_name"
    ).fetchall():
        seconds = retention.bars if view else getattr(retention, table, None)
        if seconds is None:
            continue
        hours = int(seconds) // 3600
        if hours != value * TTL_HOURS.get(unit, -1):
            kind = "MATERIALIZED VIEW" if view else "TABLE"
            _repeatable(connection, f"ALTER {kind} {table} SET TTL {hours}h", "retention")
            changed.append(table)
    return changed


def _await_applied(connection: Connection, tables: Iterable[str]) -> None:
    """Wait until the server has applied to these tables what it had accepted when this was called."""
    pending = {name: accepted for name, accepted, _, _ in _wal(connection) if name in set(tables)}
    deadline = time.monotonic() + APPLY_TIMEOUT
    while pending:
        for name, _, done, suspended in _wal(connection):
            if name not in pending:
                continue
            if suspended:
                raise DatabaseError(
                    "migrate",
                    f"table {name}",
                    "its write-ahead log is suspended, so nothing written to it becomes visible",
                    f"free disk space if it ran out, then run in the QuestDB console: ALTER TABLE {name} RESUME WAL",
                )
            if done >= pending[name]:
                del pending[name]
        if pending and time.monotonic() >= deadline:
            raise DatabaseError(
                "migrate",
                f"tables {', '.join(sorted(pending))}",
                f"the server has not applied the changes within {APPLY_TIMEOUT:g} s",
                "look at its load and its log, then run 'collector migrate' again",
            )
        if pending:
            time.sleep(0.01)


def _wal(connection: Connection) -> Iterator[tuple[str, int, int, bool]]:
    yield from connection.execute(
        "SELECT name, sequencerTxn, writerTxn, suspended FROM wal_tables()"
    ).fetchall()
