"""Where whole messages come from: the simulated venues without their sockets, and recorded sessions."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from collector.exchanges import EXCHANGES
from collector.exchanges.base import Decoder, Instrument, Request, Stream
from collector.replay.recording import Recording
from collector.settings import Duration, FeedConfig
from collector.simulator import SIMULATORS
from collector.simulator.market import Market
from collector.simulator.wire import Message, Topic

RECORDINGS = Path(__file__).parents[3] / "shared/recordings"
FOLDERS = {"binance_spot": "spot", "binance_usdm": "linear"}
"""Folder → market, where the connections' paths do not tell."""
START_MS = 1_760_000_000_000
SYMBOLS = ["BTCUSDT", "ETHUSDT"]
UNHEARD = 20_000
"""Events in a row of which nothing was sent."""
RECORDED_AT_MOST = 5000
"""Messages of one recording that are kept."""


class Setup:
    """One exchange and market, and a feed of all its channels."""

    def __init__(
        self,
        exchange: str,
        market: str,
        symbols: list[str],
        interval: float,
        depth: int,
        plan: int = 0,
        channels: Sequence[str] = (),
    ) -> None:
        """`plan`: which of the connections that the venue needs, modulo their number. `channels`: all where empty."""
        self.exchange = EXCHANGES[exchange]
        self.feed = FeedConfig(
            exchange=exchange,
            market=market,
            symbols=symbols,
            channels=list(channels) or sorted(self.exchange.channels(market)),
            book_depth=depth,
            book_interval=Duration(interval),
            ws_url=f"ws://127.0.0.1:1{SIMULATORS[exchange].bases[market]}",
        )
        plans = self.exchange.plan(self.feed)
        self.streams: list[Stream] = plans[plan % len(plans)]
        self.instruments = {symbol: plain_instrument(symbol, market) for symbol in symbols}
        """As nobody lists them; a simulated venue does."""

    def decoder(self) -> Decoder:
        return self.exchange.decoder(self.feed, self.streams, self.instruments)


def plain_instrument(symbol: str, market: str) -> Instrument:
    return Instrument(symbol=symbol, base=symbol[:3], quote="USD", kind="future", inverse=market == "inverse")


class Venue:
    """A simulated exchange that is asked directly. Deterministic from its seed."""

    def __init__(self, setup: Setup, seed: int) -> None:
        wire = SIMULATORS[setup.feed.exchange]
        model = Market(SYMBOLS, seed)
        self.now_ms = START_MS
        self._market = setup.feed.market
        self._stamped = wire.stamped
        self._events = model.events()
        self._exchange = wire.exchange(model, START_MS)
        path = urlsplit(setup.exchange.ws_url(setup.feed, setup.streams)).path
        self._session = wire.session(path, "fuzz", lambda topic: self._exchange.knows(self._market, topic))
        cursor, listed = "", setup.instruments
        while True:
            body = self.rest(setup.exchange.instruments_request(self._market, cursor))
            page, cursor = setup.exchange.instruments(self._market, body)
            listed |= {item.symbol: item for item in page if item.symbol in listed}
            if not cursor:
                break
        self._known: dict[str, Topic] = {}
        self._subscribed: dict[str, Topic] = {}

    def rest(self, request: Request) -> bytes:
        """What REST answers; b"" when it refuses."""
        url = urlsplit(request.path)
        query = json.loads(request.body) if request.body else dict(parse_qsl(url.query))
        status, answer = self._exchange.rest(url.path, query, self.now_ms)
        return answer.text.encode() if status == 200 else b""

    def _texts(self, message: Message) -> list[bytes]:
        texts = [message.text, *message.more]
        return [(self._session.stamp(text) if self._stamped else text).encode() for text in texts]

    def answer(self, request: str) -> list[bytes]:
        """What the venue sends for a request: its answer, then snapshots."""
        reply = self._session.handle(request)
        out = [text.encode() for text in reply.texts]
        for name in reply.unsubscribed:
            self._subscribed.pop(name, None)
        for name in reply.subscribed:
            topic = self._known.get(name)
            if topic is None:
                topic = self._known[name] = self._exchange.topic(self._market, name)
            self._subscribed[name] = topic
            message = topic.snapshot(self.now_ms)
            if message is not None:
                out += self._texts(message)
        return out

    def messages(self) -> Iterator[bytes]:
        """What is published, until nothing is subscribed any more: an answer that was spoilt is not asked for again here."""
        unheard = 0
        for kind, symbol, fills in self._events:
            self.now_ms += 7
            unheard += 1
            if unheard > UNHEARD:
                return
            for name, known in self._known.items():
                topic: Topic | None = known
                while topic is not None and (topic.kind, topic.index) != (kind, symbol.index):
                    topic = topic.also
                if topic is not None:
                    message: Message | None = topic.publish(fills, self.now_ms)
                    if message is not None and name in self._subscribed:
                        unheard = 0
                        yield from self._texts(message)


def symbols_of(exchange: str, market: str) -> list[str]:
    """Those that the simulated venue lists for the market model's symbols."""
    return [SIMULATORS[exchange].symbol(market, symbol) for symbol in SYMBOLS]


def simulated(rng: random.Random) -> tuple[Setup, Venue]:
    exchange = rng.choice(sorted(EXCHANGES.keys() & SIMULATORS.keys()))
    market = rng.choice(sorted(EXCHANGES[exchange].markets & set(SIMULATORS[exchange].paths.values())))
    depth, interval = rng.choice((1, 50, 50, 200)), rng.choice((0.0, 0.0, 0.1))
    setup = Setup(exchange, market, symbols_of(exchange, market), interval, depth, rng.randrange(2))
    return setup, Venue(setup, rng.randrange(1 << 30))


@cache
def recorded() -> list[tuple[str, str, list[str], list[bytes]]]:
    """(exchange, market, symbols, messages) of each recording of a known exchange; none where there are no recordings."""
    sessions = []
    for exchange in sorted(EXCHANGES.keys() & SIMULATORS.keys()):
        for file in sorted(RECORDINGS.glob(f"{exchange}*/*.jsonl*")):
            recording = Recording([file], SIMULATORS[exchange], FOLDERS.get(file.parent.name, ""))
            by_market: dict[str, list[bytes]] = {}
            for message in recording.messages():
                kept = by_market.setdefault(message.market, [])
                if len(kept) < RECORDED_AT_MOST:
                    kept.append(message.text.encode())
            sessions += [
                (exchange, market, sorted(recording.symbols[market]), messages)
                for market, messages in by_market.items()
                if recording.symbols[market]
            ]
    return sessions
