"""What a connection's items mean: rows to the journal, breaks to the gap tracker, frames back to the venue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import structlog

from collector.config import FeedConfig
from collector.deadletters import DeadLetters
from collector.encode import ENCODE_ERRORS
from collector.exchanges.base import (
    Bad,
    Broken,
    Item,
    Notice,
    Rejected,
    Resynced,
    Send,
    Stream,
    Subscribed,
)
from collector.gaps import GapTracker
from collector.journal import Journal
from collector.metrics import Metrics
from collector.rows import BookSnapshot, FeedEvent, Gap, Liquidation, Row, Ticker, Trade

log = structlog.get_logger()

EARLIEST_US = 1_230_768_000_000_000
"""2009-01-01: before any exchange here."""
FUTURE_US = 86_400_000_000
"""Event times further ahead of the clock than a day are refused: one row in the year 5000 keeps QuestDB's
materialized views, and with them the table, busy without end."""

CHANNEL_OF: dict[type, str] = {
    Trade: "trades",
    BookSnapshot: "orderbook",
    Liquidation: "liquidations",
    Ticker: "tickers",
}
TABLE_OF: dict[type, str] = {**CHANNEL_OF, FeedEvent: "feed_events", Gap: "gaps"}


MarketRow = Trade | BookSnapshot | Liquidation | Ticker


class Recorder:
    """One connection's way into the journal. It outlives reconnects; decoders do not."""

    def __init__(self, feed: FeedConfig, journal: Journal, dead: DeadLetters, metrics: Metrics) -> None:
        self.feed = feed
        self.gaps = GapTracker(feed.exchange, feed.market, self._gap)
        self._journal, self._dead, self._metrics = journal, dead, metrics
        self._shed: set[Stream] = set()
        self._rows = metrics.rows
        self._recv_us = self._horizon = 0
        self._raw = b""
        self._send: Callable[[str], None] = lambda _: None
        self._handlers: dict[type, Callable[[Any], None]] = {
            **dict.fromkeys(CHANNEL_OF, self._row),
            Send: lambda item: self._send(item.text),
            Subscribed: self._subscribed,
            Rejected: self._rejected,
            Broken: self._broken,
            Resynced: self._resynced,
            Notice: self._notice,
            Bad: self._bad,
        }

    def on_send(self, send: Callable[[str], None]) -> None:
        """Where frames for the venue go, for the present connection."""
        self._send = send

    def take(self, items: Sequence[Item], recv_us: int, raw: bytes = b"") -> None:
        """Handle what one message (`raw`) meant."""
        self._recv_us, self._raw = recv_us, raw
        self._horizon = recv_us + FUTURE_US
        handlers = self._handlers
        for item in items:
            handlers[type(item)](item)

    def decoder_failed(
        self,
        error: Exception,
        streams: Sequence[Stream],
        last_ts: Callable[[Stream], int],
        recv_us: int,
        raw: bytes,
    ) -> None:
        """A message of unknown content is lost: keep it, and declare a moment missing in every stream it may be of."""
        self.take([Bad(f"{type(error).__name__}: {error}")], recv_us, raw)
        for stream in streams:
            if stream in self.gaps.begun and stream not in self.gaps.open:
                newest = last_ts(stream) or recv_us
                self.gaps.broken(stream, newest, "decoder_error", None, recv_us)
                self.gaps.resynced(stream, max(newest, recv_us), recv_us)

    def event(self, event: str, recv_us: int, channel: str = "", symbol: str = "", detail: str = "") -> None:
        """A `feed_events` row."""
        feed = self.feed
        self._store(
            FeedEvent(recv_us, recv_us, feed.exchange, feed.market, symbol, channel, event, detail), recv_us
        )

    def _row(self, row: MarketRow) -> None:
        kind = type(row)
        if not EARLIEST_US < row.ts < self._horizon:
            self._unstorable(row, CHANNEL_OF[kind], f"event time {row.ts} µs can't be")
        elif kind in self._journal.shedding:
            self._shed_row(row, CHANNEL_OF[kind])
        else:
            if self._shed:
                self._end_shedding(row, CHANNEL_OF[kind])
            self._store(row, self._recv_us)

    def _store(self, row: Row, recv_us: int) -> None:
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
        self._dead.add(
            "messages", f"{self.feed.exchange}/{self.feed.market}", f"{table}: {reason}", self._raw
        )
        if isinstance(row, MarketRow):
            stream = (CHANNEL_OF[type(row)], row.symbol)
            at = row.ts if EARLIEST_US < row.ts < self._horizon else recv_us
            self.gaps.broken(stream, at, "unstorable_value", 1, recv_us)
            self.gaps.resynced(stream, at, recv_us)

    def _shed_row(self, row: MarketRow, channel: str) -> None:
        stream = (channel, row.symbol)
        self._metrics.shed[channel] = self._metrics.shed.get(channel, 0) + 1
        if stream not in self._shed:
            self._shed.add(stream)
            self.gaps.broken(stream, row.ts, "journal_quota", None, self._recv_us)
            log.error(
                "journal near its quota, rows are given up",
                exchange=row.exchange,
                symbol=row.symbol,
                channel=channel,
                remedy="bring QuestDB back, or raise journal.max_bytes",
            )

    def _end_shedding(self, row: MarketRow, channel: str) -> None:
        stream = (channel, row.symbol)
        if stream in self._shed:
            self._shed.discard(stream)
            self.gaps.resynced(stream, row.ts, self._recv_us)

    def _gap(self, gap: Gap) -> None:
        if gap.to_ts is None:
            self._metrics.gaps += 1
        self._store(gap, gap.recv_ts)

    def _subscribed(self, item: Subscribed) -> None:
        self.event("subscribed", self._recv_us, item.channel, item.symbol)
        if item.channel == "orderbook":
            self.gaps.begun.add((item.channel, item.symbol))  # whole only from its snapshot on
        else:
            self.gaps.subscribed((item.channel, item.symbol), self._recv_us)

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
        self.gaps.broken(stream, self._recv_us, "rejected", None, self._recv_us)

    def _broken(self, item: Broken) -> None:
        log.warning(
            "gap", feed=self.feed.exchange, symbol=item.symbol, channel=item.channel, cause=item.cause
        )
        self.gaps.broken((item.channel, item.symbol), item.from_ts, item.cause, item.missing, self._recv_us)

    def _resynced(self, item: Resynced) -> None:
        self.gaps.resynced((item.channel, item.symbol), item.ts, self._recv_us)

    def _notice(self, item: Notice) -> None:
        self.event(item.event, self._recv_us, item.channel, item.symbol, item.detail)

    def _bad(self, item: Bad) -> None:
        self._metrics.bad_messages += 1
        self._dead.add("messages", f"{self.feed.exchange}/{self.feed.market}", item.reason, self._raw)
