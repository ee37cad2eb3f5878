"""Migrations and TTLs against a real QuestDB."""

from __future__ import annotations

import re
import threading
from datetime import datetime
from pathlib import Path

import httpx
import pytest

from collector.database.endpoint import DatabaseError, Endpoint, connect
from collector.database.migrate import migrate, migrations, pending, set_ttls, split
from collector.settings import Duration, RetentionConfig
from tests.anew import empty
from tests.conftest import query, wait_rows
from tests.processes import wait_until

KEEP = RetentionConfig()
NAMES = [migration.name for migration in migrations()]
VIEWS = {
    statement.split()[6]
    for migration in migrations()
    for statement in migration.statements
    if statement.startswith("CREATE MATERIALIZED VIEW IF NOT EXISTS ")
}


def folder_of(folder: Path, **files: str) -> Path:
    """Files from `_0001_a="CREATE …"`."""
    for name, text in files.items():
        (folder / f"{name.removeprefix('_')}.sql").write_text(text)
    return folder


def tables(endpoint: Endpoint) -> set[str]:
    return {name for (name,) in query(endpoint, "SELECT table_name FROM tables()")}


def test_split_knows_strings_and_comments() -> None:
    script = """
    -- a comment; with a semicolon, and it's got a quote
    CREATE TABLE a (x INT); /* one; more '
    */ INSERT INTO a VALUES ('it''s; -- text');
    SELECT 4 / 2 - 1 AS "odd;name" -- trailing; comment
    """
    assert split(script) == [
        "CREATE TABLE a (x INT)",
        "INSERT INTO a VALUES ('it''s; -- text')",
        'SELECT 4 / 2 - 1 AS "odd;name"',
    ]


def test_split_loses_nothing_of_the_real_files() -> None:
    for migration in migrations():
        assert migration.statements
        assert all(re.match(r"(CREATE|ALTER|DROP) ", statement) for statement in migration.statements)


def test_every_file_is_applied_once_and_recorded(questdb: Endpoint) -> None:
    empty(questdb)
    assert pending(questdb) == NAMES
    assert "schema_migrations" not in tables(questdb)
    assert migrate(questdb, KEEP) == NAMES
    assert pending(questdb) == []
    recorded = query(questdb, "SELECT version, name, sha256 FROM schema_migrations ORDER BY version")
    assert recorded == [(m.version, m.name, m.sha256) for m in migrations()]
    assert migrate(questdb, KEEP) == []
    assert query(questdb, "SELECT count() FROM schema_migrations") == [(len(NAMES),)]


def test_processes_that_race_both_succeed(questdb: Endpoint) -> None:
    empty(questdb)
    failures: list[Exception] = []

    def work() -> None:
        try:
            migrate(questdb, RetentionConfig(trades=Duration(7200)))
        except DatabaseError as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert query(questdb, "SELECT DISTINCT version FROM schema_migrations ORDER BY version") == [
        (migration.version,) for migration in migrations()
    ]
    states = "SELECT view_status, count() FROM materialized_views() WHERE view_status != 'refreshing'"
    wait_until(lambda: query(questdb, states) == [("valid", len(VIEWS))], what="valid views")


def test_a_changed_file_is_refused(questdb: Endpoint, tmp_path: Path) -> None:
    empty(questdb)
    first = "CREATE TABLE IF NOT EXISTS one (ts TIMESTAMP) TIMESTAMP(ts) PARTITION BY DAY WAL;"
    folder_of(tmp_path, _0001_one=first)
    migrate(questdb, KEEP, tmp_path)
    folder_of(tmp_path, _0001_one=first + "\n-- changed")
    with pytest.raises(
        DatabaseError, match=r"0001_one\.sql: it has changed .* new file with the next number"
    ):
        migrate(questdb, KEEP, tmp_path)


def test_a_failed_statement_is_named_and_its_file_applied_again(questdb: Endpoint, tmp_path: Path) -> None:
    empty(questdb)
    good = "CREATE TABLE IF NOT EXISTS one (ts TIMESTAMP) TIMESTAMP(ts) PARTITION BY DAY WAL;"
    bad = "CREATE TABLE IF NOT EXISTS two (ts TIMESTAMP, x NONSENSE);"
    folder_of(tmp_path, _0001_one=good, _0002_two=good.replace("one", "half") + bad, _0003_never=good)
    with pytest.raises(
        DatabaseError, match=r'0002_two\.sql, statement "CREATE TABLE IF NOT EXISTS two .*NONSENSE'
    ):
        migrate(questdb, KEEP, tmp_path)
    names = "SELECT name FROM schema_migrations"  # whose write-ahead log nobody has waited for
    wait_until(lambda: query(questdb, names) == [("0001_one.sql",)], what="the first file's record")
    folder_of(tmp_path, _0002_two=good.replace("one", "half") + good.replace("one", "two"))
    assert migrate(questdb, KEEP, tmp_path) == ["0002_two.sql", "0003_never.sql"]
    assert {"one", "half", "two"} <= tables(questdb)


def test_two_files_with_one_number_are_refused(tmp_path: Path) -> None:
    folder_of(tmp_path, _0001_a="SELECT 1;", _0001_b="SELECT 1;")
    with pytest.raises(DatabaseError, match=r"0001_b\.sql: 0001_a\.sql has the same number"):
        migrations(tmp_path)


