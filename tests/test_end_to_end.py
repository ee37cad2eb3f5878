"""The whole way, as processes: simulator or replay over a real socket, the collector, a real QuestDB, verification."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path

import psycopg
import pytest

from collector.database import managed
from collector.database.endpoint import DatabaseError, Endpoint
from collector.database.migrate import pending
from collector.settings import QuestDBConfig
from tests.conftest import query
from tests.processes import (
    background,
    collector,
    config_file,
    disconnected,
    judged,
    known_streams,
    wait_until,
)

RECORDING = Path(__file__).parents[2] / "shared/recordings/bybit/linear_spot_20260809.jsonl.gz"


def verify(ledger: Path, config: Path, *more: str) -> dict[str, int]:
    """The totals of `collector verify`, which must be content."""
    answer = judged(ledger, config, *more)
    assert answer["verified"], answer
    totals: dict[str, int] = answer["totals"]
    return totals


@pytest.mark.parametrize("market", ["linear", "inverse", "spot"])
def test_nothing_is_missing_and_a_stop_loses_nothing(tmp_path: Path, database: Endpoint, market: str) -> None:
    channels = ["trades", "orderbook", "tickers"] + (["liquidations"] if market != "spot" else [])
    symbols = [f"{base}USD{'' if market == 'inverse' else 'T'}" for base in ("BTC", "ETH", "SOL")]
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--port", "0", "--rate", "3000", "--messages", "12000", "--ledger", str(ledger)]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        urls = ready["ws_urls"][market], ready["rest_url"]
        config = config_file(tmp_path, database, *urls, market, symbols=symbols, channels=channels)
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            assert exchange.line()["stopped"] is True
            time.sleep(0.5)
            assert recording.end(signal.SIGTERM) == 0
        exchange.end()
    totals = verify(ledger, config)
    assert totals["missing"] == totals["undeclared"] == totals["duplicated"] == totals["wrong"] == 0
    assert totals["stored"] > 4000
    open_gaps = query(database, "SELECT DISTINCT cause FROM gaps WHERE to_ts IS NULL")
    assert open_gaps == [("collector_stopped",)]


def count(endpoint: Endpoint, condition: str) -> int:
    return int(query(endpoint, f"SELECT count() FROM {condition}")[0][0])


def all_told(endpoint: Endpoint) -> bool:
    return (
        count(endpoint, "feed_events WHERE event = 'disconnected'") >= 3
        and count(endpoint, "gaps WHERE cause = 'disconnected'") >= 4
        and count(endpoint, "gaps WHERE cause = 'sequence_gap'") >= 2
        and count(endpoint, "gaps WHERE to_ts IS NOT NULL AND to_ts >= from_ts") >= 6
    )


def test_disconnects_and_skipped_sequences_are_declared(tmp_path: Path, database: Endpoint) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--port", "0", "--rate", "2000", "--ledger", str(ledger)]
    simulate += ["--disconnect-every", "3s", "--skip-every", "150"]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        config = config_file(tmp_path, database, ready["ws_urls"]["linear"], ready["rest_url"])
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            wait_until(lambda: all_told(database), what="three disconnects and all that is expected below")
            assert recording.end(signal.SIGTERM) == 0
        exchange.end()
    totals = verify(ledger, config)
    assert totals["missing"] > 0
    assert totals["undeclared"] == 0
    causes = dict(query(database, "SELECT cause::string, count() FROM gaps"))
    assert causes["disconnected"] >= 4
    assert causes["sequence_gap"] >= 2
    closed = query(database, "SELECT count() FROM gaps WHERE to_ts IS NOT NULL AND to_ts >= from_ts")
    assert closed[0][0] >= 6


def recorded_since(endpoint: Endpoint, started: int) -> bool:
    """Whether QuestDB has a trade that was received later."""
    return count(endpoint, f"trades WHERE recv_ts > {started}") > 0


def test_killed_in_a_loop_declares_what_it_lost(tmp_path: Path, database: Endpoint) -> None:
    ledger = tmp_path / "ledger.jsonl"

    def all_known(since_us: int) -> bool:
        return known_streams(tmp_path / "journal", since_us) == 12

    simulate = ["simulate", "--port", "0", "--rate", "2000", "--ledger", str(ledger)]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        config = config_file(tmp_path, database, ready["ws_urls"]["linear"], ready["rest_url"])
        for number in range(3):
            log = tmp_path / f"collector-{number}.log"
            started = time.time_ns() // 1000
            with background(log, "run", "--config", str(config)) as recording:
                wait_until(partial(recorded_since, database, started), what="the start")
                wait_until(partial(all_known, started), what="the state of all streams")
                assert recording.end(signal.SIGKILL) == -signal.SIGKILL
        started = time.time_ns() // 1000
        with background(tmp_path / "last.log", "run", "--config", str(config)) as recording:
            wait_until(partial(recorded_since, database, started), what="the last start")
            wait_until(partial(all_known, started), what="the state of all streams")
            assert recording.end(signal.SIGTERM) == 0
        exchange.end()
    totals = verify(ledger, config)
    assert totals["missing"] > 0
    assert totals["undeclared"] == 0
    assert dict(query(database, "SELECT cause::string, count() FROM gaps"))["collector_crashed"] >= 12


def test_a_database_that_is_down_costs_nothing(tmp_path: Path, database: Endpoint) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--port", "0", "--rate", "2000", "--messages", "6000", "--ledger", str(ledger)]
    nowhere = Endpoint("http://127.0.0.1:9", "postgresql://127.0.0.1:9/qdb")
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        config = config_file(tmp_path, nowhere, ready["ws_urls"]["linear"], ready["rest_url"])
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            assert exchange.line()["stopped"] is True
            time.sleep(0.5)
            assert recording.end(signal.SIGTERM) == 0
        assert "rows wait in the journal" in (tmp_path / "collector.log").read_text()
        config = config_file(tmp_path, database, ready["ws_urls"]["linear"], ready["rest_url"])
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            wait_until(lambda: query(database, "SELECT count() FROM trades")[0][0] > 100, what="the shipping")
            assert recording.end(signal.SIGTERM) == 0
        exchange.end()
    totals = verify(ledger, config)
    assert totals["missing"] == totals["undeclared"] == 0


def ask(settings: QuestDBConfig, sql: str) -> int:
    """The managed server, for one number; 0 while it can't tell."""
    server = managed.status(settings)
    try:
        return int(query(managed.endpoint_of(server, settings), sql)[0][0]) if server is not None else 0
    except (DatabaseError, psycopg.Error):
        return 0


