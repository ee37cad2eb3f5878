"""The last book of each second, taken apart by the server: what `book`, `depth` and `walls` rest on.

The server finds the last snapshot's time of each second first, and then reads those books alone: to hand the last of ten
arrays a second through an aggregate reads all ten. A line of numbers comes over, no levels.
"""

from __future__ import annotations

KEYS = "exchange, market, symbol"
BAND = 0.001
"""`book` counts depth within this distance of the mid, as a fraction: 10 bps."""
TOP = 5
"""Levels a side in the imbalance."""
BANDS = (5, 10, 25, 50)
"""bps of the mid, in `depth`"""
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000}
"""quote units"""
SIDES = {"bid": "sell", "ask": "buy"}
"""The side of the book, and who takes from it."""


def at_sql(times: str, columns: str) -> str:
    """`times` has a row an instrument and second, with `at`, the time of a snapshot in it; `columns`, of `s` (these rows)
    and `b` (the snapshot), beside the instrument and `ts`, the second's beginning."""
    return (
        f"SELECT timestamp_floor('1s', s.at) ts, s.exchange exchange, s.market market, s.symbol symbol, {columns} "  # noqa: S608
        f"FROM ((SELECT * FROM ({times}) ORDER BY at) TIMESTAMP(at)) s "
        f"ASOF JOIN (SELECT ts, {KEYS}, bids, asks FROM orderbook WHERE {{where}}) b ON ({KEYS})"
    )


LAST_BOOKS_SQL = at_sql(
    f"SELECT ts, {KEYS}, max(ts) at FROM orderbook WHERE {{where}} SAMPLE BY 1s",  # noqa: S608 - our own constants
    "b.bids bids, b.asks asks",
)
"""One row an instrument and second with a snapshot: `bids` and `asks` of the last one, whatever it holds."""


def _seconds_sql() -> str:
    mid = "mid(bids[1][1], asks[1][1])"

    def within(side: str, fraction: float) -> str:
        """The levels at most so far from mid. A slice's upper bound is exclusive, and the insertion point lies behind equal
        prices: the edge is in. Bids are negated since one level alone can't tell the server that its array descends."""
        if side == "bid":
            return f"1:insertion_point(bids[1] * -1.0, {mid} * {fraction - 1})"
        return f"1:insertion_point(asks[1], {mid} * {1 + fraction})"

    columns = ["bids[1][1] bid", "bids[2][1] bid_size", "asks[1][1] ask", "asks[2][1] ask_size"]
    for side in SIDES:
        prices, sizes = f"{side}s[1", f"{side}s[2"
        columns += [
            f"array_sum({sizes}, 1:{TOP + 1}]) top_{side}",
            f"array_sum({sizes}, {within(side, BAND)}]) near_{side}",
            f"{side}s[1][-1] {side}_deepest",
            f"dot_product({prices}], {sizes}]) {side}_notional",
            *(
                f"dot_product({prices}, {within(side, band / 1e4)}], {sizes}, {within(side, band / 1e4)}]) {side}_{band}"
                for band in BANDS
            ),
            *(f"l2price({size} / {mid}, {sizes}], {prices}]) {side}_{name}" for name, size in SIZES.items()),
        ]
    return f"SELECT ts, {KEYS}, {', '.join(columns)} FROM ({LAST_BOOKS_SQL})"  # noqa: S608 - our own constants


SECONDS_SQL = _seconds_sql()
"""Of each last book: best prices and sizes; a side's Σ size of the top levels and within BAND, its deepest price, its
notional altogether and within each of BANDS (null: no level in it), the mean price of each of SIZES (null: too thin)."""
