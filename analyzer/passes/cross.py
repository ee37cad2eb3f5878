"""The cross-section: correlation and beta to bitcoin, and who moved most, within each exchange and market.

Log returns of mids over 5 s: shorter ones understate correlation (Epps 1979, Comovements in stock prices in the very
short run). Beta is the slope of the least-squares line on bitcoin's returns (Sharpe 1964). Bitcoin is the instrument of
the same exchange and market whose base is BTC; of several the one with the most quoted seconds, then the first by name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.evidence import detail
from analyzer.passes.grid import NAMES_SQL, Name, finite, joined, listed, quotes, spelled
from analyzer.passes.groups import Instrument
from analyzer.passes.touch import TOUCH_SQL
from analyzer.windows import Window

STEP_S = 5
MIN_RETURNS = 20
COINS = ("BTC", "XBT")


def compute(tables: Tables, window: Window) -> list[Value]:
    """`quotes`: grids; `names`: see grid."""
    grid = joined(tables["quotes"])
    known = listed(tables["names"])
    groups: dict[tuple[str, str], list[int]] = {}
    for n, (exchange, market, _) in enumerate(grid.names):
        groups.setdefault((exchange, market), []).append(n)
    values = []
    for members in groups.values():
        names = [grid.names[n] for n in members]
        mids = [finite(grid.mid(n)) for n in members]
        numbers = _movers(mids)
        moves = grid.returns(members, STEP_S)
        found = correlations(moves)
        coin = bitcoin(names, [known.get(one) or spelled(one) for one in names], [len(mid) for mid in mids])
        for n, one in enumerate(names):
            values += [Value(*one, metric, value) for metric, value in numbers[n].items()]
            values += _related(names, moves, found, n, coin)
    return values


def correlations(moves: Any) -> Any:
    """Pairwise over the steps that both have; NaN with fewer than MIN_RETURNS or without variance."""
    known = np.isfinite(moves)
    m = known.astype(np.float64)
    x = np.where(known, moves, 0.0)
    count = m.T @ m
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = (x.T @ m) / count  # of the row's instrument, over the steps that the column's has too
        square = ((x * x).T @ m) / count - mean**2
        found = ((x.T @ x) / count - mean * mean.T) / np.sqrt(square * square.T)
    flat = square <= 1e-12 * np.nanmax(np.where(known, moves, 0.0) ** 2, initial=0.0)
    found[(count < MIN_RETURNS) | flat | flat.T] = np.nan
    return np.clip(found, -1.0, 1.0)


def bitcoin(names: list[Instrument], meant: list[Name], seconds: Sequence[int]) -> int | None:
    coins = [n for n, name in enumerate(meant) if name.base.upper() in COINS]
    return min(coins, key=lambda n: (-seconds[n], names[n])) if coins else None


def _movers(mids: Sequence[Any]) -> list[dict[str, float]]:
    """From the first to the last quoted second; the rank is 1 for the largest rise, ties share the better one."""
    moves = np.array([np.log(mid[-1] / mid[0]) * 1e4 if len(mid) > 1 else np.nan for mid in mids])
    known = finite(moves)
    return [
        {
            "move_bps": float(move),
            "move_rank": float(np.sum(known > move) + 1),
            "move_excess_bps": float(move - np.median(known)),
        }
        if np.isfinite(move)
        else {}
        for move in moves
    ]


def _related(names: list[Instrument], moves: Any, found: Any, n: int, coin: int | None) -> list[Value]:
    values = []
    others = [k for k in range(len(names)) if k != n and np.isfinite(found[n, k])]
    if others:
        others.sort(key=lambda k: (-abs(found[n, k]), names[k]))
        rows = [{"symbol": names[k][2], "correlation": float(found[n, k])} for k in others]
        values.append(Value(*names[n], "corr_mean", float(np.mean(found[n, others])), detail(rows)))
    if coin is not None and coin != n and np.isfinite(found[n, coin]):
        both = np.isfinite(moves[:, n]) & np.isfinite(moves[:, coin])
        x, y = moves[both, coin], moves[both, n]
        x = x - x.mean()
        against = detail([{"bitcoin": names[coin][2], "returns": int(both.sum())}])
        values.append(Value(*names[n], "corr_btc", float(found[n, coin]), against))
        values.append(Value(*names[n], "beta_btc", float(x @ y / (x @ x)), against))
    return values


CROSS = Analysis(
    name="cross",
    metrics=(
        Metric("move_bps", "bps", "ln (last mid / first mid) of the window"),
        Metric("move_rank", "rank", "of that among its exchange and market; 1: the largest rise"),
        Metric("move_excess_bps", "bps", "move_bps − median of its exchange and market"),
        Metric(
            "corr_mean", "correlation", "mean over its exchange and market, of 5 s returns; detail: with each"
        ),
        Metric(
            "corr_btc",
            "correlation",
            "with bitcoin on its exchange and market, of 5 s returns; absent below 20",
        ),
        Metric("beta_btc", "ratio", "slope on bitcoin's 5 s returns"),
    ),
    channels=("orderbook",),
    queries={"quotes": TOUCH_SQL, "names": NAMES_SQL},
    compute=compute,
    across={"quotes": quotes},
)
