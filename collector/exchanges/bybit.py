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
from typing import Any

import msgspec

from collector.exchanges import bybit_rest
from collector.exchanges.base import Bad, Instrument, Item, Limits, Notice, Request, Send, Stream
from collector.exchanges.bybit_rest import BybitHistory
from collector.exchanges.bybit_topics import TOPICS
from collector.exchanges.decoder import StreamDecoder
from collector.exchanges.topic import Topic
from collector.settings import FeedConfig

ARGS_PER_REQUEST = 10
"""A limit of spot; kept on all markets, so that a rejected batch is small."""
ARGS_CHARACTERS = 21_000
"""Of all `args` on one connection."""
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


class BybitDecoder(StreamDecoder):
    batch = ARGS_PER_REQUEST

    def __init__(self, feed: FeedConfig, streams: Sequence[Stream]) -> None:
        topics = [TOPICS[channel](feed, channel, symbol) for channel, symbol in streams]
        super().__init__(topics, LIMITS.frame_interval)
        self._by_topic = {name.encode(): found for name, found in self.by_name.items()}
        self._ids = itertools.count(1)
        self._requests: dict[str, tuple[str, Sequence[str]]] = {}
        """req_id → (operation, names): at most one a name."""

    def find(self, raw: bytes) -> Sequence[Topic]:
        # The order of the keys differs by product, so the topic is searched for and checked after decoding.
        start = raw.find(b'"topic":"') + 9
        return self._by_topic.get(raw[start : raw.find(b'"', start)], ()) if start > 8 else ()

    def name_of(self, message: Any) -> str:
        return msgspec.convert(message, ControlMessage).topic

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        req_id = str(next(self._ids))
        self._requests[req_id] = (op, names)
        return [msgspec.json.encode({"req_id": req_id, "op": op, "args": list(names)}).decode()]

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        told = msgspec.convert(message, ControlMessage)
        if told.ret_msg == "pong" or told.op in ("pong", "ping"):
            pass
        elif told.req_id in self._requests:
            self._acknowledge(told.req_id, told, recv_us, out)
        elif told.success is False:
            out.append(Notice("refused", f"{told.op}: {told.ret_msg[:200]}"))
        elif told.op in ("subscribe", "unsubscribe") and self._requests:
            # Acks in the order of the requests, where the venue leaves out the id.
            self._acknowledge(next(iter(self._requests)), told, recv_us, out)
        elif told.op:
            out.append(Notice("unexpected_answer", f"{told.op}: {told.ret_msg[:200]}"))
        else:
            out.append(Bad("neither data nor an answer"))

    def _acknowledge(self, req_id: str, told: ControlMessage, recv_us: int, out: list[Item]) -> None:
        op, names = self._requests.pop(req_id)
        if told.success is False and op == "subscribe" and len(names) > 1:
            out.append(Notice("batch_refused", told.ret_msg[:200]))
        for name in names:
            if op == "unsubscribe":
                # Also when refused: the topic may be gone already, and a subscribe tells.
                self.ended(name, recv_us, out)
            elif told.success is not False:
                self.acknowledged(name, recv_us, out)
            elif len(names) > 1:  # one bad topic refuses the batch: ask for each alone
                out.extend(Send(frame) for frame in self._ask("subscribe", [name], recv_us))
            elif "already subscribed" in told.ret_msg:
                out.extend(Send(frame) for frame in self._ask("unsubscribe", [name], recv_us))
            else:
                self.refused(name, told.ret_msg, out)


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

    def history(self, market: str, channel: str) -> BybitHistory | None:
        return BybitHistory(market) if channel == "trades" else None
