"""The dashboard's server: its numbers against the formulas that filled the tables, who may look, and what it costs."""

from __future__ import annotations

import contextlib
import gzip
import json
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import flask
import httpx
import pytest
from flask.testing import FlaskClient

from analyzer.audit.settings import AuditConfig
from analyzer.config import ConfigError, UnreachableError
from analyzer.config import Endpoint as AnalyzerEndpoint
from analyzer.dashboard import figures
from analyzer.dashboard.access import Access, parse_address, token_for
from analyzer.dashboard.cache import Cache
from analyzer.dashboard.data import instrument
from analyzer.dashboard.ranges import RANGES
from analyzer.dashboard.reader import Reader, UnavailableError
from analyzer.dashboard.server import application
from analyzer.dashboard.system import ProcessCharts, Sample, rates
from analyzer.dashboard.tiles import tiles as status_tiles
from collector.database.endpoint import Endpoint
from tests.analyzer import dashboard_tables as tables
from tests.analyzer.dashboard_tables import dashboard
from tests.analyzer.fixtures import analyzer, settings
from tests.anew import anew
from tests.conftest import query
from tests.processes import wait_until
from tests.tcp_proxy import TcpProxy

TOKEN = "correct horse battery staple"
LOCAL = {"Host": "127.0.0.1:8097"}


class Filled:
    """One database for the module, and an application on it."""

    def __init__(self, endpoint: Endpoint) -> None:
        anew(endpoint)
        self.endpoint = endpoint
        self.now = datetime.now(UTC)
        self.last = tables.fill(endpoint, self.now)
        self.reader = Reader(lambda: AnalyzerEndpoint(endpoint.http_url, endpoint.pg))
        self.client = application(self.reader, "", AuditConfig()).test_client()

    def get(self, path: str, **arguments: str) -> dict[str, Any]:
        return content(self.client.get(path, query_string=arguments, headers=LOCAL))


def content(answer: Any) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["Content-Encoding"]) == (200, "gzip")
    document: dict[str, Any] = json.loads(gzip.decompress(answer.data))
    return document


@pytest.fixture(scope="module")
def filled(questdb: Endpoint) -> Iterator[Filled]:
    site = Filled(questdb)
    yield site
    site.reader.close()


def trace(chart: dict[str, Any], name: str) -> dict[float, float]:
    (found,) = [one for one in chart["figure"]["data"] if one["name"] == name]
    return dict(zip(found["x"], found["y"], strict=True))


def ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)


def test_the_systems_charts_show_what_the_tables_hold(filled: Filled) -> None:
    charts = filled.get("/data/system", range="1h")["charts"]
    first = filled.last - timedelta(minutes=60)
    at = [ms(first + timedelta(seconds=10 * x)) for x in range(1, tables.STATS + 1)]
    start = ms(filled.now) - 3_600_000
    memory = trace(charts["memory"], tables.PROCESS)
    expected = {t: tables.rss(x) for x, t in enumerate(at, 1) if t >= start}
    assert expected.items() <= memory.items()
    assert len(memory) - len(expected) <= 2  # those at the edge
    assert [one["name"] for one in charts["memory"]["figure"]["data"]] == [tables.PROCESS]
    assert charts["memory"]["caption"] == "last 60.8 MB, at most 61.5 MB; 0.8% of the limit of 8 GB"
    for exchange, rate in (("bybit", 300.0), ("okx", 150.0)):
        assert set(trace(charts["messages"], exchange).values()) == {rate}
    lag = trace(charts["lag"], "not yet in QuestDB")
    assert [lag[t] for t in at[-5:]] == pytest.approx([(120 + x % 10) / 1000 for x in range(356, 361)])
    waiting = trace(charts["journal"], "waiting for QuestDB")
    assert [waiting[t] for t in at[-5:]] == [x % 5 * 100_000 for x in range(356, 361)]
    gaps = charts["gaps"]
    assert {one["name"]: sum(one["y"]) for one in gaps["figure"]["data"]} == {"disconnected": 2, "silent": 1}
    assert all(chart["caption"] for chart in charts.values())


