"""Tickers that are merged from several messages, over several connections.

A connection that has just begun knows less of the state than one that has gone on, and its rows would put "unknown" in the
place of what the other stored under the same time.
"""

from __future__ import annotations

from collector.rows import Ticker


class MergedTickers:
    """Of the symbols of one recorder; a number each, and one for each connection."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}
        """Symbol → the fields that were ever told, a bit each."""
        self._whole: set[tuple[int, str]] = set()
        """(connection, symbol) that have once known all of them."""

    def is_whole(self, row: Ticker, source: int) -> bool:
        """Whether the connection `source` knows, or once knew, all that any has told of the symbol."""
        fields = (
            (row.last is not None)
            | (row.mark is not None) << 1
            | (row.index is not None) << 2
            | (row.funding_rate is not None) << 3
            | (row.next_funding_ts is not None) << 4
            | (row.open_interest is not None) << 5
            | (row.bid is not None) << 6
            | (row.ask is not None) << 7
        )
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
