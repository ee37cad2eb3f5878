"""What a connection's items mean: rows to the journal, breaks to the gap tracker, frames back to the venue."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import structlog

from collector.deadletters import DeadLetters
from collector.encode import ENCODE_ERRORS
from collector.exchanges.base import (
    Bad,
    Broken,
    Fetch,
    Item,
    Notice,
    Received,
    Rejected,
    Resynced,
    Send,
    Stream,
    Subscribed,
)
from collector.gaps import GapTracker
from collector.journal import Journal
from collector.merged import MergedTickers
from collector.metrics import Metrics
from collector.rows import BookSnapshot, FeedEvent, Gap, Liquidation, Row, Ticker, Trade
from collector.settings import FeedConfig
from collector.tally import Tally
from collector.untimed import UntimedStates

log = structlog.get_logger()

EARLIEST_US = 1_230_768_000_000_000
"""2009-01-01: before any exchange here."""
FUTURE_US = 86_400_000_000
"""Event times further ahead of the clock than a day are refused: one row in the year 5000 keeps QuestDB's
materialized views, and with them the table, busy without end."""

MOST_LIQUIDATIONS = 4096
GARBLED_US = 1_000_000
"""A hole of all streams lasts at least this, so that a flood of unreadable messages is no flood of rows."""
CHANNEL_OF: dict[type, str] = {
    Trade: "trades",
    BookSnapshot: "orderbook",
    Liquidation: "liquidations",
    Ticker: "tickers",
}
TABLE_OF: dict[type, str] = {**CHANNEL_OF, FeedEvent: "feed_events", Gap: "gaps"}


class Source(NamedTuple):
    """A connection, as the recorder sees it."""

    send: Callable[[str, bool], None]
    """Takes a frame for the venue, and whether it is urgent."""
    fetch: Callable[[Fetch], None]
    """Takes a request for the venue's REST."""
    last_ts: Callable[[Stream], int]
    """Event time (µs) of a stream's newest message; 0 before any."""
    received: Callable[[], Iterable[Received]] = tuple
    """What it has brought so far."""


MarketRow = Trade | BookSnapshot | Liquidation | Ticker


