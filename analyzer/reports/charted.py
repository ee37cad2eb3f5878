"""One instrument's series for its charts, each sampled on the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from analyzer.passes.base import TRADED
from analyzer.passes.groups import Instrument
from analyzer.passes.profile import ROWS, profile
from analyzer.reports.steps import milliseconds, only, step_of
from analyzer.source import Source, render
from analyzer.windows import Window

BARS = 240
BOOK_TIMES, BOOK_PRICES = 160, 64
Holes = Mapping[str, Sequence[tuple[int, int]]]
"""Channel → when nobody recorded it, µs."""


class Profile(msgspec.Struct, frozen=True):
    """Volume by price."""

    edges: list[float]
    """One more than bins."""
    buys: list[float]
    """Base units."""
    others: list[float]
    """Sells, and trades that have no side."""
    poc: float
    """Middle of the bin with the most volume."""
    value_low: float
    value_high: float
    """Point of control and value area: see the analysis `profile`."""


class Book(msgspec.Struct, frozen=True):
    """Resting notional by time and price."""

    ts_ms: list[int]
    prices: list[float]
    """Middles of the bins."""
    notional: Any
    """prices × times, 0 where the recorded book has none."""
    mids: list[float | None]


class Charted(msgspec.Struct):
    name: Instrument
    step_s: int
    bars: dict[str, list[Any]]
    """ts (ms), open, high, low, close, volume, notional, buys, sells; base units but for prices and notional."""
    profile: Profile | None
    book: Book | None
    forced: dict[str, list[tuple[int, float]]]
    """Side of the forced orders → (ms, notional) by step."""
    interest: list[tuple[int, float | None, float | None]]
    """(ms, open interest, funding rate)"""
    holes: Holes
    book_step_s: int
    """between the columns of `book`"""


def chart(source: Source, window: Window, name: Instrument, holes: Holes) -> Charted:
    """Raises SourceError."""
    step, book_step = step_of(window.seconds, BARS), step_of(window.seconds, BOOK_TIMES)
    where = f"{{where}} AND {only([name])}"

    def fetch(template: str) -> dict[str, Any]:
        """Columns in order of time."""
        table = source.fetch(render(template, window))
        columns = {
            column: table.column(column).to_numpy(zero_copy_only=False) for column in table.column_names
        }
        order = np.argsort(columns["ts"], kind="stable") if "ts" in columns else slice(None)
        return {column: values[order] for column, values in columns.items()}

    bars = fetch(
        "SELECT ts, first(price) open, max(price) high, min(price) low, last(price) close, sum(qty) volume, "  # noqa: S608
        "sum(price * qty) notional, sum(CASE WHEN side = 'buy' THEN qty ELSE 0.0 END) buys, "
        f"sum(CASE WHEN side = 'sell' THEN qty ELSE 0.0 END) sells FROM trades WHERE {where} AND {TRADED} SAMPLE BY {step}s"
    )
    forced = fetch(
        f"SELECT ts, side, sum(price * qty) notional FROM liquidations WHERE {where} AND {TRADED} "  # noqa: S608
        f"AND side IN ('buy', 'sell') SAMPLE BY {step}s"
    )
    tickers = fetch(
        "SELECT ts, last_not_null(open_interest) interest, last_not_null(funding_rate) funding "  # noqa: S608
        f"FROM tickers WHERE {where} SAMPLE BY {step}s"
    )
    return Charted(
        name,
        step,
        {"ts": milliseconds(bars["ts"])}
        | {key: values.tolist() for key, values in bars.items() if key != "ts"},
        _profile(fetch, where, bars),
        _book(source, window, where, book_step),
        {
            side: [
                (at, float(notional))
                for at, own, notional in zip(
                    milliseconds(forced["ts"]), forced["side"], forced["notional"], strict=True
                )
                if own == side
            ]
            for side in ("buy", "sell")
        },
        [
            (at, _known(interest), _known(funding))
            for at, interest, funding in zip(
                milliseconds(tickers["ts"]), tickers["interest"], tickers["funding"], strict=True
            )
        ],
        holes,
        book_step,
    )


def _known(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def _profile(fetch: Any, where: str, bars: dict[str, Any]) -> Profile | None:
    """In the rows of the analysis `profile`, from the lowest to the highest price; None where there are not two prices."""
    if not len(bars["ts"]):
        return None
    low, high = float(bars["low"].min()), float(bars["high"].max())
    if not high > low:
        return None
    rows = fetch(
        f"SELECT least(floor((price - {low!r}) / {high - low!r} * {ROWS}), {ROWS - 1}) bin, "  # noqa: S608
        "sum(qty) volume, sum(CASE WHEN side = 'buy' THEN qty ELSE 0.0 END) buys "
        f"FROM trades WHERE {where} AND {TRADED}"
    )
    volume, buys = np.zeros(ROWS), np.zeros(ROWS)
    at = rows["bin"].astype(np.int64)
    volume[at], buys[at] = rows["volume"], rows["buys"]
    edges = np.linspace(low, high, ROWS + 1)
    most, first, last = profile(volume)
    return Profile(
        edges.tolist(),
        buys.tolist(),
        (volume - buys).tolist(),
        float((edges[most] + edges[most + 1]) / 2),
        float(edges[first]),
        float(edges[last + 1]),
    )


def _book(source: Source, window: Window, where: str, step: int) -> Book | None:
    """The last snapshot of each step, its levels added up in bins of price."""
    sql = f"SELECT ts, last(bids) bids, last(asks) asks FROM orderbook WHERE {where} SAMPLE BY {step}s"  # noqa: S608
    table = source.fetch(render(sql, window)).sort_by("ts")
    times = milliseconds(table.column("ts").to_numpy(zero_copy_only=False))
    books, mids = [], []
    for bids, asks in zip(table.column("bids").to_pylist(), table.column("asks").to_pylist(), strict=True):
        sides = [
            np.array(side) if side and len(side) == 2 and side[0] else np.empty((2, 0))
            for side in (bids, asks)
        ]
        levels = np.concatenate(sides, axis=1)
        books.append(levels[:, np.isfinite(levels).all(axis=0)])
        mids.append(
            float((sides[0][0, 0] + sides[1][0, 0]) / 2) if all(side.size for side in sides) else None
        )
    prices = np.concatenate([levels[0] for levels in books]) if books else np.empty(0)
    if not prices.size:
        return None
    # What few snapshots reach is cut off, else one far level would squeeze all others.
    low, high = np.quantile(prices, (0.002, 0.998), method="nearest")
    if not high > low:
        return None
    edges = np.linspace(low, high, BOOK_PRICES + 1)
    grid = np.zeros((BOOK_PRICES, len(books)))
    for n, (price, size) in enumerate(books):
        grid[:, n] = np.histogram(price, edges, weights=price * size)[0]
    return Book(times, ((edges[1:] + edges[:-1]) / 2).tolist(), grid, mids)
