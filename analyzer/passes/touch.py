"""The touch (best bid and ask) by seconds, from every snapshot: what `quotes` and the comparisons of instruments rest on.

Snapshots that are crossed, one-sided, or whose sizes are no numbers are left out.
"""

from __future__ import annotations

from analyzer.passes.books import KEYS, TOP, at_sql

TOUCH = ("bid", "bid_size", "ask", "ask_size")


def _touch_sql() -> str:
    columns = "bids[1][1] bid, bids[2][1] bid_size, asks[1][1] ask, asks[2][1] ask_size"
    # In two steps: the server filters on columns faster than on places in arrays.
    good = (
        f"SELECT * FROM (SELECT ts, {KEYS}, {columns} FROM orderbook WHERE {{where}}) "  # noqa: S608 - our own constants
        "WHERE bid > 0 AND bid < ask AND ask < 1e300 AND bid_size > 0 AND ask_size > 0"
    )
    before = ", ".join(f"lag({name}) OVER (PARTITION BY {KEYS} ORDER BY ts) {name}_before" for name in TOUCH)
    ofi = (
        "sum(CASE WHEN bid_before IS NULL THEN 0.0 ELSE "
        "CASE WHEN bid >= bid_before THEN bid_size ELSE 0.0 END "
        "- CASE WHEN bid <= bid_before THEN bid_size_before ELSE 0.0 END "
        "- CASE WHEN ask <= ask_before THEN ask_size ELSE 0.0 END "
        "+ CASE WHEN ask >= ask_before THEN ask_size_before ELSE 0.0 END END)"
    )
    seconds = (
        f"SELECT ts, {KEYS}, {', '.join(f'last({name}) {name}' for name in TOUCH)}, {ofi} ofi, "  # noqa: S608
        f"avg((bid_size + ask_size) / 2) depth, max(ts) at FROM (SELECT ts, {KEYS}, {', '.join(TOUCH)}, {before} "
        f"FROM ({good})) SAMPLE BY 1s"
    )
    top = ", ".join(f"array_sum(b.{side}s[2, 1:{TOP + 1}]) top_{side}" for side in ("bid", "ask"))
    return at_sql(seconds, f"{', '.join(f's.{name} {name}' for name in (*TOUCH, 'ofi', 'depth'))}, {top}")


TOUCH_SQL = _touch_sql()
"""One row an instrument and second with a good snapshot: the last touch, Σ size of its TOP levels a side, the snapshots'
Σ e_n (order-flow imbalance, see quotes) and mean size at the touch."""
