"""Spoofing and layering: large orders away from the touch that appear, and vanish without a trade at their price.

Suspicions, not proofs: an honest order can be cancelled too, and recorded books don't say whose an order is. The pattern
is that of Lee, Eom, Park (2013), Microstructure-based manipulation: strategic behavior and performance of spoofing
traders, Journal of Financial Markets 16 (2); layering is the same with several orders on one side at once. The bounds are
ours.

On a grid of one second (the last snapshot of each second): a level is large above 5 times the median level of its side. A
wall appears when its price becomes large after a snapshot that showed that price range without it, and vanishes when it
is not large any more in a snapshot that still reaches its price. It's suspect when it stood 60 s or less, was at least 10
times the median (before, and at both ends), appeared behind three levels or more, and nothing traded at its price or
through it from the end of the last second without it to that of the second in which it was gone. Three that come and go
within a second of each other are layers. Walls that live between two snapshots of the grid aren't seen, nor more than three
large levels a side at once; with holes of 5 s or more in the books their age is unknown, and they don't count.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from analyzer.passes.bars import SECONDS_SQL
from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.books import LAST_BOOKS_SQL
from analyzer.passes.evidence import detail, iso
from analyzer.passes.groups import Instrument, by_instrument
from analyzer.windows import Window

LARGE, HUGE = 5, 10
"""Multiples of the median size of a side's levels: a wall stands; it is worth a suspicion."""
AWAY = 4
"""The first level, counted from 1, at which an order is away from the touch."""
LIFE_US = 60_000_000
HOLE_US = 5_000_000
SECOND_US = 1_000_000
LISTED = 3
LAYERS = 3
MIN_LEVELS = 10
"""A side with fewer has no typical level."""
LISTING = tuple(f"{what}_{n}" for n in range(1, LISTED + 1) for what in ("price", "size", "level"))
BEFORE = ("ts", "large", "median", "deepest")
"""Columns whose value in the row before (with or without a change) comes too."""
COLUMNS = ("ts", "large", "median", "best", "deepest", *(f"{name}_before" for name in BEFORE), *LISTING)


class Wall(msgspec.Struct):
    """A large level, from the row in which it was first listed."""

    price: float
    since_us: int
    """The second of its first snapshot."""
    before_us: int
    """That of the snapshot before."""
    level: int
    known: bool
    """It was seen to appear."""
    size: float
    median: float
    """The largest so far of its side's median level, from the snapshot before on."""
    best: float
    until_us: int = 0
    nearest_trade: float | None = None


def compute(tables: Tables, window: Window) -> list[Value]:
    """`bids`, `asks`: the seconds in which a side's large levels changed, and each instrument's first; `prices`: one row an
    instrument and second with its lowest and highest trade. Without trades nothing can be said to be untraded."""
    traded = dict(by_instrument(tables["prices"], ("ts", "low", "high")))
    values = []
    for side in ("bid", "ask"):
        for name, rows in by_instrument(tables[f"{side}s"], COLUMNS):
            if name not in traded:
                continue
            walls = [wall for wall in vanished(rows, side) if not _reached(wall, side, traded[name])]
            layers, alone = _layered(walls)
            values += _values(name, side, "spoof", [[wall] for wall in alone])
            values += _values(name, side, "layering", layers)
    return values


def vanished(rows: dict[str, Any], side: str) -> list[Wall]:
    """The suspect walls of one side, in order of their end, traded or not."""
    times, before = (rows[name].astype("datetime64[us]").astype(np.int64) for name in ("ts", "ts_before"))
    sign = 1 if side == "bid" else -1
    standing: dict[float, Wall] = {}
    ended = []
    for n in range(len(times)):
        ts, ts_before = int(times[n]), int(before[n])
        hole = bool(np.isnat(rows["ts_before"][n])) or ts - ts_before >= HOLE_US
        if hole:
            standing.clear()
        large, median = int(rows["large"][n]), float(rows["median"][n])
        listed = {
            float(rows[f"price_{k}"][n]): (float(rows[f"size_{k}"][n]), int(rows[f"level_{k}"][n]))
            for k in range(1, min(large, LISTED) + 1)
        }
        if large <= LISTED:  # else those that aren't listed may still stand
            for price in [price for price in standing if price not in listed]:
                wall = standing.pop(price)
                wall.until_us = ts
                wall.median = max(wall.median, median)
                still_shown = sign * (price - float(rows["deepest"][n])) >= 0
                if still_shown and _suspect(wall):
                    ended.append(wall)
        for price, (size, level) in listed.items():
            if price in standing:
                standing[price].size = max(standing[price].size, size)
                continue
            was_shown = not hole and sign * (price - float(rows["deepest_before"][n])) >= 0
            known = was_shown and rows["large_before"][n] <= LISTED
            typical = median if hole else max(median, float(rows["median_before"][n]))
            best = float(rows["best"][n])
            standing[price] = Wall(price, ts, ts_before, level, known, size, typical, best)
    return ended


def _suspect(wall: Wall) -> bool:
    return (
        wall.known
        and wall.level >= AWAY
        and wall.size >= HUGE * wall.median
        and wall.until_us - wall.since_us <= LIFE_US
    )


