"""The same instrument on several venues: how far apart, whether crossed, and the basis of futures to spot.

Second by second, from the last touch of each (see grid). An instrument is the same where the venues' lists give it the same
BASE-QUOTE-KIND; the numbers that span venues stand under exchange `*` and that name. Fees and the way of the messages aren't
looked at: event times are the venues' own clocks, and a cross that lasts for a second may be a difference of clocks.
Basis: (future − spot) / spot of mids, spot of the same base and quote: that of the same exchange, else the mean of all.
"""

from __future__ import annotations

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.evidence import detail
from analyzer.passes.grid import NAMES_SQL, Grid, Name, finite, joined, listed, quotes, spelled
from analyzer.passes.touch import TOUCH_SQL
from analyzer.windows import Window


def compute(tables: Tables, window: Window) -> list[Value]:
    """`quotes`: grids; `names`: see grid."""
    grid = joined(tables["quotes"])
    known = listed(tables["names"])
    meant = [known.get(one) or spelled(one) for one in grid.names]
    values = []
    same: dict[tuple[str, str], list[int]] = {}
    for n, (one, name) in enumerate(zip(grid.names, meant, strict=True)):
        same.setdefault((one[1], name.name), []).append(n)
    for (market, name_), members in same.items():
        if len({grid.names[n][0] for n in members}) > 1:
            values += _apart(grid, market, name_, members)
    for n, name in enumerate(meant):
        if not name.spot:
            values += _basis(grid, meant, n, name)
    return values


def _apart(grid: Grid, market: str, name: str, members: list[int]) -> list[Value]:
    bid, ask, mid = grid.bid(members), grid.ask(members), grid.mids(members)
    both = np.isfinite(mid).sum(axis=1) > 1
    if not both.any():
        return []
    bid, ask, mid = bid[both], ask[both], mid[both]
    centre = np.nanmean(mid, axis=1)
    apart = (np.nanmax(mid, axis=1) - np.nanmin(mid, axis=1)) / centre * 1e4
    edge = (np.nanmax(bid, axis=1) - np.nanmin(ask, axis=1)) / centre * 1e4
    rows: list[dict[str, object]] = [
        {"venue": " ".join(grid.names[n]), "mean_off_bps": float(np.mean(off)), "seconds": len(off)}
        for n, off in ((n, finite((mid[:, k] / centre - 1) * 1e4)) for k, n in enumerate(members))
        if len(off)
    ]
    numbers = {
        "venues": (float(len(rows)), detail(rows)),
        "venue_spread_bps": (float(np.mean(apart)), ""),
        "venue_spread_max_bps": (float(np.max(apart)), ""),
        "venue_crossed": (float(np.mean(edge > 0)), ""),
        "venue_edge_max_bps": (float(np.max(edge)), ""),
    }
    return [Value("*", market, name, metric, value, text) for metric, (value, text) in numbers.items()]


def _basis(grid: Grid, meant: list[Name], n: int, name: Name) -> list[Value]:
    spots = [k for k, other in enumerate(meant) if other.spot and other.pair == name.pair]
    own = [k for k in spots if grid.names[k][0] == grid.names[n][0]]
    chosen = own or spots
    if not chosen:
        return []
    future, spot = grid.mid(n), grid.mids(chosen)
    known = np.isfinite(future) & np.isfinite(spot).any(axis=1)
    if not known.any():
        return []
    basis = (future[known] / np.nanmean(spot[known], axis=1) - 1) * 1e4
    against = detail([{"spot": " ".join(grid.names[k])} for k in chosen])
    numbers = {"basis_bps": basis[-1], "basis_mean_bps": np.mean(basis)}
    values = [Value(*grid.names[n], metric, float(value), against) for metric, value in numbers.items()]
    return [*values, Value(*grid.names[n], "basis_std_bps", float(np.std(basis)))]


VENUES = Analysis(
    name="venues",
    metrics=(
        Metric(
            "venues",
            "count",
            "venues that quote it (exchange *); detail: each one's distance from their mean mid",
        ),
        Metric(
            "venue_spread_bps", "bps", "highest − lowest mid over venues, by their mean; mean over seconds"
        ),
        Metric("venue_spread_max_bps", "bps", "the largest of that"),
        Metric("venue_crossed", "share", "seconds in which a venue's bid was above another's ask"),
        Metric(
            "venue_edge_max_bps",
            "bps",
            "largest (highest bid − lowest ask) over venues, before fees; below 0: never",
        ),
        Metric(
            "basis_bps",
            "bps",
            "(future − spot) / spot of mids, in the last second with both; detail: which spot",
        ),
        Metric("basis_mean_bps", "bps", "mean of that over seconds"),
        Metric("basis_std_bps", "bps", "standard deviation of that over seconds"),
    ),
    channels=("orderbook",),
    queries={"quotes": TOUCH_SQL, "names": NAMES_SQL},
    compute=compute,
    across={"quotes": quotes},
)
