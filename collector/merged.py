"""Tickers that are merged from several messages, over several connections.

A connection that has just begun knows less of the state than one that has gone on, and its rows would put "unknown" in the
place of what the other stored under the same time. And one that is behind brings the first message of a moment after the
other has brought the last of it.
"""

from __future__ import annotations

from collections import deque

import msgspec

from collector.rows import Ticker

FIELDS = ("last", "mark", "index", "funding_rate", "next_funding_ts", "open_interest", "bid", "ask")
BIT_OF = {name: 1 << place for place, name in enumerate(FIELDS)}
MOST_TIMES = 64
"""Event times of a symbol of which it is known how many rows each connection has brought."""
MOST_ROWS = 16
"""Rows of a symbol from which lesser ones are filled up."""


class _Symbol:
    __slots__ = ("most", "own", "rows")

    def __init__(self) -> None:
        self.most: dict[int, int] = {}
        """Event time → the most rows that one connection has brought of it."""
        self.own: dict[tuple[int, int], int] = {}
        """(connection, event time) → rows brought."""
        self.rows: deque[Ticker] = deque(maxlen=MOST_ROWS)
        """The newest of connections that know all."""

    def count(self, source: int, ts: int) -> tuple[int, int]:
        """This row's number among those that the connection brings of its time, and the greatest number before."""
        number, most = self.own.pop((source, ts), 0) + 1, self.most.pop(ts, 0)
        self.own[source, ts], self.most[ts] = number, max(number, most)
        if len(self.own) > MOST_TIMES:
            del self.own[next(iter(self.own))]
        if len(self.most) > MOST_TIMES:
            del self.most[next(iter(self.most))]
        return number, most

    def filled_up(self, row: Ticker) -> Ticker | None:
        """What the row does not tell, as it was known at its time; None: nothing tells."""
        before = max(
            (known for known in self.rows if known.ts <= row.ts), key=lambda known: known.ts, default=None
        )
        if before is None:
            return None
        unknown = {name: getattr(before, name) for name in FIELDS if getattr(row, name) is None}
        return msgspec.structs.replace(row, **unknown)


class MergedTickers:
    """Of the symbols of one recorder: a number and some rows each, and one number for each connection."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        """Symbol → the fields that were ever told, a bit each."""
        self._whole: set[tuple[int, str]] = set()
        """(connection, symbol) that have once known all of them."""
        self._symbols: dict[str, _Symbol] = {}

    def of_several(self, row: Ticker, source: int, carried_besides: bool) -> Ticker | None:
        """What is to be stored of a row that one of several connections brings; None: it is older, or tells less, than what
        another has brought of its time. `carried_besides`: whether another has had the stream whole since then."""
        symbol = self._symbols.get(row.symbol)
        if symbol is None:
            symbol = self._symbols[row.symbol] = _Symbol()
        whole = self.is_whole(row, source)
        number, most = symbol.count(source, row.ts)
        if whole:
            symbol.rows.append(row)
        elif carried_besides:
            return symbol.filled_up(row) if number > most else None
        return row if number >= most else None

    def is_whole(self, row: Ticker, source: int) -> bool:
        """Whether the connection `source` knows, or once knew, all that any has told of the symbol."""
        fields = sum([bit for name, bit in BIT_OF.items() if getattr(row, name) is not None])
        known = self._known.get(row.symbol, 0)
        if known | fields != known:
            self._known[row.symbol] = known | fields
        elif known != fields and (source, row.symbol) not in self._whole:
            return False
        if known & fields == known:
            self._whole.add((source, row.symbol))
        return (source, row.symbol) in self._whole

    def closed(self, source: int) -> None:
        self._whole = {(other, symbol) for other, symbol in self._whole if other != source}
