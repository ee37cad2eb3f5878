"""Charts over many instruments: scores over time, and how their returns go together."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

from analyzer.dashboard.figures import SERIES, Axis, line, over_time
from analyzer.passes.cross import MIN_RETURNS, correlations
from analyzer.passes.groups import Instrument
from analyzer.reports.charts import Chart, area, words_of
from analyzer.reports.model import Report
from analyzer.reports.names import clean, title

LONG, SHORT = 70, 35
"""The score's bounds as they come; a configuration may have others."""
NUMBERED = 8
"""A larger matrix has no room for numbers in its cells."""
MAX_LINES = 6


def scores(report: Report) -> Chart | None:
    """The scores over time, or None where there are fewer than two of each."""
    lines = {name: points for name, points in report.scores.items() if len(points) > 1}
    if not lines:
        return None
    chosen = sorted(lines, key=lambda name: -abs(lines[name][-1][1] - 50))[:MAX_LINES]
    traces = [
        line(
            html.escape(title(name), quote=False), lines[name], SERIES[n % len(SERIES)], Axis("", floor=False)
        )
        for n, name in enumerate(chosen)
    ]
    span = (report.window.start_us // 1000, report.window.end_us // 1000)
    figure = over_time(traces, Axis("", ",", floor=False), span)
    figure["layout"]["yaxis"]["range"] = [0, 100]
    figure["layout"]["shapes"] = [
        _zone(LONG, 100, "var(--buy)"),
        _zone(0, SHORT, "var(--sell)"),
    ]
    caption = f"0 to 100; shaded: long from {LONG}, short up to {SHORT}"
    if len(lines) > len(chosen):
        caption += f"; the {len(chosen)} furthest from 50 of {len(lines)}"
    return Chart("scores", "Scores over time", caption, figure, wide=True)


def _zone(low: float, high: float, color: str) -> dict[str, Any]:
    return area(low, high) | {"fillcolor": color}


def matrix(report: Report) -> tuple[list[str], list[list[float | None]]] | None:
    """Labels and correlations; None in a cell, and instead of all, where too few returns are common."""
    rho = correlations(report.returns) if len(report.returns) else np.empty((0, 0))
    if not np.isfinite(rho[~np.eye(len(rho), dtype=bool)]).any():
        return None
    values = [[float(value) if np.isfinite(value) else None for value in row] for row in rho]
    return _labels(report.related), values


def correlation(report: Report) -> Chart:
    heading, step = "Correlation matrix", words_of(report.returns_s)
    found = matrix(report)
    if found is None:
        needed = f"two instruments with {MIN_RETURNS} common {step} returns are needed"
        return Chart("correlation", heading, needed, None)
    labels = [html.escape(label, quote=False) for label in found[0]]
    heat: dict[str, Any] = {
        "type": "heatmap",
        "x": labels,
        "y": labels,
        "z": [[None if value is None else round(value, 3) for value in row] for row in found[1]],
        "zmin": -1,
        "zmax": 1,
        "colorscale": [[0, "var(--sell)"], [0.5, "var(--panel)"], [1, "var(--accent)"]],
        "hovertemplate": "%{y} and %{x}: %{z:.2f}<extra></extra>",
        "colorbar": {"thickness": 8, "outlinewidth": 0},
        "xgap": 1,
        "ygap": 1,
    }
    if len(labels) <= NUMBERED:
        heat |= {"texttemplate": "%{z:.2f}", "showscale": False}
    figure = over_time([heat], Axis(""), (0, 1))
    axis = {"automargin": True, "fixedrange": True, "type": "category", "showgrid": False}
    figure["layout"] |= {
        "xaxis": axis | {"tickangle": -45},
        "yaxis": axis | {"autorange": "reversed"},
        "hovermode": "closest",
    }
    return Chart(
        "correlation",
        heading,
        f"of {step} log returns of the last trades; the most traded instruments",
        figure,
    )


def _labels(names: Sequence[Instrument]) -> list[str]:
    """Symbols, with as much of the venue as tells them apart."""
    symbols = [clean(name[2]) for name in names]
    short = [
        symbol if symbols.count(symbol) == 1 else f"{symbol} {clean(name[0])} {clean(name[1])}"
        for symbol, name in zip(symbols, names, strict=True)
    ]
    return [text if len(text) <= 28 else f"{text[:27]}…" for text in short]
