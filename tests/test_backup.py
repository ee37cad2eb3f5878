"""A backup of a server that goes on taking rows, restored elsewhere: what was there at the checkpoint is there again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from collector.cli import main
from collector.database import managed
from collector.database.endpoint import resolve
from collector.database.migrate import migrate
from collector.rows import Trade
from collector.settings import QuestDBConfig, RetentionConfig, Size
from tests.analyzer.fixtures import store, trade
from tests.conftest import query, wait_rows


def settings(folder: Path) -> QuestDBConfig:
    return QuestDBConfig(data=str(folder), http_port=0, pg_port=0, memory=Size(256 << 20))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for name in ("first", "second"):
        managed.stop(settings(tmp_path / name))


def run(config: QuestDBConfig, *arguments: str) -> Result:
    environment = {
        "EVENKEEL_QUESTDB_URL": "managed",
        "EVENKEEL_QUESTDB_DATA": config.data,
        "EVENKEEL_QUESTDB_HTTP_PORT": "0",
        "EVENKEEL_QUESTDB_PG_PORT": "0",
    }
    return CliRunner().invoke(main, ["db", *arguments], env=environment)


def test_rows_views_and_schema_come_back(folder: Path) -> None:
    first, second, kept = settings(folder / "first"), settings(folder / "second"), folder / "backups" / "one"
    early = [
        trade(f"2026-11-2{n % 4}T10:00:0{n % 10}Z", "BTCUSDT", "buy", 100.0 + n, 1.0, str(n))
        for n in range(40)
    ]
    endpoint = resolve(first)
    migrate(endpoint, RetentionConfig())
    store(endpoint, early)
    bars = query(endpoint, "SELECT count() FROM ohlcv_1m")
    wait_rows(endpoint, "ohlcv_1m", 4)
    done = run(first, "backup", "--to", str(kept))
    assert done.exit_code == 0, done.output
    late = [trade("2026-11-24T10:00:00Z", "BTCUSDT", "sell", 1.0, 1.0, "late")]
    store_more(first, late)
    again = run(first, "backup", "--to", str(kept))
    assert again.exit_code == 1 and "it exists" in again.output
    assert run(second, "restore", "--from", str(folder)).exit_code == 1  # not a backup
    managed.stop(first)
    restored = run(second, "restore", "--from", str(kept))
    assert restored.exit_code == 0, restored.output
    assert run(second, "restore", "--from", str(kept)).exit_code == 1  # it holds data now
    endpoint = resolve(second)
    wait_rows(endpoint, "trades", 40)
    found = query(endpoint, "SELECT trade_id, price FROM trades ORDER BY price")
    assert found == [(str(n), 100.0 + n) for n in range(40)]
    assert query(endpoint, "SELECT count() FROM ohlcv_1m") >= bars
    assert migrate(endpoint, RetentionConfig()) == []  # nothing is to be done anew
    store_more(second, late)  # and it takes rows
    wait_rows(endpoint, "trades", 41)


def store_more(config: QuestDBConfig, rows: list[Trade]) -> None:
    """Into tables that hold some already."""
    server = managed.status(config)
    assert server is not None
    endpoint = managed.endpoint_of(server, config)
    before = query(endpoint, "SELECT count() FROM trades")[0][0]
    store(endpoint, rows)
    wait_rows(endpoint, "trades", before + len(rows))