def _reached(wall: Wall, side: str, traded: dict[str, Any]) -> bool:
    """A trade at the wall's price or through it, while it may have stood. Notes the nearest one."""
    times = traded["ts"].astype("datetime64[us]").astype(np.int64)
    low, high = np.searchsorted(times, (wall.before_us + SECOND_US, wall.until_us + SECOND_US))
    if low == high:
        return False
    if side == "bid":
        wall.nearest_trade = float(np.min(traded["low"][low:high]))
        return wall.nearest_trade <= wall.price
    wall.nearest_trade = float(np.max(traded["high"][low:high]))
    return wall.nearest_trade >= wall.price


def _layered(walls: list[Wall]) -> tuple[list[list[Wall]], list[Wall]]:
    """Groups that came and went together, and the others."""
    layers: list[list[Wall]] = []
    alone: list[Wall] = []
    left = sorted(walls, key=lambda wall: (wall.since_us, wall.until_us, wall.price))
    while left:
        first = left[0]
        group = [
            wall
            for wall in left
            if wall.since_us - first.since_us <= SECOND_US
            and abs(wall.until_us - first.until_us) <= SECOND_US
        ]
        if len(group) >= LAYERS:
            layers.append(group)
            left = [wall for wall in left if wall not in group]
        else:
            alone.append(first)
            left = left[1:]
    return layers, alone


def _values(name: Instrument, side: str, kind: str, groups: list[list[Wall]]) -> list[Value]:
    rows = [
        {
            "from": iso(group[0].since_us),
            "to": iso(group[0].until_us),
            "orders": [
                {
                    "price": wall.price,
                    "size": wall.size,
                    "level": wall.level,
                    "times_median": wall.size / wall.median,
                    "from_best_bps": abs(wall.price / wall.best - 1) * 1e4,
                    "stood_s": (wall.until_us - wall.since_us) / 1e6,
                    "nearest_trade": wall.nearest_trade,
                }
                for wall in group
            ],
        }
        for group in groups
    ]
    notional = sum(wall.price * wall.size for group in groups for wall in group)
    return [
        Value(*name, f"{kind}_{side}", float(len(groups)), detail(rows)),
        Value(*name, f"{kind}_{side}_notional", notional),
    ]


def _select(columns: str, table: str, rest: str = "") -> str:
    return f"SELECT ts, exchange, market, symbol, {columns} FROM ({table}) {rest}"  # noqa: S608 - our own constants


def _query(side: str) -> str:
    """Levels sorted by size on the server; of equal ones the nearer to the touch comes first."""
    # Grouped once more, by what is unique already: else the server would sort anew at each mention of `sorted`.
    found = _select(
        f"last({side}s[1]) prices, last({side}s[2]) sizes, last(array_sort({side}s[2])) sorted",
        LAST_BOOKS_SQL,
        f"WHERE bids[1][1] < asks[1][1] AND dim_length({side}s, 2) >= {MIN_LEVELS}",
    )
    found = _select("prices, sizes, sorted, sorted[dim_length(sorted, 1) / 2 + 1] median", found)
    above = "dim_length(sorted, 1) + 1 - insertion_point(sorted, {} * median)"
    kept = "prices, sizes, sorted, median, large, huge"
    found = _select(
        f"prices, sizes, sorted, median, {above.format(LARGE)} large, {above.format(HUGE)} huge, "
        "array_position(sizes, sorted[-1]) at_1",
        found,
    )
    for n in range(2, LISTED + 1):
        kept += f", at_{n - 1}"
        behind = f"at_{n - 1} + array_position(sizes[at_{n - 1} + 1:], sorted[-{n}])"
        place = f"CASE WHEN sorted[-{n}] = sorted[-{n - 1}] THEN {behind} ELSE array_position(sizes, sorted[-{n}]) END"
        found = _select(f"{kept}, {place} at_{n}", found)
    listed = ", ".join(
        f"CASE WHEN large >= {n} THEN prices[at_{n}] ELSE 0.0 END price_{n}, sorted[-{n}] size_{n}, at_{n} level_{n}"
        for n in range(1, LISTED + 1)
    )
    found = _select(f"large, huge, median, prices[1] best, prices[-1] deepest, {listed}", found)
    state = " + ".join(f"price_{n}" for n in range(1, LISTED + 1))
    found = _select(f"large, huge, median, best, deepest, {', '.join(LISTING)}, {state} state", found)
    before = ", ".join(
        f"lag({name}) OVER (PARTITION BY exchange, market, symbol ORDER BY ts) {name}_before"
        for name in (*BEFORE, "huge", "state")
    )
    found = _select(f"large, huge, median, best, deepest, {', '.join(LISTING)}, state, {before}", found)
    return _select(
        ", ".join(COLUMNS[1:]),
        found,
        "WHERE ts_before IS NULL OR state <> state_before OR large <> large_before OR huge <> huge_before "
        f"OR (large > 0 AND ts - ts_before >= {HOLE_US})",
    )


WALLS = Analysis(
    name="walls",
    metrics=tuple(
        metric
        for side in ("bid", "ask")
        for metric in (
            Metric(
                f"spoof_{side}",
                "count",
                f"large {side}s away from the touch that came and went untraded; see detail",
            ),
            Metric(f"spoof_{side}_notional", "quote", "Σ price × size of these"),
            Metric(f"layering_{side}", "count", f"groups of three or more such {side}s at once; see detail"),
            Metric(f"layering_{side}_notional", "quote", "Σ price × size of these"),
        )
    ),
    channels=("orderbook", "trades"),
    queries={
        "bids": _query("bid"),
        "asks": _query("ask"),
        "prices": SECONDS_SQL,
    },
    compute=compute,
)
