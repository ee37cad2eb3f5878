"""OKX v5 public: swaps and futures settled in stablecoins (linear) or coins (inverse), and spot.

Sources: the documentation as others quote it, the mirror of its change log, recorded sessions. Sizes of derivatives are
contracts, of `ctVal` × `ctMult` coins or dollars. `liquidation-orders` comes for all symbols of a kind, at most one order a
symbol and second, and begins with old ones.

Doubts, and what holds under both readings. Trades are taken from `trades-all` (one fill each, on `/business`), whose ids are
those of REST's history; `trades`, which puts the fills of an order together, is read where it comes. That ids rise by
`count` is measured, not documented: a jump is declared when it is rare (`states.TRUSTED`). A book that
begins without a snapshot is joined to REST's. A sequence number that falls while `prevSeqId` fits is a new beginning.
The checksum is 0 by now, which means none; any other is checked. An error that names no subscription is that of its
request, else of the oldest one that waits. Who may have the faster books (`books-l2-tbt`) is told in two ways, and they
need a login: `books` is taken, which is everybody's.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from collector.exchanges import okx_rest
from collector.exchanges.base import Bad, Instrument, Item, Limits, Notice, Request, Send, Stream
from collector.exchanges.decoder import StreamDecoder
from collector.exchanges.okx_rest import OkxHistory, OkxLiquidationHistory
from collector.exchanges.okx_topics import topics
from collector.exchanges.topic import Topic
from collector.settings import FeedConfig

CHANNELS = frozenset({"trades", "orderbook", "liquidations", "tickers"})
TRADES_PER_CONNECTION, SYMBOLS_PER_CONNECTION = 300, 29
"""Fewer than 30 deep books a connection are recommended; all `args` of one must stay within 64 KiB."""
PREFIX = b'{"arg":{"channel":"'
NAMED = re.compile(r"channel:\s*([\w-]+),\s*inst(?:Id|Type):\s*([\w-]+)")
"""In the text of an error."""
# Documented: 3 connections a second, 480 requests a connection and hour, 40 REST requests of a kind in 2 s, some 20.
LIMITS = Limits(connects=2, connects_per=1.0, frame_interval=0.1, requests=8, requests_per=1.0)


class OkxDecoder(StreamDecoder):
    batch = 50

    def __init__(self, made: Sequence[Topic]) -> None:
        super().__init__(made, LIMITS.frame_interval)
        self._by_arg = {spelled(name): found for name, found in self.by_name.items()}
        self._by_arg |= {
            key.replace(b"trades-all", b"trades"): found
            for key, found in self._by_arg.items()
            if key.startswith(b"trades-all")
        }
        self._ids = itertools.count(1)
        self._requests: dict[str, tuple[str, list[str]]] = {}
        """id → (operation, names that are not answered): at most one a name."""
        self._closing = ""

    def find(self, raw: bytes) -> Sequence[Topic]:
        if not raw.startswith(PREFIX):
            return ()
        end = raw.find(b"}", 19)
        return self._by_arg.get(raw[19:end], ()) if raw[end + 1 : end + 4] in (b',"d', b',"a') else ()

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        return () if raw == b"pong" else super().decode(raw, recv_us)

    def name_of(self, message: Any) -> str:
        return named(message["arg"]) if "data" in message else ""

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        number = str(next(self._ids))
        self._requests[number] = op, list(names)
        args = [argument(name) for name in names]
        return [msgspec.json.encode({"id": number, "op": op, "args": args}).decode()]

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        event = message.get("event")
        if event == "subscribe":
            name = self._answered(named(message["arg"]))
            self.acknowledged(name, recv_us, out)
        elif event == "unsubscribe":
            self.ended(self._answered(named(message["arg"])), recv_us, out)
        elif event == "error":
            self._refusal(message, recv_us, out)
        elif event == "notice":
            self._closing = "the venue is going to close the connection"
            out.append(Notice("server_shutdown", str(message.get("msg"))[:200]))
        elif event is not None:
            out.append(Notice("unexpected_answer", str(event)[:200]))
        else:
            out.append(Bad("neither data nor an answer"))

    def _answered(self, name: str) -> str:
        for number, (_, names) in self._requests.items():
            if name in names:
                names.remove(name)
                if not names:
                    del self._requests[number]
                break
        return name

    def _refusal(self, message: dict[str, Any], recv_us: int, out: list[Item]) -> None:
        reason = f"{message.get('code')}: {message.get('msg')}"
        out.append(Notice("refused", reason[:200]))
        told = NAMED.search(reason)
        name = f"{told[1]}:{told[2]}" if told else ""
        number = str(message.get("id"))
        if name not in self.by_name:
            name = ""
            if number not in self._requests and self._requests:
                number = next(iter(self._requests))  # answers come in the order of the requests
        op, names = self._request_of(name) if name else self._requests.pop(number, ("", []))
        for refused in names:
            if op == "unsubscribe":
                self.ended(refused, recv_us, out)
            elif len(names) > 1:
                out.extend(Send(frame) for frame in self._ask(op, [refused], recv_us))
            else:
                self.refused(refused, reason, out)

    def _request_of(self, name: str) -> tuple[str, list[str]]:
        """The operation that `name` waits for."""
        op = next((op for op, names in self._requests.values() if name in names), "")
        return op, [self._answered(name)]

    def stalled(self, recv_us: int) -> str:
        return self._closing or super().stalled(recv_us)


def spelled(name: str) -> bytes:
    """As a data message's `arg` has it, from the channel on."""
    channel, _, what = name.partition(":")
    key = "instType" if channel == "liquidation-orders" else "instId"
    return f'{channel}","{key}":"{what}"'.encode()


