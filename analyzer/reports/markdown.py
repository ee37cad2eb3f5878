"""The report as Markdown: the same sentences and tables, and lines of text for charts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from analyzer.dashboard.figures import si
from analyzer.passes import ANALYSES
from analyzer.reports import across
from analyzer.reports.charted import Charted, Profile
from analyzer.reports.charts import of_symbol, words_of
from analyzer.reports.events import events
from analyzer.reports.findings import clock, findings, price, recorded, score_rows
from analyzer.reports.holes import LISTED, holes
from analyzer.reports.model import SCORE, Report, Total
from analyzer.reports.names import clean, percent, title, words
from analyzer.reports.page import span_of
from analyzer.show import number

SPARK = "▁▂▃▄▅▆▇█"
BAR = 24
"""Characters of the longest."""
PROFILE_ROWS = 10
SPECIAL = re.compile(r"[\\`*_\[\]<>|~&$@]|^[#+\-=.]|(?<=www)\.|:(?=//)", re.IGNORECASE)
"""What would be markup where it stands: brackets, not the parentheses behind them; signs that begin a line; addresses."""


def text(raw: str) -> str:
    """So that it means itself: no markup, no link, no HTML, no line of its own."""
    return SPECIAL.sub(lambda found: f"\\{found[0]}", clean(raw))


def markdown(report: Report) -> str:
    """The same report gives the same text."""
    parts = [
        f"# Market report, {span_of(report)}",
        f"**Recorded:** {text(recorded(report)[1])}",
        "## What stands out",
    ]
    found = findings(report)
    parts.append(
        "\n".join(f"1. {text(one.text)}" for one in found)
        if found
        else "Nothing was traded in this window. Is the collector running (`collector check`)?"
    )
    parts += _scores(report)
    parts += _overview(report)
    parts += _events(report)
    for n, one in enumerate(report.charted):
        parts += _symbol(report, n, one)
    parts += _related(report)
    parts += _gaps(report)
    return "\n\n".join(parts) + "\n"


def sparkline(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = min(values), max(values)
    if high <= low:
        return SPARK[3] * len(values)
    return "".join(
        SPARK[min(int((value - low) / (high - low) * len(SPARK)), len(SPARK) - 1)] for value in values
    )


def _scores(report: Report) -> Iterable[str]:
    rows = {name: row for name, row in score_rows(report).items() if "score" in row}
    if not rows:
        return
    parts = [
        metric.name for metric in ANALYSES[SCORE].metrics if metric.name not in ("score", "verdict", "weight")
    ]
    yield "## Scores"
    yield _table(
        ["instrument", "score", "verdict", *map(words, parts), "coverage"],
        [
            [
                text(title(name)),
                f"{rows[name]['score'].value:.0f}",
                {1.0: "long", -1.0: "short"}.get(
                    rows[name]["verdict"].value if "verdict" in rows[name] else 0.0, "neutral"
                ),
                *(f"{rows[name][part].value:.0f}" if part in rows[name] else "–" for part in parts),
                "?" if (share := rows[name]["score"].coverage) is None else f"{share:.1%}",
            ]
            for name in sorted(rows, key=lambda name: (-rows[name]["score"].value, name))
        ],
    )


def _overview(report: Report) -> Iterable[str]:
    if report.totals:
        yield "## Instruments"
        heads = [
            "instrument",
            "last",
            "change",
            "price",
            "turnover",
            "bought",
            "longs liq.",
            "shorts liq.",
            "recorded",
        ]
        yield _table(heads, [_total(total) for total in report.totals])


def _total(total: Total) -> list[str]:
    sided = total.bought + total.sold
    least = total.least_coverage
    return [
        text(title(total.name)),
        "–" if total.close is None else price(total.close),
        "–" if total.change is None else percent(total.change),
        sparkline(total.spark),
        si(total.notional, "") if total.trades else "–",
        f"{total.bought / sided:.0%}" if sided else "–",
        si(total.longs, "") if total.liquidations else "–",
        si(total.shorts, "") if total.liquidations else "–",
        "?" if least is None else f"{least:.1%}",
    ]


def _events(report: Report) -> Iterable[str]:
    found = events(report)
    if found:
        yield "## Events and suspicions"
        yield _table(
            ["instrument", "number", "what", "first evidence"],
            [
                [
                    text(title(one.name)),
                    number(one.value) + ("" if one.unit == "count" else f" {one.unit}"),
                    text(one.definition),
                    text(", ".join(f"{key} {value}" for key, value in one.evidence)),
                ]
                for one in found
            ],
        )


def _symbol(report: Report, n: int, one: Charted) -> Iterable[str]:
    yield f"## {text(title(one.name))}"
    charts = of_symbol(one, report.window, n)
    yield "\n".join(f"- **{chart.heading}:** {text(chart.caption)}" for chart in charts)
    if one.profile is not None:
        yield "Volume by price (█ bought, ░ sold):"
        yield "```\n" + "\n".join(_profile(one.profile)) + "\n```"


def _profile(profile: Profile) -> Iterable[str]:
    """Highest price first, a few bins together."""
    each = -(-len(profile.buys) // PROFILE_ROWS)
    rows = [
        (profile.edges[n], sum(profile.buys[n : n + each]), sum(profile.others[n : n + each]))
        for n in range(0, len(profile.buys), each)
    ]
    most = max(bought + sold for _, bought, sold in rows)
    width = max(len(price(low)) for low, _, _ in rows)
    for low, bought, sold in reversed(rows):
        whole = round((bought + sold) / most * BAR)
        full = round(bought / most * BAR)
        yield f"{price(low):>{width}}  {'█' * full}{'░' * (whole - full)} {si(bought + sold, '')}"


def _related(report: Report) -> Iterable[str]:
    matrix = across.matrix(report)
    if matrix is None:
        return
    labels, rho = matrix
    yield f"## Correlation of {words_of(report.returns_s)} returns"
    rows = [
        [text(label), *("–" if value is None else f"{value:+.2f}" for value in values)]
        for label, values in zip(labels, rho, strict=True)
    ]
    yield _table(["", *map(text, labels)], rows)


def _gaps(report: Report) -> Iterable[str]:
    yield "## Gaps"
    found = holes(report)
    if not found:
        yield "No declared gap reaches into this window."
        return
    rows = [
        [
            text(hole.where),
            f"{clock(hole.start_us)} – {clock(hole.end_us)}",
            hole.length,
            text(words(hole.cause)),
            hole.kept,
        ]
        for hole in found[:LISTED]
    ]
    yield _table(["of", "time", "length", "cause", "repaired"], rows)
    if report.more_gaps or len(found) > LISTED:
        yield f"The first {len(rows)} only."


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Cells are Markdown already; the first column is text."""
    lines = [heads, [":--"] + ["--:"] * (len(heads) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
