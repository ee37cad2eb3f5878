"""Hyperliquid: perpetuals, settled in USDC (linear), and spot pairs.

Sources: the venue's WebSocket and info pages as others quote them, its Python SDK, and a recorded session of 2025.
Sizes are base units. A book is a series of whole snapshots of 20 levels a side, about two a second, without numbers:
a lost one can't be noticed, and nothing depends on it. Symbols are case-sensitive: "BTC", "kPEPE" (a thousand PEPE);
spot has "PURR/USDC" and "@142". Perpetuals of builders ("dex:COIN") are recorded where they are named, and not
listed. There is no public channel of liquidations.

The context of an asset (mark, oracle, funding, open interest) has no time: its rows have that of receipt, and the
recorder gives a state that a second connection brings too the time of its first receipt. A second would be coarse
enough to be the same on both connections most of the time, but then a row would stand before what it tells, or tell
only the last state of its second.

Doubts, and what holds under both readings. An error names its subscription, or it does not: then nothing is refused
until as many requests are without an answer as there were such errors. 10 or 100 connections an address: 250 streams
each keep the 1,000 subscriptions, which are the address's own limit, to 4. Trades on subscribing are the newest ones
once more: ids tell, and rows of the same time and id are one. Books may be deeper than 20 where the venue's "fast"
ones are served: all levels are taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from collector.exchanges import hyperliquid_rest
from collector.exchanges.base import Bad, Instrument, Item, Limits, Notice, Request, Stream
from collector.exchanges.decoder import StreamDecoder
from collector.exchanges.hyperliquid_rest import HyperliquidHistory
from collector.exchanges.hyperliquid_topics import TOPICS
from collector.exchanges.topic import Topic
from collector.settings import FeedConfig

STREAMS_PER_CONNECTION = 250
# An address: 10 connections, 30 new ones and 2,000 frames of ours a minute, 1,200 of REST's weight.
LIMITS = Limits(connects=30, connects_per=60.0, frame_interval=0.05, requests=1200, requests_per=60.0)
CHANNEL, COIN = b'"channel":"', b'"coin":"'
GREETING = b"Websocket connection established."
SPOT_CONTEXT, CONTEXT = "activeSpotAssetCtx", "activeAssetCtx"
GAP_RULES = {
    "trades": "none: ids are not ordered",
    "orderbook": "none: whole books without numbers",
    "tickers": "none: whole states",
}


class HyperliquidDecoder(StreamDecoder):
    """A name is "type:coin"."""

    batch = 1

    def __init__(self, topics: Sequence[Topic], frame_interval: float) -> None:
        super().__init__(topics, frame_interval)
        self._unnamed_errors: list[str] = []
        self._by_address = {
            (channel.encode(), name.partition(":")[2].encode()): topics
            for name, topics in self.by_name.items()
            for channel in channels_of(name.partition(":")[0])
        }

    def find(self, raw: bytes) -> Sequence[Topic]:
        start = raw.find(CHANNEL) + len(CHANNEL)
        coin = raw.find(COIN, start) + len(COIN)
        if start < len(CHANNEL) or coin < len(COIN):
            return ()
        address = raw[start : raw.find(b'"', start)], raw[coin : raw.find(b'"', coin)]
        return self._by_address.get(address, ())

    def name_of(self, message: Any) -> str:
        kind, data = message["channel"], message.get("data")
        if kind == "trades" and data:
            return f"trades:{data[0]['coin']}"
        if kind in ("l2Book", CONTEXT, SPOT_CONTEXT):
            return f"{CONTEXT if kind == SPOT_CONTEXT else kind}:{data['coin']}"
        return ""

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        return () if raw == GREETING else super().decode(raw, recv_us)

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        return [
            msgspec.json.encode({"method": op, "subscription": subscription(name)}).decode() for name in names
        ]

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        kind, data = message["channel"], message.get("data")
        if kind == "subscriptionResponse":
            asked = data["subscription"]
            self._answered(data["method"], f"{asked['type']}:{asked['coin']}", recv_us, out)
        elif kind == "error":
            self._error(str(data), recv_us, out)
        elif kind not in ("pong", "trades"):  # trades: an empty message
            out.append(Bad("neither data nor an answer"))

    def _answered(self, op: str, name: str, recv_us: int, out: list[Item]) -> None:
        (self.ended if op == "unsubscribe" else self.acknowledged)(name, recv_us, out)
        self._settle(out)

    def _error(self, reason: str, recv_us: int, out: list[Item]) -> None:
        out.append(Notice("refused", reason[:200]))
        name = named(reason)
        if "already subscribed" in reason.lower():
            self.acknowledged(name, recv_us, out)
        elif name in self.asked("unsubscribe"):
            self.ended(name, recv_us, out)  # it may be gone already, and a subscribe tells
        elif name in self.asked("subscribe"):
            self.refused(name, reason, out)
        else:
            self._unnamed_errors = [*self._unnamed_errors, reason][-len(self.by_name) :]
        self._settle(out)

    def _settle(self, out: list[Item]) -> None:
        """Errors that name nothing are about those requests that nothing else has answered."""
        errors, waiting = self._unnamed_errors, self.asked("subscribe") if self._unnamed_errors else []
        if waiting and len(waiting) <= len(errors):
            for name in waiting:
                self.refused(name, errors[-1], out)
            self._unnamed_errors = []


def channels_of(kind: str) -> tuple[str, ...]:
    """What the messages of a subscription are called."""
    return (CONTEXT, SPOT_CONTEXT) if kind == CONTEXT else (kind,)


def subscription(name: str) -> dict[str, str]:
    kind, _, coin = name.partition(":")
    return {"type": kind, "coin": coin}


def named(reason: str) -> str:
    """The subscription that an error quotes, else ""."""
    try:
        asked = msgspec.json.decode(reason[reason.index("{") : reason.rindex("}") + 1])
        asked = asked.get("subscription", asked)
        return f"{asked['type']}:{asked['coin']}"
    except (msgspec.DecodeError, ValueError, KeyError, TypeError, AttributeError):
        return ""


class Hyperliquid:
    """https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket"""

    name = "hyperliquid"
    markets = frozenset({"linear", "spot"})
    ping_interval = 50.0
    limits = LIMITS

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        return feed.ws_url or "wss://api.hyperliquid.xyz/ws"

    def rest_url(self, market: str) -> str:
        return "https://api.hyperliquid.xyz"

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
    ) -> HyperliquidDecoder:
        return HyperliquidDecoder(
            [TOPICS[channel](feed, symbol) for channel, symbol in streams], LIMITS.frame_interval
        )

    def needs_instruments(self, market: str) -> bool:
        return False

    def gap_rules(self, market: str) -> Mapping[str, str]:
        return GAP_RULES

    def ping(self) -> str:
        return '{"method":"ping"}'

    def instruments_request(self, market: str, cursor: str) -> Request:
        return hyperliquid_rest.listing_request(market)

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        return hyperliquid_rest.instruments(market, body), ""

    def turnover_request(self, market: str) -> Request:
        return hyperliquid_rest.listing_request(market)

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        return hyperliquid_rest.turnover(market, body)

    def history(self, market: str, channel: str) -> HyperliquidHistory | None:
        return HyperliquidHistory(market) if channel == "trades" else None
