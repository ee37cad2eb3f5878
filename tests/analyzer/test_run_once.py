"""`analyzer run-once` as a process against a real QuestDB, its numbers compared with plain Python's."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, FeedEvent, Gap, Row
from tests.analyzer.fixtures import VENUE, analyzer, at, run_once, settings, store, trade, values
from tests.conftest import query, wait_rows

TRADES = [
    # A trade sits on each bound: only the one at the start is in.
    trade("2026-03-01T23:51:59.999999Z", "BTCUSDT", "buy", 1.0, 1000.0, "before"),
    trade("2026-03-01T23:52:00.000000Z", "BTCUSDT", "buy", 100.0, 2.0, "first"),
    trade("2026-03-01T23:59:59.999999Z", "BTCUSDT", "sell", 110.0, 1.5, "eve"),
    trade("2026-03-02T00:00:00.000000Z", "BTCUSDT", "sell", 99.0, 0.5, "midnight"),
    trade("2026-03-02T00:00:00.400000Z", "BTCUSDT", None, 101.0, 4.0, "unsided"),
    trade("2026-03-02T00:06:59.999999Z", "BTCUSDT", "buy", 105.0, 1.0, "last"),
    trade("2026-03-02T00:07:00.000000Z", "BTCUSDT", "sell", 9000.0, 1000.0, "after"),
    trade("2026-03-02T00:01:00.000000Z", "ETHUSDT", "sell", 10.0, 3.0, "other"),
]
INSIDE = [t for t in TRADES if t.symbol == "BTCUSDT" and t.trade_id not in ("before", "after")]
WINDOW = ("--window", "15m", "--as-of", "2026-03-02T00:07:00Z")
SIGNALS = (
    "SELECT ts, exchange, market, symbol, window_s, analysis, metric, value, coverage FROM signals "
    "ORDER BY 2, 3, 4, 6, 7"
)


def test_numbers_of_a_window_over_hours_and_days(database: Endpoint, tmp_path: Path) -> None:
    store(database, TRADES)
    code, document = run_once(settings(tmp_path, database), *WINDOW)
    assert (code, document["status"]) == (0, "ok")
    span = document["window"]
    assert [datetime.fromisoformat(span[key]) for key in ("from", "to")] == [
        datetime(2026, 3, 1, 23, 52, tzinfo=UTC),
        datetime(2026, 3, 2, 0, 7, tzinfo=UTC),
    ]
    assert span["seconds"] == 900
    buys = sum(t.qty for t in INSIDE if t.side == "buy")
    sells = sum(t.qty for t in INSIDE if t.side == "sell")
    volume, notional = sum(t.qty for t in INSIDE), sum(t.price * t.qty for t in INSIDE)
    flow = values(document, "flow", "BTCUSDT")
    assert flow["cvd"] == pytest.approx(buys - sells)
    assert flow["imbalance"] == pytest.approx((buys - sells) / (buys + sells))
    assert flow["vwap"] == pytest.approx(notional / volume)
    assert flow["trade_count"] == len(INSIDE)
    bars = values(document, "bars", "BTCUSDT")
    assert [bars[name] for name in ("open", "high", "low", "close")] == [100.0, 110.0, 99.0, 105.0]
    closes = [100.0, 110.0, 101.0, 105.0]  # of the four seconds that had trades
    steps = [math.log(b / a) for a, b in itertools.pairwise(closes)]
    assert bars["realized_vol"] == pytest.approx(math.sqrt(sum(step * step for step in steps)))
    assert bars["return"] == pytest.approx(math.log(1.05))
    assert values(document, "flow", "ETHUSDT")["cvd"] == -3.0


def test_repeating_a_window_writes_the_same_rows_again(database: Endpoint, tmp_path: Path) -> None:
    store(database, TRADES)
    config = settings(tmp_path, database)
    _, document = run_once(config, *WINDOW)
    expected = [row for one in document["analyses"] for row in one["values"]]
    wait_rows(database, "signals", len(expected))
    first = query(database, SIGNALS)
    _, again = run_once(config, *WINDOW)
    wait_rows(database, "analysis_runs", 2 * len(document["analyses"]))
    assert query(database, SIGNALS) == first
    assert len(first) == len(expected) > 0
    assert {(row[0], row[4]) for row in first} == {(datetime(2026, 3, 2, 0, 7), 900)}
    stored = {(r[1], r[2], r[3], r[6], r[5]): (r[7], r[8]) for r in first}
    for one in document["analyses"]:
        for row in one["values"]:
            key = (row["exchange"], row["market"], row["symbol"], row["metric"], one["name"])
            assert stored[key] == (row["value"], row["coverage"])
    runs = query(database, "SELECT DISTINCT run_id FROM analysis_runs")
    assert {run for (run,) in runs} == {document["run_id"], again["run_id"]}


def test_the_book_and_the_coverage_of_its_numbers(database: Endpoint, tmp_path: Path) -> None:
    """Half of the window is a gap in the books, none in the trades."""
    who = (*VENUE, "BTCUSDT")
    sampled = at("2026-03-02T00:06:00Z")
    bids, asks = np.array([[99.0, 98.0], [3.0, 1.0]]), np.array([[101.0, 102.0], [1.0, 5.0]])
    start = at("2026-03-01T00:00:00Z")
    low, high = at("2026-03-01T23:52:00Z"), at("2026-03-01T23:59:30Z")
    rows: list[Row] = [
        *TRADES,
        BookSnapshot(sampled, sampled, *who, bids, asks, 1),
        *(FeedEvent(start, start, *who, channel, "subscribed") for channel in ("trades", "orderbook")),
        Gap(low, high, high, *who, "orderbook", "disconnect"),
    ]
    store(database, rows)
    code, document = run_once(settings(tmp_path, database), *WINDOW, "--symbols", "BTCUSDT")
    assert code == 0
    book = values(document, "book", "BTCUSDT")
    assert book["mid"] == 100.0
    assert book["spread_bps"] == pytest.approx(200.0)
    assert book["microprice"] == pytest.approx((99.0 * 1.0 + 101.0 * 3.0) / 4.0)
    assert book["imbalance"] == pytest.approx((4.0 - 6.0) / 10.0)
    coverage = values(document, "coverage", "BTCUSDT")
    assert (coverage["coverage_orderbook"], coverage["coverage_trades"]) == (0.5, 1.0)
    shares = {one["name"]: {row["coverage"] for row in one["values"]} for one in document["analyses"]}
    assert (shares["book"], shares["flow"], shares["bars"]) == ({0.5}, {1.0}, {1.0})


def test_an_empty_window_is_said_in_words(database: Endpoint, tmp_path: Path) -> None:
    config = settings(tmp_path, database)
    code, document = run_once(config, *WINDOW)
    assert (code, document["status"]) == (0, "empty")
    assert all(not one["values"] for one in document["analyses"])
    table = analyzer("run-once", "--config", str(config), *WINDOW)
    assert table.returncode == 0
    assert "no data in window 2026-03-01 23:52:00" in table.stdout
    wait_rows(database, "analysis_runs", 2 * len(document["analyses"]))
    assert query(database, "SELECT DISTINCT status FROM analysis_runs") == [("empty",)]


@pytest.mark.parametrize(
    "symbol", ["'; DROP TABLE trades; --", "a'b", 'a"b', "[/red]", "{start}", "line\nbreak", "☃ %s\\"]
)
def test_hostile_symbols_are_only_symbols(database: Endpoint, tmp_path: Path, symbol: str) -> None:
    store(
        database,
        [
            trade("2026-03-02T00:00:01Z", symbol, "buy", 10.0, 2.0, "1"),
            trade("2026-03-02T00:00:02Z", "BTCUSDT", "buy", 10.0, 9.0, "2"),
        ],
    )
    config = settings(tmp_path, database)
    code, document = run_once(config, *WINDOW, "--symbols", symbol, "--analyses", "flow")
    assert (code, document["status"]) == (0, "ok")
    assert {row["symbol"] for row in document["analyses"][0]["values"]} == {symbol}
    assert values(document, "flow", symbol)["buy_volume"] == 2.0
    table = analyzer("run-once", "--config", str(config), *WINDOW, "--analyses", "flow")
    assert table.returncode == 0, table.stderr
    assert query(database, "SELECT count() FROM trades") == [(2,)]


def test_one_analysis_that_fails_costs_no_other(database: Endpoint, tmp_path: Path) -> None:
    store(database, TRADES)
    query(database, "RENAME TABLE orderbook TO orderbook_lost")
    config = settings(tmp_path, database)
    code, document = run_once(config, *WINDOW)
    assert (code, document["status"]) == (1, "failed")
    statuses = {one["name"]: one["status"] for one in document["analyses"]}
    expected = {"coverage": "empty", "bars": "ok", "flow": "ok", "book": "failed", "liquidations": "empty"}
    assert {name: statuses[name] for name in expected} == expected
    (error,) = [one["error"] for one in document["analyses"] if one["name"] == "book"]
    assert "orderbook" in error
    assert "collector migrate" in error
    wait_rows(database, "analysis_runs", len(statuses))
    assert dict(query(database, "SELECT analysis, status FROM analysis_runs")) == statuses
    wait_rows(database, "signals", sum(len(one["values"]) for one in document["analyses"]))
    stored = query(database, "SELECT DISTINCT analysis FROM signals ORDER BY 1")
    assert stored == [(name,) for name in sorted(statuses) if statuses[name] == "ok"]
    table = analyzer("run-once", "--config", str(config), *WINDOW)
    assert table.returncode == 1
    assert "FAILED" in table.stdout


def test_tables_are_readable_at_100_columns(database: Endpoint, tmp_path: Path) -> None:
    store(database, TRADES)
    done = analyzer("run-once", "--config", str(settings(tmp_path, database)), *WINDOW)
    assert done.returncode == 0
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    for word in ("BTCUSDT", "ETHUSDT", "vwap", "quote", "realized_vol", "cvd", "base"):
        assert word in done.stdout


def test_exchange_and_analyses_are_chosen(database: Endpoint, tmp_path: Path) -> None:
    store(database, TRADES)
    config = settings(tmp_path, database)
    code, document = run_once(config, *WINDOW, "--analyses", "flow,bars")
    assert code == 0
    assert {one["name"] for one in document["analyses"]} == {"bars", "flow"}
    code, document = run_once(config, *WINDOW, "--exchange", "elsewhere")
    assert (code, document["status"]) == (0, "empty")
