"""The audit for people: sections of words and tables, which a format then writes out."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from analyzer.audit.figures import Figures, delay
from analyzer.audit.finding import Finding, Step, worst
from analyzer.audit.memory import RunMemory
from analyzer.audit.steps import areas_of
from analyzer.audit.timeline import timeline_of
from analyzer.windows import moment

MOST_ROWS = 100
BLOCKS = "▁▂▃▄▅▆▇█"
MARKS = {"ok": "ok", "warning": "WARNING", "critical": "CRITICAL", "unknown": "unknown"}


class Section(msgspec.Struct):
    title: str
    text: list[str] = msgspec.field(default_factory=list)
    """Paragraphs."""
    header: Sequence[str] = ()
    rows: list[list[str]] = msgspec.field(default_factory=list)
    plot: str = ""
    """What a format that can draw puts here: "memory"."""


def sections_of(figures: Figures, findings: Sequence[Finding], steps: Sequence[Step]) -> list[Section]:
    return [
        _summary(findings),
        _next(steps),
        _memory(figures),
        _restarts(figures),
        _questdb(figures),
        _coverage(figures),
        _streams(figures),
        _latency(figures),
        _thresholds(findings),
        _timeline(figures),
    ]


def heading(figures: Figures, findings: Sequence[Finding]) -> tuple[str, str]:
    """Title, and what the audit is of."""
    window = figures.facts.window
    verdict = MARKS[worst([finding.verdict for finding in findings])]
    span = f"{window.start:%Y-%m-%d %H:%M:%S} – {window.end:%Y-%m-%d %H:%M:%S} UTC"
    begun = moment(figures.audited_from)
    later = f"; nothing ran before {begun:%Y-%m-%d %H:%M:%S}" if begun > window.start else ""
    return f"Audit: {verdict}", f"{span} ({window.seconds / 3600:,.4g} h{later})"


def _summary(findings: Sequence[Finding]) -> Section:
    rows = [[area, MARKS[verdict], summary] for area, (verdict, summary) in areas_of(findings).items()]
    return Section("Summary", header=("area", "verdict", "what"), rows=rows)


def _next(steps: Sequence[Step]) -> Section:
    if not steps:
        return Section("What to do next", ["Nothing."])
    rows = [[step.area, step.text, step.command] for step in steps]
    return Section("What to do next", header=("area", "do", "command"), rows=rows)


def _memory(figures: Figures) -> Section:
    header = (
        "process",
        "from",
        "hours",
        "first",
        "now",
        "peak",
        "MB/h",
        "95 %",
        "to limit",
        "swap",
        "cores",
        "line",
    )
    rows = [
        [
            run.process,
            _time(run.from_us),
            f"{(run.to_us - run.from_us) / 3.6e9:,.2f}",
            f"{run.baseline_mb:,.0f}",
            f"{run.rss_mb:,.0f}" if run.running else f"({run.rss_mb:,.0f})",
            f"{run.peak_mb:,.0f}",
            _number(run.growth_mb_per_hour, "+,.1f"),
            f"{run.growth_low:+,.1f} … {run.growth_high:+,.1f}" if run.growth_low is not None else "–",
            f"{run.hours_to_limit:,.1f} h" if run.hours_to_limit is not None else "–",
            f"{run.swap_mb:,.0f}",
            _number(run.cpu, ".2f"),
            sparkline(run),
        ]
        for run in figures.runs[-MOST_ROWS:]
    ]
    text = ["RSS in MB (10⁶ bytes) of each process; in brackets: it runs no more."]
    return Section("Memory, swap and CPU", text, header, rows, "memory")


def sparkline(run: RunMemory, width: int = 24) -> str:
    """The line from its lowest to its highest value, in eight steps."""
    values = [value for _, value in run.line]
    step = max(1, len(values) // width)
    values = [max(values[at : at + step]) for at in range(0, len(values), step)]
    low, high = min(values), max(values)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in values)


def _restarts(figures: Figures) -> Section:
    if not figures.restarts:
        return Section("Restarts", ["None."])
    rows = [
        [
            _time(restart.at),
            restart.previous,
            restart.process,
            f"{restart.down_s:,.0f}",
            restart.cause,
            restart.detail or "–",
        ]
        for restart in figures.restarts[-MOST_ROWS:]
    ]
    header = ("at", "after", "process", "down, s", "cause", "detail")
    return Section("Restarts", header=header, rows=rows)


def _questdb(figures: Figures) -> Section:
    title = "QuestDB"
    if figures.absences is None:
        return Section(
            title,
            ["The tables are of a version that does not tell: 'collector migrate' brings them up to date."],
        )
    if not figures.absences:
        return Section(title, ["No collector saw it away."])
    rows = [
        [
            _time(one.since) if one.attempts else f"after {_time(one.since)}",
            _time(one.until),
            one.away,
            one.how,
            one.process,
            f"{one.waiting_rows:,}" if one.waiting_rows is not None else "–",
            _time(one.caught_up) if one.caught_up is not None else "not known to be",
            one.detail,
        ]
        for one in figures.absences[-MOST_ROWS:]
    ]
    text = [
        "While it is away rows wait in the journal; it has all of them at the time told under 'all stored'."
    ]
    lost = sum(one.lost for one in figures.absences)
    if lost:
        text.append(f"The journal lost some meanwhile: {lost} gaps, below, are declared for its sake.")
    header = ("away from", "to", "for", "how", "process", "rows that waited", "all stored", "detail")
    return Section(title, text, header, rows)


def _coverage(figures: Figures) -> Section:
    share = "unknown" if figures.coverage is None else f"{figures.coverage:.4%}"
    text = [f"Recorded: {share} of the streams' time. Every hole, by cause:"]
    several = figures.several
    if several:
        text.append(
            "Each collector declares its own; the share counts what none of them has recorded: lost are the gaps of which "
            "neither another collector nor REST has everything."
        )
    rows = [
        [
            _time(one.start),
            _time(one.end) if one.end is not None else "open",
            f"{((one.end or figures.facts.window.end_us) - one.start) / 1e6:,.1f}",
            f"{one.exchange} {one.market}{f' by {one.collector}' if several else ''}",
            one.cause,
            str(len(one.streams)),
            str(one.gaps),
            f"{one.repaired} ({one.recovered:,} trades)" if one.recovered else str(one.repaired),
            *([str(one.lost) if one.lost else "none"] if several else []),
        ]
        for one in figures.incidents[-MOST_ROWS:]
    ]
    if len(figures.incidents) > MOST_ROWS:
        text.append(f"The last {MOST_ROWS} of {len(figures.incidents)}; --format json has every gap.")
    header = (
        "from",
        "to",
        "s",
        "market",
        "cause",
        "streams",
        "gaps",
        "repaired",
        *(["lost"] if several else []),
    )
    return Section("Coverage and gaps", text, header, rows)


def _streams(figures: Figures) -> Section:
    lowest: dict[tuple[str, str], float] = {}
    for stream in figures.streams:
        key = stream.exchange, stream.market
        lowest[key] = min(lowest.get(key, 1.0), stream.coverage)
    rows = [
        [
            f"{feed.exchange} {feed.market}",
            str(feed.streams),
            _number(feed.messages, ",.0f"),
            _number(feed.messages_per_hour, ",.0f"),
            f"{feed.network_errors} ({feed.network_errors_per_hour:,.1f}/h)",
            str(feed.connections),
            str(feed.silences),
            str(feed.bad_messages),
            f"{lowest[feed.exchange, feed.market]:.3%}" if (feed.exchange, feed.market) in lowest else "–",
        ]
        for feed in figures.feeds
    ]
    handler = figures.handle_max_us
    text = [
        f"{_number(figures.messages, ',')} messages, {figures.reconnects:,} reconnects, "
        f"{figures.bad_messages:,} unreadable. "
        f"Event loop late by {_number(figures.loop_lag_ms.p99, ',.0f')} ms (p99), at most "
        f"{_number(figures.loop_lag_ms.peak, ',.0f')} ms; slowest message {_number(handler.peak, ',.0f')} µs."
    ]
    header = (
        "market",
        "streams",
        "messages",
        "per hour",
        "network errors",
        "connections",
        "silences",
        "unreadable",
        "least covered",
    )
    return Section("Streams", text, header, rows)


def _latency(figures: Figures) -> Section:
    late, ship = delay(figures.facts), figures.ship_lag_ms
    rows = [
        [
            "exchange to here, ms",
            "–",
            _number(late.p50_ms if late else None),
            _number(late.p99_ms if late else None),
            "–",
        ],
        [
            "journal to QuestDB, ms",
            _number(ship.now),
            _number(ship.p50),
            _number(ship.p99),
            _number(ship.peak),
        ],
    ]
    return Section("Latency", header=("way", "now", "p50", "p99", "most"), rows=rows)


def _thresholds(findings: Sequence[Finding]) -> Section:
    rows = [
        [
            finding.name,
            _quantity(finding.value, finding.unit),
            _quantity(finding.warning, finding.unit),
            _quantity(finding.critical, finding.unit),
            MARKS[finding.verdict],
        ]
        for finding in findings
    ]
    return Section("Thresholds", header=("figure", "value", "warning", "critical", "verdict"), rows=rows)


def _timeline(figures: Figures) -> Section:
    rows = [[_time(entry.at), entry.kind, entry.text] for entry in timeline_of(figures)[-MOST_ROWS:]]
    if not rows:
        return Section("Timeline", ["Nothing happened."])
    return Section("Timeline", header=("at", "what", ""), rows=rows)


def _time(us: int) -> str:
    return f"{moment(us):%m-%d %H:%M:%S}"


def _number(value: float | None, form: str = ",.1f") -> str:
    return "–" if value is None else format(value, form)


def _quantity(value: float | None, unit: str) -> str:
    if value is None:
        return "–"
    if unit == "bytes":
        return f"{value / 1e9:,.2f} GB"
    if unit == "share":
        return f"{value:.3%}"
    return f"{value:,.6g} {unit}" if unit != "count" else f"{value:,.0f}"
