"""QuestDB's absences: what several collectors saw of one put together, and told in words."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from analyzer.audit.facts import Declared, Outage

LOSSES = frozenset({"journal_quota", "journal_damaged"})
"""Causes of gaps: what a journal that rows wait in too long can cost."""
HOW = {
    "killed": "killed",
    "reboot": "the machine was started anew",
    "error": "crashed",
    "unreachable": "could not be reached",
    "unseen": "ended unseen",
}
"""Cause → in words; the others are signals, by which it stopped."""


class Absence(msgspec.Struct, frozen=True):
    """Times in µs."""

    since: int
    until: int
    process: str
    event: str
    cause: str
    detail: str
    attempts: int
    waiting_rows: int | None
    """Of all collectors; None: not counted, or not all of them are stored."""
    caught_up: int | None
    lost: int
    """Gaps of these streams for the journal's sake meanwhile."""
    log: str

    @property
    def seconds(self) -> float:
        return (self.until - self.since) / 1e6

    @property
    def how(self) -> str:
        return HOW.get(self.cause, f"stopped ({self.cause})")

    @property
    def away(self) -> str:
        """How long; of one that nobody saw only the most that it can be."""
        return f"{self.seconds:,.1f} s" if self.attempts else f"at most {self.seconds:,.1f} s, unseen"

    @property
    def waited(self) -> str:
        """What became of the rows that came meanwhile."""
        if self.caught_up is None:
            text = "not all rows that waited in the journal are known to be stored"
        elif self.waiting_rows is None:
            text = "all rows that waited in the journal are stored"
        else:
            text = f"{self.waiting_rows:,} rows waited in the journal, all of them are stored"
        return f"{text}; {self.lost} gaps are declared for the journal's sake" if self.lost else text


def absences_of(outages: Sequence[Outage], gaps: Sequence[Declared]) -> list[Absence]:
    """In order. What overlaps is one: each collector has seen it."""
    groups: list[list[Outage]] = []
    for one in sorted(outages, key=lambda one: one.since):
        if (
            groups
            and one.collector not in {other.collector for other in groups[-1]}
            and any(one.since <= other.until for other in groups[-1])
        ):
            groups[-1].append(one)
        else:
            groups.append([one])
    return [_absence(group, gaps) for group in groups]


def summary(absences: Sequence[Absence]) -> str:
    """In one sentence."""
    if not absences:
        return "QuestDB was never away"
    if len(absences) == 1:
        return f"QuestDB {absences[0].how}, away for {absences[0].away}; {absences[0].waited}"
    killed = sum(one.event == "crashed" for one in absences)
    most = "" if all(one.attempts for one in absences) else "at most "
    away = f"{most}{sum(one.seconds for one in absences):,.0f} s in all"
    rows = sum(one.waiting_rows or 0 for one in absences)
    unsent = sum(one.caught_up is None for one in absences)
    stored = f"those of {unsent} times are not known to be stored" if unsent else "all of them are stored"
    return (
        f"QuestDB was away {len(absences)} times, {killed} of them killed or crashed, for {away}; "
        f"{rows:,} rows waited in the journal, {stored}"
    )


def _absence(group: Sequence[Outage], gaps: Sequence[Declared]) -> Absence:
    since, until = min(one.since for one in group), max(one.until for one in group)
    # Who manages it knows more than who only missed it.
    knows = min(group, key=lambda one: (one.event == "away", not one.attempts, one.since))
    caught_up = [one.caught_up for one in group if one.caught_up is not None]
    counts = [one.waiting_rows for one in group if one.waiting_rows is not None]
    known = len(caught_up) == len(group)
    end = max(caught_up) if known else None
    lost = [
        gap
        for gap in gaps
        if gap.cause in LOSSES and gap.start <= (end or until) and (gap.end or until) >= since
    ]
    return Absence(
        since,
        until,
        knows.process,
        knows.event,
        knows.cause,
        knows.detail,
        sum(one.attempts for one in group),
        sum(counts) if known and len(counts) == len(group) else None,
        end,
        len(lost),
        knows.log,
    )