def test_a_symbols_charts_show_what_the_tables_hold(filled: Filled) -> None:
    charts = filled.get("/data/market", range="15m", symbol=":".join(tables.BTC))["charts"]
    # Points of two seconds, aligned to the clock: a point is the price of the later trade within.
    start = filled.now - timedelta(seconds=tables.TRADES)
    closes: dict[int, float] = {}
    steps: dict[int, float] = {}
    for x in range(1, tables.TRADES + 1):
        bucket = ms(start + timedelta(seconds=x)) // 2000 * 2000
        closes[bucket] = tables.price(x)
        steps[bucket] = steps.get(bucket, 0.0) + (0.5 if tables.side(x) == "buy" else -0.5)
    assert trace(charts["price"], "price") == closes
    total, cvd = 0.0, {}
    for bucket, step in steps.items():
        total += step
        cvd[bucket] = total
    assert trace(charts["cvd"], "CVD") == pytest.approx(cvd)
    assert total == 0.5 * (400 - 200)
    (hole,) = charts["price"]["figure"]["layout"]["shapes"]
    assert hole["x1"] - hole["x0"] == 60_000
    assert trace(charts["book"], "asks") == {101.0: 4.0, 102.0: 9.0}  # of two points at a price the upper one
    bids = next(one for one in charts["book"]["figure"]["data"] if one["name"] == "bids")
    assert list(zip(bids["x"], bids["y"], strict=True)) == [
        (97.0, 6.0),
        (98.0, 3.0),
        (99.0, 1.0),
        (99.0, 0.0),
    ]
    assert charts["book"]["caption"].endswith("spread 200 bps")
    assert list(trace(charts["depth"], "bids").values()) == [2e6 + x * 1e4 for x in range(1, 10)]
    assert list(trace(charts["scores"], "score").values()) == [40 + 3 * x for x in range(1, 10)]
    assert list(trace(charts["scores"], "book").values()) == [60 - 4 * x for x in range(1, 10)]
    assert charts["scores"]["caption"] == "last 67 of 100, long"
    other = filled.get("/data/market", range="15m", symbol=":".join(tables.ETH))["charts"]
    assert list(trace(other["depth"], "asks").values()) == [1000.0, 2000.0]
    assert "which end before 10 bps" in other["depth"]["caption"]
    assert (
        other["scores"]["empty"] == "no score in the last 15 minutes: recorded 40% of the window, below 90%"
    )
    liquidations = charts["liquidations"]
    assert sum(trace(liquidations, "longs closed").values()) == -65_000 * 5
    assert sum(trace(liquidations, "shorts closed").values()) == 65_100 * 2
    assert liquidations["caption"] == "3 orders, 455 k in quote units, the largest 260 k"


def test_tiles_alerts_and_symbols(filled: Filled) -> None:
    status = filled.get("/data/status")
    tiles = {one["title"]: one for one in status["tiles"]}
    then = status_tiles(filled.reader, filled.now, AuditConfig())
    assert [one.state for one in then] == ["ok", "ok", "warning", "ok", "ok", "ok"]
    later = status_tiles(filled.reader, filled.now + timedelta(seconds=18), AuditConfig())
    assert (then[0].value, later[0].value, later[0].state) == ("yes", "overdue", "ok")
    assert "last sign 1" in later[0].detail or "last sign 2" in later[0].detail
    assert (then[3].value, then[3].share) == ("60.8 MB", tables.rss(tables.STATS) / tables.LIMIT)
    assert tiles["Gaps, last hour"]["value"] == "3"
    assert tiles["Gaps, last hour"]["detail"] == "1 repaired, longest 1 min"
    assert tiles["QuestDB"]["value"] == "up"
    (firing,) = status["alerts"]["firing"]
    assert (firing["rule"], firing["where"]) == ("liquidation", "bybit linear BTCUSDT")
    assert [one["rule"] for one in status["alerts"]["resolved"]] == ["questdb_unavailable"]
    symbols = [one["value"] for one in filled.get("/data/symbols")["symbols"]]
    assert set(symbols[:2]) == {":".join(tables.BTC), ":".join(tables.ETH)}
    assert symbols[2:] == ["kraken:spot:XBT/USD"]  # subscribed, and not traded yet


@pytest.mark.parametrize("name", list(RANGES))
def test_a_chart_has_at_most_720_points_a_line(filled: Filled, name: str) -> None:
    span = RANGES[name]
    assert span.seconds / span.step_s <= 720
    assert span.seconds / span.bar_s <= 720
    for path in ("/data/system", "/data/market"):
        for chart in filled.get(path, range=name, symbol=":".join(tables.BTC))["charts"].values():
            for one in (chart.get("figure") or {"data": []})["data"]:
                assert len(one["x"]) <= 722


