"""OKX's order book: what its messages, sequence numbers and checksums mean. Sources and doubts are told in `okx.py`."""

from __future__ import annotations

from typing import Literal

import msgspec

from collector.exchanges.base import Fetch, Instrument, Item, Notice, Request
from collector.exchanges.okx_checksum import TextBook
from collector.exchanges.states import JoinedBook, Level, Snapshot, Update
from collector.exchanges.topic import Milliseconds, Price, Size, UpdateId
from collector.settings import FeedConfig

BOOK_LEVELS = 400


class BookLevel(msgspec.Struct, array_like=True, gc=False):
    price: Price
    size: Size


class BookData(msgspec.Struct, gc=False):
    bids: list[BookLevel]
    asks: list[BookLevel]
    ts: Milliseconds
    checksum: int = 0
    seqId: UpdateId | None = None  # noqa: N815 - the venue's name, here and below
    prevSeqId: int | None = None  # noqa: N815


class BookArg(msgspec.Struct, gc=False):
    instId: str = ""  # noqa: N815


class BookMessage(msgspec.Struct, gc=False):
    arg: BookArg
    action: Literal["snapshot", "update"]
    data: tuple[BookData]


class BookAnswer(msgspec.Struct, gc=False):
    data: tuple[BookData]


def levels(changes: list[BookLevel]) -> list[Level]:
    return [(level.price, level.size) for level in changes]


class OrderBook(JoinedBook):
    """A snapshot, by the socket or by REST, then updates, each of which names the one before it."""

    message = BookMessage

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument | None) -> None:
        super().__init__(
            feed,
            symbol,
            f"books:{symbol}",
            BOOK_LEVELS,
            quoted=instrument is not None and instrument.inverse,
            contract_size=instrument.contract_size if instrument is not None else 1.0,
        )
        self.fetch = Fetch(Request(f"/api/v5/market/books?instId={symbol}&sz={BOOK_LEVELS}"), self.name)
        self._begins = True
        """Whether the next message is the first one of a subscription."""
        self._joining = False
        """Whether it was an update, so that REST has the snapshot."""
        self._text = TextBook()
        self._decode_answer = msgspec.json.Decoder(BookAnswer, strict=False).decode

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        super().subscribed(recv_us, out)
        self._begins = not self.valid and not self._joining
        if not self._begins:
            self.waiting_since = 0

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: BookMessage = self._decode(raw)
        (data,) = message.data
        if message.arg.instId != self.symbol:
            raise ValueError(f"instrument {message.arg.instId!r}")
        ts, before = data.ts * 1000, data.prevSeqId
        last = data.seqId if data.seqId is not None else self.seq
        if data.seqId is None or (before is None and message.action == "update"):
            before = self.seq  # an old recording, which has only checksums
        update = Update(ts, last, last, before, levels(data.bids), levels(data.asks))
        self.arrived(ts, recv_us, out)
        if message.action == "snapshot":
            self._text.begin()
            self._begins = self._joining = False
            self.held.clear()
            if self.valid and before == self.seq:
                self.seq = last  # nothing lies between
            self.restart(ts, recv_us, last, update.bids, update.asks, out)
        elif self.valid:
            self.follow(update, recv_us, out)
        elif self._begins or self._joining:
            if self._begins:
                # The venue has announced to send snapshots no more: then REST has them.
                self._begins, self._joining, self.waiting_since = False, True, 0
                self.ask(out)
            self.hold(update, recv_us, out)
        if not data.checksum:
            self._text.followed = False
        elif self.valid and self._text.checksum(raw) not in (None, data.checksum):
            self.invalidate("checksum", None, recv_us, out)
        return ts

    def follow(self, update: Update, recv_us: int, out: list[Item]) -> None:
        if update.before == update.last == self.seq and not (update.bids or update.asks):
            return  # nothing has changed for a minute
        if update.before == self.seq and update.last >= self.seq:
            self.apply(update.ts, recv_us, update.last, update.bids, update.asks, out)
        elif update.before == self.seq:
            # Numbers begin anew after maintenance. Whether the book goes on is not certain: a new one is.
            self.invalidate("exchange_restart", None, recv_us, out)
        elif update.last <= self.seq and update.ts <= self.last_ts:
            detail = f"seqId {update.last} after {self.seq}"
            out.append(Notice("stale_update", detail, self.channel, self.symbol))
        else:
            # Numbers count the changes of the whole book, so that how many messages are missing can't be told.
            cause = "sequence_gap" if update.last > self.seq else "exchange_restart"
            self.invalidate(cause, None, recv_us, out)

    def joins(self, update: Update, last: int) -> bool:
        return update.before is not None and update.before <= last < update.last

    def snapshot(self, body: bytes) -> Snapshot:
        (data,) = self._decode_answer(body).data
        if data.seqId is None:
            raise ValueError("a snapshot without seqId")
        return Snapshot(data.seqId, levels(data.bids), levels(data.asks))

    def invalidate(self, cause: str, missing: int | None, recv_us: int, out: list[Item]) -> None:
        super().invalidate(cause, missing, recv_us, out)
        self._joining = self._text.followed = False
