"""The dashboards for Grafana: each query answers on a real QuestDB, with the plugin's macros as the plugin fills them in."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from collector.database.endpoint import Endpoint
from tests.analyzer import market_now
from tests.analyzer.market_now import BTC, VENUE
from tests.anew import anew
from tests.conftest import query, wait_rows

GRAFANA = Path(__file__).parents[1] / "ops/grafana"
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
QUERIES = [
    (board, panel["title"], target["rawSql"])
    for board, content in BOARDS.items()
    for panel in content["panels"]
    for target in panel["targets"]
]


@pytest.fixture(scope="module")
def filled(questdb: Endpoint) -> Endpoint:
    anew(questdb)
    market_now.fill(questdb)
    where = f"'{VENUE[0]}', '{VENUE[1]}'"
    for age, messages in ((30, 100), (20, 300), (10, 500)):
        query(
            questdb,
            "INSERT INTO stream_stats (ts, process, exchange, market, channel, messages, reconnects, silences) VALUES "
            f"(dateadd('s', -{age}, now()), 'p', {where}, 'trades', {messages}, 0, 0)",
        )
    query(
        questdb,
        "INSERT INTO process_events (ts, program, process, event, cause) "
        "VALUES (now(), 'collector', 'p', 'started', 'first')",
    )
    query(
        questdb,
        "INSERT INTO signals (ts, exchange, market, symbol, window_s, analysis, metric, value, coverage) VALUES "
        f"(now(), {where}, '{BTC}', 900, 'confluence', 'score', 71.5, 0.99)",
    )
    for table in ("stream_stats", "process_events", "signals"):
        wait_rows(questdb, table, 1)
    return questdb


def expanded(sql: str) -> str:
    """For the last three hours of one instrument."""
    now = datetime.now(UTC)
    start, end = (
        round(at.timestamp() * 1e6) for at in (now - timedelta(hours=3), now + timedelta(minutes=1))
    )
    sql = re.sub(
        r"\$__timeFilter\((\w+)\)",
        rf"\1 >= cast({start} as timestamp) AND \1 <= cast({end} as timestamp)",
        sql,
    )
    sql = sql.replace("$__sampleByInterval", "10s").replace("$__from", str(start // 1000))
    for name, value in (("exchange", VENUE[0]), ("market", VENUE[1]), ("symbol", BTC)):
        sql = sql.replace(f"${name}", value)
    assert "$" not in sql, "a macro or variable that this test does not know"
    return sql


def test_there_are_three_of_them() -> None:
    assert {board["uid"] for board in BOARDS.values()} == {
        "evenkeel-operations",
        "evenkeel-market",
        "evenkeel-data-quality",
    }


@pytest.mark.parametrize(("board", "title", "sql"), QUERIES, ids=[f"{b}-{t}" for b, t, _ in QUERIES])
def test_every_panel_answers(filled: Endpoint, board: str, title: str, sql: str) -> None:
    rows = query(filled, expanded(sql))
    assert rows, "nothing to show, though the tables are filled"


def test_messages_per_second_from_counters(filled: Endpoint) -> None:
    (sql,) = [sql for _, title, sql in QUERIES if title == "Messages per second"]
    rates = [rate for _, _, rate in query(filled, expanded(sql)) if rate is not None]
    assert rates == pytest.approx([20.0, 20.0], rel=0.05)  # 200 messages more every 10 s


@pytest.mark.parametrize("board", BOARDS)
def test_variables_offer_what_is_recorded(filled: Endpoint, board: str) -> None:
    for variable in BOARDS[board]["templating"]["list"]:
        offered = [row[0] for row in query(filled, expanded(variable["query"]))]
        assert {"exchange": VENUE[0], "market": VENUE[1], "symbol": BTC}[variable["name"]] in offered


@pytest.mark.parametrize("board", BOARDS)
def test_panels_stand_apart_and_use_the_provisioned_source(board: str) -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/questdb.yaml").read_text())["datasources"]
    taken: set[tuple[int, int]] = set()
    numbers = [panel["id"] for panel in BOARDS[board]["panels"]]
    assert len(set(numbers)) == len(numbers)
    for panel in BOARDS[board]["panels"]:
        for target in panel["targets"]:
            assert target["datasource"] == {"type": source["type"], "uid": source["uid"]}
            assert isinstance(target["format"], int)
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and max(x for x, _ in cells) < 24
        taken |= cells


def test_the_source_reads_as_a_user_that_may_only_read() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/questdb.yaml").read_text())["datasources"]
    assert source["jsonData"]["username"].startswith("$")
    assert source["secureJsonData"]["password"].startswith("$__file{")
