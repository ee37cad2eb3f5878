"""What every adapter must do, against its own simulated venue without the sockets."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import pytest

from collector.encode import RowEncoder
from collector.exchanges import EXCHANGES
from collector.exchanges.base import (
    REPAIRABLE,
    Bad,
    Fetch,
    Item,
    Rejected,
    Resynced,
    Send,
    Stream,
    Subscribed,
)
from collector.rows import BookSnapshot, Liquidation, Ticker, Trade
from collector.settings import CHANNELS, FeedConfig
from collector.simulator import SIMULATORS
from collector.symbols import is_dynamic
from tests.fuzz.decoders import Counts, Session
from tests.fuzz.venues import Setup, Venue, symbols_of

MARKETS = [(name, market) for name, exchange in EXCHANGES.items() for market in sorted(exchange.markets)]
ROWS: dict[str, type] = {
    "trades": Trade,
    "orderbook": BookSnapshot,
    "liquidations": Liquidation,
    "tickers": Ticker,
}
markets = pytest.mark.parametrize(("name", "market"), MARKETS, ids=[f"{n}-{m}" for n, m in MARKETS])


class Line:
    """One connection with its venue, everything that it gave, and what each channel's messages look like."""

    def __init__(self, name: str, market: str, plan: int, symbols: list[str] | None = None) -> None:
        self.setup = Setup(name, market, symbols or symbols_of(name, market), 0.0, 50, plan)
        self.venue = Venue(self.setup, seed=5)
        self.session = Session(self.setup, Counts(), RowEncoder())
        self.items: list[Item] = []

    def connect(self) -> None:
        for request in self.session.decoder.subscribe():
            self.send(request)

    def send(self, request: str) -> None:
        for text in self.venue.answer(request):
            self.take(text)

    def take(self, text: bytes) -> list[Item]:
        items = self.session.take(text)
        self.follow(items)
        return items

    def follow(self, items: list[Item]) -> None:
        self.items += items
        for item in items:
            if isinstance(item, Send):
                self.send(item.text)
            elif isinstance(item, Fetch):
                self.follow(self.session.answered(item.tag, self.venue.rest(item.request)))

    def run(self, messages: int) -> list[bytes]:
        taken = []
        for text in islice(self.venue.messages(), messages):
            self.session.recv_us = max(self.session.recv_us, self.venue.now_ms * 1000)
            self.take(text)
            self.follow(self.session.look())
            taken.append(text)
        return taken

    def of(self, kind: type) -> list[Any]:
        return [item for item in self.items if isinstance(item, kind)]


def lines(name: str, market: str, symbols: list[str] | None = None) -> Iterator[Line]:
    """One a connection of the plan, connected."""
    exchange = EXCHANGES[name]
    probe = Setup(name, market, symbols or symbols_of(name, market), 0.0, 50)
    for number in range(len(exchange.plan(probe.feed))):
        line = Line(name, market, number, symbols)
        line.connect()
        yield line


@markets
def test_every_stream_is_acknowledged_and_brings_its_rows(name: str, market: str) -> None:
    acknowledged: Counter[Stream] = Counter()
    seen: set[tuple[str, str]] = set()
    for line in lines(name, market):
        line.run(4000)
        assert not line.of(Rejected)
        assert not line.of(Bad)
        acknowledged.update((item.channel, item.symbol) for item in line.of(Subscribed))
        for channel, kind in ROWS.items():
            seen |= {(channel, row.symbol) for row in line.of(kind)}
        books = {item.symbol for item in line.of(Resynced) if item.channel == "orderbook"}
        assert books == {symbol for channel, symbol in line.setup.streams if channel == "orderbook"}
        assert line.session.decoder.stalled(line.session.recv_us) == ""
    wanted = {
        (channel, symbol)
        for channel in EXCHANGES[name].channels(market)
        for symbol in symbols_of(name, market)
    }
    assert set(acknowledged) == wanted
    assert set(acknowledged.values()) == {1}
    assert seen == wanted


@markets
def test_pings_and_their_answers_mean_nothing(name: str, market: str) -> None:
    ping = EXCHANGES[name].ping()
    for line in lines(name, market):
        before = len(line.items)
        if ping:
            answers = line.venue.answer(ping)
            assert answers, "the venue answers a ping"
            for text in answers:
                line.take(text)
        assert line.items[before:] == []


@markets
def test_an_unknown_symbol_is_refused_alone(name: str, market: str) -> None:
    known = symbols_of(name, market)
    refused: set[str] = set()
    granted: set[str] = set()
    for line in lines(name, market, [known[0], "NOSUCHTHING", known[1]]):
        line.run(50)
        refused |= {item.symbol for item in line.of(Rejected)}
        granted |= {item.symbol for item in line.of(Subscribed)}
        granted |= {item.symbol for item in line.of(Resynced)}
    assert refused == {"NOSUCHTHING"}
    assert granted == set(known)


@markets
def test_what_a_venue_adds_or_leaves_out_never_ends_a_connection(name: str, market: str) -> None:
    """Every key of every kind of message: without it, with another type, with an empty list; then all goes on."""
    for line in lines(name, market):
        kinds: dict[str, bytes] = {}
        for text in line.run(1500):
            if text.startswith(b"{"):
                kinds.setdefault(shape(json.loads(text)), text)
        assert kinds
        for clean in list(kinds.values())[:12]:
            for mutant in variants(json.loads(clean)):
                line.session.take(msgspec.json.encode(mutant))
        before = len(line.items)
        line.run(1500)
        rows = [item for item in line.items[before:] if isinstance(item, Trade | BookSnapshot | Ticker)]
        assert rows, "rows go on"


