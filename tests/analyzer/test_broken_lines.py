"""Lines stop where nobody recorded anything: hand-computed tables, and a report's charts of them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from analyzer.dashboard.figures import Axis, filled, interrupted
from analyzer.reports.charted import Book, Charted
from analyzer.reports.charts import of_symbol
from analyzer.windows import Window

STEP = 10
POINTS: list[tuple[float, float | None]] = [(0, 1.0), (10, 2.0), (50, 3.0), (60, 4.0), (100, 5.0)]
"""Steps without rows: 20 to 50, and 70 to 100."""


def test_a_line_breaks_where_a_hole_reaches_into_time_without_rows() -> None:
    def breaks(*holes: tuple[int, int]) -> list[float]:
        return [at for at, value in interrupted(POINTS, STEP, holes) if value is None]

    assert breaks() == []
    assert breaks((25, 30)) == [20]
    assert breaks((15, 21)) == [20]
    assert breaks((45, 200)) == [20, 70]
    assert breaks((75, 80), (0, 26)) == [20, 70]
    assert breaks((0, 200), (72, 73)) == [20, 70]
    assert breaks((30, 30)) == [20]  # without a length, something may be missing
    assert breaks((5, 12), (51, 69)) == []  # rows on both sides in adjacent steps
    assert breaks((11, 20), (50, 60), (100, 300)) == []  # up to rows, and from rows on
    assert interrupted([], STEP, [(0, 1)]) == []
    whole = interrupted(POINTS, STEP, [(25, 30)])
    assert whole == [(0, 1.0), (10, 2.0), (20, None), (50, 3.0), (60, 4.0), (100, 5.0)]


def test_the_area_under_a_broken_line_has_the_same_break() -> None:
    under, line = filled("CVD", [(0, 2.0), (10, 3.0), (20, None), (50, 4.0)], "red", "pink", Axis(""))
    assert list(zip(under["x"], under["y"], strict=True)) == [(0, 2), (10, 3), (10, 0), (50, 0), (50, 4)]
    assert (under["fill"], under["line"]["width"], under["hoverinfo"]) == ("tozeroy", 0, "skip")
    assert (line["y"], "fill" in line) == ([2.0, 3.0, None, 4.0], False)


def test_a_reports_lines_break_by_the_holes_of_their_channel() -> None:
    """Ten steps of 1 s; seconds 3 to 5 have no rows. Trades and tickers have a hole then, the book has none."""
    start = 1_700_000_000_000
    seconds = [0, 1, 2, 6, 7, 8, 9]
    at = [start + 1000 * second for second in seconds]
    level = [100.0] * len(at)
    one = Charted(
        ("bybit", "linear", "BTCUSDT"),
        1,
        {"ts": at}
        | dict.fromkeys(("open", "high", "low", "close"), level)
        | {"volume": [2.0] * 7, "notional": [200.0] * 7, "buys": [2.0] * 7, "sells": [1.0] * 7},
        None,
        Book(at, [99.0, 101.0], np.ones((2, 7)), [100.0] * 7),
        {"buy": [], "sell": []},
        [(ms, 5.0, 1e-4) for ms in at],
        {channel: [((start + 3500) * 1000, (start + 5500) * 1000)] for channel in ("trades", "tickers")},
        1,
    )
    times = (datetime.fromtimestamp(start / 1000 + second, UTC) for second in (0, 10))
    figures = {chart.name: chart.figure for chart in of_symbol(one, Window(*times), 0)}

    def line(chart: str, name: str) -> list[tuple[float, Any]]:
        figure = figures[f"{chart}-0"]
        assert figure is not None
        (found,) = [trace for trace in figure["data"] if trace["name"] == name]
        return [(x - start, y) for x, y in zip(found["x"], found["y"], strict=True)]

    assert line("cvd", "CVD") == [
        (1000, 1.0),
        (2000, 2.0),
        (3000, 3.0),
        (4000, None),
        *((1000 * (second + 1), float(second - 2)) for second in (6, 7, 8, 9)),
    ]
    vwap = [(1000 * second + 500, 100.0) for second in seconds]
    assert line("price", "VWAP since the start") == [*vwap[:3], (3500, None), *vwap[3:]]
    assert line("interest", "open interest")[3] == line("interest", "funding, bps")[3] == (3000, None)
    assert line("book", "mid") == [(1000 * second, 100.0) for second in seconds]
