"""BitMEX: coin-settled (inverse) and USDT-settled (linear) perpetuals and futures.

Sources: the venue's WebSocket page and REST explorer as others quote them, and recorded sessions of 2021. Sizes are
contracts: quote units where inverse (divided by the price), else a fraction of the base coin, by the listed multiplier.
Quanto contracts are left out: their base units are not defined.

Doubts, and what holds under both readings. An error may be about one name of a request or about all: the names that it
leaves unanswered are asked for alone, and "already subscribed" counts as an acknowledgement. `update` may or may not carry
the price: the price that is known for the id counts. Times on book levels are newer than the recordings: without them the
newest known time of the book stands. Liquidations have no time at all: that of receipt stands, and the recorder gives an
order that comes once more the time of its first. How many connections may be opened is told in the welcome message, 40 at
first; 20 an hour are kept to.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from collector.exchanges import bitmex_rest
from collector.exchanges.base import Bad, Instrument, Item, Limits, Notice, Request, Send, Stream
from collector.exchanges.bitmex_rest import BitmexHistory
from collector.exchanges.bitmex_topics import TOPICS
from collector.exchanges.decoder import StreamDecoder
from collector.exchanges.topic import Topic
from collector.settings import FeedConfig

STREAMS_PER_CONNECTION = 400
TABLE, DATA, SYMBOL, FILTER = b'"table":"', b'"data":[', b'"symbol":"', b'"filter":{"symbol":"'
LIMITS = Limits(connects=20, connects_per=3600.0, frame_interval=0.2, requests=25, requests_per=60.0)
"""REST: 30 requests a minute without a key."""
GAP_RULES = {
    "trades": "none: ids are not ordered",
    "orderbook": "none: no numbers; a change of a level that is not there",
    "liquidations": "none",
    "tickers": "none: changes are merged",
}


class BitmexDecoder(StreamDecoder):
    batch = 20

    def find(self, raw: bytes) -> Sequence[Topic]:
        start = raw.find(TABLE) + len(TABLE)
        data = raw.find(DATA, start)
        if start < len(TABLE) or data < 0:
            return ()
        table = raw[start : raw.find(b'"', start)]
        at, mark = raw.find(SYMBOL, data), SYMBOL
        if at < 0:  # an empty partial
            at, mark = raw.find(FILTER, start), FILTER
        at += len(mark)
        name = table + b":" + raw[at : raw.find(b'"', at)]
        return self.by_name.get(name.decode(errors="replace"), ())

    def name_of(self, message: Any) -> str:
        if "table" not in message:
            return ""
        data = message["data"]
        symbol = data[0]["symbol"] if data else message["filter"]["symbol"]
        return f"{message['table']}:{symbol}"

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        return () if raw == b"pong" else super().decode(raw, recv_us)

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        return [msgspec.json.encode({"op": op, "args": list(names)}).decode()]

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        if "error" in message:
            self._refusal(message, recv_us, out)
        elif "subscribe" in message:
            self.acknowledged(message["subscribe"], recv_us, out)
        elif "unsubscribe" in message:
            self.ended(message["unsubscribe"], recv_us, out)
        elif "info" not in message:
            out.append(Bad("neither data nor an answer"))

    def _refusal(self, message: dict[str, Any], recv_us: int, out: list[Item]) -> None:
        reason, request = str(message["error"]), message.get("request") or {}
        out.append(Notice("refused", reason[:200]))
        op, args = str(request.get("op")), request.get("args") or []
        names = [name for name in (args if isinstance(args, list) else [args]) if name in self.asked(op)]
        for name in names:
            if op == "unsubscribe":
                self.ended(name, recv_us, out)  # it may be gone already, and a subscribe tells
            elif "already subscribed" in reason.lower():
                self.acknowledged(name, recv_us, out)
            elif len(args) > 1:
                out.extend(Send(frame) for frame in self._ask(op, [name], recv_us))
            else:
                self.refused(name, reason, out)


class Bitmex:
    """https://www.bitmex.com/app/wsAPI"""

    name = "bitmex"
    markets = frozenset({"linear", "inverse"})
    ping_interval = 5.0
    limits = LIMITS

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        return feed.ws_url or "wss://ws.bitmex.com/realtime"

    def rest_url(self, market: str) -> str:
        return "https://www.bitmex.com"

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
    ) -> BitmexDecoder:
        made = [TOPICS[channel](feed, symbol, instruments[symbol]) for channel, symbol in streams]
        return BitmexDecoder(made, LIMITS.frame_interval)

    def needs_instruments(self, market: str) -> bool:
        return True

    def gap_rules(self, market: str) -> Mapping[str, str]:
        return GAP_RULES

    def ping(self) -> str:
        return "ping"

    def instruments_request(self, market: str, cursor: str) -> Request:
        return Request("/api/v1/instrument/active")

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        return bitmex_rest.instruments(market, body), ""

    def turnover_request(self, market: str) -> Request:
        return Request("/api/v1/instrument/active")

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        return bitmex_rest.turnover(market, body)

    def history(self, market: str, channel: str) -> BitmexHistory | None:
        return BitmexHistory(market) if channel == "trades" else None
