"""What the topics of every venue have in common: decode, notice what is broken, notice what is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from collector.exchanges.base import Bad, Broken, Instrument, Item, Resynced, Stream, Subscribed
from collector.settings import FeedConfig

INFINITY = float("inf")
MAX_MS = 10**13
"""The year 2286: a larger number is no time in milliseconds."""
Milliseconds = Annotated[int, msgspec.Meta(gt=0, lt=MAX_MS)]
Price = Annotated[float, msgspec.Meta(gt=0, lt=1e300)]
Size = Annotated[float, msgspec.Meta(ge=0, lt=1e300)]
"""A level's; 0 deletes. The bounds also refuse NaN and infinity."""
UpdateId = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""What a LONG column holds."""


def number(value: Any) -> float:
    """A finite number, as venues write it in JSON: a number or its text. Raises ValueError or TypeError; `float` takes more
    than JSON has ("1_000", " 1", "١٢", "inf")."""
    if type(value) is str:
        if not value.isascii() or "_" in value or value != value.strip():
            raise ValueError(f"{value!r} is not a number")
    elif type(value) is not int and type(value) is not float:
        raise TypeError(f"{value!r} is not a number")
    result = float(value)
    if not -INFINITY < result < INFINITY:
        raise ValueError(f"{value!r} is not finite")
    return result


def price(value: Any) -> float | None:
    """A ticker's; None where there is none. Raises ValueError or TypeError."""
    return None if value in ("", None) else figure("price", value) or None


def figure(name: str, value: Any) -> float:
    """A ticker's, of which a funding rate alone may be negative. Raises ValueError or TypeError."""
    told = number(value)
    if told < 0.0 and name != "funding_rate":
        raise ValueError(f"{name} is {value!r}")
    return told


def base_units(size: float, price: float, instrument: Instrument | None) -> float:
    """Of a size in the venue's unit; 0 or infinite where the quotient is no number of its own."""
    if instrument is None:
        return size
    value = size * instrument.contract_size
    return value / (price or INFINITY) if instrument.inverse else value


class Topic:
    """One subscribed topic: its state, and its way from a message to rows.

    A subclass names its `message` type and reads it."""

    message: type[msgspec.Struct] = msgspec.Struct
    whole_after_message = True
    """Whether the next readable message ends a break; books need a snapshot."""

    untimed = False
    """Whether its messages have no time, so that `last_ts` is of receipts."""

    def __init__(self, feed: FeedConfig, channel: str, symbol: str, name: str) -> None:
        self.channel, self.symbol, self.name = channel, symbol, name
        self.names: tuple[str, ...] = (name,)
        """What is subscribed for it; several where a channel comes from several subscriptions."""
        self.streams: tuple[Stream, ...] = ((channel, symbol),)
        """What it records; several where one subscription carries several channels or symbols."""
        self.where = (feed.exchange, feed.market, symbol)
        self.messages = self.bytes = 0
        """Received for it, readable or not."""
        self.last_ts = 0
        """Event time (µs) of the newest row."""
        self.last_recv = 0
        """Time of receipt (µs) of the newest message, or of what began the wait for it."""
        self.patience = round(feed.stream_silence * 1e6)
        """Silence (µs) after which the topic is subscribed anew; 0: it may be silent for ever."""
        self.broken = False
        self.resync = False
        """Set when the venue must be asked for a new snapshot."""
        self.waiting_since = 0
        """Receive time (µs) since which a snapshot must come; 0: none is awaited."""
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(self.message, strict=False).decode

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        """Append what the message means to `out`; return its push time (µs).

        Raises msgspec.DecodeError, or ValueError for values that can't be."""
        raise NotImplementedError

    def fail(self, reason: str, recv_us: int, out: list[Item]) -> None:
        """A message of this topic could not be read: what it held is lost, and said to be."""
        out.append(Bad(f"{self.name}: {reason}", channel=self.channel))
        if not self.broken:
            self.broken = True
            for channel, symbol in self.streams:
                out.append(Broken(channel, symbol, self.last_ts or recv_us, "malformed_message"))

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        """All its names are acknowledged."""
        out.extend(Subscribed(channel, symbol) for channel, symbol in self.streams)

    def arrived(self, ts: int, recv_us: int, out: list[Item]) -> None:
        """To be called for a message that could be read (`ts`: its event or push time, µs)."""
        self.last_recv = recv_us
        if self.broken and self.whole_after_message:
            self.broken = False
            out.extend(Resynced(channel, symbol, ts) for channel, symbol in self.streams)

    def answer(self, body: bytes, recv_us: int, out: list[Item]) -> None:
        """Append what the answer to the topic's `Fetch` means; the body is empty when it was refused."""

    def known_until(self) -> int:
        """Event time (µs) before which nothing is missing."""
        return self.last_ts

    def flush(self, recv_us: int, out: list[Item]) -> None:
        """Append rows that are due although nothing new has come."""

    def drain(self, out: list[Item]) -> None:
        """Append rows that are held back."""

    def silent(self, recv_us: int) -> bool:
        """Whether a message is overdue; says so once an interval."""
        if not self.patience or not self.last_recv or recv_us - self.last_recv < self.patience:
            return False
        self.last_recv = recv_us
        return True
