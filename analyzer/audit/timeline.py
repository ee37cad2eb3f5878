"""What happened, in order of time: starts and ends, holes, broken connections, alerts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from analyzer.audit.facts import Event
from analyzer.audit.figures import Figures

LONGEST = 500
TOLD = frozenset(
    {"connect_failed", "banned", "rejected", "server_shutdown", "capture_failing", "added", "dropped"}
)
"""Events of feeds that stand for themselves; the others come with a gap."""


class Entry(msgspec.Struct, frozen=True):
    at: int
    """µs"""
    kind: str
    text: str


def timeline_of(figures: Figures) -> list[Entry]:
    """The newest LONGEST of them."""
    return sorted(_entries(figures), key=lambda entry: entry.at)[-LONGEST:]


def _entries(figures: Figures) -> Iterator[Entry]:
    start = figures.facts.window.start_us
    restarted = {(restart.at, restart.process): restart for restart in figures.restarts}
    for run in figures.runs:
        restart = restarted.get((run.from_us, run.process))
        if restart is not None:
            how = f"{restart.cause}{f', {restart.detail}' if restart.detail else ''}"
            text = f"{run.process} started, {restart.down_s:,.0f} s after {restart.previous} ({how})"
            yield Entry(run.from_us, "restart", text)
        elif run.from_us >= start and run.process not in figures.facts.earlier:
            yield Entry(run.from_us, "start", f"{run.process} seen first")
        if not run.running:
            how = f"; {run.ended}" if run.ended else ""
            yield Entry(run.to_us, "end", f"{run.process} seen last, {run.rss_mb:,.0f} MB{how}")
    for event in figures.facts.process_events:
        if event.ts >= start and event.event != "started":
            yield Entry(event.ts, event.event, f"{event.process}: {event.cause} {event.detail}".rstrip())
    for absence in figures.absences or ():
        yield Entry(absence.since, "questdb away", f"{absence.process} {absence.how}: {absence.detail}")
        yield Entry(
            absence.until,
            "questdb back",
            f"after {absence.away}, {absence.attempts} attempts; {absence.waited}",
        )
        if absence.caught_up is not None:
            yield Entry(absence.caught_up, "questdb caught up", "it has every row that waited for it")
    for incident in figures.incidents:
        lasts = "lasts" if incident.end is None else f"{(incident.end - incident.start) / 1e6:,.1f} s"
        fetched = f", {incident.recovered:,} trades fetched" if incident.recovered else ""
        whose = f" by {incident.collector}" if figures.several and incident.collector else ""
        text = (
            f"{incident.exchange} {incident.market}{whose}: {incident.cause}, {len(incident.streams)} streams, {lasts}, "
            f"{incident.repaired} of {incident.gaps} gaps repaired{fetched}"
        )
        if incident.elsewhere:
            text += f", {incident.elsewhere} recorded by another collector"
        yield Entry(incident.start, "gap", text)
    for kind, text, times in _repeated(figures.facts.events):
        lasted = (times[-1] - times[0]) / 60e6
        more = f" ({len(times)} times in {lasted:,.1f} min)" if len(times) > 1 else ""
        yield Entry(times[0], kind, text + more)
    for alert in figures.facts.alerts:
        yield Entry(alert.ts, f"alert {alert.state}", f"{alert.rule}: {alert.message}")


def _repeated(events: Sequence[Event]) -> Iterator[tuple[str, str, list[int]]]:
    """(event, words, times): what a feed says again and again, with nothing else of it between, is one."""
    latest: dict[tuple[str, str], tuple[str, str, list[int]]] = {}
    for told in events:
        if told.event in TOLD or told.event == "connected":
            where = " ".join(part for part in (told.exchange, told.market, told.symbol, told.channel) if part)
            text = f"{where}: {told.detail}" if told.detail else where
            feed = told.exchange, told.market
            if feed in latest and latest[feed][:2] != (told.event, text):
                yield latest.pop(feed)
            if told.event in TOLD:
                latest.setdefault(feed, (told.event, text, []))[2].append(told.ts)
    yield from latest.values()
