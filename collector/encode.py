"""Rows → InfluxDB line protocol, version 2 (binary doubles and arrays), by QuestDB's own client.

Trades and books are most of all rows, and the client takes most of the time that such a row costs. Their lines are put
together here; what names the instrument in them is the client's work. A test compares them with the client's own.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable
from functools import lru_cache
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
ENCODE_ERRORS = (QuestDBError, ValueError, OverflowError, TypeError, struct.error)
"""What a value raises that line protocol can't carry."""
PLAIN = bytes(range(0x20, 0x7F)).translate(None, b'"\\')
"""Characters that a text holds as they are."""
MOST = 2**63 - 1
"""What a LONG and a TIMESTAMP hold."""
_double = struct.Struct("<d").pack


@lru_cache(4096)
def _array(*shape: int) -> bytes:
    """The head of an array of doubles."""
    return struct.pack(f"<3sB{len(shape)}I", b"=\x0e\n", len(shape), *shape)


class RowEncoder:
    """Collects encoded rows until they are taken. What bounds it is its user, by `size`."""

    def __init__(self, collector: str = "") -> None:
        """`collector`: of the rows that name none."""
        # Only a sender hands out buffers. With the version fixed it opens no connection, and it never sends.
        # Typed loosely: the stubs lag behind what the methods take (microseconds as the designated timestamp).
        self._sender = cast(Any, Sender(Protocol.Http, "127.0.0.1", 9000, protocol_version=2))
        self._sender.establish()
        self._buffer = self._sender.new_buffer()
        """The client's: one row at a time."""
        self._out = bytearray()
        self._ends = array("I")
        self._collector = collector
        self._heads: dict[tuple[str | None, ...], bytes] = {}
        """How the lines of an instrument and side begin; as many as there are."""
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
        if len(self._buffer):
            self._out += bytes(self._buffer)
            self._buffer.clear()
        size = len(self._out)
        self._ends.append(size)
        return size

    def __len__(self) -> int:
        return len(self._ends)

    @property
    def size(self) -> int:
        """bytes"""
        return len(self._out)

    def take(self) -> Batch:
        """The rows collected; the encoder is empty afterwards."""
        data, ends = bytes(self._out), self._ends
        self._out.clear()
        self._ends = array("I")
        return data, ends

    def _head(self, table: str, names: tuple[str, ...], key: tuple[str | None, ...]) -> bytes:
        """Up to the value of `recv_ts`, which is the first column."""
        zero = TimestampMicros(0)
        self._buffer.row(
            table, symbols=dict(zip(names, key, strict=True)), columns={"recv_ts": zero}, at=zero
        )
        head = self._heads[key] = bytes(self._buffer).removesuffix(b"0t 0t\n")
        self._buffer.clear()
        return head

    def _trade(self, row: Trade) -> None:
        trade_id = row.trade_id.encode()
        if trade_id.translate(None, PLAIN) or not -1 < row.ts <= MOST:
            self._any_trade(row)
            return
        key = (row.exchange, row.market, row.symbol, row.side)
        head = self._heads.get(key) or self._head("trades", ("exchange", "market", "symbol", "side"), key)
        self._out += b'%b%dt,price==\x10%b,qty==\x10%b,trade_id="%b" %dt\n' % (
            head,
            row.recv_ts,
            _double(row.price),
            _double(row.qty),
            trade_id,
            row.ts,
        )

    def _any_trade(self, row: Trade) -> None:
        self._buffer.row(
            "trades",
            symbols={"exchange": row.exchange, "market": row.market, "symbol": row.symbol, "side": row.side},
            columns={
                "recv_ts": TimestampMicros(row.recv_ts),
                "price": row.price,
                "qty": row.qty,
                "trade_id": row.trade_id,
            },
            at=TimestampMicros(row.ts),
        )

    def _book(self, row: BookSnapshot) -> None:
        if not (-1 < row.ts <= MOST and -MOST <= row.seq <= MOST and row.bids.size and row.asks.size):
            self._any_book(row)
            return
        key = (row.exchange, row.market, row.symbol)
        head = self._heads.get(key) or self._head("orderbook", ("exchange", "market", "symbol"), key)
        bids, asks = row.bids, row.asks
        self._out += b"%b%dt,bids=%b%b,asks=%b%b,seq=%di %dt\n" % (
            head,
            row.recv_ts,
            _array(*bids.shape),
            bids.tobytes(),
            _array(*asks.shape),
            asks.tobytes(),
            row.seq,
            row.ts,
        )

    def _any_book(self, row: BookSnapshot) -> None:
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
                "collector": row.collector or self._collector or None,
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
                "collector": row.collector or self._collector or None,
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
            name: getattr(row, name)
            for name in row.__struct_fields__
            if name not in ("ts", "process", "collector")
        }
        self._buffer.row(
            "collector_stats",
            symbols={"process": row.process, "collector": row.collector or self._collector or None},
            columns=columns,
            at=TimestampMicros(row.ts),
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
        symbols = {name: getattr(row, name) or None for name in ("program", "process", "event", "cause")}
        times = {"until_ts": row.until_ts, "caught_up_ts": row.caught_up_ts}
        plain = ("pid", "version", "uptime_s", "detail", "attempts", "waiting_rows")
        self._buffer.row(
            "process_events",
            symbols=symbols | {"collector": row.collector or self._collector or None},
            columns={
                **{name: getattr(row, name) for name in plain},
                **{name: None if us is None else TimestampMicros(us) for name, us in times.items()},
                "log": row.log or None,
                "place": row.place or None,
            },
            at=TimestampMicros(row.ts),
        )
