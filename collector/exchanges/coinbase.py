"""Coinbase spot, Advanced Trade's public channels; REST of Coinbase Exchange, which has all trades.

Sources: docs.cdp.coinbase.com (`advanced-trade/docs/ws-channels`) as others quote it, and messages that others recorded. All
messages of a connection are numbered: what is missing is missing from each of its streams, so that a connection has one
channel.

Doubts, and what holds under both readings. `sequence_num` may count per connection or per channel: what follows by either is
whole. The side of `market_trades` may be the taker's or the maker's: REST, which tells the maker's, decides it for each
connection (`coinbase_sides.py`). Trade ids rise by one: a jump is declared when jumps are rare (`states.TRUSTED`).
`/products/stats` is not documented. Data of USDC products come under USD's name: accepted, where that is not subscribed
itself. An error that names no product is the oldest request's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from collector.exchanges import coinbase_rest
from collector.exchanges.base import (
    UNREADABLE,
    Bad,
    Instrument,
    Item,
    Limits,
    Notice,
    Request,
    Send,
    Stream,
)
from collector.exchanges.coinbase_rest import CoinbaseHistory
from collector.exchanges.coinbase_topics import CHANNELS, lost, products, topics
from collector.exchanges.decoder import StreamDecoder
from collector.exchanges.topic import Topic
from collector.settings import FeedConfig

PRODUCTS_PER_CONNECTION = 100
"""Not documented; what one connection carries without its queue growing at the venue."""
NAMES = {"l2_data": "level2", "market_trades": "market_trades", "ticker": "ticker"}
"""Channel of data → that of its subscription."""
PRODUCT = re.compile(rb'"product_id":"([^"\\]+)"')
HEAD = b'{"channel":"'
MOST_CHANNELS = 8
SEQUENCE = re.compile(rb'"sequence_num":(\d{1,18})[,}]')
# Documented: 8 connections and 8 messages of ours a second; REST 10 requests a second.
LIMITS = Limits(connects=4, connects_per=1.0, frame_interval=0.2, requests=6, requests_per=1.0)


class Numbered(msgspec.Struct, gc=False):
    channel: str = ""
    sequence_num: Annotated[int, msgspec.Meta(ge=-1, lt=2**62)] = -1


class CoinbaseDecoder(StreamDecoder):
    batch = 50

    def __init__(self, made: Sequence[Topic]) -> None:
        super().__init__(made, LIMITS.frame_interval)
        self._by_product: dict[tuple[bytes, bytes], tuple[Topic, ...]] = {}
        for name, found in self.by_name.items():
            channel, _, symbol = name.partition(":")
            for product in products(symbol):
                if product == symbol or f"{channel}:{product}" not in self.by_name:
                    self._by_product[channel.encode(), product.encode()] = found
        self._asked: list[tuple[str, list[str]]] = []
        """(operation, names that are not answered), oldest first: at most one a name."""
        self._last = -1
        self._last_of: dict[bytes, int] = {}

    def subscribe(self) -> list[str]:
        return ['{"type":"subscribe","channel":"heartbeats"}', *super().subscribe()]

    def find(self, raw: bytes) -> Sequence[Topic]:
        if not raw.startswith(HEAD):
            return ()
        channel = raw[len(HEAD) : raw.find(b'"', len(HEAD))]
        channel = b"level2" if channel == b"l2_data" else channel
        named = PRODUCT.findall(raw)
        if len(set(named)) == 1:
            return self._by_product.get((channel, named[0]), ())
        found = [self._by_product.get((channel, product), ()) for product in dict.fromkeys(named)]
        return tuple(itertools.chain.from_iterable(found))

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        out: list[Item] = []
        self._count(raw, recv_us, out)
        out += super().decode(raw, recv_us)
        return out

    def _count(self, raw: bytes, recv_us: int, out: list[Item]) -> None:
        """Declare what is missing before this message."""
        channel, now = numbered(raw)
        if now < 0:
            return
        before, same = self._last, self._last_of.get(channel, -1)
        self._last = now
        if channel in self._last_of or len(self._last_of) < MOST_CHANNELS:
            self._last_of[channel] = now
        if before >= 0 and now > before + 1 and now != same + 1:
            for topic in self.topics:
                lost(topic, recv_us, out)
                if topic.resync:
                    self._ask_anew(topic, recv_us, out)

    def name_of(self, message: Any) -> str:
        channel = NAMES.get(message.get("channel", ""))
        if channel is None:
            return ""
        event = message["events"][0]
        items = event.get("trades") or event.get("tickers") or [event]
        product = items[0].get("product_id", "")
        found = self._by_product.get((channel.encode(), str(product).encode()))
        return found[0].name if found else f"{channel}:{product}"

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        frames = []
        for channel, group in itertools.groupby(sorted(names), key=lambda name: name.partition(":")[0]):
            same = list(group)
            self._asked.append((op, same))
            symbols = [name.partition(":")[2] for name in same]
            frames.append(
                msgspec.json.encode({"type": op, "product_ids": symbols, "channel": channel}).decode()
            )
        return frames

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        channel = message.get("channel")
        if channel == "heartbeats":
            return
        if channel == "subscriptions":
            told = message["events"][0]["subscriptions"]
            there = {f"{kind}:{symbol}" for kind, symbols in told.items() for symbol in symbols or ()}
            for op, names in list(self._asked):
                done = [name for name in names if (name in there) == (op == "subscribe")]
                self._answered(done)
                for name in done:
                    if op == "subscribe":
                        self.acknowledged(name, recv_us, out)
                    else:
                        self.ended(name, recv_us, out)
        elif message.get("type") == "error":
            self._refusal(str(message.get("message")), recv_us, out)
        elif channel is not None:
            out.append(Notice("unknown_topic", str(channel)[:200]))
        else:
            out.append(Bad("neither data nor an answer"))

    def _answered(self, done: Sequence[str]) -> None:
        for _, names in self._asked:
            names[:] = [name for name in names if name not in done]
        self._asked = [entry for entry in self._asked if entry[1]]

    def _refusal(self, reason: str, recv_us: int, out: list[Item]) -> None:
        out.append(Notice("refused", reason[:200]))
        named = [
            (op, [name])
            for op, names in self._asked
            for name in names
            if name.partition(":")[2] in re.split(r"[^\w-]+", reason)
        ]
        # Of several that fit, the oldest one.
        for op, names in (named or self._asked)[:1]:
            alone = len(names) == 1
            self._answered(refused := list(names))
            for name in refused:
                if op == "unsubscribe":
                    self.ended(name, recv_us, out)
                elif alone:
                    self.refused(name, reason, out)
                else:
                    out.extend(Send(frame) for frame in self._ask(op, [name], recv_us))


def numbered(raw: bytes) -> tuple[bytes, int]:
    """Channel and sequence_num of a message; -1 where it has none."""
    if raw.startswith(HEAD):
        told = SEQUENCE.search(raw)
        if told is not None:
            return raw[len(HEAD) : raw.find(b'"', len(HEAD))], int(told[1])
    try:
        message = msgspec.json.decode(raw, type=Numbered)
    except UNREADABLE:
        return b"", -1
    return message.channel.encode(), message.sequence_num


class Coinbase:
    """https://docs.cdp.coinbase.com"""

    name = "coinbase"
    markets = frozenset({"spot"})
    ping_interval = 60.0  # none is sent: heartbeats are subscribed
    limits = LIMITS

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        return feed.ws_url or "wss://advanced-trade-ws.coinbase.com"

    def rest_url(self, market: str) -> str:
        return "https://api.exchange.coinbase.com"

    def channels(self, market: str) -> frozenset[str]:
        return CHANNELS

    def plan(self, feed: FeedConfig) -> list[list[Stream]]:
        """One channel a connection."""
        return [
            [(channel, symbol) for symbol in feed.symbols[start : start + PRODUCTS_PER_CONNECTION]]
            for channel in feed.channels
            for start in range(0, len(feed.symbols), PRODUCTS_PER_CONNECTION)
        ]

    def decoder(
        self, feed: FeedConfig, streams: Sequence[Stream], instruments: Mapping[str, Instrument]
    ) -> CoinbaseDecoder:
        return CoinbaseDecoder(topics(feed, streams))

    def needs_instruments(self, market: str) -> bool:
        return False

    def gap_rules(self, market: str) -> Mapping[str, str]:
        connection = "sequence_num of the connection rises by one"
        return {
            "trades": f"{connection}; trade ids, where they are seen to do so",
            "orderbook": connection,
            "tickers": connection,
        }

    def ping(self) -> str:
        return ""

    def instruments_request(self, market: str, cursor: str) -> Request:
        return coinbase_rest.instruments_request(market)

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        return coinbase_rest.instruments(market, body), ""

    def turnover_request(self, market: str) -> Request:
        return coinbase_rest.turnover_request(market)

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        return coinbase_rest.turnover(market, body)

    def history(self, market: str, channel: str) -> CoinbaseHistory | None:
        return CoinbaseHistory(market) if channel == "trades" else None
