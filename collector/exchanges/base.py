"""What an exchange module provides: URLs, and one pure decoder a connection. No I/O and no clock here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from collector.rows import Liquidation, Row, Trade
from collector.settings import FeedConfig


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a venue allows one address."""

    connects: int = 100
    """Connections that may be opened…"""
    connects_per: float = 300.0
    """…in so many seconds."""
    frame_interval: float = 0.1
    """Least seconds between two frames that we send on one connection."""
    max_age: float = 0.0
    """Seconds after which the venue cuts every connection; 0: it does not."""
    requests: int = 10
    """REST weight that may be spent…"""
    requests_per: float = 1.0
    """…in so many seconds."""
    bans: tuple[tuple[int, float], ...] = ((403, 600.0), (418, 600.0), (429, 60.0))
    """(HTTP status that means "stay away", seconds), where the answer does not say how long."""


Stream = tuple[str, str]
"""(channel, symbol): the unit of subscription, of silence and of gaps."""
Received = tuple[str, int, int]
"""(channel, messages, bytes) that came for it."""


class Instrument(msgspec.Struct, frozen=True, kw_only=True):
    """One symbol of a market, as the venue lists it."""

    symbol: str
    """The venue's own name, as its streams have it."""
    base: str
    quote: str
    kind: str
    """spot, perpetual, future or option."""
    status: str = "trading"
    """trading, or the venue's own word for why it is not."""
    contract_size: float = 1.0
    """What one unit of the venue's sizes is: base units, or quote units where `inverse`."""
    inverse: bool = False
    """Whether sizes times `contract_size` are in quote units, to be divided by the price."""
    tick: float | None = None
    """Quote units."""
    lot: float | None = None
    """In the venue's sizes."""


class Request(msgspec.Struct, frozen=True):
    """A REST request: GET, or POST where it has a body."""

    path: str
    """With its query."""
    weight: int = 1
    """Of `Limits.requests`."""
    body: str = ""
    """JSON."""


class Fetch(msgspec.Struct, frozen=True):
    """A request that the feed must make; its answer goes to `Decoder.answer` under the same tag."""

    request: Request
    tag: str


class Send(msgspec.Struct, frozen=True, gc=False):
    """A frame that the feed must send."""

    text: str
    urgent: bool = False
    """It goes before all frames that wait: the venue cuts a connection that answers late."""


class Subscribed(msgspec.Struct, frozen=True, gc=False):
    """The venue has acknowledged one stream."""

    channel: str
    symbol: str


class Rejected(msgspec.Struct, frozen=True, gc=False):
    """The venue has refused one stream, finally."""

    channel: str
    symbol: str
    reason: str


class Broken(msgspec.Struct, frozen=True, gc=False):
    """A sequence rule was broken: nothing of the stream is whole from `from_ts` until `Resynced`."""

    channel: str
    symbol: str
    from_ts: int
    """µs; the last event known to be good."""
    cause: str
    missing: int | None = None


class Resynced(msgspec.Struct, frozen=True, gc=False):
    """The stream is whole again from `ts` on."""

    channel: str
    symbol: str
    ts: int


class Notice(msgspec.Struct, frozen=True, gc=False):
    """Something worth a `feed_events` row."""

    event: str
    detail: str
    channel: str = ""
    symbol: str = ""


class Bad(msgspec.Struct, frozen=True, gc=False):
    """This message, or a part of it, can't be understood: the feed counts it, keeps it aside and goes on."""

    reason: str
    unnamed: bool = False
    """It may have been data, of a stream that can't be told."""
    channel: str = ""
    """Whose message it is, where that can be told."""


Item = Row | Send | Fetch | Subscribed | Rejected | Broken | Resynced | Notice | Bad


UNREADABLE = (msgspec.DecodeError, ValueError, TypeError, OverflowError, RecursionError)
"""What decoding a message may raise: text that is not UTF-8 (a ValueError) and deep nesting have kinds of their own."""


class BadAnswerError(ValueError):
    """An answer of the venue that can't be understood."""


