"""The report as one HTML file that asks nobody for anything: Plotly, style and data are in it.

Names come from whoever lists symbols: every text is escaped, data is JSON that no browser runs, and the page's own policy
allows no script but the two that stand in it, and no connection.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

import msgspec

from analyzer.dashboard.figures import span_text
from analyzer.reports import across
from analyzer.reports.charts import Chart, of_symbol
from analyzer.reports.findings import findings, recorded
from analyzer.reports.model import Report
from analyzer.reports.names import clean, title
from analyzer.reports.tables import brief, events, gaps, numbers, overview, scores

GOOD, FAIR = 0.99, 0.9
"""Recorded shares from which on nothing, or not much, need be said."""


def page(report: Report) -> str:
    """The whole file. The same report gives the same text."""
    from plotly.offline import get_plotlyjs

    symbols = [of_symbol(one, report.window, n) for n, one in enumerate(report.charted)]
    over_time, related = across.scores(report), across.correlation(report)
    charts = [chart for one in symbols for chart in one] + [related] + ([over_time] if over_time else [])
    folder = Path(__file__).parent
    script = (folder / "report.js").read_text(encoding="utf-8")
    scripts = [get_plotlyjs(), script]
    body = [
        *_head(report),
        *scores(report),
        _figure(over_time, "wide") if over_time else "",
        *overview(report),
        *events(report),
        *(part for n, one in enumerate(symbols) for part in _symbol(report, n, one)),
        "<h2 id=related>How they move together</h2>",
        _figure(related, "alone"),
        *gaps(report),
        *numbers(report),
        f"<footer>{escape(_foot(report))}</footer>",
    ]
    figures = {chart.name: chart.figure for chart in charts if chart.figure is not None}
    data = msgspec.json.encode(figures).decode().replace("<", "\\u003c")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en">',
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f'<meta http-equiv="Content-Security-Policy" content="{_policy(scripts)}">',
            '<link rel="icon" href="data:,">',
            f"<title>{escape(_title(report))}</title>",
            f"<style>{(folder / 'report.css').read_text(encoding='utf-8')}</style>",
            "<body>",
            *body,
            f'<script type="application/json" id="figures">{data}</script>',
            *(f"<script>{text}</script>" for text in scripts),
            "</html>\n",
        ]
    )


def _policy(scripts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:; "
        "base-uri 'none'; form-action 'none'"
    )


def span_of(report: Report) -> str:
    window = report.window
    end = (
        f"{window.end:%H:%M:%S}"
        if window.start.date() == window.end.date()
        else f"{window.end:%Y-%m-%d %H:%M:%S}"
    )
    return f"{window.start:%Y-%m-%d %H:%M:%S} to {end} UTC"


def _title(report: Report) -> str:
    return f"Market report, {span_of(report)}"


def _foot(report: Report) -> str:
    return (
        f"Evenkeel's report of {span_of(report)}. Prices are in quote units, sizes in base units, turnover in quote units; "
        "times are UTC, the window's end is not in it. Nothing here is advice."
    )


def _head(report: Report) -> Iterable[str]:
    share, text = recorded(report)
    state = "bad" if share is None or share < FAIR else "warning" if share < GOOD else "ok"
    yield "<header>"
    yield "<h1>Market report</h1>"
    yield f"<p class=span>{escape(span_of(report))} · {escape(span_text(report.window.seconds))}</p>"
    yield f'<p class="recorded {state}"><b>Recorded:</b> {escape(text)}</p>'
    if report.charted:
        links = "".join(
            f'<a href="#symbol-{n}">{escape(brief(title(one.name)))}</a>'
            for n, one in enumerate(report.charted)
        )
        yield f'<nav aria-label="Instruments">{links}</nav>'
    yield "</header>"
    yield "<h2 id=findings>What stands out</h2>"
    found = findings(report)
    if not found:
        yield "<p>Nothing was traded in this window. Is the collector running (<code>collector check</code>)?</p>"
        return
    yield "<ol class=findings>"
    for one in found:
        yield f"<li><span class=kind>{escape(one.kind)}</span>{escape(one.text)}</li>"
    yield "</ol>"


def _symbol(report: Report, n: int, charts: Sequence[Chart]) -> Iterable[str]:
    exchange, market, symbol = report.charted[n].name
    venue = f"{clean(exchange)} {clean(market)}"
    yield f'<h2 id="symbol-{n}">{escape(brief(clean(symbol)))} <small>{escape(venue)}</small></h2>'
    yield "<div class=grid>"
    for chart in charts:
        yield _figure(chart, "wide" if chart.wide else "")
    yield "</div>"


def _figure(chart: Chart, style: str) -> str:
    plot = f'<div class=plot data-chart="{escape(chart.name)}"></div>' if chart.figure is not None else ""
    return (
        f'<figure class="panel {style}"><h3>{escape(chart.heading)}</h3>'
        f"<figcaption>{escape(chart.caption)}</figcaption>{plot}</figure>"
    )
