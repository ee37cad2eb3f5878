"""Two collectors, as on two machines: each its own process and journal, one QuestDB. One of them is killed on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from collector.database.endpoint import Endpoint
from collector.database.migrate import migrate
from collector.declared import declared
from collector.demo import feed_table
from collector.encode import RowEncoder
from collector.gaps import QUIET_MARGIN_US
from collector.rows import Gap
from collector.settings import RetentionConfig
from collector.sink import QuestDBSink
from tests.conftest import query, wait_rows
from tests.processes import background, judged, wait_until

SYMBOLS = ["BTCUSDT", "ETHUSDT"]


def configure(folder: Path, endpoint: Endpoint, venue: str, ready: dict[str, Any]) -> Path:
    """A machine's own configuration: what both record, and a journal of its own. Nothing is repaired over REST."""
    folder.mkdir()
    feeds = "".join(feed_table(venue, market, ready, SYMBOLS) for market in ready["ws_urls"])
    path = folder / "evenkeel.toml"
    path.write_text(
        f'[questdb]\nurl = "{endpoint.http_url}"\npg = "{endpoint.pg}"\n'
        f'[journal]\npath = "{folder / "journal"}"\n[http]\nlisten = ""\n'
        + feeds.replace("[[feeds]]", "[[feeds]]\nrepair = false")
    )
    return path


@pytest.mark.parametrize("venue", ["bybit", "kraken"])
def test_one_of_two_collectors_is_killed_and_nothing_is_missing_or_twice(
    tmp_path: Path, database: Endpoint, venue: str
) -> None:
    ledger = tmp_path / "ledger.jsonl"
    simulate = ["simulate", "--exchange", venue, "--port", "0", "--rate", "600", "--ledger", str(ledger)]

    def whole(name: str, since: int) -> bool:
        """Whether the collector has all books and trades since then."""
        found = query(
            database,
            "SELECT count_distinct(concat(channel, market, symbol)) FROM feed_events WHERE event = 'subscribed' "
            f"AND channel IN ('trades', 'orderbook') AND ts > {since} AND collector = '{name}'",
        )
        return bool(found[0][0] == 2 * len(markets) * len(SYMBOLS))

    def name_of(folder: Path) -> str:
        return (folder / "journal" / "collector").read_text()

    crashed = "cause = 'collector_crashed'"
    closed = f"{crashed} AND to_ts IS NOT NULL"

    def holes(which: str) -> list[tuple[Any, ...]]:
        return query(database, f"SELECT from_ts, exchange, market, symbol, channel FROM holes WHERE {which}")

    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        markets = ready["ws_urls"]
        one, other = tmp_path / "one", tmp_path / "other"
        configs = [configure(folder, database, venue, ready) for folder in (one, other)]
        runs = [("run", "--config", str(config)) for config in configs]
        with background(tmp_path / "other.log", *runs[1]) as steady:
            wait_until(lambda: (other / "journal" / "collector").exists(), timeout=120)
            wait_until(lambda: whole(name_of(other), 0), timeout=120, what="the first collector")
            time.sleep(QUIET_MARGIN_US / 1e6)  # a crash gap begins so early: by then this one must record
            began = datetime.now(UTC)
            with background(tmp_path / "one.log", *runs[0]) as victim:
                wait_until(lambda: (one / "journal" / "collector").exists(), timeout=120)
                wait_until(lambda: whole(name_of(one), 0), timeout=120, what="the second collector")
                time.sleep(1)
                victim.end(signal.SIGKILL)
            time.sleep(2)
            again = time.time_ns() // 1000
            with background(tmp_path / "one.log", *runs[0]) as victim:
                wait_until(lambda: whole(name_of(one), again), timeout=120, what="the one that was killed")
                wait_until(lambda: holes(closed) == holes(crashed) != [], timeout=60, what="its gaps")
                # No hole, since the other has it. Asked now: a quiet stream's gap at the exchange's end begins early.
                kept = query(
                    database, f"SELECT DISTINCT kept_by FROM holes WHERE {crashed} AND channel = 'trades'"
                )
                time.sleep(1)
                ended = datetime.now(UTC)
                time.sleep(0.5)
                exchange.end()
                time.sleep(0.5)
                assert [victim.end(signal.SIGTERM), steady.end(signal.SIGTERM)] == [0, 0]
    answer = judged(ledger, configs[1])
    totals = answer["totals"]
    assert answer["verified"], answer
    assert totals["stored"] > 1000
    assert (totals["missing"], totals["duplicated"]) == (0, 0)
    # The killed one declares its gap.
    assert query(database, f"SELECT DISTINCT collector FROM gaps WHERE {closed}") == [(name_of(one),)]
    assert kept == [("another collector",)]
    span = [f"--window={int((ended - began).total_seconds())}s", f"--as-of={ended.isoformat()}"]
    analyzed = subprocess.run(
        [
            sys.executable,
            "-m",
            "analyzer",
            "run-once",
            "--config",
            str(configs[1]),
            *span,
            "--format",
            "json",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    values = {
        (row["market"], row["symbol"], row["metric"]): row["value"]
        for one_ in json.loads(analyzed.stdout)["analyses"]
        if one_["name"] == "coverage"
        for row in one_["values"]
    }
    shares = [share for (_, _, metric), share in values.items() if metric == "coverage_trades"]
    assert len(shares) == len(markets) * len(SYMBOLS)
    assert shares == pytest.approx([1.0] * len(shares), abs=1e-9)


def test_holes_of_two_collectors_that_begin_together_are_two_rows(database: Endpoint) -> None:
    migrate(database, RetentionConfig())
    first = 1_790_000_000_000_000
    for name, ends in (("a", first + 10), ("b", None)):
        encoder = RowEncoder(name)
        encoder.add(Gap(first, None, first, "bybit", "linear", "BTCUSDT", "trades", "disconnected"))
        encoder.add(Gap(first, ends, first, "bybit", "linear", "BTCUSDT", "trades", "disconnected"))
        sink = QuestDBSink(database.http_url, database.user, database.password)
        sink.post([encoder.take()[0]])
        sink.close()
    wait_rows(database, "gaps", 2)
    rows = query(database, "SELECT collector, to_ts::long FROM gaps ORDER BY collector")
    assert rows == [("a", first + 10), ("b", None)]


@pytest.mark.parametrize(
    ("holes", "recording", "together"),
    [
        ({"a": [(10, 20)]}, {"a": (0, 50)}, [(10, 20)]),
        ({"a": [(10, 20)]}, {}, [(10, 20)]),
        ({"a": [(10, 20)]}, {"a": (0, 50), "b": (0, 50)}, []),
        ({"a": [(10, 20)], "b": [(15, 30)]}, {"a": (0, 50), "b": (0, 50)}, [(15, 20)]),
        ({"a": [(10, 20)]}, {"a": (0, 50), "b": (15, 50)}, [(10, 15)]),  # the other came later
        ({"a": [(10, 20)]}, {"a": (0, 50), "b": (0, 12)}, [(12, 20)]),  # the other had gone
        ({"a": [(10, 60)]}, {"a": (0, 12), "b": (40, 99)}, [(10, 40)]),  # one never came back
        ({"a": [(10, 20)], "b": [(12, 13)], "c": [(1, 12)]}, dict.fromkeys("abc", (0, 50)), [(12, 12)]),
        ({}, {"a": (0, 50)}, []),  # nobody has declared anything
    ],
)
def test_what_several_collectors_declare_together(
    holes: dict[str, list[tuple[int, int]]],
    recording: dict[str, tuple[int, int]],
    together: list[tuple[int, int]],
) -> None:
    assert declared(holes, recording) == together
