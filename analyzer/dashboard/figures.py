"""Charts as plain Plotly figures. Colours are names of CSS variables: the page puts in those of light or dark."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

SERIES = (
    "var(--series-1)",
    "var(--series-2)",
    "var(--series-3)",
    "var(--series-4)",
    "var(--series-5)",
    "var(--series-6)",
)
BUY, SELL, MUTED, LIMIT = "var(--buy)", "var(--sell)", "var(--muted)", "var(--bad)"
MAX_LINES = 8
"""Of one chart; what is beyond is left out and said in the caption."""

Points = Sequence[tuple[float, float | None]]
"""(milliseconds since the epoch or price, value)"""


class Chart(msgspec.Struct, omit_defaults=True):
    """One panel's content."""

    caption: str = ""
    """What the chart says, in numbers with units: for those who can't see it, and at a glance."""
    empty: str = ""
    """Why there is nothing to draw, and what to do."""
    figure: dict[str, Any] | None = None


class Axis(msgspec.Struct, frozen=True):
    """The value axis: SI prefixes (k, M, m, µ) stand before the unit."""

    unit: str
    format: str = "~s"
    """d3's; a comma alone for numbers that people know written out, such as prices."""
    floor: bool = True
    """Whether it begins at 0."""
    step: float = 0.0
    """Between the ticks; 0: as Plotly likes."""

    def hover(self) -> str:
        return f"%{{y:{'.4~s' if self.format == '~s' else self.format}}}{self.unit}"


def line(name: str, points: Points, color: str, axis: Axis, **more: Any) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [at for at, _ in points],
        "y": [rounded(value) for _, value in points],
        "line": {"color": color, "width": 1.75} | more.pop("line", {}),
        "hovertemplate": f"{axis.hover()}<extra>{name}</extra>",
        **more,
    }


def bars(name: str, points: Points, color: str, axis: Axis, width_ms: int) -> dict[str, Any]:
    """Each stands over its interval, which begins at the point's time."""
    return {
        "type": "bar",
        "name": name,
        "x": [at + width_ms / 2 for at, _ in points],
        "y": [rounded(value) for _, value in points],
        "width": round(width_ms * 0.8),
        "marker": {"color": color},
        "hovertemplate": f"{axis.hover()}<extra>{name}</extra>",
    }


def over_time(
    traces: Sequence[Mapping[str, Any]], axis: Axis, span: tuple[int, int], **layout: Any
) -> dict[str, Any]:
    """A figure over [from, to) in milliseconds; times are UTC, as Plotly takes numbers for."""
    shown = {"type": "date", "range": list(span), "hoverformat": "%Y-%m-%d %H:%M:%S UTC"} | _GRID
    return {"data": list(traces), "layout": _layout(shown, axis, len(traces)) | layout}


def over_price(traces: Sequence[Mapping[str, Any]], axis: Axis, span: tuple[float, float]) -> dict[str, Any]:
    return {
        "data": list(traces),
        "layout": _layout({"range": list(span), "tickformat": ","} | _GRID, axis, len(traces)),
    }


_GRID = {
    "gridcolor": "var(--grid)",
    "linecolor": "var(--line)",
    "zeroline": False,
    "fixedrange": True,
    "automargin": True,
    "nticks": 6,
}


def _layout(x: dict[str, Any], axis: Axis, traces: int) -> dict[str, Any]:
    y: dict[str, Any] = {"tickformat": axis.format, "ticksuffix": axis.unit, "nticks": 5} | {
        key: value for key, value in _GRID.items() if key != "nticks"
    }
    if axis.step:
        y["dtick"] = axis.step
    if axis.floor:
        y["rangemode"] = "tozero"
    return {
        "xaxis": x,
        "yaxis": y,
        "margin": {"l": 8, "r": 14, "t": 8, "b": 8},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "var(--font)", "size": 12, "color": "var(--muted)"},
        "hovermode": "x unified",
        "hoverlabel": {
            "bgcolor": "var(--panel)",
            "bordercolor": "var(--line)",
            "font": {"color": "var(--ink)"},
        },
        "dragmode": False,
        "showlegend": traces > 1,
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "xanchor": "left"},
        "bargap": 0,
    }


def broken(points: Points, longest_ms: int) -> list[tuple[float, float | None]]:
    """With a hole wherever two points are further apart: nothing was measured there, so no line is drawn."""
    whole: list[tuple[float, float | None]] = []
    for at, value in points:
        if whole and at - whole[-1][0] > longest_ms:
            whole.append((whole[-1][0] + 1, None))
        whole.append((at, value))
    return whole


def interrupted(
    points: Points, step_ms: int, holes: Sequence[tuple[int, int]]
) -> list[tuple[float, float | None]]:
    """With a break between two points where nothing was recorded. A point stands for the rows of [at, at + step_ms). Over
    time without rows the line is drawn, as nothing happened then, unless a hole (from, to; ms, in any order) reaches into
    it."""
    ordered = sorted(holes)
    starts = [low for low, _ in ordered]
    reach = list(itertools.accumulate((high for _, high in ordered), max))
    whole: list[tuple[float, float | None]] = []
    for at, value in points:
        if whole:
            end = whole[-1][0] + step_ms
            begun = bisect_left(starts, at)
            if at > end and begun and reach[begun - 1] > end:
                whole.append((end, None))
        whole.append((at, value))
    return whole


def filled(name: str, points: Points, color: str, fill: str, axis: Axis) -> list[dict[str, Any]]:
    """A line and the area down to 0, both broken where a value is None: Plotly would fill across the break."""
    ground: list[tuple[float, float | None]] = []
    for i, (at, value) in enumerate(points):
        ground += [(at, value)] if value is not None else [(points[i - 1][0], 0.0), (points[i + 1][0], 0.0)]
    under = line("", ground, color, axis, fill="tozeroy", fillcolor=fill, line={"width": 0})
    del under["hovertemplate"]
    return [under | {"hoverinfo": "skip", "showlegend": False}, line(name, points, color, axis)]


def band(low: int, high: int, color: str) -> dict[str, Any]:
    """A shaded interval of time."""
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": low,
        "x1": high,
        "y0": 0,
        "y1": 1,
        "fillcolor": color,
        "opacity": 0.18,
        "line": {"width": 0},
        "layer": "below",
    }


def rounded(value: float | None) -> float | None:
    """To eight significant digits: more than a screen shows."""
    return None if value is None else float(f"{value:.8g}")


_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"))


def si(value: float | None, unit: str) -> str:
    """Three digits with a prefix: 61.2 MB, 340 ms; "–" for none."""
    if value is None:
        return "–"
    if value == 0:
        return f"0 {unit}".strip()
    magnitude = abs(float(f"{value:.3g}"))  # 999.9 is 1 k
    factor, prefix = next(((f, p) for f, p in _PREFIXES if magnitude >= f), _PREFIXES[-1])
    return f"{value / factor:.3g} {prefix}{unit}".strip()


def span_text(seconds: float) -> str:
    """45 s, 12 min, 3.5 h, 2 days"""
    for size, name in ((2 * 86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= size:
            count = seconds / min(size, 86400)
            return f"{count:.0f} {name}" if count >= 10 else f"{count:.1f} {name}".replace(".0 ", " ")
    return f"{seconds:.0f} s"
