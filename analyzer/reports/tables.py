"""The page's tables. Every text in them is escaped; see page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from analyzer.dashboard.figures import si, span_text
from analyzer.passes import ANALYSES
from analyzer.passes.groups import Instrument
from analyzer.reports.events import events as found_events
from analyzer.reports.findings import clock, price, score_rows
from analyzer.reports.holes import LISTED, holes
from analyzer.reports.model import SCORE, Report, Total
from analyzer.reports.names import clean, percent, title, words
from analyzer.show import number

LONG = ' class="text long"'


def scores(report: Report) -> Iterable[str]:
    yield "<h2 id=scores>Scores</h2>"
    rows = {name: row for name, row in score_rows(report).items() if "score" in row or "weight" in row}
    if not rows:
        yield (
            "<p class=note>No score was computed in the last hour of this window: run <code>analyzer schedule</code>, "
            "or <code>analyzer run-once</code> with this window.</p>"
        )
        return
    yield (
        "<p class=note>0 to 100, 50 says nothing of direction; the parts count by their weights. "
        "Coverage is the share of the score's window that was recorded.</p>"
    )
    parts = [
        metric.name for metric in ANALYSES[SCORE].metrics if metric.name not in ("score", "verdict", "weight")
    ]
    heads = ["instrument", "score", "", *map(words, parts), "coverage", "window"]
    order = sorted(
        rows, key=lambda name: (-(rows[name]["score"].value if "score" in rows[name] else -1), name)
    )
    table = []
    for name in order:
        row = rows[name]
        newest = row.get("score") or row["weight"]
        verdict = row["verdict"].value if "verdict" in row else None
        word, style = {1.0: ("long", "up"), -1.0: ("short", "down"), 0.0: ("neutral", "")}.get(
            verdict if verdict is not None else 9.0, ("none", "")
        )
        cells = [_name(name), f"{row['score'].value:.0f}" if "score" in row else "–"]
        cells.append(f'<span class="verdict {style}">{word}</span>')
        cells += [f"{row[part].value:.0f}" if part in row else "–" for part in parts]
        cells.append("?" if newest.coverage is None else f"{newest.coverage:.1%}")
        cells.append(f"{span_text(newest.window_s)} to {clock(newest.ts_us)}")
        table.append(cells)
    yield _table(heads, table, "Scores")


def overview(report: Report) -> Iterable[str]:
    if not report.totals:
        return
    yield "<h2 id=instruments>Instruments</h2>"
    yield "<p class=note>Turnover, bought and liquidated in quote units over the window; the most traded first.</p>"
    heads = [
        "instrument",
        "last",
        "change",
        "price",
        "range",
        "turnover",
        "bought",
        "longs liq.",
        "shorts liq.",
    ]
    heads += ["open interest", "funding bps", "recorded"]
    yield _table(heads, [_total(total) for total in report.totals], "Instruments")


def _total(total: Total) -> list[str]:
    change = total.change
    sided = total.bought + total.sold
    interest = total.interest[1] / total.interest[0] - 1 if total.interest else None
    least = total.least_coverage
    return [
        _name(total.name),
        "–" if total.close is None else price(total.close),
        "–" if change is None else f'<span class="{_way(change)}">{percent(change)}</span>',
        _spark(total.spark, _way(change or 0.0)),
        "–" if total.low is None or total.high is None else f"{price(total.low)} – {price(total.high)}",
        si(total.notional, "") if total.trades else "–",
        f"{total.bought / sided:.0%}" if sided else "–",
        si(total.longs, "") if total.liquidations else "–",
        si(total.shorts, "") if total.liquidations else "–",
        "–" if interest is None else percent(interest),
        "–" if total.funding is None else f"{total.funding * 1e4:.3g}",
        "?" if least is None else f"{least:.1%}",
    ]


def _way(change: float) -> str:
    return "up" if change > 0 else "down" if change < 0 else ""


def _spark(values: Sequence[float], style: str) -> str:
    if len(values) < 2:
        return "–"
    low, high = min(values), max(values)
    spread = high - low or 1.0
    points = " ".join(
        f"{100 * n / (len(values) - 1):.1f},{1 + 18 * (1 - (value - low) / spread):.1f}"
        for n, value in enumerate(values)
    )
    return (
        f'<svg class="spark {style}" viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true">'
        f'<polyline points="{points}"/></svg>'
    )


def events(report: Report) -> Iterable[str]:
    found = found_events(report)
    if not found:
        return
    yield "<h2 id=events>Events and suspicions</h2>"
    yield (
        "<p class=note>What the analyses found in their newest windows, with the first of the rows on which each rests. "
        "A suspicion is no proof.</p>"
    )
    rows = []
    for one in found:
        rest = f"; {one.more} more" if one.more else ""
        evidence = ", ".join(f"{key} {value}" for key, value in one.evidence)
        value = number(one.value) + ("" if one.unit == "count" else f" {one.unit}")
        rows.append([_name(one.name), escape(value), escape(one.definition), escape(evidence + rest)])
    yield _table(["instrument", "number", "what", "evidence"], rows, "Events", text=(2, 3))


def gaps(report: Report) -> Iterable[str]:
    yield "<h2 id=gaps>Gaps</h2>"
    found = holes(report)
    if not found:
        yield "<p class=note>No declared gap reaches into this window.</p>"
        return
    more = " The first of them only." if report.more_gaps or len(found) > LISTED else ""
    about = "What was not recorded, and why. Repaired: every missing trade came from REST. Each collector declares its own."
    yield f"<p class=note>{about}{more}</p>"
    rows = [
        [
            escape(hole.where),
            f"{clock(hole.start_us)} – {clock(hole.end_us)}",
            escape(hole.length),
            escape(words(hole.cause)),
            hole.kept,
        ]
        for hole in found[:LISTED]
    ]
    yield _table(["of", "time", "length", "cause", "repaired"], rows, "Gaps", text=(0,))


def numbers(report: Report) -> Iterable[str]:
    """All newest signals of the charted instruments, an analysis each, folded."""
    names = [one.name for one in report.charted]
    known = {(one.name, one.analysis, one.metric): one for one in report.signals if one.name in names}
    if not known:
        return
    yield "<h2 id=numbers>All numbers</h2>"
    yield "<p class=note>The newest signals of the charted instruments; <code>analyzer metrics</code> defines them.</p>"
    for analysis in ANALYSES.values():
        rows = []
        for metric in analysis.metrics:
            found = [known.get((name, analysis.name, metric.name)) for name in names]
            if any(found):
                cells = [number(one.value) if one else "–" for one in found]
                rows.append(
                    [f"{escape(words(metric.name))} <span class=venue>{escape(metric.unit)}</span>", *cells]
                )
        if rows:
            heads = ["", *(brief(title(name)) for name in names)]
            yield f"<details><summary>{escape(words(analysis.name))}</summary>{_table(heads, rows, analysis.name)}</details>"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], label: str, text: Sequence[int] = ()) -> str:
    """`heads` are text, cells are HTML."""
    head = "".join(
        f"<th{' class=text' if n in text else ''}>{escape(one)}</th>" for n, one in enumerate(heads)
    )
    body = "".join(
        "<tr>"
        + "".join(f"<td{LONG if n in text else ''}>{cell}</td>" for n, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(label)}"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _name(name: Instrument) -> str:
    exchange, market, symbol = (escape(clean(part)) for part in name)
    return f'<span class=name title="{symbol}">{symbol}</span><span class=venue>{exchange} {market}</span>'


def brief(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:59]}…"