def argument(name: str) -> dict[str, str]:
    channel, _, what = name.partition(":")
    return {"channel": channel, "instType" if channel == "liquidation-orders" else "instId": what}


def named(arg: Mapping[str, str]) -> str:
    """Raises KeyError."""
    channel = "trades-all" if arg["channel"] == "trades" else arg["channel"]
    return f"{channel}:{arg['instType'] if channel == 'liquidation-orders' else arg['instId']}"


class Okx:
    """https://www.okx.com/docs-v5"""

    name = "okx"
    markets = frozenset({"linear", "inverse", "spot"})
    ping_interval = 20.0
    limits = LIMITS

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        base = feed.ws_url or "wss://ws.okx.com:8443/ws/v5"
        return f"{base}/{'business' if streams[0][0] == 'trades' else 'public'}"

    def rest_url(self, market: str) -> str:
        return "https://openapi.okx.com"

    def channels(self, market: str) -> frozenset[str]:
        return CHANNELS - ({"liquidations"} if market == "spot" else set())

    def plan(self, feed: FeedConfig) -> list[list[Stream]]:
        """Trades by themselves, whose route is another."""
        trades = [channel for channel in feed.channels if channel == "trades"]
        others = [channel for channel in feed.channels if channel != "trades"]
        return [
            list(itertools.product(channels, feed.symbols[start : start + most]))
            for channels, most in ((trades, TRADES_PER_CONNECTION), (others, SYMBOLS_PER_CONNECTION))
            for start in range(0, len(feed.symbols) if channels else 0, most)
        ]

    def decoder(
        self, feed: FeedConfig, streams: Sequence[Stream], instruments: Mapping[str, Instrument]
    ) -> OkxDecoder:
        return OkxDecoder(topics(feed, streams, {} if feed.market == "spot" else instruments))

    def needs_instruments(self, market: str) -> bool:
        return market != "spot"

    def gap_rules(self, market: str) -> Mapping[str, str]:
        return {
            "trades": "trade ids rise by one, where that is seen to hold",
            "orderbook": "prevSeqId is the seqId before it; a checksum that is not 0",
            "liquidations": "none: one order a symbol and second at most is published",
            "tickers": "none: each is a whole state",
        }

    def ping(self) -> str:
        return "ping"

    def instruments_request(self, market: str, cursor: str) -> Request:
        return okx_rest.instruments_request(market, cursor)

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        return okx_rest.instruments(market, body)

    def turnover_request(self, market: str) -> Request:
        return okx_rest.turnover_request(market)

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        return okx_rest.turnover(market, body)

    def history(self, market: str, channel: str) -> OkxHistory | OkxLiquidationHistory | None:
        if channel == "liquidations" and market != "spot":
            return OkxLiquidationHistory(market)
        return OkxHistory(market) if channel == "trades" else None