@pytest.mark.parametrize(
    "symbol", ["bybit:linear:'; DROP TABLE trades; --", "x:y:" + "z" * 200, "nonsense", ""]
)
def test_an_unknown_symbol_is_an_explained_emptiness(filled: Filled, symbol: str) -> None:
    charts = filled.get("/data/market", range="15m", symbol=symbol)["charts"]
    assert all(chart.get("figure") is None and chart["empty"] for chart in charts.values())
    if symbol.startswith("bybit"):
        assert "in the last 15 minutes; is `collector run` running?" in charts["price"]["empty"]
    assert query(filled.endpoint, "SELECT count() FROM trades")[0][0] >= 2 * tables.TRADES


def test_ten_browsers_cost_the_database_as_much_as_one(filled: Filled) -> None:
    def asked(browsers: int) -> int:
        site = application(filled.reader, "", AuditConfig())  # with an empty cache
        before = filled.reader.queries

        def browse(_: int) -> None:
            client = site.test_client()
            for path in (
                "/data/status",
                "/data/system?range=7d",
                f"/data/market?range=7d&symbol={':'.join(tables.BTC)}",
            ):
                assert client.get(path, headers=LOCAL).status_code == 200

        with ThreadPoolExecutor(browsers) as pool:
            list(pool.map(browse, range(browsers)))
        return filled.reader.queries - before

    assert asked(10) == asked(1)


