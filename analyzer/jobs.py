"""What the schedule consists of: which analyses, how often, over which windows; and what it has done and missed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from analyzer.config import AnalyzerConfig
from analyzer.quantities import duration
from analyzer.source import Source, quoted
from analyzer.windows import Window, aligned

MICROSECOND = timedelta(microseconds=1)
LOOK_BACK = timedelta(days=30)
"""What ran longer ago is forgotten: a schedule that begins anew after that has missed nothing."""
DONE = ("ok", "empty", "skipped")


class Job(msgspec.Struct, frozen=True):
    """Analyses that share cadence and window, and so a process."""

    analyses: tuple[str, ...]
    every: timedelta
    length: timedelta

    def window(self, end: datetime) -> Window:
        return Window(end - self.length, end)

    def latest(self, now: datetime, settle: timedelta) -> datetime:
        """End of the newest window whose rows are there."""
        return aligned(now - settle, self.every)

    def next_due(self, now: datetime, settle: timedelta) -> datetime:
        return self.latest(now, settle) + self.every + settle


class Past(msgspec.Struct, frozen=True):
    """The windows of one analysis that `analysis_runs` knows of, by their end."""

    done: frozenset[datetime]
    tried: frozenset[datetime]
    """Those that failed as well."""


class Missed(msgspec.Struct, frozen=True):
    """Of one analysis."""

    ends: Sequence[datetime]
    """Within the limit, oldest first."""
    given_up: Window | None = None
    """From the first end that is beyond the limit, to the last."""


def jobs_of(
    settings: AnalyzerConfig, names: Sequence[str], every: str | None = None, window: str | None = None
) -> list[Job]:
    """`every`, `window`: instead of the configured defaults. Raises ValueError for an analysis that isn't there."""
    from analyzer.passes import ANALYSES

    for key, table in (("cadence", settings.cadence), ("windows", settings.windows)):
        for name in table:
            if name not in ANALYSES:
                raise ValueError(
                    f"key analyzer.{key}.{name}: there is no such analysis; there are {', '.join(ANALYSES)}"
                )
    groups: dict[tuple[timedelta, timedelta], list[str]] = {}
    for name in names:
        cadence = duration(settings.cadence.get(name) or every or settings.every)
        length = duration(settings.windows.get(name) or window or settings.window)
        groups.setdefault((cadence, length), []).append(name)
    return [Job(tuple(analyses), *key) for key, analyses in sorted(groups.items())]


def history(source: Source, job: Job, now: datetime, limit: timedelta) -> dict[str, Past]:
    """Only what ended at a multiple of the cadence, and was run within twice the `limit` after that: passes by hand over old
    windows are no schedule. Raises SourceError."""
    table = source.fetch(
        "SELECT analysis, status, window_to FROM analysis_runs "  # noqa: S608 - quoted
        f"WHERE {_runs_of(job, now)} AND ts::long - window_to::long < {2 * (limit + job.every) // MICROSECOND} "
        "GROUP BY analysis, status, window_to"
    )
    done: dict[str, set[datetime]] = {name: set() for name in job.analyses}
    tried: dict[str, set[datetime]] = {name: set() for name in job.analyses}
    for row in table.to_pylist():
        if aligned(row["window_to"], job.every) != row["window_to"]:
            continue
        tried[row["analysis"]].add(row["window_to"])
        if row["status"] in DONE:
            done[row["analysis"]].add(row["window_to"])
    return {name: Past(frozenset(done[name]), frozenset(tried[name])) for name in job.analyses}


def last_runs(source: Source, job: Job, now: datetime) -> dict[str, dict[str, Any]]:
    """The last run of each analysis over a window of this length: columns of `analysis_runs`. Raises SourceError."""
    table = source.fetch(
        "SELECT analysis, window_from, window_to, started, took_ms, rows_read, status, error::string error "  # noqa: S608
        f"FROM analysis_runs WHERE {_runs_of(job, now)} LATEST ON ts PARTITION BY analysis"
    )
    return {row["analysis"]: row for row in table.to_pylist()}


def _runs_of(job: Job, now: datetime) -> str:
    names = ", ".join(quoted(name) for name in job.analyses)
    length = job.length // MICROSECOND
    return (
        f"ts > '{now - LOOK_BACK:%Y-%m-%dT%H:%M:%SZ}' AND analysis IN ({names}) "
        f"AND (status = 'skipped' OR window_to::long - window_from::long = {length})"
    )


def missed(job: Job, past: Past, newest: datetime, limit: timedelta) -> Missed:
    """What is not done of the windows up to the one that ends at `newest`, back to `limit` before it, or to where the
    analysis began. Older ones after the last that was done are given up."""
    floor = aligned(newest - limit, job.every)
    begun = min(past.tried, default=newest + job.every)
    end = begun if begun > floor else floor + job.every
    ends = []
    while end <= newest:
        if end not in past.done:
            ends.append(end)
        end += job.every
    if begun > floor:
        return Missed(ends)
    last = max((done for done in past.done if done <= floor), default=begun - job.every)
    return Missed(ends, Window(last + job.every, floor) if last < floor else None)


def given_up_text(limit: str, window: Window, every: timedelta) -> str:
    count = (window.end - window.start) // every + 1
    return (
        f"{count} windows, ending {window.start:%Y-%m-%dT%H:%M:%SZ} to {window.end:%Y-%m-%dT%H:%M:%SZ}, were missed and are "
        f"older than analyzer.catch_up ({limit}); run those that are needed with 'analyzer run-once --as-of'"
    )
