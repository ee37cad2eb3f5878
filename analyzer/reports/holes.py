"""The declared gaps of a window, those of many streams at once told once."""

from __future__ import annotations

import msgspec

from analyzer.dashboard.figures import span_text
from analyzer.passes.groups import Instrument
from analyzer.reports.model import Report
from analyzer.reports.names import clean, title

LISTED = 40
SECOND_US = 1_000_000


class Hole(msgspec.Struct):
    """Gaps of one cause in the same seconds."""

    streams: list[tuple[Instrument, str]]
    start_us: int
    end_us: int
    cause: str
    repaired: bool

    @property
    def where(self) -> str:
        if len(self.streams) == 1:
            name, channel = self.streams[0]
            return f"{clean(channel)} of {title(name)}"
        names, channels = {name for name, _ in self.streams}, {clean(channel) for _, channel in self.streams}
        of = title(next(iter(names))) if len(names) == 1 else f"{len(names)} instruments"
        return f"{', '.join(sorted(channels))} of {of}"

    @property
    def length(self) -> str:
        return length(self.end_us - self.start_us)


def holes(report: Report) -> list[Hole]:
    """In order of their start."""
    found: dict[tuple[str, bool, int, int], Hole] = {}
    for gap in report.gaps:
        key = (gap.cause, gap.repaired, gap.start_us // SECOND_US, gap.end_us // SECOND_US)
        hole = found.setdefault(key, Hole([], gap.start_us, gap.end_us, gap.cause, gap.repaired))
        hole.streams.append((gap.name, gap.channel))
        hole.start_us, hole.end_us = min(hole.start_us, gap.start_us), max(hole.end_us, gap.end_us)
    return sorted(found.values(), key=lambda hole: (hole.start_us, hole.cause))


def length(us: int) -> str:
    return f"{us / 1000:.0f} ms" if us < SECOND_US else span_text(us / SECOND_US)
