"""A window in pieces, so that memory does not depend on how long it is nor on how many symbols it has.

The queries of the analyses answer with at most one row an instrument and second. An analysis that looks at each instrument
by itself is given some symbols at a time, and says the same as if it were given all. One that compares instruments keeps
two numbers an instrument and second of each piece, and looks at all of them at the end: where that is too much it fails,
and says so. A symbol whose first row arrives after the window was divided is left out; the settle delay is there for that.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from analyzer.source import Source, SourceError, quoted, render
from analyzer.windows import Window

PIECE_SECONDS = 200_000
"""Seconds times instruments of a piece: the widest answer is 50 MB of Arrow, and as much again of numpy."""
PIECE_ROWS = 20_000_000
"""Recorded rows of a piece: the server sorts them for some queries. A piece costs a look at all rows of the window."""
PIECE_SYMBOLS = 200
"""They are named in the query, several times in some, and a request's head holds 64 KiB by default."""
ACROSS_SECONDS = 8_000_000
"""Seconds times instruments that are compared: a day of 92, or four hours of 555. 16 bytes each, and some for the work."""
TABLES = ("trades", "orderbook", "liquidations", "tickers")


class Pieces(msgspec.Struct, frozen=True):
    conditions: Sequence[str]
    """SQL that goes behind the conditions of an analysis' query: lists of symbols, or one, empty. The server compares those
    of a list by their numbers, but those of a range as texts, which took 13 times as long."""
    seconds: int
    """Seconds times instruments of the window."""

    def refusal(self) -> str:
        """Why the instruments can't be compared, or empty."""
        if self.seconds <= ACROSS_SECONDS:
            return ""
        return (
            f"compare instruments: {self.seconds:,} seconds times instruments are more than fit into memory "
            f"({ACROSS_SECONDS:,}); take a shorter --window or name --symbols"
        )


def divide(source: Source, window: Window, symbols: Sequence[str] = (), exchange: str = "") -> Pieces:
    """Pieces of a window. One where a table is missing: the analyses that read it say so themselves."""
    seconds = max(1, round(window.seconds))
    where = render("{where}", window, symbols, exchange)
    counted = " UNION ALL ".join(
        f"SELECT exchange, market, symbol, count() n FROM {table} WHERE {where}"  # noqa: S608 - our own constants
        for table in TABLES
    )
    try:
        found = source.fetch(
            "SELECT symbol, count() instruments, sum(n) n FROM ("  # noqa: S608
            f"SELECT exchange, market, symbol, sum(n) n FROM ({counted})) ORDER BY symbol"
        )
    except SourceError:
        return Pieces([""], 0)
    groups: list[list[str]] = [[]]
    size = rows = total = 0
    for row in found.to_pylist():
        added = row["instruments"] * seconds
        full = (
            size + added > PIECE_SECONDS or rows + row["n"] > PIECE_ROWS or len(groups[-1]) == PIECE_SYMBOLS
        )
        if groups[-1] and full:
            groups.append([])
            size = rows = 0
        groups[-1].append(row["symbol"] or "")
        size, rows, total = size + added, rows + row["n"], total + added
    if len(groups) == 1:
        return Pieces([""], total)
    return Pieces([f" AND symbol IN ({', '.join(map(quoted, group))})" for group in groups], total)
