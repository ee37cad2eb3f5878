"""Two collectors that record the same streams: what audit, alerts, report and dashboard say of one's gap and one's end."""

from __future__ import annotations

import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from analyzer.alerts.rules import RULES
from analyzer.alerts.settings import AlertsConfig
from analyzer.audit.settings import AuditConfig
from analyzer.cli import main
from analyzer.collectors import Life, gone
from analyzer.config import Endpoint as ReadEndpoint
from analyzer.dashboard.reader import Reader
from analyzer.dashboard.server import application
from analyzer.reports.findings import recorded
from analyzer.reports.holes import holes
from analyzer.reports.reading import read
from analyzer.source import Source
from analyzer.windows import Window
from collector.database.endpoint import Endpoint
from collector.rows import CollectorStats, FeedEvent, Gap, Row, Trade
from tests.analyzer.audits import AS_OF, END, HOUR, IDLE, START, audit, samples, verdicts
from tests.analyzer.audits import gap as anonymous_gap
from tests.analyzer.fixtures import VENUE, settings, store
from tests.conftest import query
from tests.processes import background, config_file, wait_until

S = 1_000_000
CONFIG = AlertsConfig()


def running(
    collector: str, start_h: float, end_h: float, process: str = "", **more: Any
) -> list[CollectorStats]:
    rows = samples(process or f"{collector}:1", start_h, end_h, **more)
    return [msgspec.structs.replace(row, collector=collector) for row in rows]


def event(collector: str, name: str, hour: float, symbol: str = "", market: str = VENUE[1]) -> FeedEvent:
    ts = START + round(hour * HOUR)
    channel = "trades" if symbol else ""
    return FeedEvent(ts, ts, VENUE[0], market, symbol, channel, name, collector=collector)


def subscribed(collector: str, *symbols: str, hour: float = -1.0) -> list[FeedEvent]:
    return [event(collector, "subscribed", hour, symbol) for symbol in symbols]


def gap(collector: str, symbol: str, from_h: float, to_h: float | None, cause: str = "disconnected") -> Gap:
    return anonymous_gap(symbol, from_h, to_h, cause, collector=collector)


def fires(
    database: Endpoint, rule: str, now: int = END, config: AlertsConfig = CONFIG
) -> list[tuple[str, float, str]]:
    """Symbol (or what stands in its place), value, message."""
    source = Source(ReadEndpoint(database.http_url, database.pg))
    try:
        found = RULES[rule].evaluate(source, config, now)
        return sorted((one.symbol, round(one.value, 3), one.message) for one in found)
    finally:
        source.close()


