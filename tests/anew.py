"""The migrated tables, all empty, at the price of those that were written to since.

To drop and migrate everything costs the server more than most tests do. What a test leaves alone is as good as new: its
table has the same number, and its write-ahead log the same last transaction. Everything else is dropped and made again,
with the views that hang on it, in the order in which the migrations made them.
"""

from __future__ import annotations

import re
import time
from typing import Any, NamedTuple

import psycopg

from collector.database.endpoint import Endpoint, connect
from collector.database.migrate import APPLY_TIMEOUT, _repeatable, migrate
from collector.settings import RetentionConfig

MARKER = "evenkeel_test_server"
"""A table of this name says that the server is for tests, so that everything in it may be dropped."""
LEDGER = "schema_migrations"
USUAL_CAPACITY = 256
"""Of a SYMBOL. SHOW CREATE TABLE leaves out the others."""
Connection = psycopg.Connection[tuple[Any, ...]]


class State(NamedTuple):
    """What tells whether a table is as it was made."""

    number: int
    transaction: int
    ttl: tuple[int, str]
    healthy: bool


_made: dict[str, tuple[dict[str, State], dict[str, str]]] = {}
"""URL → the tables as they were made, and the statements that make them."""


def empty(endpoint: Endpoint) -> None:
    """Drop all tables and views of the test server."""
    with connect(endpoint) as connection:
        connection.execute("DROP ALL TABLES")
        connection.execute(f"CREATE TABLE IF NOT EXISTS {MARKER} (ts TIMESTAMP)")


def anew(endpoint: Endpoint) -> None:
    """The migrated tables, all empty."""
    url = endpoint.http_url
    if url not in _made or not _mended(endpoint):
        empty(endpoint)
        migrate(endpoint, RetentionConfig())
        settle(endpoint)
        with connect(endpoint) as connection:
            made = _look(connection)
            _made[url] = made, {name: _statement(connection, name) for name in made}


def settle(endpoint: Endpoint) -> None:
    """Wait until all changes of tables show: SHOW CREATE tells what is applied, not what was accepted."""
    with connect(endpoint) as connection:
        deadline = time.monotonic() + APPLY_TIMEOUT
        while connection.execute("SELECT 1 FROM wal_tables() WHERE writerTxn < sequencerTxn").fetchall():
            assert time.monotonic() < deadline, "the server does not apply what it accepted"
            time.sleep(0.02)


def _mended(endpoint: Endpoint) -> bool:
    """Whether making again what has changed was enough."""
    made, statements = _made[endpoint.http_url]
    with connect(endpoint) as connection:
        found = _look(connection)
        bases = dict(
            connection.execute("SELECT view_name, base_table_name FROM materialized_views()").fetchall()
        )
        changed = {name for name, state in made.items() if found.get(name) != state}
        if LEDGER in changed or found.keys() - made.keys():
            return False
        while more := {view for view, base in bases.items() if base in changed} - changed:
            changed |= more
        inorder = sorted(changed, key=lambda name: made[name].number)
        for name in reversed(inorder):
            connection.execute(f"DROP {_kind(statements[name])} IF EXISTS {name}")
        for name in inorder:
            _repeatable(connection, statements[name], name)
        now = _look(connection)
    if now.keys() != made.keys():
        return False
    # The order of the numbers stays that of the migrations: a view's is greater than its base's.
    made.update({name: now[name] for name in inorder})
    return True


def _look(connection: Connection) -> dict[str, State]:
    views: dict[str, str] = dict(
        connection.execute("SELECT view_name, view_status FROM materialized_views()").fetchall()
    )
    logs = {
        name: (0 if name in views else transaction, suspended)  # a view's goes on by itself
        for name, transaction, suspended in connection.execute(
            "SELECT name, sequencerTxn, suspended FROM wal_tables()"
        ).fetchall()
    }
    return {
        name: State(
            number,
            logs[name][0] if name in logs else -1,
            (ttl, unit),
            name in logs and not logs[name][1] and views.get(name) != "invalid",
        )
        for number, name, ttl, unit in connection.execute(
            # A plain view stores nothing, and works again once its tables are there again.
            "SELECT id, table_name, ttlValue, ttlUnit FROM tables() WHERE table_type != 'V'"
        ).fetchall()
        if name != MARKER
    }


def _kind(statement: str) -> str:
    return "MATERIALIZED VIEW" if statement.startswith("CREATE MATERIALIZED VIEW") else "TABLE"


def _statement(connection: Connection, name: str) -> str:
    """What makes the table or view, with the capacities of its symbols."""
    views = connection.execute("SELECT 1 FROM materialized_views() WHERE view_name = %s", (name,)).fetchall()
    kind = "MATERIALIZED VIEW" if views else "TABLE"
    ((text,),) = connection.execute(f"SHOW CREATE {kind} {name}").fetchall()
    if views:
        # SHOW CREATE puts the query on lines of its own; they would be more with every making.
        return re.sub(r"(?s)( AS \()\n(.*)\n(\) .*);$", r"\1\2\3", text)
    columns = connection.execute(f"SHOW COLUMNS FROM {name}")
    assert columns.description is not None
    names = [column.name for column in columns.description]
    for row in columns.fetchall():
        column = dict(zip(names, row, strict=True))
        if column["type"] == "SYMBOL" and column["symbolCapacity"] != USUAL_CAPACITY:
            text = re.sub(
                rf"^(\s*{column['column']} SYMBOL)\b",
                rf"\1 CAPACITY {column['symbolCapacity']}",
                text,
                flags=re.MULTILINE,
            )
    return str(text).rstrip(";")
