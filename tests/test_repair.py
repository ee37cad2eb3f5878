"""Holes in trades filled from REST: by the running collector, and on demand. The ledger is the judge: `verify` takes a
gap that claims to be repaired for no excuse."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from collector.database.endpoint import Endpoint
from collector.database.migrate import migrate
from collector.repair import AT_ONCE, waiting
from collector.repair_cli import Posting
from collector.rows import Gap
from collector.settings import FeedConfig, RetentionConfig
from collector.simulator import SIMULATORS
from tests.conftest import query, wait_rows
from tests.processes import background, collector, config_file, judged, known_streams, wait_until


def trades_of(ledger: Path, config: Path) -> dict[str, int]:
    """What `collector verify` says of trades, over all symbols."""
    streams = [stream for stream in judged(ledger, config)["streams"] if stream["table"] == "trades"]
    return {
        name: sum(stream[name] for stream in streams) for name in ("sent", "missing", "undeclared", "wrong")
    }


def record_trades(folder: Path, database: Endpoint, config: Path, number: int) -> None:
    """By a collector that is ended with the signal `number` once its rows are stored and its journal knows its streams."""
    since = time.time_ns() // 1000
    recorded = f"SELECT count() FROM trades WHERE recv_ts > {since}"
    with background(folder / "collector.log", "run", "--config", str(config)) as recording:
        wait_until(
            lambda: known_streams(folder / "journal") > 0 and query(database, recorded)[0][0] > 50,
            timeout=90,
            what="trades in the database",
        )
        recording.end(number)


def test_the_running_collector_repairs_what_a_disconnect_cost(tmp_path: Path, database: Endpoint) -> None:
    """With a little market REST's newest 1,000 trades reach back past every hole."""
    ledger = tmp_path / "ledger.jsonl"
    simulate = [
        "simulate",
        "--port",
        "0",
        "--rate",
        "150",
        "--ledger",
        str(ledger),
        "--disconnect-every",
        "3s",
    ]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        config = config_file(tmp_path, database, ready["ws_urls"]["linear"], ready["rest_url"])
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            repaired = "SELECT count() FROM gaps WHERE repair = 'complete' AND recovered > 0"
            wait_until(lambda: query(database, repaired)[0][0] >= 3, what="the repair")
            exchange.end()
            assert recording.end(signal.SIGTERM) == 0
    trades = trades_of(ledger, config)
    assert trades["sent"] > 300
    assert trades["undeclared"] == trades["wrong"] == 0
    assert query(database, "SELECT count() FROM gaps WHERE repaired != (repair = 'complete')") == [(0,)]
    offered = (
        "SELECT DISTINCT channel, repair = 'unavailable' FROM gaps WHERE repair IS NOT NULL ORDER BY channel"
    )
    assert query(database, offered) == [("liquidations", True), ("trades", False)]