def test_gaps_of_one_are_no_holes_where_the_other_has_the_rows(database: Endpoint, tmp_path: Path) -> None:
    """Of BTC a's hour is covered, of ETH half of it, of SOL nothing: nobody else records it."""
    store(
        database,
        [
            *running("a", -1, 12, every_s=60),
            *running("b", -1, 12, every_s=60),
            *subscribed("a", "BTCUSDT", "ETHUSDT", "SOLUSDT"),
            *subscribed("b", "BTCUSDT", "ETHUSDT"),
            *(gap("a", symbol, 2, 3) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")),
            gap("b", "ETHUSDT", 2.5, 3.5, "silent"),
        ],
    )
    code, document = audit(tmp_path, database)
    shares = {one["symbol"]: one["coverage"] for one in document["streams"]}
    assert shares == {
        "BTCUSDT": 1.0,
        "ETHUSDT": pytest.approx(1 - 0.5 / 12),
        "SOLUSDT": pytest.approx(11 / 12),
    }
    assert {one["undeclared_s"] for one in document["streams"]} == {0.0}
    lost = {(one["collector"], one["symbol"]): one["lost_seconds"] for one in document["gaps"]}
    assert lost == {
        ("a", "BTCUSDT"): 0,
        ("a", "ETHUSDT"): 1800,
        ("a", "SOLUSDT"): 3600,
        ("b", "ETHUSDT"): 1800,
    }
    (coverage,) = [one for one in document["thresholds"] if one["name"] == "coverage"]
    assert coverage["text"].endswith("4 gaps, 0 repaired, 1 recorded by another collector")
    assert (code, verdicts(document)["life"]) == (2, "ok")
    done = CliRunner().invoke(
        main, ["audit", "--config", str(settings(tmp_path, database)), "--as-of", AS_OF, "--format", "md"]
    )
    (line,) = [line for line in done.stdout.splitlines() if "bybit linear by a |" in line]
    told = "bybit linear by a: disconnected, 3 streams, 3,600.0 s, 0 of 3 gaps repaired, 1 recorded by another collector"
    assert told in done.stdout
    assert [cell.strip() for cell in line.split("|")][5:-1] == ["disconnected", "3", "3", "0", "2"]


def test_one_that_died_is_told_and_leaves_no_hole(database: Endpoint, tmp_path: Path) -> None:
    """a died after nine hours. It alone recorded SOL, of which nobody says that it is missing."""
    store(
        database,
        [
            *running("a", -1, 9),
            *running("b", -1, 12),
            *subscribed("a", "BTCUSDT", "SOLUSDT"),
            *subscribed("b", "BTCUSDT"),
        ],
    )
    code, document = audit(tmp_path, database)
    streams = {one["symbol"]: (one["coverage"], one["undeclared_s"]) for one in document["streams"]}
    dead = 3 * 3600 + 10 - 30  # the last sample is 10 s before its end, and 30 s are allowed after it
    assert streams == {"BTCUSDT": (1.0, 0.0), "SOLUSDT": (pytest.approx(1 - dead / 43200), dead)}
    findings = {one["name"]: one for one in document["thresholds"]}
    assert (findings["silence"]["verdict"], findings["redundancy"]["verdict"]) == ("ok", "warning")
    assert "no sign of life of a (a:1) for 10,810 s" in findings["redundancy"]["text"]
    assert document["restarts"]["count"] == 0
    assert code == 2  # for SOL
    assert fires(database, "silence") == []
    ((who, age, message),) = fires(database, "redundancy")
    assert (who, age) == ("a", 10_810.0)
    assert "a:1" in message
    young = [Life("a", "a:1", START, START + HOUR), Life("b", "b:1", START + 2 * HOUR, END)]
    assert gone(young, END, 60 * S) == []  # b has taken a's place: a demo, or another folder for the journal
    later = END + 26 * HOUR
    assert [one[0] for one in fires(database, "silence", later)] == ["*"]
    assert fires(database, "redundancy", later) == []  # nobody lives: that is told instead


def test_an_open_gap_is_a_hole_only_where_nobody_records(database: Endpoint, tmp_path: Path) -> None:
    """a lacks three streams since 11:00; of ETH b has lacked one since 11:30, of SOL it had a gap that is over."""
    rows: list[Row] = [
        *running("a", -1, 12, every_s=10),
        *running("b", -1, 12, every_s=10),
        *(row for name in "ab" for row in subscribed(name, "BTCUSDT", "ETHUSDT", "SOLUSDT")),
        *(gap("a", symbol, 11, None) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")),
        gap("b", "ETHUSDT", 11.5, None, "silent"),
        gap("b", "SOLUSDT", 11.2, 11.3),
        gap("b", "BTCUSDT", 12 - 30 / 3600, None),  # not for long enough
    ]
    store(database, rows)
    holes_ = {who: (age, message.split(" of ")[0]) for who, age, message in fires(database, "gap_open")}
    assert holes_ == {"disconnected": (1800.0, "1 streams"), "silent": (1800.0, "1 streams")}
    told = {who: (age, message.split(" have")[0]) for who, age, message in fires(database, "redundancy")}
    assert told == {"a": (3600.0, "1 streams")}
    _, document = audit(tmp_path, database)
    (lacking,) = [one for one in document["thresholds"] if one["name"] == "lacking"]
    assert (lacking["verdict"], lacking["value"]) == ("warning", 1)  # SOL; of BTC nobody records anything now


def test_processes_of_one_name_are_told_apart_by_their_collectors(database: Endpoint, tmp_path: Path) -> None:
    """As in two containers: box:1 twice."""
    store(
        database,
        [
            *running("a", 0, 12, "box:1", growth=10, lag_ms=90_000.0),
            *running("b", 0, 12, "box:1", growth=210),
            *subscribed("a", "BTCUSDT"),
            *subscribed("b", "BTCUSDT"),
        ],
    )
    _, document = audit(tmp_path, database)
    growth = {run["process"]: run["growth_mb_per_hour"] for run in document["memory"]["processes"]}
    assert growth == {"box:1 of a": pytest.approx(10), "box:1 of b": pytest.approx(210)}
    assert document["restarts"]["count"] == 0
    assert document["counts"]["messages"] == 2 * 100 * (12 * 3600 - 10)
    assert [(who, round(value)) for who, value, _ in fires(database, "memory_growth")] == [
        ("box:1 of b", 210)
    ]
    assert [(who, value) for who, value, _ in fires(database, "ship_lag")] == [("box:1 of a", 90.0)]


def test_a_restart_follows_its_own_collector(database: Endpoint, tmp_path: Path) -> None:
    """a ended at 4:00 and is back at 4:30; b ended for good at 4:20; c has taken its place at 5:00, beside a."""
    store(
        database,
        [
            *running("a", -1, 4),
            *running("a", 4.5, 12, "a:2"),
            *running("b", -1, 4 + 1 / 3),
            *running("c", 5, 12),
            *(row for name in "ab" for row in subscribed(name, "BTCUSDT")),
            *subscribed("c", "BTCUSDT", hour=5),
            gap("a", "BTCUSDT", 4, 4.5, "collector_stopped"),
            gap("b", "BTCUSDT", 4.1, 4.15, "collector_crashed"),  # not a's
        ],
    )
    _, document = audit(tmp_path, database)
    restarts = [(one["previous"], one["process"], one["cause"]) for one in document["restarts"]["list"]]
    assert restarts == [("a:1", "a:2", "stopped")]
    (stream,) = document["streams"]
    # Nobody: in b's gap of 180 s, and from 4:20 (b's last sample is 10 s before, 30 s are allowed) to 4:30.
    assert stream["coverage"] == pytest.approx(1 - (180 + 600 - 20) / 43200)
    assert stream["undeclared_s"] == 0  # a's gap goes over it
    assert [one["lost_seconds"] for one in document["gaps"]] == [760, 180]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([event("a", "starting", 1, market="spot"), event("a", "connect_failed", 1, market="spot")], ["a"]),
        ([event("a", "starting", 1, market="spot")], ["a"]),  # not even that: the symbols could not be had
        ([event("a", "starting", 1, market="spot"), event("a", "subscribed", 1.01, "X", "spot")], []),
        # it was reached by an earlier process, and is not any more
        ([event("a", "subscribed", 0.5, "X", "spot"), event("a", "starting", 1, market="spot")], ["a"]),
        # it was given up with the configuration of the process before
        ([event("a", "starting", 0.5, market="spot"), event("a", "starting", 1)], []),
        ([event("a", "starting", 12 - 59 / 3600, market="spot")], []),  # give it a minute
        ([event("c", "starting", 1, market="spot")], []),  # c does not live
        # of a version that does not tell of its starts
        ([event("a", "connect_failed", 11.5, market="spot")], ["a"]),
        ([event("a", "connect_failed", 11.5, market="spot"), event("a", "subscribed", 2, "X", "spot")], []),
        ([event("a", "connect_failed", 2, market="spot")], []),
    ],
)
def test_a_market_that_was_never_reached(
    database: Endpoint, tmp_path: Path, rows: list[Row], told: list[str]
) -> None:
    """Both live, and b has reached it."""
    store(
        database,
        [
            *running("a", 0, 12, every_s=20),
            *running("b", 0, 12, every_s=20),
            *running("c", 0, 6, every_s=20),
            *subscribed("a", "BTCUSDT", hour=1.001),
            event("b", "starting", 0, market="spot"),
            event("b", "subscribed", 0.01, "X", "spot"),
            *rows,
        ],
    )
    assert [who for who, _, _ in fires(database, "never_reached")] == told
    _, document = audit(tmp_path, database)
    found = [one for one in document["thresholds"] if one["name"] == "never_reached"]
    assert [one["verdict"] for one in found] == ["warning"] * len(told)
    assert all("bybit spot by a" in one["text"] for one in found)


