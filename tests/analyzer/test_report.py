"""`analyzer report` on a real QuestDB: its numbers against those that filled the tables, and the page in a real browser."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer.config import Endpoint as AnalyzerEndpoint
from analyzer.reports.events import evidence
from analyzer.reports.findings import findings, recorded
from analyzer.reports.holes import holes
from analyzer.reports.markdown import markdown, sparkline, text
from analyzer.reports.model import Report
from analyzer.reports.page import page
from analyzer.reports.reading import read, varied
from analyzer.reports.steps import step_of
from analyzer.source import Source
from analyzer.windows import Window
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, FeedEvent, Trade
from tests.analyzer import market_now
from tests.analyzer.fixtures import analyzer, settings, store
from tests.analyzer.market_now import BITCOIN, BTC, ETHER, OTHER, SECOND, SECONDS, SPOT, VENUE
from tests.anew import anew
from tests.browser import needs_chromium, opened
from tests.conftest import query, wait_rows
from tests.processes import CLEAN_ENVIRONMENT

HOSTILE = '<img src=x onerror="window.pwned=1">|`*[x](javascript:window.pwned=1)'
CLOSING = "</script><script>window.pwned=1</script>{where}{0}"
SCORES = (("score", 74.0), ("verdict", 1.0), ("weight", 1.0), ("order_flow", 81.0), ("order_book", 64.0))


class Filled:
    def __init__(self, endpoint: Endpoint) -> None:
        anew(endpoint)
        self.endpoint = endpoint
        t0 = market_now.fill(endpoint)
        end = t0 + SECONDS * SECOND
        self.window = Window(*(datetime.fromtimestamp(at / SECOND, UTC) for at in (t0, end)))
        store(endpoint, [row for symbol in (HOSTILE, CLOSING) for row in hostile(t0, symbol)])
        for metric, value in SCORES:
            for ts in (end - 60 * SECOND, end):
                detail = "'{\"parts\": []}'" if metric == "score" else "NULL"
                query(
                    endpoint,
                    f"INSERT INTO signals VALUES ({ts}, '{VENUE[0]}', '{VENUE[1]}', '{BTC}', 120, 'confluence', "
                    f"'{metric}', {value if ts == end else 50.0}, 0.93, {detail})",
                )
        wait_rows(endpoint, "signals", len(market_now.SIGNALS) + 2 * len(SCORES))
        self.report = self.read()

    def read(self, *symbols: str) -> Report:
        source = Source(AnalyzerEndpoint(self.endpoint.http_url, self.endpoint.pg))
        try:
            return read(source, self.window, symbols)
        finally:
            source.close()

    @property
    def as_of(self) -> tuple[str, ...]:
        return ("--window", "3m", "--as-of", self.window.end.isoformat())


def hostile(t0: int, symbol: str) -> list[Any]:
    """A symbol with a name that would be markup, traded enough to have charts."""
    rows: list[Any] = [FeedEvent(t0, t0, *SPOT, symbol, "trades", "subscribed")]
    for second in range(SECONDS):
        ts = t0 + second * SECOND
        price = 10 + math.sin(second / 9) + second % 3 / 10
        rows.append(Trade(ts, ts, *SPOT, symbol, "buy", price, 1e6, f"{symbol[:9]}{second}"))
        if second % 5 == 0:
            levels = np.arange(1, 11) * 0.01
            sides = np.array([price - levels, np.full(10, 5.0)]), np.array([price + levels, np.full(10, 5.0)])
            rows.append(BookSnapshot(ts, ts, *SPOT, symbol, *sides, second))
    return rows


@pytest.fixture(scope="module")
def filled(questdb: Endpoint) -> Filled:
    return Filled(questdb)


@pytest.fixture(scope="module")
def written(filled: Filled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as the command writes it."""
    folder = tmp_path_factory.mktemp("report")
    config = settings(folder, filled.endpoint)
    done = analyzer(
        "report", "--config", str(config), *filled.as_of, "--out", str(folder), "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["window"]["seconds"] == 180
    assert [one["text"] for one in document["findings"]] == [one.text for one in findings(filled.report)]
    assert Path(document["files"]["markdown"]).read_text() == markdown(filled.report)
    path = Path(document["files"]["html"])
    assert path.read_text() == page(filled.report)
    return path


def total(report: Report, venue: tuple[str, str], symbol: str) -> Any:
    (found,) = [one for one in report.totals if one.name == (*venue, symbol)]
    return found


def test_totals(filled: Filled) -> None:
    ether, coin = total(filled.report, VENUE, "ETHUSDT"), total(filled.report, VENUE, BTC)
    assert (ether.open, ether.high, ether.low, ether.close) == (ETHER[0], max(ETHER), min(ETHER), ETHER[-1])
    assert (ether.trades, ether.bought) == (SECONDS, 0.0)
    assert ether.notional == ether.sold == pytest.approx(sum(ETHER))
    assert ether.change == pytest.approx(ETHER[-1] / ETHER[0] - 1)
    assert ether.spark == [ETHER[min(n + 9, SECONDS - 1)] for n in range(0, SECONDS, 10)]
    assert (coin.longs, coin.shorts, coin.liquidations) == (60_000.0 * 55, 122_000.0, 11)
    assert (coin.interest, coin.funding) == ((1000.0, 1170.0), 1e-4)
    # Ten of 180 s are a gap, and the subscription is from before.
    assert ether.coverage["trades"] == pytest.approx(170 / 180, abs=1e-6)
    assert coin.coverage["trades"] == 1.0


def test_what_stands_first_is_what_was_recorded(filled: Filled) -> None:
    share, sentence = recorded(filled.report)
    shares = [share for one in filled.report.totals for share in one.coverage.values()]
    assert share == pytest.approx(sum(shares) / len(shares))
    assert "least: trades of ETHUSDT (bybit linear) with 94.4%" in sentence
    found = holes(filled.report)
    assert [(hole.where, hole.length, hole.repaired) for hole in found] == [
        ("orderbook of BTCUSDT (bybit linear)", "2 s", True),
        ("trades of ETHUSDT (bybit linear)", "10 s", False),
    ]
    for document in (page(filled.report), markdown(filled.report)):
        assert document.index("Recorded") < document.index("What stands out") < document.index("Gaps")


def test_what_stands_out(filled: Filled) -> None:
    by_kind = {one.kind: one.text for one in findings(filled.report)}
    assert by_kind["score"] == f"{BTC} (bybit linear) scores 74 of 100: long (order flow 81, order book 64)"
    assert by_kind["liquidations"].startswith(
        f"{BTC} (bybit linear) was liquidated most: 3.42 M in quote units, 96%"
    )
    assert "buy of 11.2 M in quote units at 11.1999" in by_kind["trade"]
    assert "+17.00%" in by_kind["interest"]
    assert "1 large bids away from the touch" in by_kind["event"]
    (event,) = [one for one in findings(filled.report) if one.kind == "event"]
    assert event.text.startswith(BTC)


def test_series_of_a_chart(filled: Filled) -> None:
    report = filled.read(BTC, "ETHUSDT")
    one = next(chart for chart in report.charted if chart.name == (*VENUE, BTC))
    assert one.step_s == 1
    assert one.bars["close"][40] == pytest.approx(BITCOIN[40])
    assert one.bars["buys"][29] == pytest.approx(0.3)
    assert one.bars["sells"] == pytest.approx([0.005] * SECONDS)
    assert one.profile is not None
    assert sum(one.profile.buys) == pytest.approx(sum(one.bars["buys"]))
    assert sum(one.profile.others) == pytest.approx(sum(one.bars["sells"]))
    assert one.forced["sell"][0][1] == 60_000.0
    assert [row[1] for row in one.interest] == [1000.0 + n for n in range(0, SECONDS, 10)]
    assert one.book is not None
    # Every level of a snapshot is in one bin, but for the few that are cut off at the edges.
    levels = market_now.book(0, VENUE, BTC, BITCOIN[50], 1)
    whole = float((levels.bids[0] * levels.bids[1]).sum() + (levels.asks[0] * levels.asks[1]).sum())
    sums = one.book.notional.sum(axis=0)
    assert whole * 0.9 < np.median(sums) <= whole * 1.01
    ether = next(chart for chart in report.charted if chart.name[2] == "ETHUSDT")
    assert [(low - report.window.start_us, high - low) for low, high in ether.holes["trades"]] == [
        (60 * SECOND, 10 * SECOND)
    ]


def test_returns_and_their_correlation(filled: Filled) -> None:
    report = filled.read(BTC)
    assert report.returns_s == 5
    assert [name[1] for name in report.related] == ["linear", "spot"]
    closes = [BITCOIN[n] for n in range(4, SECONDS, 5)]
    spot = report.returns[:, 1]
    assert spot == pytest.approx(np.diff(np.log(closes)), abs=1e-9)


def test_scores_are_shown_with_their_parts_and_over_time(filled: Filled) -> None:
    assert filled.report.scores == {
        (*VENUE, BTC): [(filled.window.end_us // 1000 - 60_000, 50.0), (filled.window.end_us // 1000, 74.0)]
    }
    row = next(
        line
        for line in markdown(filled.report).splitlines()
        if line.startswith(f"| {BTC} (bybit linear) | 74 |")
    )
    assert "| long | 81 | 64 | – |" in row
    assert "93.0%" in row


def test_hostile_names_are_text(filled: Filled) -> None:
    assert {name[2] for name in (one.name for one in filled.report.charted)} >= {HOSTILE, CLOSING}
    document = page(filled.report)
    assert "<img" not in document
    assert document.count("</script>") == 3  # the data, Plotly, and ours
    assert "<script>window" not in document
    told = markdown(filled.report)
    assert "<img" not in re.sub(r"\\.", "", told)
    assert "](" not in re.sub(r"\\.", "", told)
    rows = [line for line in told.splitlines() if "onerror" in line and line.startswith("|")]
    heads = next(line for line in told.splitlines() if line.startswith("| instrument | last"))
    overview = [line for line in rows if "%" in line and "10" in line]
    assert overview
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in overview} <= {
        heads.count("|"),
        10 + heads.count("|"),
    }


@needs_chromium
@pytest.mark.parametrize(
    ("width", "dark", "phone"), [(1280, False, False), (375, True, True)], ids=["desk", "phone"]
)
def test_the_page_in_a_browser(
    filled: Filled, written: Path, tmp_path: Path, width: int, dark: bool, phone: bool
) -> None:
    from playwright.sync_api import expect

    with opened(tmp_path, width=width, height=812, dark=dark, phone=phone) as shown:
        page_ = shown.page
        page_.goto(written.as_uri())
        plots = page_.locator("[data-chart]")
        count = plots.count()
        assert count >= 6 * 3 + 2  # of six instruments, and scores and correlations
        for n in range(count):
            plots.nth(n).scroll_into_view_if_needed()
            plots.nth(n).locator(".main-svg").first.wait_for()
        marks = page_.evaluate(
            """() => Object.fromEntries(Array.from(document.querySelectorAll('[data-chart]'), (plot) => {
                const count = (marks) => plot.querySelectorAll(marks).length;
                return [plot.dataset.chart, {candles: count('path.box'), lines: count('.scatterlayer path.js-line'),
                    bars: count('g.point > path'), heat: count('.hm image')}];
            }))"""
        )
        number = [one.name for one in filled.report.charted].index((*VENUE, BTC))
        price = marks[f"price-{number}"]
        assert price["candles"] == SECONDS
        assert price["lines"] >= 1
        assert price["bars"] > 40  # the profile
        assert marks[f"cvd-{number}"]["lines"] == 2  # the line, and the bare edge of the area
        assert marks[f"book-{number}"]["heat"] == 1
        assert marks[f"forced-{number}"]["bars"] == 11
        assert marks[f"interest-{number}"]["lines"] == 2
        assert marks["correlation"]["heat"] == 1
        assert marks["scores"]["lines"] == 1
        assert shown.overflow <= 0
        assert shown.errors == []
        assert [url for url in shown.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        assert page_.evaluate("window.pwned") is None
        assert (
            page_.evaluate("document.querySelectorAll('img, iframe, object, link[rel=stylesheet]').length")
            == 0
        )
        ground = page_.evaluate("getComputedStyle(document.body).backgroundColor")
        assert ground == ("rgb(15, 20, 26)" if dark else "rgb(244, 246, 248)")
        line = page_.locator(f"[data-chart=cvd-{number}] .scatterlayer path.js-line").last
        expect(line).to_have_css("stroke", "rgb(179, 155, 255)" if dark else "rgb(109, 70, 196)")
        page_.emulate_media(color_scheme="light" if dark else "dark")  # changed while it is looked at
        expect(line).to_have_css("stroke", "rgb(109, 70, 196)" if dark else "rgb(179, 155, 255)")


def test_an_empty_window_is_a_report(filled: Filled, tmp_path: Path) -> None:
    config = ("--config", str(settings(tmp_path, filled.endpoint)))
    past = ("--window", "1h", "--as-of", "2020-01-01T00:00:00Z", "--out", str(tmp_path))
    done = analyzer("report", *config, *past)
    assert done.returncode == 0
    assert "no subscription is known" in done.stdout
    document = next(tmp_path.glob("*.html")).read_text()
    assert "Nothing was traded in this window" in document


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--window", "soon"), 2, "is not a duration"),
        (("--as-of", "yesterday"), 2, "--as-of"),
        (("--out", "/proc/nothing"), 2, "--out"),
    ],
)
def test_mistakes_are_told_in_a_line(
    filled: Filled, tmp_path: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    done = analyzer("report", "--config", str(settings(tmp_path, filled.endpoint)), *arguments)
    assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (code, True, False)


def test_without_a_server(tmp_path: Path) -> None:
    nowhere = Endpoint("http://127.0.0.1:9", "postgresql://127.0.0.1:9/qdb")
    done = analyzer("report", "--config", str(settings(tmp_path, nowhere)), "--out", str(tmp_path))
    assert (done.returncode, "check that it runs" in done.stderr) == (1, True)


def test_a_day_fits(database: Endpoint, tmp_path: Path) -> None:
    """A day of 12 symbols, a trade each second and a book each ten: below 300 MB and 8 MB, whatever is on the page."""
    start = datetime(2026, 11, 1, tzinfo=UTC)
    at = f"timestamp_sequence({int(start.timestamp() * SECOND)}, {SECOND // 12})"
    rows = 12 * 86_400
    query(
        database,
        "INSERT INTO trades SELECT ts, ts, 'bybit', 'linear', 'S' || (x % 12), "
        "CASE WHEN x % 3 = 0 THEN 'buy' ELSE 'sell' END, "
        f"100 + x % 12 + sin(x / 50000.0) + (x % 7) / 100.0, 1 + x % 12, x::varchar FROM (SELECT {at} ts, x FROM "
        f"long_sequence({rows}))",
    )
    levels = ", ".join(f"{n}.0" for n in range(1, 51))
    query(
        database,
        "INSERT INTO orderbook SELECT ts, ts, 'bybit', 'linear', 'S' || (x % 12), "
        f"ARRAY[100 + x % 12 - ARRAY[{levels}] / 100.0, ARRAY[{levels}]], "
        f"ARRAY[100 + x % 12 + ARRAY[{levels}] / 100.0, ARRAY[{levels}]], x FROM "
        f"(SELECT timestamp_sequence({int(start.timestamp() * SECOND)}, {10 * SECOND // 12}) ts, x FROM "
        f"long_sequence({rows // 10}))",
    )
    wait_rows(database, "trades", rows)
    wait_rows(database, "orderbook", rows // 10)
    command = [
        "report",
        "--config",
        str(settings(tmp_path, database)),
        "--window",
        "24h",
        "--out",
        str(tmp_path),
    ]
    command += ["--as-of", (start + timedelta(days=1)).isoformat()]
    measured = (
        "import resource, subprocess, sys; "
        "done = subprocess.run([sys.executable, '-m', 'analyzer', *sys.argv[1:]], stdout=subprocess.DEVNULL); "
        "print(done.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    done = subprocess.run(
        [sys.executable, "-c", measured, *command],
        capture_output=True,
        text=True,
        timeout=120,
        env=CLEAN_ENVIRONMENT,
        check=True,
    )
    code, kilobytes = map(int, done.stdout.split())
    assert code == 0, done.stderr
    assert kilobytes < 300 << 10
    (path,) = tmp_path.glob("*.html")
    assert path.stat().st_size < 8e6
    assert path.read_text().count('data-chart="price-') == 6


# The small parts


@pytest.mark.parametrize(
    ("seconds", "points", "step"),
    [(180, 240, 1), (900, 240, 5), (86_400, 240, 600), (86_400 * 365, 240, 172_800), (0.5, 240, 1)],
)
def test_steps(seconds: float, points: int, step: int) -> None:
    assert step_of(seconds, points) == step
    assert seconds / step <= points


def test_sparklines() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5]) == "▄▄"
    assert sparkline([]) == "–"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        ("BTCUSDT (bybit linear)", "BTCUSDT (bybit linear)"),
        ("a|b", "a\\|b"),
        ("[x](http://e.org)", "\\[x\\](http\\://e.org)"),
        ("www.e.org", "www\\.e.org"),
        ("# no heading", "\\# no heading"),
        ("two\nlines\x1b[31m", "two\N{REPLACEMENT CHARACTER}lines\N{REPLACEMENT CHARACTER}\\[31m"),
    ],
)
def test_markdown_means_itself(raw: str, told: str) -> None:
    assert text(raw) == told


@pytest.mark.parametrize(
    "detail", ["", "x", "[]", '{"rows": 5}', '{"rows": ["a"]}', '{"rows": [], "more": "x"}', "null"]
)
def test_a_detail_of_another_kind_is_no_evidence(detail: str) -> None:
    assert evidence(detail)[0] == []


def test_one_of_each_coin_comes_first() -> None:
    names = [("a", "m", symbol) for symbol in ("BTCUSDT", "BTCUSD", "ETHUSDT")]
    assert varied(names, {}) == [names[0], names[2], names[1]]


def test_other_venues_without_trades_are_there(filled: Filled) -> None:
    other = total(filled.report, OTHER, "BTC-USDT-SWAP")
    assert (other.trades, other.close, other.coverage) == (0, None, {"orderbook": 1.0})