@markets
def test_members_that_a_venue_adds_change_nothing(name: str, market: str) -> None:
    """The same session with and without a new member in every object of every message, nested ones too."""
    for plain, added in zip(lines(name, market), lines(name, market), strict=True):
        before = len(plain.items), len(added.items)
        both = zip(plain.venue.messages(), added.venue.messages(), strict=True)
        for text, same in islice(both, 600):
            assert text == same
            now = plain.venue.now_ms * 1000
            plain.session.recv_us = added.session.recv_us = max(plain.session.recv_us, now)
            plain.take(text)
            added.take(ENDS.sub(rb'\1,"added_by_the_venue":{"a":["1",2]}}', text))
        assert [content(item) for item in added.items[before[1] :]] == [
            content(item) for item in plain.items[before[0] :]
        ]
        assert not added.of(Bad)


ENDS = re.compile(rb"([^{])\}")
"""The end of an object that is not empty; the simulated venues have no braces in strings."""


def content(item: Item) -> Any:
    """To be compared: arrays can't."""
    if isinstance(item, BookSnapshot):
        return (*where(item), item.ts, item.seq, item.bids.tolist(), item.asks.tolist())
    return item


def where(item: BookSnapshot) -> tuple[str, str, str]:
    return item.exchange, item.market, item.symbol


OTHER_VALUES: list[Any] = [None, [], {}, "x", -1, 1.5, True, [[]]]


def shape(message: Any) -> str:
    """The names of a message's members, three levels deep."""

    def names(node: Any, depth: int) -> Any:
        if isinstance(node, dict) and depth:
            return {key: names(value, depth - 1) for key, value in sorted(node.items())}
        return names(node[0], depth - 1) if isinstance(node, list) and node and depth else ""

    return json.dumps(names(message, 3))


def variants(message: Any) -> Iterator[Any]:
    places: list[tuple[Any, Any]] = []

    def walk(node: Any, depth: int) -> None:
        keys = list(node) if isinstance(node, dict) else list(range(min(len(node), 2)))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], dict | list) and depth:
                walk(node[key], depth - 1)

    walk(message, 3)
    for container, key in places:
        kept = container[key]
        for value in OTHER_VALUES:
            container[key] = value
            yield message
        container[key] = kept
        if isinstance(container, dict):
            del container[key]
            yield message
            container[key] = kept
            container["added_by_the_venue"] = {"a": [1]}
            yield message
            del container["added_by_the_venue"]


@markets
def test_a_thousand_symbols_are_within_the_venues_limits(name: str, market: str) -> None:
    """The simulated venue refuses what the real one would."""
    exchange, wire = EXCHANGES[name], SIMULATORS[name]
    symbols = [wire.symbol(market, f"S{number:04d}USDT") for number in range(1000)]
    feed = FeedConfig(
        exchange=name, market=market, symbols=symbols, channels=sorted(exchange.channels(market))
    )
    plan = exchange.plan(feed)
    planned = Counter(stream for streams in plan for stream in streams)
    assert set(planned) == {(channel, symbol) for channel in feed.channels for symbol in symbols}
    assert set(planned.values()) == {1}
    base = f"ws://127.0.0.1:1{wire.bases[market]}"
    feed = msgspec.structs.replace(feed, ws_url=base)
    instruments = Setup(name, market, symbols, 0.1, 50).instruments
    for streams in plan:
        path = exchange.ws_url(feed, streams).removeprefix("ws://127.0.0.1:1")
        session = wire.session(path, "limits", lambda topic: True)
        decoder = exchange.decoder(feed, streams, instruments)
        items: list[Item] = []
        for frame in decoder.subscribe():
            for text in session.handle(frame).texts:
                items += decoder.decode(text.encode(), 1)
        assert not [item for item in items if isinstance(item, Rejected)]
        acknowledged = {(item.channel, item.symbol) for item in items if isinstance(item, Subscribed)}
        assert acknowledged == set(streams)


@markets
def test_the_venues_list_names_the_symbols_with_their_units(name: str, market: str) -> None:
    exchange = EXCHANGES[name]
    line = next(lines(name, market))
    known = symbols_of(name, market)
    body = line.venue.rest(exchange.instruments_request(market, ""))
    page, _ = exchange.instruments(market, body)
    listed = {item.symbol: item for item in page}
    assert set(known) <= set(listed)
    for symbol in known:
        item = listed[symbol]
        assert item.base and item.quote and item.status == "trading"
        assert item.kind in ("spot", "perpetual", "future", "option")
        assert (item.kind == "spot") == (market == "spot")
        assert item.contract_size > 0
        assert item.tick and item.tick > 0
        assert item.lot and item.lot > 0
    turnover = exchange.turnover(market, line.venue.rest(exchange.turnover_request(market)))
    assert set(known) <= set(turnover)
    assert all(value >= 0 for value in turnover.values())


@markets
def test_the_module_declares_itself(name: str, market: str) -> None:
    exchange = EXCHANGES[name]
    assert exchange.name == name
    assert market in ("linear", "inverse", "spot")
    channels = exchange.channels(market)
    assert channels <= set(CHANNELS)
    assert set(exchange.gap_rules(market)) >= channels
    assert all(exchange.gap_rules(market).values())
    for channel in CHANNELS:
        history = exchange.history(market, channel)
        assert history is None or (history.reach and channel in REPAIRABLE and channel in channels)
    assert exchange.rest_url(market).startswith("https://")
    feed = FeedConfig(
        exchange=name, market=market, symbols=symbols_of(name, market), channels=sorted(channels)
    )
    assert all(exchange.ws_url(feed, streams).startswith("wss://") for streams in exchange.plan(feed))
    assert not any(map(is_dynamic, symbols_of(name, market)))