def test_a_collector_whose_venue_can_not_be_reached_says_so(database: Endpoint, tmp_path: Path) -> None:
    """A real one, at an address where nobody listens: no gap, and yet an alert."""
    config = config_file(tmp_path, database, "ws://127.0.0.1:9/", "http://127.0.0.1:9")

    def told() -> list[tuple[str, float, str]]:
        now = time.time_ns() // 1000
        return fires(database, "never_reached", now, AlertsConfig(gap="1s"))

    with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
        wait_until(lambda: len(told()) == 1, what="the alert")
        ((who, _, message),) = told()
        assert who == (tmp_path / "journal" / "collector").read_text()
        assert "bybit linear has not been reached since its start" in message
        recording.end()
    assert query(database, "SELECT count() FROM gaps") == [(0,)]


def test_the_report_says_who_has_the_rows(database: Endpoint) -> None:
    store(
        database,
        [
            *running("a", 11, 12),
            *running("b", 11, 12),
            *(row for name in "ab" for row in subscribed(name, "BTCUSDT", "ETHUSDT")),
            gap("a", "BTCUSDT", 11.1, 11.2),
            gap("a", "ETHUSDT", 11.3, 11.4),
            gap("b", "ETHUSDT", 11.35, 11.4, "silent"),
            *(
                Trade(END - n * S, END - n * S, *VENUE, symbol, "buy", 100.0, 1.0, f"{symbol}{n}")
                for symbol in ("BTCUSDT", "ETHUSDT")
                for n in range(1, 4)
            ),
        ],
    )
    source = Source(ReadEndpoint(database.http_url, database.pg))
    try:
        end = datetime.fromisoformat(AS_OF)
        report = read(source, Window(end - timedelta(hours=1), end))
    finally:
        source.close()
    told = {(hole.cause, hole.where.split()[2]): hole.kept for hole in holes(report)}
    assert set(told.values()) == {
        "another collector has it",
        "another collector has it but for 3 min",
        "no",
    }
    shades = {one.name[2]: one.holes for one in report.charted}
    low, high = (START + round(hour * HOUR) for hour in (11.35, 11.4))
    assert shades == {"BTCUSDT": {"trades": []}, "ETHUSDT": {"trades": [(low, high)]}}
    share, words = recorded(report)
    assert share == pytest.approx((1 + 0.95) / 2)
    assert "2 declared gaps, the longest 3 min; of 1 more another collector has the rows." in words


