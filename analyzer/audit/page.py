"""Sections as one HTML page that needs nothing else: the plot and its library are in it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from analyzer.audit.memory import RunMemory
from analyzer.audit.sections import Section
from analyzer.audit.settings import IN_REACH
from analyzer.windows import moment

STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif; }
body { margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }
table { border-collapse: collapse; display: block; overflow-x: auto; margin: .6rem 0; }
th, td { border-bottom: 1px solid #8886; padding: .25rem .6rem; text-align: left; vertical-align: top; }
td:last-child { min-width: 10rem; }
.WARNING, .CRITICAL { font-weight: 600; }
.ok { color: #1a7f37; } .WARNING { color: #b35900; } .CRITICAL { color: #cf222e; }
@media (prefers-color-scheme: dark) { .ok { color: #3fb950; } .WARNING { color: #e3a008; } .CRITICAL { color: #ff7b72; } }
"""


def page(
    title: str, span: str, sections: Sequence[Section], runs: Sequence[RunMemory], limit_mb: float
) -> str:
    """`limit_mb`: what memory must not reach; drawn where it is not far above."""
    body = [f"<h1>{escape(title)}</h1><p>{escape(span)}</p>"]
    for section in sections:
        body.append(f"<h2>{escape(section.title)}</h2>")
        body += [f"<p>{escape(text)}</p>" for text in section.text]
        if section.plot == "memory" and runs:
            body.append(_memory_plot(runs, limit_mb))
        if section.rows:
            body.append(_table(section))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>"
    )


def _table(section: Section) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in section.header)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in section.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _cell(text: str) -> str:
    mark = f' class="{text}"' if text in ("ok", "WARNING", "CRITICAL") else ""
    return f"<td{mark}>{escape(text)}</td>"


def _memory_plot(runs: Sequence[RunMemory], limit_mb: float) -> str:
    import plotly.graph_objects as go

    figure = go.Figure()
    for run in runs:
        times = [moment(us) for us, _ in run.line]
        figure.add_scatter(
            x=times, y=[value for _, value in run.line], name=escape(run.process), mode="lines"
        )
    peak = max(value for run in runs for _, value in run.line)
    if peak >= IN_REACH * limit_mb:
        figure.add_hline(limit_mb, line_dash="dash", annotation_text=f"limit {limit_mb:,.0f} MB")
    figure.update_layout(
        title={
            "text": f"At most {peak:,.0f} MB, {peak / limit_mb:.1%} of the limit of {limit_mb:,.0f} MB",
            "font_size": 14,
        },
        yaxis_title="RSS, MB",
        yaxis_rangemode="tozero",
        height=360,
        margin={"t": 40},
        template="plotly_white",
    )
    return str(figure.to_html(full_html=False, include_plotlyjs=True))
