"""Repair under a venue's limits, for each venue: its simulated REST on a real socket says 429 first. Its Retry-After is kept
by all that ask that host, and then the hole is filled with what the socket would have brought."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from collector.exchanges import EXCHANGES
from collector.exchanges.base import REPAIRABLE, Fetch, Item, Request, Send
from collector.gate import Gates
from collector.instruments import Directory
from collector.repair import Outcome, Repair
from collector.rows import Gap, Liquidation, Row, Trade
from collector.venue import Venue
from tests.fuzz.venues import START_MS, Setup, symbols_of
from tests.fuzz.venues import Venue as Simulated

RETRY_AFTER = 1
KINDS: dict[str, type] = {"trades": Trade, "liquidations": Liquidation}
CASES = [
    (name, market, channel)
    for name, exchange in sorted(EXCHANGES.items())
    for market in sorted(exchange.markets)
    if market != "inverse" or "linear" not in exchange.markets  # whose REST is the same
    for channel in REPAIRABLE
    if exchange.history(market, channel)
]


class Limited:
    """A simulated venue's REST that refuses when told to, and the moments of its requests."""

    def __init__(self, simulated: Simulated) -> None:
        self.simulated = simulated
        self.refuse = 0
        self.requests: list[tuple[float, int]] = []
        """(monotonic, status)"""
        self._lock = threading.Lock()

    def ask(self, path: str, body: str) -> tuple[int, bytes]:
        with self._lock:
            status, answer = 429, b"slower"
            if self.refuse:
                self.refuse -= 1
            else:
                answer = self.simulated.rest(Request(path, body=body))
                status = 200 if answer else 404
            self.requests.append((time.monotonic(), status))
            return status, answer


@contextmanager
def served(limited: Limited) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            size = int(self.headers.get("Content-Length", "0"))
            status, body = limited.ask(self.path, self.rfile.read(size).decode())
            self.send_response(status)
            if status == 429:
                self.send_header("Retry-After", str(RETRY_AFTER))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


Event = Trade | Liquidation


def brought(setup: Setup, simulated: Simulated, messages: int) -> list[Event]:
    """What the socket brings."""
    decoder = setup.decoder()
    rows: list[Event] = []

    def handle(items: list[Item]) -> None:
        for item in items:
            if isinstance(item, Send):
                for text in simulated.answer(item.text):
                    handle(list(decoder.decode(text, 1)))
            elif isinstance(item, Fetch):
                handle(list(decoder.answer(item.tag, simulated.rest(item.request), 1)))
            elif isinstance(item, Trade | Liquidation):
                rows.append(item)

    for request in decoder.subscribe():
        for text in simulated.answer(request):
            handle(list(decoder.decode(text, 1)))
    for text in islice(simulated.messages(), messages):
        handle(list(decoder.decode(text, simulated.now_ms * 1000)))
    return rows


def content(row: Event) -> Event:
    return msgspec.structs.replace(row, recv_ts=0)


def trade_id(row: Event) -> str:
    return row.trade_id if isinstance(row, Trade) else ""


@pytest.mark.parametrize(("name", "market", "channel"), CASES, ids=["-".join(case) for case in CASES])
def test_retry_after_is_kept_and_then_the_hole_is_filled(
    tmp_path: Path, name: str, market: str, channel: str
) -> None:
    symbols = symbols_of(name, market)
    setup = Setup(name, market, symbols, 0.1, 50, channels=[channel])
    simulated = Simulated(setup, seed=7)
    rows = brought(setup, simulated, 1500 if channel == "trades" else 5000)
    mine = [row for row in rows if isinstance(row, KINDS[channel]) and row.symbol == symbols[0]]
    assert len(mine) > 5
    first, last = mine[-min(10, len(mine) - 1)], mine[-3]
    inside = [row for row in mine if first.ts <= row.ts <= last.ts]
    before = [row for row in mine if row.ts < first.ts][-1]
    after = next(row for row in mine if row.ts > last.ts)
    gap = Gap(first.ts, last.ts, last.ts, name, market, symbols[0], channel, "disconnected")
    limited = Limited(simulated)

    async def fill(url: str) -> tuple[Outcome, list[Row]]:
        gates, directory = Gates(), Directory(tmp_path)
        feed = msgspec.structs.replace(setup.feed, rest_url=url)
        venue, other = Venue(feed, gates, directory), Venue(feed, gates, directory)
        stored: list[Row] = []
        try:
            await venue.instruments()
            limited.requests.clear()
            limited.refuse = 1
            repairing = asyncio.create_task(
                Repair(venue, stored.append).fill(gap, trade_id(before), trade_id(after))
            )
            while not venue.rest._gate.banned():  # noqa: ASYNC110 - nothing tells when the refusal has come back
                await asyncio.sleep(0.005)
            listing = venue.exchange.instruments_request(market, "")
            _, outcome = await asyncio.gather(other.rest.fetch(listing), repairing)
            return outcome, stored
        finally:
            await venue.rest.close()
            await other.rest.close()

    with served(limited) as url:
        outcome, stored = asyncio.run(fill(url))
    (refused_at, status), *later = limited.requests
    assert status == 429
    assert {status for _, status in later} == {200}
    assert len(later) >= 2, "another feed's request among them"
    assert min(at for at, _ in later) - refused_at >= RETRY_AFTER
    filled = [row for row in stored if isinstance(row, Trade | Liquidation)]
    assert sorted(map(content, filled), key=repr) == sorted(map(content, inside), key=repr)
    assert outcome.gap.recovered == len(inside)
    assert outcome.gap.repair in ("complete", "partial")
    assert simulated.now_ms > START_MS
