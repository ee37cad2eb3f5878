"""The dashboard in headless Chromium: charts, keyboard, light and dark, a phone, new rows, and QuestDB being away.

Screenshots are kept in pytest's folder, and in that named by EVENKEEL_SCREENSHOTS.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright

from collector.database.endpoint import Endpoint
from tests.analyzer import dashboard_tables as tables
from tests.analyzer.fixtures import settings
from tests.anew import anew
from tests.browser import CHROMIUM, FLAGS, needs_chromium
from tests.tcp_proxy import TcpProxy

DEADLINE_MS = 180_000
DRAWN = "name => document.querySelector(`#${name}-graph .js-plotly-plot`)?.data?.length > 0"
TRACE = """([name, trace]) => {
  const found = document.querySelector(`#${name}-graph .js-plotly-plot`).data.find(one => one.name === trace);
  return found ? Array.from(found.y) : null;
}"""

pytestmark = needs_chromium


class Site:
    """A filled database behind a proxy, the dashboard, a browser; and all that pages said and asked."""

    def __init__(
        self, url: str, proxy: TcpProxy, endpoint: Endpoint, context: BrowserContext, shots: list[Path]
    ) -> None:
        self.url, self.proxy, self.endpoint, self.context, self.shots = url, proxy, endpoint, context, shots
        self.said: list[str] = []
        self.asked: list[str] = []

    def open(self, query: str, width: int = 1440, scheme: Any = "light") -> Page:
        page = self.context.new_page()
        page.set_default_timeout(DEADLINE_MS)
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.on("console", lambda message: self.said.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.said.append(f"error: {error}"))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(self.url + query)
        page.wait_for_selector(".tile")
        page.wait_for_function(DRAWN, arg="memory")
        return page

    def keep(self, page: Page, name: str) -> None:
        for folder in self.shots:
            page.screenshot(path=folder / f"dashboard-{name}.png", full_page=True)


@pytest.fixture(scope="module")
def site(questdb: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("dashboard")
    shots = [folder]
    if named := os.environ.get("EVENKEEL_SCREENSHOTS"):
        shots.append(Path(named))
        shots[-1].mkdir(parents=True, exist_ok=True)
    anew(questdb)
    tables.fill(questdb, datetime.now(UTC))
    server = urlsplit(questdb.pg)
    proxy = TcpProxy(server.hostname or "", server.port or 0)
    through = server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{proxy.port}").geturl()
    config = settings(folder, Endpoint(questdb.http_url, through))
    try:
        with tables.dashboard(config, folder / "log") as (_, url), sync_playwright() as playwright:
            context = playwright.chromium.launch_persistent_context(
                folder / "profile", executable_path=CHROMIUM, args=list(FLAGS), headless=True
            )
            yield Site(url, proxy, questdb, context, shots)
            context.close()
    finally:
        proxy.close()


@pytest.fixture
def opened(site: Site) -> Iterator[Callable[..., Page]]:
    """Opens a page, closed at the end of the test."""
    pages: list[Page] = []

    def opening(query: str = f"?range=15m&symbol={':'.join(tables.BTC)}", **options: Any) -> Page:
        pages.append(site.open(query, **options))
        return pages[-1]

    yield opening
    for page in pages:
        page.close()


def trace(page: Page, chart: str, name: str) -> list[float]:
    values: list[float] = page.evaluate(TRACE, [chart, name])
    return values


def until(page: Page, condition: str) -> None:
    """Wait for a condition in JavaScript. As a function: the page's policy forbids to evaluate texts."""
    page.wait_for_function(f"() => {condition}")


def chosen(page: Page) -> tuple[str, str]:
    query = parse_qs(urlsplit(page.url).query)
    return query["symbol"][0], query["range"][0]


def test_charts_show_the_tables_and_nothing_comes_from_elsewhere(
    site: Site, opened: Callable[..., Page]
) -> None:
    page = opened()
    for name in (
        "messages",
        "lag",
        "gaps",
        "journal",
        "price",
        "cvd",
        "book",
        "depth",
        "liquidations",
        "scores",
    ):
        page.wait_for_function(DRAWN, arg=name)
    site.keep(page, "light")
    memory = trace(page, "memory", tables.PROCESS)
    assert len(memory) >= 85
    assert set(memory) == {tables.rss(x) for x in range(7)}
    assert set(trace(page, "messages", "bybit")) == {300.0}
    prices = trace(page, "price", "price")
    assert prices[-1] == tables.price(tables.TRADES)
    assert set(prices) <= {tables.price(x) for x in range(40)}
    assert trace(page, "cvd", "CVD")[-1] == 100.0
    assert trace(page, "book", "asks") == [0.0, 4.0, 9.0]
    assert trace(page, "scores", "score") == [40 + 3 * x for x in range(1, 10)]
    assert "0.8% of the limit of 8 GB" in page.inner_text("#memory-caption")
    assert page.inner_text("#market-title") == "BTCUSDT · bybit linear"
    assert page.inner_text("#tiles .tile:nth-child(3) .value") == "3"
    assert (
        page.inner_text("#alerts li:nth-child(1) .message") == "a long of 260,000 USDT was closed at 65,000"
    )
    assert "liquidation" in page.inner_text("#banner")
    assert {urlsplit(url).netloc for url in site.asked if not url.startswith(("data:", "blob:"))} == {
        urlsplit(site.url).netloc
    }
    assert site.said == []


