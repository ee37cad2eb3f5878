"""What a collector says of itself, as a process beside a real QuestDB, compared with the simulator's ledger."""

from __future__ import annotations

import json
import signal
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
            wait_until(lambda: query(database, "SELECT count() FROM trades")[0][0] > 100, what="rows")
            assert recording.end(signal.SIGTERM) == 0
        exchange.end()
    events = sent(ledger)
    assert min(events.values()) > 0
    columns = "channel::string, messages, rows, bytes, bad, reconnects, silences"
    newest = "LATEST ON ts PARTITION BY process, exchange, market, channel"
    found = {
        channel: figures
        for channel, *figures in query(database, f"SELECT {columns} FROM stream_stats {newest}")
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
    [(total,)] = query(database, "SELECT messages FROM collector_stats LIMIT -1")
    assert 0 < total - sum(messages for messages, *_ in found.values()) < 10  # acknowledgements