def stored_trades(settings: QuestDBConfig, since_us: int = 0) -> int:
    """Trades in the managed server that were received later; 0 before it has all tables."""
    server = managed.status(settings)
    try:
        migrated = server is not None and not pending(managed.endpoint_of(server, settings))
    except (DatabaseError, psycopg.Error):
        return 0
    return ask(settings, f"SELECT count() FROM trades WHERE recv_ts > {since_us}") if migrated else 0


@pytest.mark.parametrize("moment", ["starting", "migrating", "recording"])
def test_a_managed_server_that_crashes_is_started_again(tmp_path: Path, moment: str) -> None:
    """Its own server: no other test's may be killed. When it is killed decides which part of the collector notices."""
    ledger, log = tmp_path / "ledger.jsonl", tmp_path / "collector.log"
    simulate = ["simulate", "--port", "0", "--rate", "1500", "--ledger", str(ledger)]
    settings = QuestDBConfig(data=str(tmp_path / "questdb"), http_port=0, pg_port=0)
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        endpoint = Endpoint("managed", "")
        config = config_file(tmp_path, endpoint, ready["ws_urls"]["linear"], ready["rest_url"])
        text = config.read_text().replace('pg = ""', f'data = "{settings.data}"\nhttp_port = 0\npg_port = 0')
        config.write_text(text)
        with background(log, "run", "--config", str(config)) as recording:
            try:
                wait_until(lambda: managed.status(settings) is not None, what="the server")
                server = managed.status(settings)
                assert server is not None
                if moment == "starting":
                    time.sleep(0.5)
                elif (
                    moment == "migrating"
                ):  # before, a kill may leave a folder with which QuestDB never starts again
                    made = "SELECT count() FROM tables() WHERE table_name = 'trades'"
                    wait_until(lambda: ask(settings, made) > 0, what="the first tables")
                else:
                    wait_until(lambda: stored_trades(settings) > 0, what="the first trades")
                os.kill(server.pid, signal.SIGKILL)
                killed = time.time_ns() // 1000
                wait_until(
                    lambda: stored_trades(settings, killed) > 0 and stored_trades(settings) > 3000,
                    what="the new server with all its tables, and what came after the end of the old one",
                )
                exchange.end()
                wait_until(lambda: disconnected(log) == {"bybit/linear"}, what="the end of the connection")
                assert recording.end(signal.SIGTERM) == 0
                totals = verify(ledger, config)
            finally:
                managed.stop(settings)
        exchange.end()
    assert totals["missing"] == totals["undeclared"] == 0
    assert totals["stored"] > 3000