def test_a_symbol_and_a_range_are_chosen_by_keyboard_and_shared_by_address(
    site: Site, opened: Callable[..., Page]
) -> None:
    page = opened()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "symbol"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.type("e")  # opens the list and searches
    page.wait_for_selector(".dash-dropdown-search:focus")
    page.keyboard.type("th")
    until(page, "document.querySelectorAll('.dash-dropdown-option').length === 1")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    until(page, "document.querySelector('#market-title').innerText.startsWith('ETH-USDT-SWAP')")
    assert chosen(page) == (":".join(tables.ETH), "15m")
    until(page, "document.querySelector('#price-graph .js-plotly-plot')?.data?.[0]?.y?.at(-1) < 4000")
    assert "no order book of okx linear ETH-USDT-SWAP" in page.inner_text("#book-empty")
    page.focus("#range input:checked")
    page.keyboard.press("ArrowRight")
    until(page, "location.search.includes('range=1h')")
    assert chosen(page) == (":".join(tables.ETH), "1h")
    shared = opened(f"?{urlsplit(page.url).query}")
    shared.wait_for_function(DRAWN, arg="price")
    assert trace(shared, "price", "price")[-1] == tables.price(tables.TRADES, "ETH-USDT-SWAP")
    assert shared.evaluate("document.querySelector('#range .selected').innerText") == "1 h"
    controls = "a, button, select, textarea, input:not([aria-hidden])"
    nameless = shared.evaluate(
        "selector => [...document.querySelectorAll(selector)].filter(one => !one.innerText && !one.ariaLabel "
        "&& !one.labels?.length).map(one => one.outerHTML)",
        controls,
    )
    assert nameless == []


def test_an_empty_chart_says_why(site: Site, opened: Callable[..., Page]) -> None:
    page = opened("?range=15m&symbol=kraken:spot:XBT/USD")
    until(
        page,
        "document.querySelector('#price-empty').innerText.includes('no trades of kraken spot XBT/USD')",
    )
    assert "in the last 15 minutes; is `collector run` running?" in page.inner_text("#price-empty")
    assert page.evaluate("getComputedStyle(document.querySelector('#price-graph')).visibility") == "hidden"


def test_charts_follow_light_and_dark(site: Site, opened: Callable[..., Page]) -> None:
    page = opened(scheme="dark")
    page.wait_for_function(DRAWN, arg="price")
    colour = "document.querySelector('#price-graph .js-plotly-plot').layout.font.color"
    line = "document.querySelector('#price-graph .js-plotly-plot').data[0]?.line.color"
    paper = "getComputedStyle(document.body).backgroundColor"
    site.keep(page, "dark")
    dark = [page.evaluate(one) for one in (colour, line, paper)]
    assert dark == ["#9dabba", "#78b0ff", "rgb(15, 20, 26)"]
    page.emulate_media(color_scheme="light")
    until(page, f"{line} === '#1f5fbf'")
    assert [page.evaluate(one) for one in (colour, paper)] == ["#566273", "rgb(244, 246, 248)"]


def test_a_phone_shows_all_without_scrolling_sideways(site: Site, opened: Callable[..., Page]) -> None:
    page = opened(width=375)
    page.wait_for_function(DRAWN, arg="scores")
    site.keep(page, "phone")
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    beyond = page.evaluate(
        "[...document.querySelectorAll('main *, header *')].filter(one => one.checkVisibility() && "
        "!one.closest('svg') && one.getBoundingClientRect().right > 375.5).map(one => one.outerHTML)"
    )
    assert beyond == []
    sizes = page.evaluate(
        "[...document.querySelectorAll('.plot')].map(one => [one.clientWidth, one.clientHeight])"
    )
    assert all(width > 300 and height >= 200 for width, height in sizes)


def test_new_rows_appear_by_themselves(site: Site, opened: Callable[..., Page]) -> None:
    page = opened()
    page.wait_for_function(DRAWN, arg="price")
    before = len(trace(page, "price", "price"))
    # Later than all before, and dearer.
    tables.trades(site.endpoint, tables.BTC, datetime.now(UTC) - timedelta(seconds=2), 1, 70_000.0)
    until(page, "document.querySelector('#price-graph .js-plotly-plot')?.data?.[0]?.y?.at(-1) === 70001")
    assert len(trace(page, "price", "price")) >= before - 30
    assert page.inner_text("#price-caption").startswith("last 70,001.00")


def test_a_database_that_was_away_is_found_again(site: Site, opened: Callable[..., Page]) -> None:
    page = opened()
    page.wait_for_function(DRAWN, arg="price")
    site.proxy.away(True)
    try:
        until(page, "document.querySelector('#banner').innerText.includes('QuestDB gives no answer')")
        site.keep(page, "away")
        assert "collector db status" in page.inner_text("#banner")
        assert page.inner_text("#tiles .tile:nth-child(6) .value") == "away"
        assert trace(page, "price", "price")
    finally:
        site.proxy.away(False)
    until(page, "!document.querySelector('#banner').innerText.includes('QuestDB gives no answer')")
    until(page, "document.querySelector('#tiles .tile:nth-child(6) .value').innerText === 'up'")
    assert site.said == []
