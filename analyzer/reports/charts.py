"""One instrument's charts as plain Plotly figures, in the dashboard's style: colours are names of CSS variables."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import numpy as np

from analyzer.dashboard.figures import (
    BUY,
    SELL,
    SERIES,
    Axis,
    Points,
    band,
    bars,
    filled,
    interrupted,
    line,
    over_time,
    rounded,
    si,
)
from analyzer.reports.charted import Charted
from analyzer.reports.findings import price
from analyzer.reports.names import percent
from analyzer.windows import Window

MAX_BANDS = 50
SIGNED, PRICE = Axis("", floor=False), Axis("", ",", floor=False)


class Chart(msgspec.Struct, frozen=True):
    """One figure and what it says."""

    name: str
    """Unique on the page."""
    heading: str
    caption: str
    """In numbers with units."""
    figure: dict[str, Any] | None
    """None where there is nothing to draw; the caption says why."""
    wide: bool = False


def of_symbol(one: Charted, window: Window, number: int) -> list[Chart]:
    span = (window.start_us // 1000, window.end_us // 1000)
    found = (
        ("price", "Price and volume profile", _price(one, span), True),
        ("cvd", "Cumulative volume delta", _cvd(one, span), False),
        ("book", "Order book", _book(one, span), False),
        ("forced", "Liquidations", _forced(one, span), False),
        ("interest", "Open interest and funding", _interest(one, span), False),
    )
    return [
        Chart(f"{kind}-{number}", heading, caption, figure, wide)
        for kind, heading, (caption, figure), wide in found
    ]


Drawn = tuple[str, dict[str, Any] | None]


def _broken(one: Charted, channel: str, step_s: int, points: Points, shift_ms: int = 0) -> Points:
    """A line through steps of [at, at + step_s), not drawn over what nobody recorded; each point `shift_ms` after its step's
    start."""
    holes = [(low // 1000, high // 1000) for low, high in one.holes.get(channel, ())]
    return [(at + shift_ms, value) for at, value in interrupted(points, step_s * 1000, holes)]


def _shaded(one: Charted) -> list[dict[str, Any]]:
    holes = one.holes.get("trades", ())[:MAX_BANDS]
    return [band(low // 1000, high // 1000, "var(--bad)") for low, high in holes]


def _price(one: Charted, span: tuple[int, int]) -> Drawn:
    rows = one.bars
    if not rows["ts"]:
        return "nothing traded", None
    middles = [at + one.step_s * 500 for at in rows["ts"]]
    candles = {
        "type": "candlestick",
        "name": "price",
        "x": middles,
        **{key: [rounded(value) for value in rows[key]] for key in ("open", "high", "low", "close")},
        "increasing": {"line": {"color": BUY, "width": 1}, "fillcolor": BUY},
        "decreasing": {"line": {"color": SELL, "width": 1}, "fillcolor": SELL},
        "showlegend": False,
    }
    volumes, notionals = itertools.accumulate(rows["volume"]), itertools.accumulate(rows["notional"])
    vwap = [notional / volume for notional, volume in zip(notionals, volumes, strict=True)]
    points = _broken(one, "trades", one.step_s, list(zip(rows["ts"], vwap, strict=True)), one.step_s * 500)
    traces = [
        candles,
        line("VWAP since the start", points, SERIES[3], PRICE, line={"width": 1.5, "dash": "dot"}),
    ]
    shapes = _shaded(one)
    caption = f"last {price(rows['close'][-1])}, {price(min(rows['low']))} to {price(max(rows['high']))}, "
    caption += f"VWAP {price(vwap[-1])}; candles of {words_of(one.step_s)}"
    figure = over_time(traces, PRICE, span, shapes=shapes)
    layout = figure["layout"]
    layout["xaxis"]["rangeslider"] = {"visible": False}
    if one.profile is not None:
        figure["data"] += _profile(one)
        layout["barmode"] = "stack"
        layout["xaxis"]["domain"] = [0, 0.82]
        layout["xaxis2"] = {
            "domain": [0.84, 1],
            "showticklabels": False,
            "fixedrange": True,
            "zeroline": False,
        }
        layout["xaxis2"]["showgrid"] = False
        layout["shapes"] = [*shapes, area(one.profile.value_low, one.profile.value_high)]
        caption += (
            f"; most volume at {price(one.profile.poc)}, 70% of it between {price(one.profile.value_low)} "
        )
        caption += f"and {price(one.profile.value_high)} (shaded)"
    count = len(one.holes.get("trades", ()))
    if count:
        caption += f"; {count} gap{'s' if count > 1 else ''} in its trades (red)"
    layout["showlegend"] = False
    return caption, figure


def _profile(one: Charted) -> list[dict[str, Any]]:
    assert one.profile is not None
    edges = one.profile.edges
    middles = [rounded((low + high) / 2) for low, high in itertools.pairwise(edges)]
    return [
        {
            "type": "bar",
            "orientation": "h",
            "xaxis": "x2",
            "name": name,
            "x": [rounded(value) for value in values],
            "y": middles,
            "width": edges[1] - edges[0],
            "marker": {"color": color, "line": {"width": 0}},
            "opacity": 0.75,
            "hovertemplate": "%{x:.4~s} at %{y:,}<extra>" + name + "</extra>",
        }
        for name, values, color in (("bought", one.profile.buys, BUY), ("sold", one.profile.others, SELL))
    ]


def area(low: float, high: float) -> dict[str, Any]:
    return {
        "type": "rect",
        "xref": "paper",
        "yref": "y",
        "x0": 0,
        "x1": 1,
        "y0": low,
        "y1": high,
        "fillcolor": "var(--series-4)",
        "opacity": 0.07,
        "line": {"width": 0},
        "layer": "below",
    }


def _cvd(one: Charted, span: tuple[int, int]) -> Drawn:
    rows = one.bars
    if not rows["ts"]:
        return "nothing traded", None
    steps = [buys - sells for buys, sells in zip(rows["buys"], rows["sells"], strict=True)]
    total = list(itertools.accumulate(steps))
    points = _broken(one, "trades", one.step_s, list(zip(rows["ts"], total, strict=True)), one.step_s * 1000)
    traces = filled("CVD", points, SERIES[3], "var(--fill-4)", SIGNED)
    shapes = _shaded(one)
    volume = sum(rows["volume"])
    caption = f"{'+' if total[-1] > 0 else ''}{_short(total[-1])} base units: taker buys less taker sells, "
    caption += f"of {_short(volume)} traded; between {_short(min(total))} and {_short(max(total))}"
    return caption, over_time(traces, SIGNED, span, shapes=shapes, showlegend=False)


def _short(value: float) -> str:
    return f"−{si(-value, '')}" if value < 0 else si(value, "")


def _book(one: Charted, span: tuple[int, int]) -> Drawn:
    if one.book is None:
        return "no order book was recorded", None
    notional = one.book.notional
    with np.errstate(divide="ignore"):
        z = np.where(notional > 0, np.round(np.log10(notional), 2), np.nan)
    low, high = np.nanquantile(z, (0.05, 0.995))
    ticks = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    heat = {
        "type": "heatmap",
        "x": one.book.ts_ms,
        "y": [rounded(value) for value in one.book.prices],
        "z": [[None if np.isnan(value) else float(value) for value in row] for row in z],
        "zmin": float(low),
        "zmax": float(max(high, low + 0.1)),
        "customdata": [[float(f"{value:.3g}") for value in row] for row in notional],
        "colorscale": [[0, "var(--heat-0)"], [0.5, "var(--heat-1)"], [1, "var(--heat-2)"]],
        "colorbar": {
            "tickvals": list(ticks),
            "ticktext": [si(10.0**tick, "") for tick in ticks],
            "thickness": 8,
            "outlinewidth": 0,
            "len": 0.9,
        },
        "hovertemplate": "%{customdata:.3~s} at %{y:,}<extra>resting notional</extra>",
        "name": "resting",
    }
    middles = [(at, mid) for at, mid in zip(one.book.ts_ms, one.book.mids, strict=True) if mid is not None]
    mid = line(
        "mid", _broken(one, "orderbook", one.book_step_s, middles), "var(--ink)", PRICE, line={"width": 1.25}
    )
    figure = over_time([heat, mid], PRICE, span)
    figure["layout"] |= {"showlegend": False, "hovermode": "closest"}
    figure["layout"]["yaxis"]["range"] = [one.book.prices[0], one.book.prices[-1]]
    at = np.unravel_index(int(np.argmax(notional)), notional.shape)
    caption = f"resting notional in quote units by price and time, with the mid; the most {si(float(notional[at]), '')} "
    caption += f"near {price(one.book.prices[at[0]])}"
    return caption, figure


def _forced(one: Charted, span: tuple[int, int]) -> Drawn:
    if not any(one.forced.values()):
        return "no liquidation", None
    traces = [
        bars(label, [(at, sign * value) for at, value in one.forced[side]], color, SIGNED, one.step_s * 1000)
        for side, label, color, sign in (("buy", "shorts closed", BUY, 1), ("sell", "longs closed", SELL, -1))
        if one.forced[side]
    ]
    sums = {side: sum(value for _, value in one.forced[side]) for side in ("sell", "buy")}
    caption = f"longs {si(sums['sell'], '')}, shorts {si(sums['buy'], '')} in quote units, by {words_of(one.step_s)}"
    return caption, over_time(traces, SIGNED, span, barmode="relative")


def _interest(one: Charted, span: tuple[int, int]) -> Drawn:
    interest = [(at, value) for at, value, _ in one.interest if value is not None]
    funding = [(at, value * 1e4) for at, _, value in one.interest if value is not None]
    if not interest and not funding:
        return "the venue tells neither", None
    caption, traces = [], []
    if interest:
        traces.append(line("open interest", _broken(one, "tickers", one.step_s, interest), SERIES[0], SIGNED))
        change = interest[-1][1] / interest[0][1] - 1 if interest[0][1] else 0.0
        caption.append(f"open interest {si(interest[-1][1], '')} ({percent(change)})")
    if funding:
        more = {"yaxis": "y2"} if interest else {}
        traces.append(
            line("funding, bps", _broken(one, "tickers", one.step_s, funding), SERIES[1], SIGNED, **more)
        )
        caption.append(f"funding {funding[-1][1]:.3g} bps an interval")
    figure = over_time(traces, SIGNED, span)
    if interest and funding:
        figure["layout"]["yaxis2"] = {
            "overlaying": "y",
            "side": "right",
            "showgrid": False,
            "fixedrange": True,
            "automargin": True,
            "nticks": 5,
            "tickmode": "auto",
        }
    return ", ".join(caption), figure


def words_of(seconds: int) -> str:
    for size, name in ((86400, "day"), (3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