@pytest.mark.skipif(not RECORDING.exists(), reason="../shared/recordings is not beside this checkout")
@pytest.mark.parametrize("market", ["linear", "spot"])
def test_the_recorded_session_lands_row_for_row(tmp_path: Path, database: Endpoint, market: str) -> None:
    ledger = tmp_path / "ledger.jsonl"
    replay = [
        "replay",
        str(RECORDING),
        "--port",
        "0",
        "--speed",
        "0",
        "--ledger",
        str(ledger),
        "--exit-when-done",
    ]
    channels = ["trades", "orderbook", "tickers"]
    symbols = ["BTCUSDT", "ETHUSDT"] + (["SOLUSDT", "DOGEUSDT"] if market == "linear" else [])
    with background(tmp_path / "replay.log", *replay) as exchange:
        ready = exchange.line()
        config = config_file(
            tmp_path,
            database,
            ready["ws_urls"][market],
            ready["rest_url"],
            market,
            symbols=symbols,
            channels=channels,
            book_depth=200,
            book_interval="0ms",
        )
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            assert exchange.process.wait(60) == 0
            assert recording.end(signal.SIGTERM) == 0
    totals = verify(ledger, config, "--book-interval", "0ms")
    assert totals["missing"] == totals["undeclared"] == totals["unexpected"] == 0
    # Counted in the recording, by topic.
    books = query(
        database, f"SELECT count(), min(dim_length(bids, 2)) FROM orderbook WHERE market = '{market}'"
    )
    assert books == [({"linear": 1598, "spot": 550}[market], 200)]
    trades = query(database, f"SELECT count() FROM trades WHERE market = '{market}'")[0][0]
    assert trades == totals_of_trades(market)


def totals_of_trades(market: str) -> int:
    """Distinct trades of a market in the recording, counted by themselves."""
    import gzip

    conn = {"linear": "BYBIT.ws.2", "spot": "BYBIT.ws.3"}[market]
    seen = set()
    with gzip.open(RECORDING, "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry.get("t") == "recv" and entry["conn"] == conn and "publicTrade" in entry["data"]:
                seen |= {(item["T"], item["s"], item["i"]) for item in json.loads(entry["data"])["data"]}
    return len(seen)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"symbols": ["NOSUCHUSDT"]}, "NOSUCHUSDT"),
        ({"ws_url": "ws://example.org/x"}, "loopback"),
        ({"exchange": "mtgox"}, "mtgox"),
        ({"market": "option"}, "option"),
        ({"colour": "red"}, "feeds[0].colour"),
    ],
)
def test_bad_feeds_are_refused_before_anything_starts(
    tmp_path: Path, database: Endpoint, change: dict[str, object], words: str
) -> None:
    with background(tmp_path / "simulate.log", "simulate", "--port", "0") as exchange:
        ready = exchange.line()
        feed = {"ws_url": ready["ws_urls"]["linear"], "rest_url": ready["rest_url"]} | change
        config = config_file(tmp_path, database, **feed)
        done = collector("run", "--config", str(config), "--duration", "2s")
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "journal").exists()


def test_a_symbol_refused_by_the_socket_does_not_stop_the_others(tmp_path: Path, database: Endpoint) -> None:
    with background(tmp_path / "simulate.log", "simulate", "--port", "0", "--rate", "500") as exchange:
        # Without rest_url the symbols can't be checked beforehand.
        config = config_file(
            tmp_path, database, exchange.line()["ws_urls"]["linear"], symbols=["BTCUSDT", "GONEUSDT"]
        )
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            wait_until(
                lambda: count(database, "feed_events WHERE event = 'rejected'") >= 4, what="the refusals"
            )
            wait_until(
                lambda: count(database, "trades WHERE symbol = 'BTCUSDT'") > 50, what="the other's trades"
            )
            assert recording.end(signal.SIGTERM) == 0
        exchange.end()
    assert query(database, "SELECT count() FROM trades WHERE symbol = 'BTCUSDT'")[0][0] > 50
    rejected = query(
        database, "SELECT channel::string FROM feed_events WHERE event = 'rejected' ORDER BY channel"
    )
    assert sorted(row[0] for row in rejected) == ["liquidations", "orderbook", "tickers", "trades"]
    gaps = query(database, "SELECT count() FROM gaps WHERE symbol = 'GONEUSDT' AND cause = 'rejected'")
    assert gaps[0][0] == 4
    assert "GONEUSDT" in (tmp_path / "collector.log").read_text()
