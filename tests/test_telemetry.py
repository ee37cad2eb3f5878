"""What a collector says of itself, as a process beside a real QuestDB, compared with the simulator's ledger."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections import Counter
from pathlib import Path

from collector.database.endpoint import Endpoint
from tests.conftest import query
from tests.processes import background, config_file, wait_until

CHANNELS = {"t": "trades", "l": "liquidations", "b": "orderbook", "k": "tickers"}


def sent(ledger: Path) -> Counter[str]:
    """Events, by channel, that a socket got."""
    entries = map(json.loads, ledger.read_text().splitlines()[1:])
    return Counter(CHANNELS[entry["k"]] for entry in entries if entry["n"])


def test_counts_are_those_of_the_ledger(tmp_path: Path, database: Endpoint) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--port", "0", "--rate", "2000", "--messages", "6000", "--ledger", str(ledger)]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        config = config_file(tmp_path, database, ready["ws_urls"]["linear"], ready["rest_url"])
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            assert exchange.line()["stopped"] is True
            events = sent(ledger)
            trades = events["trades"]
            wait_until(
                lambda: query(database, "SELECT count() FROM trades")[0][0] == trades, what="all trades"
            )
            time.sleep(0.5)  # as many messages as may still wait in the socket
            first = recording.process.pid
            assert recording.end(signal.SIGTERM) == 0
        with background(tmp_path / "killed.log", "run", "--config", str(config)) as recording:
            wait_until(lambda: "connected" in (tmp_path / "killed.log").read_text(), what="the second start")
            killed = recording.process.pid
            recording.end(signal.SIGKILL)
        again = ["run", "--config", str(config), "--duration", "1s"]
        with background(tmp_path / "again.log", *again) as recording:
            assert recording.process.wait(60) == 0
            last = recording.process.pid
        exchange.end()
    check_process_events(database, first, killed, last)
    check_own_figures(database, f"{socket.gethostname()}:{first}")
    assert min(events.values()) > 0
    columns = "channel::string, messages, rows, bytes, bad, reconnects, silences"
    ours = f"WHERE process = '{socket.gethostname()}:{first}'"
    newest = "LATEST ON ts PARTITION BY process, exchange, market, channel"
    found = {
        channel: figures
        for channel, *figures in query(database, f"SELECT {columns} FROM stream_stats {ours} {newest}")
    }
    assert set(found) == set(events)
    for channel in ("orderbook", "tickers"):  # one event a message
        assert found[channel][0] == events[channel]
    for channel in ("trades", "liquidations", "tickers"):  # one row an event
        assert found[channel][1] == events[channel]
    assert found["trades"][1] == query(database, "SELECT count() FROM trades")[0][0]
    assert 0 < found["orderbook"][1] < events["orderbook"]  # sampled
    for messages, _, size, *troubles in found.values():
        assert size > 100 * messages
        assert troubles == [0, 0, 0]
    [(total,)] = query(database, f"SELECT messages FROM collector_stats {ours} LIMIT -1")
    assert 0 < total - sum(messages for messages, *_ in found.values()) < 10  # acknowledgements


def check_process_events(database: Endpoint, first: int, killed: int, last: int) -> None:
    columns = "program::string, process::string, event::string, cause::string, pid, uptime_s, detail"
    rows = query(database, f"SELECT {columns} FROM process_events ORDER BY ts")
    assert {row[0] for row in rows} == {"collector"}
    assert [row[2:5] for row in rows] == [
        ("started", "first", first),
        ("stopped", "SIGTERM", first),
        ("started", "stopped", killed),
        ("crashed", "killed", killed),
        ("started", "crashed", last),
        ("stopped", "duration", last),
    ]
    for _, process, event, _, pid, uptime, _ in rows:
        assert process == f"{socket.gethostname()}:{pid}"
        assert uptime is None if event == "started" else 0 <= uptime < 60
    assert rows[-1][5] >= 1.0


def check_own_figures(database: Endpoint, process: str) -> None:
    """The last row of a run that recorded."""
    timed = [f"{what}_{figure}_us" for what in ("decode", "handle") for figure in ("p50", "p99", "max")]
    disks = ["journal_disk_free", "server_disk_free", "journal_age_ms"]
    names = ["rss", "pss", "gc_gen0", "gc_gen2", "silences", "wal_lag", "wal_suspended", "memory_limit"]
    names += timed + disks
    sql = f"SELECT {', '.join(names)} FROM collector_stats WHERE process = '{process}' LIMIT -1"
    row = dict(zip(names, query(database, sql)[0], strict=True))
    assert 0 < row["pss"] <= row["rss"]
    assert row["gc_gen0"] >= row["gc_gen2"] >= 0
    assert 0.5 < row["decode_p50_us"] <= row["decode_p99_us"] <= row["decode_max_us"] < 5e6
    assert 0.1 < row["handle_p50_us"] <= row["handle_max_us"] < 5e6
    assert row["silences"] == row["wal_suspended"] == 0
    assert row["wal_lag"] >= 0
    assert row["server_disk_free"] is None  # a server by URL whose disk the configuration does not name
    assert 0.5 < row["journal_disk_free"] / shutil.disk_usage("/tmp").free < 2
    assert row["memory_limit"] >= 0
    assert row["journal_age_ms"] >= 0
