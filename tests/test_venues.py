"""Every venue end to end: its simulator on a real socket, the collector, a real QuestDB; the ledger is the judge."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from collector.database.endpoint import Endpoint
from collector.demo import feed_table
from collector.exchanges import EXCHANGES
from tests.conftest import query
from tests.processes import Background, background, collector

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
    done = collector("verify", "--ledger", str(ledger), "--config", str(config), "--format", "json")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    totals: dict[str, int] = json.loads(done.stdout)["totals"]
    return totals


@pytest.mark.parametrize("venue", sorted(EXCHANGES))
def test_undisturbed_nothing_is_missing(tmp_path: Path, database: Endpoint, venue: str) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--exchange", venue, "--port", "0", "--rate", "1000", "--messages", "5000"]
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


@pytest.mark.parametrize("venue", sorted(EXCHANGES))
def test_what_a_tormented_venue_loses_is_declared(tmp_path: Path, database: Endpoint, venue: str) -> None:
    """Connections cut, sequence numbers left out, subscriptions refused."""
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--exchange", venue, "--port", "0", "--rate", "1000", "--ledger", str(ledger)]
    simulate += ["--disconnect-every", "4s", "--skip-every", "100", "--refuse-every", "7"]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        config = configuration(tmp_path, database, venue, exchange)
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            time.sleep(11)
            exchange.end()
            time.sleep(0.5)
            assert recording.end(signal.SIGTERM) == 0
    totals = verified(ledger, config)
    assert totals["missing"] > 0
    events = {event for (event,) in query(database, "SELECT DISTINCT event FROM feed_events")}
    assert "disconnected" in events
    assert events & {"rejected", "refused"}
