"""Bybit v5 public streams: linear, inverse, spot.

Sources: bybit-exchange/docs v5 `websocket/public/*` (trade, orderbook, all-liquidation, ticker). Sizes are base coin on
linear and spot, and USD on inverse, where they are divided by the price. Order book deltas: `u` rises by one a message; the
documentation promises that for the full book only and recordings of level 200 confirm it. Any other step is taken as a break
and resynchronised, which is right under both readings. Level 1 is snapshot-only and is re-sent, with the same `u`, after 3 s
without a change.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import msgspec

from collector.config import FeedConfig
from collector.exchanges import bybit_rest
from collector.exchanges.base import (
    UNREADABLE,
    Bad,
    Broken,
    Instrument,
    Item,
    Limits,
    Notice,
    Rejected,
    Request,
    Send,
    Stream,
    Subscribed,
)
from collector.exchanges.bybit_rest import BybitHistory
from collector.exchanges.bybit_topics import TOPICS
from collector.exchanges.topic import Topic

ARGS_PER_REQUEST = 10
"""A limit of spot; kept on all markets, so that a rejected batch is small."""
ARGS_CHARACTERS = 21_000
"""Of all `args` on one connection."""
OVERDUE_US = 10_000_000
# Documented: 500 connections in 5 minutes, no HTTP for 10 minutes after "403 access too frequent"; no forced cut,
# no limit on our frames.
LIMITS = Limits(connects=400, connects_per=300.0, frame_interval=0.02)
GAP_RULES = {
    "trades": "none: ids are not sequential",
    "orderbook": "update ids rise by one",
    "liquidations": "none: no ids",
    "tickers": "snapshots, and deltas that may be merged",
}


class ControlMessage(msgspec.Struct, gc=False):
    op: str = ""
    success: bool | None = None
    ret_msg: str = ""
    req_id: str = ""
    topic: str = ""


class BybitDecoder:
    """One connection's topics, requests and acknowledgements."""

    def __init__(self, feed: FeedConfig, streams: Sequence[Stream]) -> None:
        self.streams = streams
        self.last_push_us = 0
        self._topics = [TOPICS[channel](feed, channel, symbol) for channel, symbol in streams]
        self._by_name = {topic.name.encode(): topic for topic in self._topics}
        self._by_stream = dict(zip(streams, self._topics, strict=True))
        self._books = [topic for topic in self._topics if topic.channel == "orderbook"]
        self._ids = itertools.count(1)
        self._requests: dict[str, tuple[str, list[Topic], int]] = {}
        """req_id → (operation, topics, when): at most one a topic at a time."""
        self._started = self._look_at = 0
        # Frames leave at an interval, so the last answer comes late.
        self._overdue = OVERDUE_US + round(len(streams) / ARGS_PER_REQUEST * LIMITS.frame_interval * 1e6)
        self._control = msgspec.json.Decoder(ControlMessage).decode

    def subscribe(self) -> list[str]:
        return [
            self._request("subscribe", self._topics[start : start + ARGS_PER_REQUEST], 0)
            for start in range(0, len(self._topics), ARGS_PER_REQUEST)
        ]

    def _request(self, op: str, topics: list[Topic], recv_us: int) -> str:
        req_id = str(next(self._ids))
        self._requests[req_id] = (op, topics, recv_us)
        return msgspec.json.encode({"req_id": req_id, "op": op, "args": [t.name for t in topics]}).decode()

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        out: list[Item] = []
        # The order of the keys differs by product, so the topic is searched for and checked after decoding.
        start = raw.find(b'"topic":"') + 9
        topic = self._by_name.get(raw[start : raw.find(b'"', start)]) if start > 8 else None
        if topic is None:
            self._read_control(raw, recv_us, out)
            return out
        try:
            push_us = topic.read(raw, recv_us, out)
        except UNREADABLE as error:
            topic.fail(str(error), recv_us, out)
        else:
            if push_us > self.last_push_us:
                self.last_push_us = push_us
        if topic.resync:
            topic.resync = False
            out.append(Send(self._request("unsubscribe", [topic], recv_us)))
        return out

    def _read_control(self, raw: bytes, recv_us: int, out: list[Item]) -> None:
        try:
            message = self._control(raw)
            topic = self._by_name.get(message.topic.encode())
            # Spelled with white space or escapes, when it is one of ours.
            canonical = msgspec.json.encode(msgspec.json.decode(raw)) if topic is not None else raw
        except UNREADABLE as error:
            out.append(Bad(f"not a known message: {error}", unnamed=True))
            return
        if topic is not None:
            if canonical != raw:
                out.extend(self.decode(canonical, recv_us))
            else:
                topic.fail("the topic is not where it was found", recv_us, out)
        elif message.topic:
            out.append(Notice("unknown_topic", message.topic[:200]))
        elif message.ret_msg == "pong" or message.op in ("pong", "ping"):
            pass
        elif message.req_id in self._requests:
            self._acknowledge(message, recv_us, out)
        elif message.success is False:
            out.append(Notice("refused", f"{message.op}: {message.ret_msg[:200]}"))
        elif message.op in ("subscribe", "unsubscribe") and self._requests:
            # Acks in the order of the requests, where the venue leaves out the id.
            message.req_id = next(iter(self._requests))
            self._acknowledge(message, recv_us, out)
        elif message.op:
            out.append(Notice("unexpected_answer", f"{message.op}: {message.ret_msg[:200]}"))
        else:
            out.append(Bad("neither data nor an answer"))

    def _acknowledge(self, message: ControlMessage, recv_us: int, out: list[Item]) -> None:
        op, topics, _ = self._requests.pop(message.req_id)
        if op == "unsubscribe":
            # Also when refused: the topic may be gone already, and a subscribe tells.
            out.extend(Send(self._request("subscribe", [topic], recv_us)) for topic in topics)
        elif message.success is not False:
            for topic in topics:
                out.append(Subscribed(topic.channel, topic.symbol))
                topic.last_recv = recv_us
                if topic.channel == "orderbook":
                    topic.waiting_since = recv_us
        elif len(topics) > 1:  # one bad topic refuses the batch: ask for each alone
            out.append(Notice("batch_refused", message.ret_msg[:200]))
            out.extend(Send(self._request("subscribe", [topic], recv_us)) for topic in topics)
        elif "already subscribed" in message.ret_msg:
            out.append(Send(self._request("unsubscribe", topics, recv_us)))
        else:
            topics[0].waiting_since = 0
            out.append(Rejected(topics[0].channel, topics[0].symbol, message.ret_msg[:200]))

    def flush(self, recv_us: int) -> Sequence[Item]:
        out: list[Item] = []
        for book in self._books:
            book.flush(recv_us, out)
        if recv_us >= self._look_at:
            self._look_at = recv_us + 1_000_000
            for topic in self._topics:
                since = topic.last_recv
                if topic.silent(recv_us):
                    detail = f"nothing for {(recv_us - since) // 10**6} s"
                    out.append(Notice("silent", detail, topic.channel, topic.symbol))
                    # Of books and tickers the new snapshot tells whether anything was missed.
                    if topic.channel == "trades":
                        out.append(Broken(topic.channel, topic.symbol, topic.last_ts or since, "silent"))
                    out.append(Send(self._request("unsubscribe", [topic], recv_us)))
        return out

    def answer(self, tag: str, body: bytes, recv_us: int) -> Sequence[Item]:
        return ()  # nothing is asked of REST while streaming

    def drain(self) -> Sequence[Item]:
        out: list[Item] = []
        for topic in self._topics:
            topic.drain(out)
        return out

    def last_ts(self, stream: Stream) -> int:
        return self._by_stream[stream].last_ts

    def stalled(self, recv_us: int) -> str:
        self._started = self._started or recv_us
        for op, topics, since in self._requests.values():
            if recv_us - (since or self._started) > self._overdue:
                return f"no answer to {op} of {topics[0].name} and {len(topics) - 1} more"
        for topic in self._books:
            if topic.waiting_since and recv_us - topic.waiting_since > OVERDUE_US:
                return f"no snapshot of {topic.name}"
        return ""


