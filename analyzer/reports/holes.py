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
    lost_us: int
    """The longest part that nobody has."""
    elsewhere: bool
    """Whether another collector has some of it."""

    @property
    def kept(self) -> str:
        """Whether its rows are there nevertheless."""
        if self.repaired or not self.elsewhere:
            return "yes" if self.repaired else "no"
        if not self.lost_us:
            return "another collector has it"
        return f"another collector has it but for {length(self.lost_us)}"

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
    found: dict[tuple[str, bool, int, int, int, bool], Hole] = {}
    for gap in report.gaps:
        lost = max((high - low for low, high in gap.lost), default=0)
        times = (gap.start_us // SECOND_US, gap.end_us // SECOND_US, lost // SECOND_US)
        key = (gap.cause, gap.repaired, *times, gap.elsewhere)
        hole = found.setdefault(
            key, Hole([], gap.start_us, gap.end_us, gap.cause, gap.repaired, lost, gap.elsewhere)
        )
        hole.streams.append((gap.name, gap.channel))
        hole.lost_us = max(hole.lost_us, lost)
        hole.start_us, hole.end_us = min(hole.start_us, gap.start_us), max(hole.end_us, gap.end_us)
    return sorted(found.values(), key=lambda hole: (hole.start_us, hole.cause))


def length(us: int) -> str:
    return f"{us / 1000:.0f} ms" if us < SECOND_US else span_text(us / SECOND_US)
