"""Deribit, JSON-RPC 2.0: coin-settled (inverse) and USDC-settled (linear) perpetuals and futures, and spot.

Sources: docs.deribit.com (`articles/connection-management`, `articles/rate-limits`, `subscriptions/*`, `public/*`) and
recorded sessions. Sizes are `amount`: USD where inverse, which is divided by the price, else base coin.

Doubts, and what holds under both readings. A result lists the channels that were granted: what it leaves out was refused; an
error for several names is asked for each name alone. `too_many_requests` (10028) should end the session: if it does, the
feed connects again; if it does not, the request is repeated later and later. A snapshot in mid-stream that names its
predecessor joins, any other is a break. A change that follows 0 begins a book if there is none, else it is a break.
`current_funding` is taken for the funding rate: it is per 8 hours and paid continuously, so that there is no next time.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from collector.exchanges import deribit_rest
from collector.exchanges.base import REPAIRABLE, Bad, Instrument, Item, Limits, Notice, Request, Send, Stream
from collector.exchanges.decoder import StreamDecoder
from collector.exchanges.deribit_rest import DeribitHistory
from collector.exchanges.deribit_topics import CHANNELS, INTERVAL, topics
from collector.exchanges.topic import Topic
from collector.settings import FeedConfig

CHANNELS_PER_CONNECTION = 500
"""Not documented for certain; what others keep to."""
HEARTBEAT_S = 10
"""The least that is allowed; also what keeps a quiet connection from being taken for dead."""
HEARTBEAT_ID, TEST_ID, FIRST_ID = 1, 2, 3
TOO_MANY_REQUESTS = 10028
FIRST_DELAY_US, LAST_DELAY_US = 1_000_000, 8_000_000
FRAME_INTERVAL = 0.3
"""A subscription costs 3,000 credits, of which 10,000 come back in a second."""
GAP_RULES = {
    "trades": "trade_seq rises by one",
    "orderbook": "prev_change_id is the change_id before it",
    "liquidations": "trade_seq rises by one: they are trades",
    "tickers": "none: each is the whole state",
}


class DeribitDecoder(StreamDecoder):
    batch = 100

    def __init__(self, feed: FeedConfig, streams: Sequence[Stream]) -> None:
        super().__init__(topics(feed, streams), FRAME_INTERVAL)
        self._by_channel = {name.rpartition(".")[0].encode(): found for name, found in self.by_name.items()}
        """The channel without its interval → its topics."""
        self._ids = itertools.count(FIRST_ID)
        self._requests: dict[int, tuple[str, Sequence[str]]] = {}
        """id → (operation, names): at most one a name."""
        self._later: list[tuple[int, str, Sequence[str]]] = []
        """(when, operation, names) of what was too much: at most one a name."""
        self._delay = FIRST_DELAY_US

    def find(self, raw: bytes) -> Sequence[Topic]:
        start = raw.find(b'"channel":"') + 11
        if start < 11:
            return ()
        end = raw.find(b'"', start)
        return self._by_channel.get(raw[start : raw.rfind(b".", start, end)], ())

    def name_of(self, message: Any) -> str:
        if message.get("method") != "subscription":
            return ""
        return f"{message['params']['channel'].rpartition('.')[0]}.{INTERVAL}"

    def subscribe(self) -> list[str]:
        return [heartbeat(), *super().subscribe()]

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        number = next(self._ids)
        self._requests[number] = op, names
        return [request(number, f"public/{op}", {"channels": list(names)})]

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        method, number = message.get("method"), message.get("id")
        if method == "heartbeat":
            if message["params"]["type"] == "test_request":
                out.append(Send(request(TEST_ID, "public/test", {}), urgent=True))
        elif method is not None:
            out.append(Notice("unknown_method", str(method)[:200]))
        elif "error" in message:
            self._refusal(number, message["error"], recv_us, out)
        elif "result" not in message:
            out.append(Bad("neither data nor an answer"))
        elif number in self._requests:
            granted = frozenset(message["result"])
            op, names = self._requests.pop(number)
            self._delay = FIRST_DELAY_US
            for name in names:
                if (
                    op == "unsubscribe"
                ):  # also where it is left out: it may be gone already, and a subscribe tells
                    self.ended(name, recv_us, out)
                elif name in granted:
                    self.acknowledged(name, recv_us, out)
                else:
                    self.refused(name, "left out of the subscribed channels", out)
        elif number not in (HEARTBEAT_ID, TEST_ID):
            out.append(Notice("unexpected_answer", f"id {number!r}"[:200]))

    def _refusal(self, number: Any, error: Mapping[str, Any], recv_us: int, out: list[Item]) -> None:
        code, reason = error["code"], f"{error['code']}: {error.get('message')} {error.get('data') or ''}"
        out.append(Notice("refused", reason[:200]))
        if code == TOO_MANY_REQUESTS:
            # Without an id it may be any of them.
            for known in [number] if number in self._requests else list(self._requests):
                op, names = self._requests.pop(known)
                self.postpone(names, recv_us + self._delay)
                self._later.append((recv_us + self._delay, op, names))
            self._delay = min(2 * self._delay, LAST_DELAY_US)
        elif number in self._requests:
            op, names = self._requests.pop(number)
            for name in names:
                if op == "unsubscribe":
                    self.ended(name, recv_us, out)
                elif len(names) > 1:
                    out.extend(Send(frame) for frame in self._ask(op, [name], recv_us))
                else:
                    self.refused(name, reason, out)

    def flush(self, recv_us: int) -> Sequence[Item]:
        out = list(super().flush(recv_us))
        due = [entry for entry in self._later if entry[0] <= recv_us]
        if due:
            self._later = [entry for entry in self._later if entry[0] > recv_us]
            for _, op, names in due:
                out.extend(Send(frame) for frame in self._ask(op, names, recv_us))
        return out


def request(number: int, method: str, params: dict[str, Any]) -> str:
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return msgspec.json.encode(message).decode()


def heartbeat() -> str:
    return request(HEARTBEAT_ID, "public/set_heartbeat", {"interval": HEARTBEAT_S})


class Deribit:
    """https://docs.deribit.com"""

    name = "deribit"
    markets = frozenset({"linear", "inverse", "spot"})
    ping_interval = 60.0  # none is sent: the venue asks by its heartbeat
    # Documented: 32 connections an address, HTTP's included; 500 credits a request, of which 10,000 come back in a second.
    limits = Limits(
        connects=30,
        connects_per=60.0,
        frame_interval=FRAME_INTERVAL,
        requests=deribit_rest.CREDITS_A_SECOND,
        requests_per=1.0,
    )

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        return feed.ws_url or "wss://www.deribit.com/ws/api/v2"

    def rest_url(self, market: str) -> str:
        return "https://www.deribit.com"

    def channels(self, market: str) -> frozenset[str]:
        return frozenset(CHANNELS) - ({"liquidations"} if market == "spot" else set())

    def plan(self, feed: FeedConfig) -> list[list[Stream]]:
        """Streams of the same channel stay together."""
        grouped: dict[tuple[str, str], list[Stream]] = {}
        for channel, symbol in itertools.product(feed.channels, feed.symbols):
            grouped.setdefault((CHANNELS[channel], symbol), []).append((channel, symbol))
        groups = list(grouped.values())
        return [
            list(itertools.chain.from_iterable(groups[start : start + CHANNELS_PER_CONNECTION]))
            for start in range(0, len(groups), CHANNELS_PER_CONNECTION)
        ]

    def decoder(
        self, feed: FeedConfig, streams: Sequence[Stream], instruments: Mapping[str, Instrument]
    ) -> DeribitDecoder:
        return DeribitDecoder(feed, streams)

    def needs_instruments(self, market: str) -> bool:
        return False

    def gap_rules(self, market: str) -> Mapping[str, str]:
        return GAP_RULES

    def ping(self) -> str:
        return ""

    def instruments_request(self, market: str, cursor: str) -> Request:
        return deribit_rest.instruments_request(market)

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        return deribit_rest.instruments(market, body), ""

    def turnover_request(self, market: str) -> Request:
        return deribit_rest.turnover_request(market)

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        return deribit_rest.turnover(market, body)

    def history(self, market: str, channel: str) -> DeribitHistory | None:
        events = channel in REPAIRABLE and channel in self.channels(market)
        return DeribitHistory(market, channel) if events else None
