"""What a test finds does not depend on what the test before it did to the tables."""

from __future__ import annotations

from typing import Any

from collector.database.endpoint import Endpoint
from collector.database.migrate import migrate
from collector.settings import RetentionConfig
from tests.anew import anew, empty, settle
from tests.conftest import query, wait_rows


def schema(endpoint: Endpoint) -> dict[str, Any]:
    """Everything about every table and view but its number."""
    tables = query(
        endpoint,
        "SELECT table_name, designatedTimestamp, partitionBy, walEnabled, dedup, ttlValue, ttlUnit, matView, "
        "maxUncommittedRows, o3MaxLag, table_suspended FROM tables() ORDER BY 1",
    )
    views = query(
        endpoint,
        "SELECT view_name, refresh_type, base_table_name, view_sql, view_status = 'invalid' "
        "FROM materialized_views() ORDER BY 1",
    )
    # But for what an index would have, which no column has.
    asked = 'SELECT "column", type, indexed, symbolCached, symbolCapacity, designated, upsertKey FROM '
    columns = {table[0]: query(endpoint, f"{asked} table_columns('{table[0]}')") for table in tables}
    rows = {table[0]: query(endpoint, f"SELECT count() FROM {table[0]}")[0][0] for table in tables}
    return {"tables": tables, "views": views, "columns": columns, "rows": rows}


def write_to_every_table(endpoint: Endpoint) -> None:
    for (name,) in query(
        endpoint,
        "SELECT table_name FROM tables() WHERE walEnabled AND table_type = 'T' AND table_name <> 'schema_migrations'",
    ):
        query(endpoint, f"INSERT INTO {name} (ts) VALUES (now())")


CHANGES = {
    "nothing": (),
    "a row": ("INSERT INTO signals (ts) VALUES (now())",),
    "rows under views": (
        "INSERT INTO trades (ts, exchange, price, qty) VALUES (now(), 'x', 1, 2)",
        "INSERT INTO liquidations (ts, exchange, price, qty) VALUES (now(), 'x', 1, 2)",
    ),
    "a column": ("ALTER TABLE gaps DROP COLUMN recovered",),
    "a TTL": ("ALTER TABLE trades SET TTL 2h", "ALTER MATERIALIZED VIEW ohlcv_4h SET TTL 1d"),
    "a view": ("DROP MATERIALIZED VIEW ohlcv_4h",),
    "a view that others hang on": ("DROP MATERIALIZED VIEW ohlcv_5m",),
    "a table": ("DROP TABLE tickers",),
    "a table under views": ("DROP TABLE trades",),
    "a table too many": ("CREATE TABLE other (ts TIMESTAMP) TIMESTAMP(ts) PARTITION BY DAY WAL",),
    "the ledger": ("INSERT INTO schema_migrations VALUES (now(), 99, 'x', 'y')",),
    "all": ("DROP ALL TABLES",),
}


def test_the_tables_are_those_of_the_migrations(questdb: Endpoint) -> None:
    empty(questdb)
    migrate(questdb, RetentionConfig())
    settle(questdb)
    expected = schema(questdb)
    anew(questdb)
    assert schema(questdb) == expected
    for what, statements in CHANGES.items():
        for statement in statements:
            query(questdb, statement)
        if what == "rows under views":
            wait_rows(questdb, "ohlcv_4h", 1)
            wait_rows(questdb, "liquidations_1h", 1)
        anew(questdb)
        assert schema(questdb) == expected, what
    for _ in range(2):
        write_to_every_table(questdb)
        anew(questdb)
        assert schema(questdb) == expected
        assert migrate(questdb, RetentionConfig()) == []


def test_what_was_left_alone_is_kept(database: Endpoint) -> None:
    """Else all of this would be for nothing."""

    def numbers() -> dict[str, int]:
        return dict(query(database, "SELECT table_name, id FROM tables()"))

    before = numbers()
    query(database, "INSERT INTO signals (ts) VALUES (now())")
    anew(database)
    after = numbers()
    assert {name for name in before if before[name] != after[name]} == {"signals"}


def test_views_follow_tables_that_were_made_again(database: Endpoint) -> None:
    for price in (1.0, 2.0):
        query(database, f"INSERT INTO trades (ts, exchange, price, qty) VALUES (now(), 'x', {price}, 2)")
        wait_rows(database, "ohlcv_4h", 1)
        assert query(database, "SELECT close FROM ohlcv_4h") == [(price,)]
        anew(database)
        assert query(database, "SELECT count() FROM ohlcv_4h") == [(0,)]