class Bybit:
    """https://bybit-exchange.github.io/docs/v5/intro"""

    name = "bybit"
    markets = frozenset({"linear", "inverse", "spot"})
    ping_interval = 20.0
    limits = LIMITS

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        return feed.ws_url or f"wss://stream.bybit.com/v5/public/{feed.market}"

    def rest_url(self, market: str) -> str:
        return "https://api.bybit.com"

    def channels(self, market: str) -> frozenset[str]:
        return frozenset(TOPICS) - ({"liquidations"} if market == "spot" else set())

    def plan(self, feed: FeedConfig) -> list[list[Stream]]:
        connections: list[list[Stream]] = [[]]
        characters = 0
        for channel, symbol in itertools.product(feed.channels, feed.symbols):
            length = len(TOPICS[channel](feed, channel, symbol).name)
            if characters + length > ARGS_CHARACTERS:
                connections.append([])
                characters = 0
            connections[-1].append((channel, symbol))
            characters += length
        return connections

    def decoder(
        self, feed: FeedConfig, streams: Sequence[Stream], instruments: Mapping[str, Instrument]
    ) -> BybitDecoder:
        return BybitDecoder(feed, streams)

    def needs_instruments(self, market: str) -> bool:
        return False

    def gap_rules(self, market: str) -> Mapping[str, str]:
        return GAP_RULES

    def ping(self) -> str:
        return '{"req_id":"ping","op":"ping"}'

    def instruments_request(self, market: str, cursor: str) -> Request:
        return bybit_rest.instruments_request(market, cursor)

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        return bybit_rest.instruments(market, body)

    def turnover_request(self, market: str) -> Request:
        return Request(f"/v5/market/tickers?category={market}")

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        return bybit_rest.turnover(body)

    def history(self, market: str) -> BybitHistory:
        return BybitHistory(market)
