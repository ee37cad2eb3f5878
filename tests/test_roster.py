"""Symbols that come and go, and several sockets for the same streams, against the simulator."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from collector.database.endpoint import Endpoint
from tests.conftest import query
from tests.processes import background, config_file, judged, wait_until

BUSIEST = [("BTCUSDT",), ("ETHUSDT",)]


def streams_of(ledger: Path, config: Path) -> list[dict[str, Any]]:
    streams: list[dict[str, Any]] = judged(ledger, config)["streams"]
    return streams


def test_a_delisted_symbol_is_dropped_and_the_others_lose_nothing(tmp_path: Path, database: Endpoint) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--port", "0", "--rate", "600", "--ledger", str(ledger), "--delist-after", "6s"]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        urls = ready["ws_urls"]["linear"], ready["rest_url"]
        config = config_file(tmp_path, database, *urls, symbols=["*USDT"], symbols_refresh="2s")
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            dropped = "SELECT DISTINCT symbol FROM feed_events WHERE event = 'dropped'"
            wait_until(lambda: query(database, dropped) == [("SOLUSDT",)], timeout=120, what="the drop")
            time.sleep(2)
            exchange.end()
            time.sleep(0.5)
            assert recording.end(signal.SIGTERM) == 0
    streams = streams_of(ledger, config)
    assert {stream["symbol"] for stream in streams} == {"BTCUSDT", "ETHUSDT", "SOLUSDT"}
    for stream in streams:
        assert stream["undeclared"] == stream["wrong"] == stream["duplicated"] == stream["unexpected"] == 0
        if stream["symbol"] != "SOLUSDT":
            assert stream["missing"] == 0, stream
    gaps = query(database, "SELECT symbol, channel, to_ts FROM gaps WHERE cause = 'dropped'")
    assert {(symbol, channel) for symbol, channel, _ in gaps} == {
        ("SOLUSDT", channel) for channel in ("trades", "orderbook", "tickers", "liquidations")
    }
    assert all(ends is None for _, _, ends in gaps)
    listed = query(database, "SELECT symbol, name, kind, tick, lot, contract_size FROM instruments")
    assert ("BTCUSDT", "BTC-USDT-PERPETUAL", "perpetual", 0.1, 0.001, 1.0) in listed
    assert len(listed) == 3


def test_the_busiest_are_chosen_and_kept_for_a_start_without_rest(tmp_path: Path, database: Endpoint) -> None:
    simulate = ["simulate", "--port", "0", "--rate", "600"]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        recorded = "SELECT DISTINCT symbol FROM trades ORDER BY symbol"
        for rest_url in (ready["rest_url"], "http://127.0.0.1:9"):
            query(database, "TRUNCATE TABLE trades")
            config = config_file(
                tmp_path,
                database,
                ready["ws_urls"]["linear"],
                rest_url,
                symbols=["top:2"],
                channels=["trades"],
            )
            with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
                wait_until(lambda: query(database, recorded) == BUSIEST, what="the two busiest")
                assert recording.end(signal.SIGTERM) == 0
        exchange.end()


def test_two_sockets_for_the_same_streams_store_each_row_once(tmp_path: Path, database: Endpoint) -> None:
    """One is cut every few seconds, one misses deltas, one is refused subscriptions: what the other has whole."""
    ledger = tmp_path / "ledger.jsonl"
    simulate = [
        "simulate",
        "--port",
        "0",
        "--rate",
        "1500",
        "--ledger",
        str(ledger),
        "--spare",
    ]
    simulate += ["--disconnect-every", "4s", "--skip-every", "100", "--refuse-every", "5"]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        urls = ready["ws_urls"]["linear"], ready["rest_url"]
        config = config_file(tmp_path, database, *urls, connections=2, repair=False)
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            lost = "SELECT count() FROM feed_events WHERE event = 'disconnected'"
            wait_until(lambda: query(database, lost)[0][0] >= 3, what="the disconnects")
            exchange.end()
            time.sleep(0.5)
            assert recording.end(signal.SIGTERM) == 0
    for stream in streams_of(ledger, config):
        assert stream["missing"] == stream["wrong"] == stream["duplicated"] == stream["unexpected"] == 0, (
            stream
        )
    refused = query(database, "SELECT count() FROM feed_events WHERE event = 'rejected'")
    assert refused[0][0] > 0
