"""Lead and lag: whose 1 s returns foretell whose, between symbols of a venue and between venues of a symbol.

Cross-correlation of log returns of mids at lags of −10 … 10 s. B follows A by L seconds when of all lags the correlation
of A's return with B's L seconds later is the strongest, L ≥ 1, and significant: z = Σ x y / sqrt(Σ x² y²), which allows
for volatility that changes (White 1980), normal without dependence, and p, two-sided, is multiplied by the number of
pairs and lags that the whole pass looks at (Bonferroni), so that one pass in a thousand tells of a leader where there is
none. Pairs with fewer than 40 common seconds or 10 moves of each aren't looked at. Each follower's strongest leader is
told; a follower without one has no numbers. Mids of quiet books stand still, and those whose books come rarely lag by
that alone.
"""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.evidence import detail
from analyzer.passes.grid import NAMES_SQL, joined, listed, quotes, spelled
from analyzer.passes.groups import Instrument
from analyzer.passes.touch import TOUCH_SQL
from analyzer.windows import Window

LAGS = 10
MIN_SECONDS = 40
MIN_MOVES = 10
P = 0.001
AT_ONCE = 500_000
"""Returns that are looked at at a time: 50 MB of a long window."""


class Lead(msgspec.Struct, frozen=True):
    """The strongest leader of one follower in a family, significant or not."""

    prefix: str
    follower: Instrument
    leader: Instrument
    lag_s: int
    rho: float
    z: float
    seconds: int


def compute(tables: Tables, window: Window) -> list[Value]:
    """`quotes`: grids; `names`: see grid."""
    grid = joined(tables["quotes"])
    known = listed(tables["names"])
    venues: dict[object, list[int]] = {}
    symbols: dict[object, list[int]] = {}
    for n, one in enumerate(grid.names):
        venues.setdefault(one[:2], []).append(n)
        symbols.setdefault((known.get(one) or spelled(one)).pair, []).append(n)
    leads: list[Lead] = []
    looked_at = 0
    for prefix, groups in (("leader", venues), ("venue_leader", symbols)):
        for members in groups.values():
            if len(members) > 1:
                found, count = _leads(prefix, [grid.names[n] for n in members], grid.returns(members))
                leads += found
                looked_at += count
    return [value for lead in leads for value in _told(lead, looked_at)]


def correlations(moves: Any, lag: int) -> tuple[Any, Any, Any]:
    """rho, z and the number of seconds of (leader's return, follower's `lag` ≥ 0 seconds later); NaN where too few."""
    size, stop = moves.shape[1], len(moves) - lag
    together, squares, own, other, count, moved, moves_later = np.zeros((7, size, size))
    rows = max(1, AT_ONCE // size)
    for first in range(0, stop, rows):
        x0, m0, moved0 = _parts(moves[first : min(first + rows, stop)])
        x1, m1, moved1 = _parts(moves[first + lag : min(first + rows, stop) + lag])
        square0, square1 = x0 * x0, x1 * x1
        together += x0.T @ x1
        squares += square0.T @ square1
        own += square0.T @ m1
        other += m0.T @ square1
        count += m0.T @ m1
        moved += moved0.T @ m1
        moves_later += m0.T @ moved1
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = together / np.sqrt(own * other)
        z = together / np.sqrt(squares)
    rho[(count < MIN_SECONDS) | (moved < MIN_MOVES) | (moves_later < MIN_MOVES)] = np.nan
    return rho, z, count


def _parts(moves: Any) -> tuple[Any, Any, Any]:
    """The returns with 0 where unknown; 1 where known; 1 where it moved."""
    known = np.isfinite(moves)
    x = np.where(known, moves, 0.0)
    return x, known.astype(np.float64), (x != 0).astype(np.float64)


def _leads(prefix: str, names: list[Instrument], moves: Any) -> tuple[list[Lead], int]:
    """Each follower's strongest leader, and the number of pairs and lags looked at."""
    size = len(names)
    if len(moves) <= LAGS:
        return [], 0
    strongest = np.nan_to_num(np.abs(correlations(moves, 0)[0]))
    at = np.zeros((size, size), dtype=np.int64)
    rho, z, seconds = (np.zeros((size, size)) for _ in range(3))
    looked_at = 0
    for lag in range(1, LAGS + 1):
        found = correlations(moves, lag)
        looked_at += int(np.sum(np.isfinite(found[0]) & ~np.eye(size, dtype=bool)))
        strength = np.nan_to_num(np.abs(found[0]))
        better = strength > strongest
        strongest = np.where(better, strength, strongest)
        at[better] = lag
        for kept, new in zip((rho, z, seconds), found, strict=True):
            kept[better] = new[better]
    leads = []
    for follower in range(size):
        # The other way round must be weaker: strongest[follower, leader] is over its lags of 0 … LAGS.
        leaders = [
            n
            for n in range(size)
            if n != follower and at[n, follower] > 0 and strongest[n, follower] > strongest[follower, n]
        ]
        if leaders:
            best = min(leaders, key=lambda n: (-strongest[n, follower], names[n]))
            pair = best, follower
            leads.append(
                Lead(
                    prefix,
                    names[follower],
                    names[best],
                    int(at[pair]),
                    float(rho[pair]),
                    float(z[pair]),
                    int(seconds[pair]),
                )
            )
    return leads, looked_at


def _told(lead: Lead, looked_at: int) -> list[Value]:
    p = math.erfc(abs(lead.z) / math.sqrt(2)) * looked_at
    if p >= P:
        return []
    numbers = {"lag_s": float(lead.lag_s), "corr": lead.rho, "z": lead.z}
    row = {"leader": " ".join(lead.leader), **numbers, "p": p, "seconds": lead.seconds}
    text = detail([row | {"looked_at": looked_at}])
    return [Value(*lead.follower, f"{lead.prefix}_{what}", value, text) for what, value in numbers.items()]


LEADLAG = Analysis(
    name="leadlag",
    metrics=tuple(
        metric
        for prefix, who in (
            ("leader", "of its strongest leader on the same exchange and market"),
            ("venue_leader", "of its strongest leader among the same pair elsewhere"),
        )
        for metric in (
            Metric(f"{prefix}_lag_s", "s", f"lead {who}; absent without a significant one; detail: who"),
            Metric(f"{prefix}_corr", "correlation", f"with the 1 s returns {who}, at that lag"),
            Metric(f"{prefix}_z", "z", f"significance {who}: Σ xy / sqrt(Σ x²y²)"),
        )
    ),
    channels=("orderbook",),
    queries={"quotes": TOUCH_SQL, "names": NAMES_SQL},
    compute=compute,
    across={"quotes": quotes},
)
