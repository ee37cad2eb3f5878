"""Every venue end to end: its simulator on a real socket, the collector, a real QuestDB; the ledger is the judge."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from collector.database.endpoint import Endpoint
from collector.demo import feed_table
from collector.exchanges import EXCHANGES
from tests.conftest import query
from tests.processes import Background, background, judged, wait_until

SYMBOLS = ["BTCUSDT", "ETHUSDT"]


def configuration(folder: Path, endpoint: Endpoint, venue: str, exchange: Background) -> Path:
    """All markets and channels of a simulated venue."""
    ready = exchange.line()
    path = folder / "evenkeel.toml"
    path.write_text(
        f'[questdb]\nurl = "{endpoint.http_url}"\npg = "{endpoint.pg}"\n'
        f'[journal]\npath = "{folder / "journal"}"\n[http]\nlisten = ""\n'
        + "".join(feed_table(venue, market, ready, SYMBOLS) for market in ready["ws_urls"])
    )
    return path


def verified(ledger: Path, config: Path) -> dict[str, int]:
    answer = judged(ledger, config)
    assert answer["verified"], answer
    totals: dict[str, int] = answer["totals"]
    return totals


@pytest.mark.parametrize("venue", sorted(EXCHANGES))
def test_undisturbed_nothing_is_missing(tmp_path: Path, database: Endpoint, venue: str) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--exchange", venue, "--port", "0", "--rate", "2000", "--messages", "5000"]
    with background(tmp_path / "simulate.log", *simulate, "--ledger", str(ledger)) as exchange:
        config = configuration(tmp_path, database, venue, exchange)
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            assert exchange.line()["stopped"] is True
            time.sleep(0.5)
            exchange.end()
            assert recording.end(signal.SIGTERM) == 0
    totals = verified(ledger, config)
    assert totals["stored"] > 1500
    # A ticker that is merged of several sources is declared until all of them have come.
    causes = {
        cause for (cause,) in query(database, "SELECT DISTINCT cause FROM gaps WHERE to_ts IS NOT NULL")
    }
    assert causes <= {"awaiting_snapshot", "awaiting_sources"}
    assert totals["missing"] == 0 or "awaiting_sources" in causes


def was_tormented(endpoint: Endpoint, venue: str) -> bool:
    """Whether each market has been cut off twice and connected again, and something was refused."""
    events = query(endpoint, "SELECT event, market, count() FROM feed_events GROUP BY event, market")
    connected = {market: number for event, market, number in events if event == "connected"}
    refused = any(event in ("rejected", "refused") for event, _, _ in events)
    return refused and all(connected.get(market, 0) >= 3 for market in EXCHANGES[venue].markets)


@pytest.mark.parametrize("venue", sorted(EXCHANGES))
def test_what_a_tormented_venue_loses_is_declared(tmp_path: Path, database: Endpoint, venue: str) -> None:
    """Connections cut, sequence numbers left out, subscriptions refused."""
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--exchange", venue, "--port", "0", "--rate", "1000", "--ledger", str(ledger)]
    simulate += ["--disconnect-every", "3s", "--skip-every", "100", "--refuse-every", "7"]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        config = configuration(tmp_path, database, venue, exchange)
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            wait_until(lambda: was_tormented(database, venue), what="two cuts and a refusal")
            time.sleep(1)
            exchange.end()
            time.sleep(0.5)
            assert recording.end(signal.SIGTERM) == 0
    totals = verified(ledger, config)
    assert totals["missing"] > 0
    events = {event for (event,) in query(database, "SELECT DISTINCT event FROM feed_events")}
    assert "disconnected" in events
    assert events & {"rejected", "refused"}