def test_what_did_not_change_is_not_sent_again(filled: Filled) -> None:
    first = filled.client.get("/data/symbols", headers=LOCAL)
    again = filled.client.get("/data/symbols", headers=LOCAL | {"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_old_tables_cost_only_their_own_charts(questdb: Endpoint, filled: Filled) -> None:
    query(questdb, "RENAME TABLE signals TO signals_lost")
    try:
        site = application(filled.reader, "", AuditConfig()).test_client()
        answer = site.get(f"/data/market?range=15m&symbol={':'.join(tables.BTC)}", headers=LOCAL)
        charts = content(answer)["charts"]
    finally:
        query(questdb, "RENAME TABLE signals_lost TO signals")
    assert "collector migrate" in charts["scores"]["empty"]
    assert charts["price"]["figure"] is not None


def test_a_database_that_is_away_is_said_and_found_again(filled: Filled) -> None:
    here = False

    def resolve() -> AnalyzerEndpoint:
        if not here:
            raise UnreachableError(
                "find the managed QuestDB: no running server; start it with 'collector db start'"
            )
        return AnalyzerEndpoint(filled.endpoint.http_url, filled.endpoint.pg)

    site = application(Reader(resolve), "", AuditConfig()).test_client()
    status = site.get("/data/status", headers=LOCAL).get_json()
    assert "collector db start" in status["error"]
    assert {one["title"]: one["state"] for one in status["tiles"]}["QuestDB"] == "critical"
    assert site.get("/health/ready", headers=LOCAL).status_code == 503
    assert site.get("/health/live", headers=LOCAL).status_code == 200
    here = True
    wait_until(lambda: site.get("/health", headers=LOCAL).status_code == 200)


def test_a_server_that_hangs_is_given_up_and_found_again(
    filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyzer.dashboard.reader.TIMEOUT_S", 1.0)
    server = urlsplit(filled.endpoint.pg)
    proxy = TcpProxy(server.hostname or "", server.port or 0)
    address = server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{proxy.port}").geturl()
    reader = Reader(lambda: AnalyzerEndpoint("", address))

    def answered(sql: str) -> bool:
        """A busy machine may take longer than the short time-out."""
        with contextlib.suppress(UnavailableError):
            return reader.rows(sql) == [(int(sql[-1]),)]
        return False

    try:
        wait_until(lambda: answered("SELECT 1"))
        proxy.frozen.set()
        with pytest.raises(UnavailableError, match="collector db status") as told:
            reader.rows("SELECT 2")
        assert f":{server.password}@" not in str(told.value)
        proxy.frozen.clear()
        wait_until(lambda: answered("SELECT 3"))
    finally:
        reader.close()
        proxy.close()


def test_a_page_of_another_name_is_refused_on_loopback(filled: Filled) -> None:
    for host, status in {
        "127.0.0.1:8097": 200,
        "localhost": 200,
        "[::1]:8097": 200,
        "rebound.example:8097": 421,
        "127.0.0.1.example": 421,
        "[::1": 421,
        "": 421,
    }.items():
        assert filled.client.get("/", headers={"Host": host}).status_code == status, host


@pytest.fixture
def guarded() -> FlaskClient:
    server = flask.Flask("guarded")
    Access(TOKEN).register(server)
    server.add_url_rule("/", "page", lambda: "in")
    server.add_url_rule("/data/status", "status", lambda: "numbers")
    return server.test_client()


def test_without_the_token_nothing_is_shown(guarded: FlaskClient) -> None:
    turned = guarded.get("/?symbol=a&range=1h")
    assert (turned.status_code, turned.headers["Location"]) == (303, "/login?symbol=a&range=1h")
    for headers in (
        {},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": "evenkeel_dashboard=in"},
        {"Cookie": f"evenkeel_dashboard={TOKEN}"},
    ):
        refused = guarded.get("/data/status", headers=headers)
        assert (refused.status_code, refused.headers["WWW-Authenticate"]) == (401, "Bearer"), headers
    assert guarded.post("/login", data={"token": "wrong"}).status_code == 403


def test_the_token_opens_by_header_and_by_cookie(guarded: FlaskClient) -> None:
    assert guarded.get("/data/status", headers={"Authorization": f"Bearer {TOKEN}"}).text == "numbers"
    assert guarded.get("/data/status").status_code == 401
    done = guarded.post("/login?symbol=a", data={"token": TOKEN})
    assert (done.status_code, done.headers["Location"]) == (303, "/?symbol=a")
    cookie = done.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert TOKEN not in cookie
    assert guarded.get("/data/status").text == "numbers"
    other = flask.Flask("other")
    Access(TOKEN + "2").register(other)
    assert other.test_client().get("/data", headers={"Cookie": cookie.split(";")[0]}).status_code == 401


def test_addresses_and_tokens(tmp_path: Path) -> None:
    assert all(parse_address(text).loopback for text in ("127.0.0.1:1", "[::1]:1", "localhost:1"))
    assert not any(parse_address(text).loopback for text in ("0.0.0.0:1", "[::]:1"))
    for wrong in (
        "8097",
        "127.0.0.1",
        "127.0.0.1:x",
        "127.0.0.1:99999",
        ":8097",
        "[::1:1",
        "a b:1",
        "u@127.0.0.1:1",
    ):
        with pytest.raises(ValueError, match="--listen"):
            parse_address(wrong)
    file = tmp_path / "token"
    file.write_text(f"{TOKEN}\n")
    outside = parse_address("0.0.0.0:1")
    assert token_for(outside, {"EVENKEEL_DASHBOARD_TOKEN_FILE": str(file)}) == TOKEN
    assert token_for(parse_address("127.0.0.1:1"), {}) == ""
    with pytest.raises(ConfigError, match=r"0\.0\.0\.0:1.*EVENKEEL_DASHBOARD_TOKEN"):
        token_for(outside, {})
    with pytest.raises(ConfigError, match="16"):
        token_for(outside, {"EVENKEEL_DASHBOARD_TOKEN": "short"})


def test_another_address_without_a_token_is_refused(tmp_path: Path, questdb: Endpoint) -> None:
    config = str(settings(tmp_path, questdb))
    for listen in ("0.0.0.0:0", "nowhere"):
        done = analyzer("dashboard", "--config", config, "--listen", listen)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.strip().splitlines()) == 1
        assert listen in done.stderr


def test_a_taken_address_is_one_clear_line_and_the_token_is_in_no_log(
    tmp_path: Path, questdb: Endpoint
) -> None:
    config = settings(tmp_path, questdb)
    log = tmp_path / "log"
    with dashboard(config, log, EVENKEEL_DASHBOARD_TOKEN=TOKEN) as (child, url):
        assert httpx.get(url).status_code == 303
        assert httpx.post(f"{url}login", data={"token": TOKEN}).status_code == 303
        assert httpx.post(f"{url}login", data={"token": f"{TOKEN}!"}).status_code == 403
        assert httpx.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200
        second = analyzer("dashboard", "--config", str(config), "--listen", urlsplit(url).netloc)
        assert second.returncode == 1
        assert "can't be bound" in second.stderr
        assert "Traceback" not in second.stderr
        child.terminate()
        assert child.wait(30) == 0
    assert "dashboard" in log.read_text()
    assert TOKEN not in log.read_text()


def test_the_cache_is_bounded_and_computes_once() -> None:
    now = 0.0
    cache: Cache[int] = Cache(3, lambda: now)
    computed: list[int] = []

    def value(number: int) -> int:
        computed.append(number)
        return number

    assert [cache.get("a", 5, lambda: value(1)), cache.get("a", 5, lambda: value(2))] == [1, 1]
    now = 5.0
    assert cache.get("a", 5, lambda: value(3)) == 3
    for key in "bcd":
        cache.get(key, 5, lambda: value(4))
    assert len(cache) == 3
    assert cache.get("a", 5, lambda: value(5)) == 5  # it was the least recently used
    with pytest.raises(ZeroDivisionError):
        cache.get("e", 5, lambda: 1 // 0)
    assert cache.get("e", 5, lambda: value(6)) == 6
    assert computed == [1, 3, 4, 4, 4, 5, 6]


def test_while_one_computes_others_get_the_old_value() -> None:
    now = 0.0
    cache: Cache[str] = Cache(3, lambda: now)
    cache.get("a", 1, lambda: "old")
    now = 2.0
    entered, go = threading.Event(), threading.Event()

    def slow() -> str:
        entered.set()
        go.wait(10)
        return "new"

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.get, "a", 1, slow)
        assert entered.wait(10)
        assert cache.get("a", 1, lambda: "never") == "old"
        go.set()
        assert first.result(10) == "new"
    assert cache.get("a", 1, lambda: "never") == "new"


def test_counters_that_begin_anew_and_holes() -> None:
    counts = [(0, 0, 100), (10_000, 10_000, 600), (20_000, 21_000, 1150), (30_000, 31_000, 20)]
    assert rates(counts) == [(10_000, 50.0), (20_000, 50.0), (30_000, 2.0)]
    assert rates(counts[:1]) == []
    assert figures.broken([(0, 1.0), (10, 2.0), (50, 3.0)], 20) == [
        (0, 1.0),
        (10, 2.0),
        (11, None),
        (50, 3.0),
    ]


def memory_chart(rss: int, limit: int) -> tuple[str, dict[str, Any]]:
    """Caption, and the traces by name, of a process that grows by a byte a millisecond and is missing for a minute."""
    samples = [Sample(at, at, "p", rss + at, limit, 0.0, 0.0, 0, 0, 0) for at in (0, 10_000, 90_000)]
    chart = ProcessCharts(samples, 10, (0, 100_000)).memory(10e9)
    assert chart.figure is not None
    return chart.caption, {one["name"]: (one["x"], one["y"]) for one in chart.figure["data"]}


def test_the_limit_of_memory_is_a_line_once_it_is_within_reach() -> None:
    caption, traces = memory_chart(60_000_000, 0)
    assert caption == "last 60.1 MB, at most 60.1 MB; 0.6% of 10 GB, which are critical"
    line = [0, 10_000, 10_001, 90_000], [60e6, 60_010_000, None, 60_090_000]
    assert traces == {"p": line}
    assert set(memory_chart(2_499_909_999, 0)[1]) == {"p"}
    assert memory_chart(2_499_910_000, 0)[1]["critical"] == ([0, 100_000], [10e9, 10e9])
    caption, traces = memory_chart(60_000_000, 240_000_000)
    assert caption == "last 60.1 MB, at most 60.1 MB; 25.0% of the limit of 240 MB"
    assert traces["limit"] == ([0, 100_000], [240e6, 240e6])


def test_numbers_have_units() -> None:
    shown = {61_234_567: "61.2 MB", 0: "0 B", 999.9: "1 kB", 8e9: "8 GB", 12.0: "12 B"}
    assert {value: figures.si(value, "B") for value in shown} == shown
    assert (figures.si(None, "s"), figures.si(0.0421, "s"), figures.si(-1500, "")) == (
        "–",
        "42.1 ms",
        "-1.5 k",
    )
    spans = {42.3: "42 s", 90: "1.5 min", 7200: "2 h", 100 * 3600: "4.2 days", 36 * 3600: "36 h"}
    assert {seconds: figures.span_text(seconds) for seconds in spans} == spans
    assert figures.rounded(math.pi * 1e6) == 3141592.7


def test_instruments_in_the_address() -> None:
    assert instrument("hyperliquid:linear:xyz:GOLD") == ("hyperliquid", "linear", "xyz:GOLD")
    assert instrument("a:b") is instrument("a::c") is instrument("a:b:" + "c" * 200) is None
