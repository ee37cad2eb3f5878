"""Rows → InfluxDB line protocol, version 2 (binary doubles and arrays), by QuestDB's own client."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from questdb import Protocol, QuestDBError, Sender, TimestampMicros

from collector.rows import (
    Alert,
    BookSnapshot,
    CollectorStats,
    FeedEvent,
    Gap,
    Liquidation,
    ListedInstrument,
    ProcessEvent,
    Row,
    StreamStats,
    Ticker,
    Trade,
)

Batch: TypeAlias = "tuple[bytes, array[int]]"
"""Encoded rows, and the offset (bytes) at which each ends."""
ENCODE_ERRORS = (QuestDBError, ValueError, OverflowError, TypeError)
"""What a value raises that line protocol can't carry."""


class RowEncoder:
    """Collects encoded rows until they are taken. What bounds it is its user, by `size`."""

    def __init__(self) -> None:
        # Only a sender hands out buffers. With the version fixed it opens no connection, and it never sends.
        # Typed loosely: the stubs lag behind what the methods take (microseconds as the designated timestamp).
        self._sender = cast(Any, Sender(Protocol.Http, "127.0.0.1", 9000, protocol_version=2))
        self._sender.establish()
        self._buffer = self._sender.new_buffer()
        self._ends = array("I")
        self._tags: dict[tuple[str, str, str, str | None], dict[str, str | None]] = {}
        self._encoders: dict[type, Callable[[Any], None]] = {
            Trade: self._trade,
            BookSnapshot: self._book,
            Liquidation: self._liquidation,
            Ticker: self._ticker,
            FeedEvent: self._event,
            Gap: self._gap,
            ListedInstrument: self._instrument,
            Alert: self._alert,
            CollectorStats: self._stats,
            StreamStats: self._stream_stats,
            ProcessEvent: self._process_event,
        }

    def add(self, row: Row) -> int:
        """Append one row; the size of the whole in bytes.

        Raises one of ENCODE_ERRORS for a value that the protocol can't carry; nothing is kept of it."""
        self._encoders[type(row)](row)
        size = len(self._buffer)
        self._ends.append(size)
        return size

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def size(self) -> int:
        """bytes"""
        return len(self._buffer)

    def take(self) -> Batch:
        """The rows collected; the encoder is empty afterwards."""
        data, ends = bytes(self._buffer), self._ends
        self._buffer.clear()
        self._ends = array("I")
        return data, ends

    def _trade(self, row: Trade) -> None:
        key = (row.exchange, row.market, row.symbol, row.side)
        tags = self._tags.get(key)
        if tags is None:  # as many as there are symbols and sides
            tags = self._tags[key] = dict(zip(("exchange", "market", "symbol", "side"), key, strict=True))
        self._buffer.row(
            "trades",
            symbols=tags,
            columns={
                "recv_ts": TimestampMicros(row.recv_ts),
                "price": row.price,
                "qty": row.qty,
                "trade_id": row.trade_id,
            },
            at=TimestampMicros(row.ts),
        )

    def _book(self, row: BookSnapshot) -> None:
        self._buffer.row(
            "orderbook",
            symbols={"exchange": row.exchange, "market": row.market, "symbol": row.symbol},
            columns={
                "recv_ts": TimestampMicros(row.recv_ts),
                "bids": row.bids,
                "asks": row.asks,
                "seq": row.seq,
            },
            at=TimestampMicros(row.ts),
        )

    def _liquidation(self, row: Liquidation) -> None:
        self._buffer.row(
            "liquidations",
            symbols={"exchange": row.exchange, "market": row.market, "symbol": row.symbol, "side": row.side},
            columns={
                "recv_ts": TimestampMicros(row.recv_ts),
                "price": row.price,
                "qty": row.qty,
                "liq_id": row.liq_id,
            },
            at=TimestampMicros(row.ts),
        )

    def _ticker(self, row: Ticker) -> None:
        funding_ts = None if row.next_funding_ts is None else TimestampMicros(row.next_funding_ts)
        self._buffer.row(
            "tickers",
            symbols={"exchange": row.exchange, "market": row.market, "symbol": row.symbol},
            columns={
                "recv_ts": TimestampMicros(row.recv_ts),
                "last": row.last,
                "mark": row.mark,
                "index": row.index,
                "funding_rate": row.funding_rate,
                "next_funding_ts": funding_ts,
                "open_interest": row.open_interest,
                "bid": row.bid,
                "ask": row.ask,
            },
            at=TimestampMicros(row.ts),
        )

    def _event(self, row: FeedEvent) -> None:
        self._buffer.row(
            "feed_events",
            symbols={
                "exchange": row.exchange,
                "market": row.market,
                "symbol": row.symbol or None,
                "channel": row.channel or None,
                "event": row.event,
            },
            columns={"recv_ts": TimestampMicros(row.recv_ts), "detail": row.detail},
            at=TimestampMicros(row.ts),
        )

    def _gap(self, row: Gap) -> None:
        self._buffer.row(
            "gaps",
            symbols={
                "exchange": row.exchange,
                "market": row.market,
                "symbol": row.symbol,
                "channel": row.channel,
                "cause": row.cause,
                "repair": row.repair,
            },
            columns={
                "recv_ts": TimestampMicros(row.recv_ts),
                "from_ts": TimestampMicros(row.from_ts),
                "to_ts": None if row.to_ts is None else TimestampMicros(row.to_ts),
                "missing": row.missing,
                "repaired": row.repaired,
                "recovered": row.recovered,
            },
            at=TimestampMicros(row.from_ts),
        )

    def _instrument(self, row: ListedInstrument) -> None:
        symbols = ("exchange", "market", "symbol", "name", "base", "quote", "kind", "status")
        self._buffer.row(
            "instruments",
            symbols={name: getattr(row, name) or None for name in symbols},
            columns={
                "recv_ts": TimestampMicros(row.recv_ts),
                "contract_size": row.contract_size,
                "inverse": row.inverse,
                "tick": row.tick,
                "lot": row.lot,
            },
            at=TimestampMicros(row.ts),
        )

    def _alert(self, row: Alert) -> None:
        self._buffer.row(
            "alerts",
            symbols={
                "rule": row.rule,
                "severity": row.severity,
                "state": row.state,
                "exchange": row.exchange,
                "market": row.market,
                "symbol": row.symbol,
            },
            columns={"value": row.value, "message": row.message},
            at=TimestampMicros(row.ts),
        )

    def _stats(self, row: CollectorStats) -> None:
        columns = {
            name: getattr(row, name) for name in row.__struct_fields__ if name not in ("ts", "process")
        }
        self._buffer.row(
            "collector_stats", symbols={"process": row.process}, columns=columns, at=TimestampMicros(row.ts)
        )

    def _stream_stats(self, row: StreamStats) -> None:
        symbols = ("process", "exchange", "market", "channel")
        columns = ("messages", "rows", "bytes", "bad", "reconnects", "silences")
        self._buffer.row(
            "stream_stats",
            symbols={name: getattr(row, name) or None for name in symbols},
            columns={name: getattr(row, name) for name in columns},
            at=TimestampMicros(row.ts),
        )

    def _process_event(self, row: ProcessEvent) -> None:
        symbols = ("program", "process", "event", "cause")
        columns = ("pid", "version", "uptime_s", "detail")
        self._buffer.row(
            "process_events",
            symbols={name: getattr(row, name) or None for name in symbols},
            columns={name: getattr(row, name) for name in columns},
            at=TimestampMicros(row.ts),
        )