@pytest.mark.parametrize("venue", ["deribit", "okx"])
def test_liquidations_are_repaired_where_the_venue_lists_them(
    tmp_path: Path, database: Endpoint, venue: str
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--exchange", venue, "--port", "0", "--rate", "400", "--ledger", str(ledger)]
    with background(tmp_path / "simulate.log", *simulate, "--disconnect-every", "3s") as exchange:
        ready = exchange.line()
        symbols = [SIMULATORS[venue].symbol("inverse", name) for name in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]
        changes: dict[str, Any] = {"exchange": venue, "symbols": symbols, "market": "inverse"}
        urls = ready["ws_urls"]["inverse"], ready["rest_url"]
        config = config_file(tmp_path, database, *urls, channels=["trades", "liquidations"], **changes)
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            repaired = "SELECT count(), sum(recovered) FROM gaps WHERE channel = 'liquidations' AND repaired"
            wait_until(
                lambda: query(database, repaired)[0][0] >= 3 and query(database, repaired)[0][1] > 0,
                timeout=90,
                what="the repair",
            )
            exchange.end()
            assert recording.end(signal.SIGTERM) == 0
    answer = judged(ledger, config)
    assert answer["verified"], answer
    sent = {stream["table"]: stream["sent"] for stream in answer["streams"]}
    assert sent["liquidations"] > 0


def test_repair_on_demand_fetches_what_a_killed_collector_missed(tmp_path: Path, database: Endpoint) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--port", "0", "--rate", "150", "--ledger", str(ledger)]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        urls = ready["ws_urls"]["linear"], ready["rest_url"]
        config = config_file(tmp_path, database, *urls, channels=["trades"], repair=False)
        for number in (signal.SIGKILL, signal.SIGTERM):
            record_trades(tmp_path, database, config, number)
            time.sleep(1)  # so long at least is the hole
        assert trades_of(ledger, config)["missing"] > 0  # which waits until all is applied
        done = collector("repair", "--config", str(config), "--since", "1h", "--format", "json")
        assert done.returncode == 0, done.stderr
        outcomes = json.loads(done.stdout)
        assert {outcome["gap"]["repair"] for outcome in outcomes} == {"complete"}
        assert {outcome["gap"]["symbol"] for outcome in outcomes} == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
        assert sum(outcome["gap"]["recovered"] for outcome in outcomes) > 20
        again = collector("repair", "--config", str(config), "--since", "1h")
        assert "no hole to repair" in again.stdout
        exchange.end()
    rows = query(database, "SELECT count() FROM trades")[0][0]
    trades = trades_of(ledger, config)
    assert trades["undeclared"] == trades["wrong"] == 0
    assert rows == query(database, "SELECT count() FROM (SELECT DISTINCT symbol, trade_id FROM trades)")[0][0]


def test_a_hole_larger_than_the_venue_remembers_is_repaired_in_part_and_says_so(
    tmp_path: Path, database: Endpoint
) -> None:
    """Spot's REST has the newest 60 trades only."""
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--port", "0", "--rate", "600", "--ledger", str(ledger)]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        urls = ready["ws_urls"]["spot"], ready["rest_url"]
        more: dict[str, Any] = {
            "market": "spot",
            "channels": ["trades"],
            "repair": False,
            "symbols": ["BTCUSDT"],
        }
        config = config_file(tmp_path, database, *urls, **more)
        record_trades(tmp_path, database, config, signal.SIGKILL)
        time.sleep(4)  # about a hundred trades of the symbol
        record_trades(tmp_path, database, config, signal.SIGTERM)
        closed = "SELECT count() FROM gaps WHERE channel = 'trades' AND to_ts IS NOT NULL"
        wait_until(lambda: query(database, closed)[0][0] > 0, what="the gap")
        done = collector("repair", "--config", str(config), "--since", "1h", "--format", "json")
        (outcome,) = json.loads(done.stdout)
        assert outcome["gap"]["repair"] in ("partial", "none")
        assert not outcome["gap"]["repaired"]
        exchange.end()
    trades = trades_of(ledger, config)
    assert trades["missing"] > 0
    assert trades["undeclared"] == 0


def test_holes_of_symbols_that_nobody_records_any_more_are_in_nobodys_way(database: Endpoint) -> None:
    migrate(database, RetentionConfig())
    posting = Posting(database)
    first = 1_790_000_000_000_000
    holes = [(f"OLD{number}USDT", first) for number in range(AT_ONCE + 20)]
    holes += [(symbol, first + 1000) for symbol in ("BTCUSDT", "ETHUSDT")]
    for symbol, at in holes:
        posting.add(Gap(at, at + 10, at + 20, "bybit", "linear", symbol, "trades", "disconnected"))
    posting.flush()
    wait_rows(database, "gaps", len(holes))
    feed = FeedConfig(exchange="bybit", market="linear", symbols=["BTCUSDT", "ETHUSDT", "*USDT"])
    found = waiting(database, feed, first, first + 10**9)
    assert sorted((gap.symbol, gap.from_ts) for gap in found) == holes[-2:]