def test_the_dashboard_shades_and_counts_what_nobody_has(database: Endpoint) -> None:
    now = datetime.now(UTC)
    us = round(now.timestamp() * 1e6)

    def at(seconds: float) -> int:
        return us - round(seconds * S)

    def hole(collector: str, symbol: str, since: float, until: float | None) -> Gap:
        end = None if until is None else at(until)
        return Gap(at(since), end, at(since), *VENUE, symbol, "trades", "disconnected", collector=collector)

    who = [
        FeedEvent(at(4000), at(4000), *VENUE, symbol, "trades", "subscribed", collector=name)
        for name in "ab"
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    figures = [
        msgspec.structs.replace(IDLE, ts=at(age), process="box:1", collector=name, messages=round(1000 - age))
        for name, ages in (
            ("a", (8000, 100, 50, 1)),
            ("b", (100, 51, 2)),
            ("gone", (7200, 7100, 7000)),
            ("before", (9000, 8500)),  # and a began
        )
        for age in ages
    ]
    trades = [
        Trade(at(n), at(n), *VENUE, symbol, "buy", 100.0, 1.0, f"{symbol}{n}")
        for symbol in ("BTCUSDT", "ETHUSDT")
        for n in range(1, 600, 45)
    ]
    holes_ = [
        hole("a", "BTCUSDT", 500, 400),
        hole("a", "ETHUSDT", 500, 400),
        hole("b", "ETHUSDT", 450, 410),
        hole("a", "BTCUSDT", 200, None),
    ]
    store(database, [*who, *figures, *trades, *holes_])
    reader = Reader(lambda: ReadEndpoint(database.http_url, database.pg))
    client = application(reader, "", AuditConfig()).test_client()

    def get(path: str) -> dict[str, Any]:
        answer = client.get(path, headers={"Host": "localhost"})
        document: dict[str, Any] = json.loads(gzip.decompress(answer.data))
        return document

    try:
        tiles = {tile["title"]: tile for tile in get("/data/status")["tiles"]}
        charts = get("/data/system?range=1h")["charts"]
        markets = {
            symbol: get(f"/data/market?range=15m&symbol=bybit:linear:{symbol}")["charts"]
            for symbol in ("BTCUSDT", "ETHUSDT")
        }
    finally:
        reader.close()
    gaps = tiles["Gaps, last hour"]
    assert (gaps["value"], gaps["state"]) == ("2", "warning")
    assert gaps["detail"] == "longest 40 s, 2 of one collector, which another one has"
    recording = tiles["Recording"]
    assert (recording["value"], recording["state"]) == ("yes", "warning")
    assert recording["detail"].endswith("2 processes; no sign of gone (box:1), which recorded beside")
    assert {one["name"] for one in charts["memory"]["figure"]["data"]} >= {"box:1 of a", "box:1 of b"}
    assert charts["gaps"]["caption"] == (
        "2 in the last hour, one for each stream and collector that has a hole; 2 more of one collector are none, as "
        "another one has the rows"
    )
    for name, chart in (("price", "price"), ("CVD", "cvd")):
        whole, hole_in = (markets[symbol][chart]["figure"] for symbol in ("BTCUSDT", "ETHUSDT"))
        assert whole["layout"].get("shapes", []) == []
        (shade,) = hole_in["layout"]["shapes"]
        assert (shade["x0"], shade["x1"]) == (at(450) // 1000, at(410) // 1000)
        assert breaks(whole, name) == []
        assert breaks(hole_in, name) == [(at(451) // 2_000_000 * 2000, at(406) // 2_000_000 * 2000)]


def breaks(figure: dict[str, Any], name: str) -> list[tuple[float, float]]:
    """Where the line stops, and where it goes on."""
    (one,) = [trace for trace in figure["data"] if trace["name"] == name]
    x, y = one["x"], one["y"]
    return [(x[i - 1], x[i + 1]) for i, value in enumerate(y) if value is None]
