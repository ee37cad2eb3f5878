"""Partitions as Parquet: SQL answers right, an export would not, and so a pass over them fails and says what to do."""

from __future__ import annotations

from pathlib import Path

from analyzer.config import Endpoint as AnalyzerEndpoint
from analyzer.source import Source
from collector.database.endpoint import Endpoint
from tests.analyzer.fixtures import run_once, settings, store, trade, values
from tests.conftest import query
from tests.processes import wait_until

HOURS = ("10", "11", "12")


def convert(database: Endpoint, to: str) -> None:
    """The first hour's trades."""
    query(database, f"ALTER TABLE trades CONVERT PARTITION TO {to} WHERE ts < '2026-11-20T11'")
    wanted = 1 if to == "PARQUET" else 0
    wait_until(lambda: cold(database) == wanted)


def cold(database: Endpoint) -> int:
    found: int = query(database, "SELECT count() FROM table_partitions('trades') WHERE isParquet")[0][0]
    return found


def test_there_and_back(database: Endpoint, tmp_path: Path) -> None:
    rows = [
        trade(f"2026-11-20T{hour}:30:0{n}Z", "BTCUSDT", "buy", 100.0 + n, 2.0, f"{hour}-{n}")
        for hour in HOURS
        for n in range(5)
    ]
    store(database, rows)
    config = settings(tmp_path, database)
    old = ("--as-of", "2026-11-20T11:00:00Z", "--window", "1h", "--analyses", "flow")
    later = ("--as-of", "2026-11-20T12:00:00Z", "--window", "1h", "--analyses", "flow")
    convert(database, "PARQUET")
    assert query(database, "SELECT sum(price * qty) FROM trades WHERE ts IN '2026-11-20T10'") == [(1020.0,)]
    code, document = run_once(config, *old)
    assert (code, document["status"]) == (1, "failed")
    (flow,) = [one for one in document["analyses"] if one["name"] == "flow"]
    assert "CONVERT PARTITION TO NATIVE WHERE ts >= '2026-11-20T10'" in flow["error"] and not flow["values"]
    code, document = run_once(config, *later)
    assert code == 0 and values(document, "flow", "BTCUSDT")["buy_volume"] == 10.0
    source = Source(AnalyzerEndpoint(database.http_url, database.pg))
    assert source.fetch("SELECT count() c FROM ohlcv_1s").num_rows == 1  # a view is no partition of ours
    source.close()
    convert(database, "NATIVE")
    code, document = run_once(config, *old)
    assert code == 0 and values(document, "flow", "BTCUSDT")["buy_volume"] == 10.0
