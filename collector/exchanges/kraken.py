"""Kraken spot, WebSocket v2.

Sources: docs.kraken.com (`websocket-v2`, `book-checksum-v2`), and messages that others recorded. Books have no numbers; what
is lost is noticed by the checksum of the next update.

Doubts, and what holds under both readings. Trade ids are consecutive in REST's samples: a jump is declared when jumps are
rare (`states.TRUSTED`). A refusal names its symbol, or is that of its request, whose symbols are then asked for one by one.
REST still says XBT for BTC; names that can't be taken apart have no turnover.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from collector.exchanges import kraken_rest
from collector.exchanges.base import Bad, Instrument, Item, Limits, Notice, Request, Send, Stream
from collector.exchanges.decoder import StreamDecoder
from collector.exchanges.kraken_rest import KrakenHistory
from collector.exchanges.kraken_topics import TOPICS, OrderBook
from collector.exchanges.topic import Topic
from collector.settings import FeedConfig

STREAMS_PER_CONNECTION = 200
"""Not documented; what a connection carries without its queue growing at the venue."""
CHANNELS = {"trade", "book", "ticker"}
QUIET = frozenset({"heartbeat", "status", "pong"})
# Documented: 150 connections in 10 minutes. The rate of our frames is limited "dynamically".
LIMITS = Limits(connects=140, connects_per=600.0, frame_interval=0.2, requests=1, requests_per=1.0)


class KrakenDecoder(StreamDecoder):
    batch = 50

    def __init__(self, made: Sequence[Topic]) -> None:
        super().__init__(made, LIMITS.frame_interval)
        self._by_symbol = {spelled(name): found for name, found in self.by_name.items()}
        self._depths = {topic.name: topic.depth for topic in made if isinstance(topic, OrderBook)}
        self._ids = itertools.count(1)
        self._requests: dict[int, tuple[str, list[str]]] = {}
        """req_id → (operation, names that are not answered): at most one a name."""

    def find(self, raw: bytes) -> Sequence[Topic]:
        if not raw.startswith(b'{"channel":"'):
            return ()
        start = raw.find(b'"symbol":"') + 10
        if start < 10:
            return ()
        channel, symbol = raw[12 : raw.find(b'"', 12)], raw[start : raw.find(b'"', start)]
        return self._by_symbol.get(channel + b":" + symbol, ())

    def name_of(self, message: Any) -> str:
        if message.get("channel") not in CHANNELS or "data" not in message:
            return ""
        return f"{message['channel']}:{message['data'][0]['symbol']}"

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        frames = []
        for channel, group in itertools.groupby(sorted(names), key=lambda name: name.partition(":")[0]):
            same = list(group)
            number = next(self._ids)
            self._requests[number] = op, same
            params = parameters(channel, self._depths.get(same[0], 0))
            symbols = [name.partition(":")[2] for name in same]
            message = {"method": op, "params": params | {"symbol": symbols}, "req_id": number}
            frames.append(msgspec.json.encode(message).decode())
        return frames

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        method = message.get("method")
        if message.get("channel") in QUIET or method in QUIET:
            return
        if method not in ("subscribe", "unsubscribe"):
            out.append(Bad("neither data nor an answer"))
            return
        told = message.get("result") or {}
        symbol = told.get("symbol") or message.get("symbol")
        op, asked = self._requests.get(message.get("req_id", 0), (method, []))
        channel = told.get("channel") or (asked[0].partition(":")[0] if asked else "")
        name = f"{channel}:{symbol}"
        if message.get("success") is False:
            self._refusal(name, message, recv_us, out)
            return
        self._answered(name)
        if op == "subscribe":
            self.acknowledged(name, recv_us, out)
        else:
            self.ended(name, recv_us, out)

    def _answered(self, name: str) -> None:
        for number, (_, names) in self._requests.items():
            if name in names:
                names.remove(name)
                if not names:
                    del self._requests[number]
                return

    def _refusal(self, name: str, message: Mapping[str, Any], recv_us: int, out: list[Item]) -> None:
        reason = str(message.get("error"))
        out.append(Notice("refused", reason[:200]))
        op, names = self._requests.get(message.get("req_id", 0), (message["method"], []))
        if "msg rate" in reason:
            return  # the missing answer is noticed
        single = name in self.by_name or len(names) == 1
        refused = [name] if name in self.by_name else list(names)
        for one in refused:
            self._answered(one)
            if op == "unsubscribe":
                self.ended(one, recv_us, out)  # it may be gone already, and a subscribe tells
            elif "lready subscribed" in reason:
                self.acknowledged(one, recv_us, out)
            elif single:
                self.refused(one, reason, out)
            else:
                out.extend(Send(frame) for frame in self._ask(op, [one], recv_us))


def spelled(name: str) -> bytes:
    channel, _, symbol = name.partition(":")
    # As JSON has it; a name with other escapes goes the slow way.
    return f"{channel}:{msgspec.json.encode(symbol).decode()[1:-1]}".encode()


def parameters(channel: str, depth: int) -> dict[str, Any]:
    if channel == "book":
        return {"channel": channel, "depth": depth}
    return {"channel": channel, "snapshot": False} if channel == "trade" else {"channel": channel}


class Kraken:
    """https://docs.kraken.com/api/docs/websocket-v2"""

    name = "kraken"
    markets = frozenset({"spot"})
    ping_interval = 30.0
    limits = LIMITS

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        return feed.ws_url or "wss://ws.kraken.com/v2"

    def rest_url(self, market: str) -> str:
        return "https://api.kraken.com"

    def channels(self, market: str) -> frozenset[str]:
        return frozenset(TOPICS)

    def plan(self, feed: FeedConfig) -> list[list[Stream]]:
        streams = list(itertools.product(feed.channels, feed.symbols))
        return [
            streams[start : start + STREAMS_PER_CONNECTION]
            for start in range(0, len(streams), STREAMS_PER_CONNECTION)
        ]

    def decoder(
        self, feed: FeedConfig, streams: Sequence[Stream], instruments: Mapping[str, Instrument]
    ) -> KrakenDecoder:
        return KrakenDecoder([TOPICS[channel](feed, symbol) for channel, symbol in streams])

    def needs_instruments(self, market: str) -> bool:
        return False

    def gap_rules(self, market: str) -> Mapping[str, str]:
        return {
            "trades": "trade ids rise by one, where that is seen to hold",
            "orderbook": "CRC-32 of the best ten levels, after each message",
            "tickers": "none: each is a whole state",
        }

    def ping(self) -> str:
        return '{"method":"ping"}'

    def instruments_request(self, market: str, cursor: str) -> Request:
        return kraken_rest.instruments_request(market)

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        return kraken_rest.instruments(market, body), ""

    def turnover_request(self, market: str) -> Request:
        return kraken_rest.turnover_request(market)

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        return kraken_rest.turnover(market, body)

    def history(self, market: str, channel: str) -> KrakenHistory | None:
        return KrakenHistory(market) if channel == "trades" else None