class Decoder(Protocol):
    """The state of one connection. Made when it opens, discarded when it closes."""

    streams: Sequence[Stream]
    last_push_us: int
    """Newest event time seen on this connection (µs); 0 before any."""

    def subscribe(self) -> list[str]:
        """The frames to send after connecting, within the venue's limits."""

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        """One message in, what it means out. Never raises for what a venue may send: see `Bad`."""

    def answer(self, tag: str, body: bytes, recv_us: int) -> Sequence[Item]:
        """What the answer to a `Fetch` means; `body` is empty when the venue has refused the request."""

    def flush(self, recv_us: int) -> Sequence[Item]:
        """Books whose interval has ended without a newer update. Called a few times an interval."""

    def drain(self) -> Sequence[Item]:
        """Everything that is held back, at the end of the connection."""

    def last_ts(self, stream: Stream) -> int:
        """Event time (µs) of the newest message of the stream; 0 before any."""

    def received(self) -> Iterable[Received]:
        """What has come so far; a channel may be there several times."""

    def stalled(self, recv_us: int) -> str:
        """Why the connection can't become whole by itself (an ack or a snapshot is overdue), else ""."""


class Exchange(Protocol):
    """One venue."""

    name: str
    markets: frozenset[str]
    limits: Limits
    ping_interval: float
    """Seconds between application pings."""

    def ws_url(self, feed: FeedConfig, streams: Sequence[Stream]) -> str:
        """Where the streams of one connection are had; `feed.ws_url` takes the place of the venue's own address."""

    def rest_url(self, market: str) -> str: ...

    def channels(self, market: str) -> frozenset[str]:
        """What the venue has for that market."""

    def plan(self, feed: FeedConfig) -> list[list[Stream]]:
        """The streams of each connection, within the venue's limits."""

    def needs_instruments(self, market: str) -> bool:
        """Whether rows can't be made without them: sizes are in contracts."""

    def gap_rules(self, market: str) -> Mapping[str, str]:
        """Channel → how a missing message is noticed ("update ids rise by one", "none: snapshots"), for people."""

    def decoder(
        self, feed: FeedConfig, streams: Sequence[Stream], instruments: Mapping[str, Instrument]
    ) -> Decoder:
        """`instruments` by symbol; of a market that `needs_instruments` it has every stream's."""

    def ping(self) -> str:
        """The application ping to send every `ping_interval`; "": none is needed."""

    def instruments_request(self, market: str, cursor: str) -> Request:
        """The page that lists the market's symbols; `cursor` "" for the first."""

    def instruments(self, market: str, body: bytes) -> tuple[list[Instrument], str]:
        """One such page, and the cursor of the next ("" at the end). Raises BadAnswerError."""

    def turnover_request(self, market: str) -> Request:
        """Where the turnover of every symbol is had, for `symbols = "top:20"`."""

    def turnover(self, market: str, body: bytes) -> dict[str, float]:
        """Symbol → turnover of 24 hours, in quote units (all that counts is the order). Raises BadAnswerError."""

    def history(self, market: str, channel: str) -> History | None:
        """How missing rows of a channel are fetched; None where the venue does not offer it."""


REPAIRABLE = ("trades", "liquidations")
"""Channels of events. What a book or a ticker was in between nobody tells later."""


class Hole(msgspec.Struct, frozen=True):
    """Missing rows of one symbol and channel. Both bounds belong to it (µs, event time)."""

    symbol: str
    from_ts: int
    to_ts: int
    last_id: str = ""
    """Of trades: id of the newest one stored before the hole, where one is."""
    next_id: str = ""
    """Of trades: id of the oldest one stored after the hole, where one is."""


class Page(msgspec.Struct, frozen=True):
    """Part of what fills a hole."""

    rows: Sequence[Trade | Liquidation]
    """In any order; those outside the hole do no harm."""
    next: Request | None
    """The next page, until there is nothing more to be had."""
    complete: bool = False
    """Whether the pages so far hold every row of the hole for certain."""


class History(Protocol):
    """One channel's past over REST. Pure."""

    reach: str
    """How far back it goes, for people: "the newest 1,000 trades", "48 hours", "all"."""

    def request(self, hole: Hole, instrument: Instrument | None) -> Request: ...

    def page(
        self, hole: Hole, instrument: Instrument | None, request: Request, body: bytes, recv_us: int
    ) -> Page:
        """What an answer holds. Raises BadAnswerError."""