class Recorder:
    """The way into the journal for some streams. It outlives the connections that carry them; decoders do not."""

    def __init__(self, feed: FeedConfig, journal: Journal, dead: DeadLetters, metrics: Metrics) -> None:
        self.feed = feed
        self.gaps = GapTracker(feed.exchange, feed.market, self._gap)
        self._journal, self._dead, self._metrics = journal, dead, metrics
        self.tally = Tally(feed.exchange, feed.market, feed.channels)
        metrics.tallies.append(self.tally)
        self._rows = self.tally.rows
        self._recv_us = self._horizon = self._source = 0
        self._garbled: dict[int, tuple[int, set[Stream]]] = {}
        """Connections that brought a message of which no stream could be named: when (µs), and what they carried."""
        self._liquidations: dict[tuple[str, str], int] = {}
        """(symbol, id) → event time (µs) of the newest ones."""
        self._untimed = UntimedStates()
        self._merged = MergedTickers()
        self._joining: set[tuple[int, Stream]] = set()
        """(connection, book) that are acknowledged and wait for their snapshot."""
        self._raw = b""
        self._sources: dict[int, Source] = {}
        self.numbers = itertools.count(1)
        """Of connections, each its own."""
        self._handlers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(CHANNEL_OF, self._row),
            Liquidation: self._liquidation,
            Ticker: self._ticker,
            Send: lambda item: self._sources[self._source].send(item.text, item.urgent),
            Fetch: lambda item: self._sources[self._source].fetch(item),
            Subscribed: self._subscribed,
            Rejected: self._rejected,
            Broken: self._broken,
            Resynced: self._resynced,
            Notice: self._notice,
            Bad: self._bad,
        }

    def opened(self, number: int, source: Source) -> None:
        """A connection begins."""
        self._sources[number] = source
        self.tally.opened(number, source.received)

    def closed(self, number: int) -> None:
        self._sources.pop(number, None)
        self.tally.closed(number)
        self._garbled.pop(number, None)
        self._untimed.closed(number)
        self._merged.closed(number)
        self._joining = {(source, stream) for source, stream in self._joining if source != number}

    def take(self, items: Sequence[Item], recv_us: int, raw: bytes = b"", source: int = 0) -> None:
        """Handle what one message (`raw`) of a connection meant."""
        self._recv_us, self._raw, self._source = recv_us, raw, source
        self._horizon = recv_us + FUTURE_US
        handlers = self._handlers
        for item in items:
            handlers[type(item)](item)

    def take_last(self, items: Sequence[Item], recv_us: int, source: int) -> None:
        """What a connection that ended had held back. Of several updates of one moment it may not have had the last: where
        another connection has the book, that one's row stands."""
        carried = self.gaps.carried_besides
        self.take(
            [
                item
                for item in items
                if not (
                    isinstance(item, BookSnapshot) and carried(source, ("orderbook", item.symbol), item.ts)
                )
            ],
            recv_us,
            source=source,
        )

    def decoder_failed(self, error: Exception, recv_us: int, raw: bytes, source: int) -> None:
        """A mistake of ours: the message is kept, and a moment declared missing in every stream it may be of."""
        self.take([Bad(f"{type(error).__name__}: {error}")], recv_us, raw, source)
        self._garble("decoder_error")

    def _garble(self, cause: str) -> None:
        """No stream can be named for a message that is lost, so every one of the connection's may have a hole."""
        source, recv_us = self._source, self._recv_us
        if source in self._garbled:
            return  # within the hole that was declared less than a second ago
        streams = self.gaps.carried_by(source)
        last_ts = self._sources[source].last_ts
        for stream in streams:
            self.gaps.broken(stream, last_ts(stream) or recv_us, cause, None, recv_us, source)
        self._garbled[source] = (recv_us, set(streams))

    def look(self, recv_us: int, source: int) -> None:
        """Called often: lets the holes that an unreadable message made end with the next, once they are a second old."""
        if self._garbled and source in self._garbled:
            since, streams = self._garbled[source]
            if recv_us - since > GARBLED_US:
                del self._garbled[source]
                for stream in streams:
                    self.gaps.subscribed(stream, recv_us, source)

    def event(self, event: str, recv_us: int, channel: str = "", symbol: str = "", detail: str = "") -> None:
        """A `feed_events` row."""
        feed = self.feed
        self._store(
            FeedEvent(recv_us, recv_us, feed.exchange, feed.market, symbol, channel, event, detail), recv_us
        )

    def _liquidation(self, row: Liquidation) -> None:
        """Where a venue tells no time, the first connection that brings it does."""
        if row.ts != row.recv_ts:
            self._row(row)
            return
        seen = self._liquidations
        told = seen.setdefault((row.symbol, row.liq_id), row.ts)
        if len(seen) > MOST_LIQUIDATIONS:
            del seen[next(iter(seen))]
        self._row(row if told == row.ts else msgspec.structs.replace(row, ts=told))

    def _ticker(self, row: Ticker) -> None:
        """Where a venue tells no time, a state that another connection brings too has that of its first receipt."""
        if row.ts == row.recv_ts:
            first = self._untimed.time_of(row, self._source)
            if first != row.ts:
                row = msgspec.structs.replace(row, ts=first)
        if len(self._sources) < 2:
            self._merged.is_whole(row, self._source)
            self._row(row)
            return
        besides = self.gaps.carried_besides(self._source, ("tickers", row.symbol), row.ts)
        if (stored := self._merged.of_several(row, self._source, besides)) is not None:
            self._row(stored)

    def _row(self, row: MarketRow) -> None:
        kind = type(row)
        channel = CHANNEL_OF[kind]
        if not EARLIEST_US < row.ts < self._horizon:
            self._unstorable(row, channel, f"event time {row.ts} µs can't be")
        elif kind in self._journal.shedding:
            self._shed_row(row, channel)
        else:
            if self.gaps.given_up:
                self.gaps.kept((channel, row.symbol), row.ts, self._recv_us)
            try:
                self._journal.add(row, self._recv_us)
            except ENCODE_ERRORS as error:
                self._unstorable(row, channel, str(error))
            else:
                self._rows[channel] += 1

    def _store(self, row: Row, recv_us: int) -> None:
        """One that tells of the recording itself."""
        table = TABLE_OF[type(row)]
        try:
            self._journal.add(row, recv_us)
        except ENCODE_ERRORS as error:
            self._unstorable(row, table, str(error))
        else:
            self._rows[table] += 1

    def _unstorable(self, row: Row, table: str, reason: str) -> None:
        """A row that line protocol or the tables can't take: keep its message, declare the moment."""
        recv_us = self._recv_us
        self._metrics.bad_messages += 1
        self.tally.bad(table)
        self._dead.add(
            "messages", f"{self.feed.exchange}/{self.feed.market}", f"{table}: {reason}", self._raw
        )
        if isinstance(row, MarketRow):
            stream = (CHANNEL_OF[type(row)], row.symbol)
            at = row.ts if EARLIEST_US < row.ts < self._horizon else recv_us
            self.gaps.declare(stream, at, at, "unstorable_value", 1, recv_us)

    def _shed_row(self, row: MarketRow, channel: str) -> None:
        self._metrics.shed[channel] = self._metrics.shed.get(channel, 0) + 1
        self.gaps.shed((channel, row.symbol), row.ts, "journal_quota", self._recv_us)

    def _gap(self, gap: Gap, new: bool) -> None:
        self._metrics.gaps += new
        self._store(gap, gap.recv_ts)

    def _subscribed(self, item: Subscribed) -> None:
        stream = (item.channel, item.symbol)
        if item.channel == "orderbook":
            self.gaps.begun.add(stream)  # whole only from its snapshot on, which may have come already
            if self.gaps.carries(self._source, stream):
                self.event("subscribed", self._recv_us, *stream)
            else:
                self._joining.add((self._source, stream))
        else:
            self.event("subscribed", self._recv_us, *stream)
            self.gaps.subscribed(stream, self._recv_us, self._source)

    def _rejected(self, item: Rejected) -> None:
        stream = (item.channel, item.symbol)
        log.error(
            "subscription refused",
            exchange=self.feed.exchange,
            market=self.feed.market,
            symbol=item.symbol,
            channel=item.channel,
            cause=item.reason,
            remedy="correct the feed's symbols; the others go on",
        )
        self.event("rejected", self._recv_us, item.channel, item.symbol, item.reason)
        # What was recorded before may have ended long before the refusal tells.
        source = self._sources.get(self._source)
        since = (source.last_ts(stream) if source else 0) or self._recv_us
        self.gaps.broken(stream, since, "rejected", None, self._recv_us, self._source)

    def _broken(self, item: Broken) -> None:
        log.warning(
            "gap", feed=self.feed.exchange, symbol=item.symbol, channel=item.channel, cause=item.cause
        )
        stream = (item.channel, item.symbol)
        if self._source in self._garbled:
            self._garbled[self._source][1].discard(stream)  # its end is told by its own rules
        self.gaps.broken(stream, item.from_ts, item.cause, item.missing, self._recv_us, self._source)

    def _resynced(self, item: Resynced) -> None:
        joined = (self._source, (item.channel, item.symbol))
        if joined in self._joining:
            self._joining.remove(joined)
            self.event("subscribed", self._recv_us, item.channel, item.symbol)
        self.gaps.resynced((item.channel, item.symbol), item.ts, self._recv_us, self._source)

    def _notice(self, item: Notice) -> None:
        self.event(item.event, self._recv_us, item.channel, item.symbol, item.detail)
        if item.event == "silent":
            self.tally.silent([item.channel])

    def _bad(self, item: Bad) -> None:
        self._metrics.bad_messages += 1
        self.tally.bad(item.channel)
        self._dead.add("messages", f"{self.feed.exchange}/{self.feed.market}", item.reason, self._raw)
        if item.unnamed:
            self._garble("unreadable_message")
