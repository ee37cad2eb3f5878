"""What a venue's wire module provides to the simulator and to the replay. Pure: no I/O, and the clock is handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from collector.simulator.market import Fill, Market


def encoded(value: Any) -> str:
    """As JSON."""
    return msgspec.json.encode(value).decode()


class Reply(msgspec.Struct, frozen=True):
    """What one request means."""

    texts: list[str]
    """Frames to send at once, before any data of the new subscriptions."""
    subscribed: list[str] = []
    """Topics."""
    unsubscribed: list[str] = []


class Session(Protocol):
    """The requests of one connection."""

    def handle(self, text: str) -> Reply: ...

    def stamp(self, text: str) -> str:
        """A published message as this connection gets it; called only where `Wire.stamped`, for skipped ones too."""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One published message, and the ledger's account of what it holds (without the number of receivers)."""

    text: str
    entries: list[str]
    more: tuple[str, ...] = ()
    """Frames that follow at once."""


class Topic(Protocol):
    """One subscribable stream of one market."""

    index: int
    """Which symbol of the market model."""
    kind: int
    """Which kind of its events."""
    also: Topic | None
    """The same stream's messages for events of another kind or symbol."""
    is_delta: bool
    """Its messages are chained, so that leaving one out breaks the chain."""

    def snapshot(self, now_ms: int) -> Message | None:
        """What a new subscriber is sent first."""

    def publish(self, fills: list[Fill], now_ms: int) -> Message | None:
        """The message for the event that the market model has just made; None when the topic does not show it."""

    def repeat(self, now_ms: int) -> Message | None:
        """What is sent because nothing has been for a while."""


class Exchange(Protocol):
    """A venue's view of a market model."""

    def knows(self, market: str, topic: str) -> bool: ...

    def topic(self, market: str, name: str) -> Topic:
        """A topic at its first subscription."""

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        """HTTP status, and the body with what it tells for the ledger. `query`: of a POST, the members of its body."""


class Transcript(Protocol):
    """Reads one market's recorded messages, in order, for the ledger. Independent of the collector's own decoding."""

    def entries(self, text: str) -> list[str]:
        """The ledger's account of one data message. Raises ValueError, KeyError or TypeError for what it can't be."""


class Wire(Protocol):
    """One venue's protocol."""

    name: str
    paths: Mapping[str, str]
    """WebSocket path → market."""
    bases: Mapping[str, str]
    """Market → the path that stands in a feed's `ws_url`; the adapter may add to it."""
    rest_by_post: bool
    """Whether requests to REST are POSTs of a JSON object, which have a port of their own here."""
    stamped: bool
    """Whether messages are numbered by connection, by `Session.stamp`."""

    def symbol(self, market: str, model_symbol: str) -> str:
        """The venue's name in that market for a symbol of the model ("BTCUSDT")."""

    def offers(self, market: str, topic: str) -> str:
        """The symbol of a topic of a kind that the market has, else ""."""

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        """Topic and push time (ms) of a recorded data message; ("", 0) for an answer or another venue's message."""

    def transcript(self, market: str) -> Transcript: ...

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        """HTTP status and body for a recording that holds no such answer. `symbols`: market → what it recorded."""

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        """`path`: of the connection, one of `paths`. `knows(topic)`: whether a subscription is to be accepted."""

    def exchange(self, model: Market, started_ms: int) -> Exchange: ...
