"""The dashboard before anything was recorded: every chart says what is missing, and what to do."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from analyzer.audit.settings import AuditConfig
from analyzer.config import Endpoint as AnalyzerEndpoint
from analyzer.dashboard.reader import Reader
from analyzer.dashboard.server import application
from collector.database.endpoint import Endpoint
from tests.anew import empty


@pytest.mark.parametrize("tables", ["none", "migrated"])
def test_an_empty_database_is_explained(database: Endpoint, tables: str) -> None:
    if tables == "none":
        empty(database)
    reader = Reader(lambda: AnalyzerEndpoint(database.http_url, database.pg))
    client = application(reader, "", AuditConfig()).test_client()

    def get(path: str) -> dict[str, Any]:
        answer = client.get(path, headers={"Host": "localhost"})
        assert answer.status_code == 200
        document: dict[str, Any] = json.loads(gzip.decompress(answer.data))
        return document

    status = get("/data/status")
    assert status["tiles"][0]["value"] == "no"
    assert "is `collector run` running?" in status["tiles"][0]["detail"]
    assert get("/data/symbols") == {"symbols": []}
    symbol = "&symbol=bybit:linear:BTCUSDT"
    charts = get("/data/system?range=1h")["charts"] | get(f"/data/market?range=1h{symbol}")["charts"]
    assert len(charts) == 11
    told = {name: chart["empty"] for name, chart in charts.items() if "figure" not in chart}
    assert set(told) == set(charts)
    if tables == "none":
        assert all("collector migrate" in text for text in told.values())
    else:
        assert "collector run" in told["memory"]
        assert told["gaps"] == "no gap was declared in the last hour"
        assert told["liquidations"] == "no liquidation of bybit linear BTCUSDT in the last hour"
        assert "analyzer schedule" in told["scores"]
        assert status["alerts"]["empty"] == "no alert in the last 7 days"
    assert all(
        chart["empty"].startswith("nothing is recorded") for chart in get("/data/market")["charts"].values()
    )
    reader.close()