def ttls(endpoint: Endpoint) -> dict[str, tuple[int, str]]:
    rows = query(endpoint, "SELECT table_name, ttlValue, ttlUnit FROM tables() WHERE ttlValue > 0")
    return {name: (value, unit) for name, value, unit in rows}


def test_ttls_follow_the_configuration(database: Endpoint) -> None:
    assert ttls(database) == {}
    day = 86400
    retention = RetentionConfig(trades=Duration(36 * 3600), gaps=Duration(14 * day), bars=Duration(3 * day))
    migrate(database, retention)
    views = {name for (name,) in query(database, "SELECT view_name FROM materialized_views()")}
    assert views == VIEWS
    expected = {"trades": (36, "HOUR"), "gaps": (2, "WEEK"), **dict.fromkeys(views, (3, "DAY"))}
    assert ttls(database) == expected

    with connect(database) as connection:
        assert set_ttls(connection, retention) == []

    migrate(database, KEEP)
    assert ttls(database) == {}


def test_rows_of_old_recordings_outlive_their_ttl_until_newer_ones_come(database: Endpoint) -> None:
    migrate(database, RetentionConfig(trades=Duration(2 * 3600)))
    post(database, trade("2023-11-14T00:10:00", "a"), trade("2023-11-14T01:10:00", "b"))
    wait_rows(database, "trades", 2)
    post(database, trade("2023-11-14T09:10:00", "c"))
    wait_rows(database, "trades WHERE trade_id = 'c'", 1)
    assert query(database, "SELECT trade_id FROM trades") == [("c",)]


def trade(when: str, trade_id: str, side: str = "buy", price: float = 100.0, qty: float = 1.0) -> str:
    ns = int((datetime.fromisoformat(when) - datetime(1970, 1, 1)).total_seconds()) * 1_000_000_000
    tags = f"exchange=bybit,market=linear,symbol=BTCUSDT,side={side}"
    return f'trades,{tags} price={price},qty={qty},trade_id="{trade_id}" {ns}\n'


def post(endpoint: Endpoint, *lines: str) -> None:
    response = httpx.post(f"{endpoint.http_url}/write", content="".join(lines), auth=endpoint.auth)
    assert response.status_code == 204, response.text


def test_tables_take_rows_at_once_and_bars_follow(database: Endpoint) -> None:
    post(
        database,
        trade("2023-11-14T10:00:01", "1", "buy", 100.0, 1.0),
        trade("2023-11-14T10:00:02", "2", "sell", 90.0, 2.0),
        trade("2023-11-14T10:00:02", "3", "buy", 120.0, 4.0),
        trade("2023-11-14T10:07:00", "4", "sell", 110.0, 8.0),
    )
    # `volume` is of all four rows only when the last one has come through all the views.
    wait_rows(database, "ohlcv_1h WHERE volume = 15", 1)
    bars = "SELECT open, high, low, close, volume, notional, buy_volume, trades FROM"
    assert query(database, f"{bars} ohlcv_1h") == [(100.0, 120.0, 90.0, 110.0, 15.0, 1640.0, 5.0, 4)]
    assert query(database, "SELECT ts, volume, trades FROM ohlcv_5m") == [
        (datetime(2023, 11, 14, 10, 0), 7.0, 3),
        (datetime(2023, 11, 14, 10, 5), 8.0, 1),
    ]
    assert query(database, f"{bars} ohlcv_1s WHERE ts = '2023-11-14T10:00:02'") == [
        (90.0, 120.0, 90.0, 120.0, 6.0, 660.0, 4.0, 2)
    ]


def test_liquidation_bars_are_by_side(database: Endpoint) -> None:
    tags = "liquidations,exchange=bybit,market=linear,symbol=BTCUSDT"
    post(
        database,
        f'{tags},side=sell price=100.0,qty=1.0,liq_id="1" 1700000000000000000\n',
        f'{tags},side=sell price=50.0,qty=4.0,liq_id="2" 1700000001000000000\n',
        f'{tags},side=buy price=10.0,qty=3.0,liq_id="3" 1700000002000000000\n',
    )
    wait_rows(database, "liquidations_1h", 2)
    assert query(
        database, "SELECT side, qty, notional, largest, orders FROM liquidations_1h ORDER BY side"
    ) == [
        ("buy", 3.0, 30.0, 30.0, 1),
        ("sell", 5.0, 300.0, 200.0, 2),
    ]


def test_a_row_sent_again_is_stored_once(database: Endpoint) -> None:
    for _ in range(2):
        post(database, trade("2023-11-14T10:00:01", "same", price=100.0))
    post(database, trade("2023-11-14T10:00:02", "end"))
    wait_rows(database, "trades WHERE trade_id = 'end'", 1)
    assert query(database, "SELECT trade_id FROM trades") == [("same",), ("end",)]
    wait_rows(database, "ohlcv_1h WHERE trades = 2", 1)


def test_a_misspelt_table_or_column_is_refused(database: Endpoint) -> None:
    for line in (
        "tradez x=1.0 1700000000000000000\n",
        "trades,exchange=bybit prise=1.0 1700000000000000000\n",
    ):
        answer = httpx.post(f"{database.http_url}/write", content=line, auth=database.auth)
        assert answer.status_code == 400
        assert answer.json()["line"] == 1
    assert "tradez" not in tables(database)
