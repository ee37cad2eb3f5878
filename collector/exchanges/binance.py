"""Binance: USD-M futures (linear), COIN-M futures (inverse), spot.

Sources: binance-spot-api-docs, the connectors' source, the futures documentation and its changelog of 2026, and recorded
sessions. Since April 2026 USD-M has two routes: depth comes by `/public`, all else by `/market`; a subscription by the wrong
one is acknowledged and stays silent, so that the plan splits them. Sizes are base coin, and contracts of a listed number of
USD on COIN-M.

Doubts, and what holds under both readings. Aggregate ids are taken to rise by one: a jump is declared, and repair by REST
says whether anything was missing. An unknown symbol may be refused, with all of its request, or acknowledged and silent: the
names of a refused request are asked for alone, and silence is watched. Errors come as `error` or with a `code`. `forceOrder`
is one order a symbol and second at most, the largest or the latest. `@trade` of futures is not documented, and not used.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from collector.exchanges import binance_rest
from collector.exchanges.base import Bad, Instrument, Item, Limits, Notice, Request, Send, Stream
from collector.exchanges.binance_book import OrderBook
from collector.exchanges.binance_rest import BinanceHistory
from collector.exchanges.binance_topics import Liquidations, Tickers, Trades
from collector.exchanges.decoder import StreamDecoder
from collector.exchanges.topic import Topic
from collector.settings import FeedConfig

STREAMS_PER_CONNECTION = 400
"""Of ours; the venue allows 1,024 of its own, and tickers take two."""
EVENTS = {
    "aggTrade": "aggTrade",
    "trade": "trade",
    "depthUpdate": "depth@100ms",
    "forceOrder": "forceOrder",
    "markPriceUpdate": "markPrice@1s",
    "24hrTicker": "ticker",
}
"""Event → the stream that brings it."""
TOPICS = {"trades": Trades, "orderbook": OrderBook, "liquidations": Liquidations, "tickers": Tickers}
SOCKETS = {
    "linear": "wss://fstream.binance.com",
    "inverse": "wss://dstream.binance.com",
    "spot": "wss://stream.binance.com:9443",
}
RESTS = {
    "linear": "https://fapi.binance.com",
    "inverse": "https://dapi.binance.com",
    "spot": "https://api.binance.com",
}
LIMITS = Limits(
    connects=250,
    connects_per=300.0,
    frame_interval=0.3,
    max_age=86_400.0,
    requests=1800,
    requests_per=60.0,
    bans=((403, 600.0), (418, 600.0), (429, 60.0)),
)


class BinanceDecoder(StreamDecoder):
    batch = 50

    def __init__(self, topics: Sequence[Topic]) -> None:
        super().__init__(topics, LIMITS.frame_interval)
        events = {suffix: event for event, suffix in EVENTS.items()}
        self._by_event = {
            events[name.partition("@")[2]].encode() + b'"' + found[0].symbol.encode(): found
            for name, found in self.by_name.items()
        }
        self._ids = itertools.count(1)
        self._requests: dict[int, tuple[str, Sequence[str]]] = {}
        """id → (operation, names): at most one a name."""
        self._shutdown = ""

    def find(self, raw: bytes) -> Sequence[Topic]:
        start = raw.find(b'"e":"') + 5
        symbol = raw.find(b'"s":"', start) + 5
        if start < 5 or symbol < 5:
            return ()
        event = raw[start : raw.find(b'"', start) + 1]
        return self._by_event.get(event + raw[symbol : raw.find(b'"', symbol)], ())

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        if raw.startswith(b'{"stream":"') and raw.endswith(b"}}"):  # of a combined connection
            end = raw.find(b'"', 11)
            if raw.startswith(b'","data":', end) and raw[11:end].isascii() and b"\\" not in raw[11:end]:
                raw = raw[end + 9 : -1]
        return super().decode(raw, recv_us)

    def name_of(self, message: Any) -> str:
        if "stream" in message:
            raise ValueError("an envelope that is not spelled as the venue does")
        if message.get("e") not in EVENTS:
            return ""
        symbol = message["o"]["s"] if message["e"] == "forceOrder" else message["s"]
        return f"{symbol.lower()}@{EVENTS[message['e']]}"

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        number = next(self._ids)
        self._requests[number] = op, names
        return [msgspec.json.encode({"method": op.upper(), "params": list(names), "id": number}).decode()]

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        if message.get("e") == "serverShutdown":
            self._shutdown = "the venue is going to close the connection"
            out.append(Notice("server_shutdown", self._shutdown))
        elif "e" in message:
            out.append(Notice("unknown_event", str(message["e"])[:200]))
        elif "error" in message or "code" in message:
            self._refusal(message, recv_us, out)
        elif "result" in message and message.get("id") in self._requests:
            op, names = self._requests.pop(message["id"])
            for name in names:
                if op == "subscribe":
                    self.acknowledged(name, recv_us, out, names)
                else:
                    self.ended(name, recv_us, out)
        elif "result" not in message:
            out.append(Bad("neither data nor an answer"))

    def _refusal(self, message: dict[str, Any], recv_us: int, out: list[Item]) -> None:
        reason = str(message.get("error") or message.get("msg"))
        out.append(Notice("refused", reason[:200]))
        op, names = self._requests.pop(message.get("id") or 0, ("", ()))
        for name in names:
            if op == "unsubscribe":
                self.ended(name, recv_us, out)
            elif len(names) > 1:
                out.extend(Send(frame) for frame in self._ask(op, [name], recv_us))
            else:
                self.refused(name, reason, out)

    def stalled(self, recv_us: int) -> str:
        return self._shutdown or super().stalled(recv_us)


class Binance:
    """https://developers.binance.com"""

    name = "binance"
    markets = frozenset(SOCKETS)
    ping_interval = 60.0  # none is sent: the library answers the venue's pings
    limits = LIMITS

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        base = feed.ws_url or SOCKETS[feed.market]
        if feed.market != "linear":
            return f"{base}/ws"
        return f"{base}/{'public' if streams[0][0] == 'orderbook' else 'market'}/ws"

    def rest_url(self, market: str) -> str:
        return RESTS[market]

    def channels(self, market: str) -> frozenset[str]:
        return frozenset(TOPICS) - ({"liquidations"} if market == "spot" else set())

    def plan(self, feed: FeedConfig) -> list[list[Stream]]:
        """Books by themselves on USD-M, whose route is another."""
        streams = list(itertools.product(feed.channels, feed.symbols))
        books = [one for one in streams if one[0] == "orderbook" and feed.market == "linear"]
        others = [one for one in streams if one not in set(books)]
        return [
            part[start : start + STREAMS_PER_CONNECTION]
            for part in (books, others)
            for start in range(0, len(part), STREAMS_PER_CONNECTION)
        ]

    def decoder(
        self, feed: FeedConfig, streams: Sequence[Stream], instruments: Mapping[str, Instrument]
    ) -> BinanceDecoder:
        inverse = feed.market == "inverse"
        topics = [
            TOPICS[channel](feed, symbol, instruments[symbol] if inverse else None)
            for channel, symbol in streams
        ]
        return BinanceDecoder(topics)

    def needs_instruments(self, market: str) -> bool:
        return market == "inverse"

    def gap_rules(self, market: str) -> Mapping[str, str]:
        return {
            "trades": "trade ids rise by one" if market == "spot" else "aggregate ids rise by one",
            "orderbook": "first id follows the last one" if market == "spot" else "pu is the u before it",
            "liquidations": "none: one order a symbol and second at most is published",
            "tickers": "none: each is a whole state",
        }

    def ping(self) -> str:
        return ""

    def instruments_request(self, market: str, cursor: str) -> Request:
        return binance_rest.instruments_request(market)

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        return binance_rest.instruments(market, body), ""

    def turnover_request(self, market: str) -> Request:
        return binance_rest.turnover_request(market)

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        return binance_rest.turnover(market, body)

    def history(self, market: str, channel: str) -> BinanceHistory | None:
        return BinanceHistory(market) if channel == "trades" else None
