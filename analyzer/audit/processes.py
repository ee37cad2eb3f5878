"""Runs of collector processes, told apart from the samples that they wrote, and the restarts between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec
import numpy as np

from analyzer.audit.facts import Declared, Event, ProcessEvent
from analyzer.audit.samples import Samples
from analyzer.collectors import process_of
from analyzer.passes.recorded import GRACE_US, Interval

CADENCES = 3.0
"""A process that has written no sample for this many of its usual intervals is not alive."""
MARGIN_US = 30_000_000
"""A hole may begin this long before the last sample of the process that left it."""
GONE = "its process is no more"
CAUSES = {"collector_crashed": "crashed", "collector_stopped": "stopped"}


class Run(msgspec.Struct, eq=False):
    """One process, from its first to its last sample in the window."""

    process: str
    rows: Any
    """Indices of its samples."""
    start: int
    """µs: its first sample, also where that is before the window."""
    first: int
    last: int
    began: bool
    """In the window."""
    cadence: float
    """µs between samples, as usual; 0 for a single one."""
    collector: str = ""
    """Whose process it is; "": not known."""
    ended: str = ""
    """How, where it is known to run no more."""

    @property
    def grace(self) -> int:
        """How long after a sample the process may be taken for alive (µs)."""
        return max(GRACE_US, round(CADENCES * self.cadence))


class Restart(msgspec.Struct, frozen=True):
    at: int
    """µs"""
    process: str
    previous: str
    ended_at: int
    """µs: its last sample"""
    down_s: float
    """From the last sample of the one before to the first of this one."""
    cause: str
    """How the one before ended: crashed, stopped (in good order) or unknown."""
    detail: str = ""
    """killed, oom, SIGTERM, …: as far as it is known"""


def runs_of(samples: Samples, earlier: dict[str, Interval]) -> list[Run]:
    """In order of their beginnings. A process whose counters begin anew is another one under the same name, as in a
    container."""
    groups: dict[str, list[int]] = {}
    for index, process in enumerate(samples.process):
        groups.setdefault(process, []).append(index)
    runs = []
    for process, indices in groups.items():
        rows = np.array(indices)
        for number, part in enumerate(np.split(rows, _resets(samples, rows))):
            times = samples.ts[part]
            before = earlier.get(process) if number == 0 else None
            runs.append(
                Run(
                    process,
                    part,
                    before[0] if before else int(times[0]),
                    int(times[0]),
                    int(times[-1]),
                    before is None,
                    float(np.median(np.diff(times))) if len(times) > 1 else 0.0,
                    samples.collectors.get(process, ""),
                )
            )
    return sorted(runs, key=lambda run: (run.start, run.process))


def _resets(samples: Samples, rows: Any) -> Any:
    """Where the counters begin anew: the messages fall, and no other counter rises."""
    steps = {name: np.diff(samples.columns[name][rows]) for name in ("cpu", "messages", "rows")}
    falls = (steps["messages"] < 0) & ~(steps["cpu"] > 0) & ~(steps["rows"] > 0)
    return np.flatnonzero(falls) + 1


def restarts_of(
    runs: Sequence[Run],
    earlier: dict[str, Interval],
    gaps: Sequence[Declared],
    events: Sequence[Event],
    told: Sequence[ProcessEvent] = (),
    collectors: Mapping[str, str] | None = None,
) -> list[Restart]:
    """A run that begins in the window after another one ended, each of which has one successor at most. It follows one of
    its own collector; one of another only where none lived beside it, as after a change of the journal's folder.
    `collectors`: by process."""
    in_window = {run.process for run in runs}
    ended = [(last, process) for process, (_, last) in earlier.items() if process not in in_window]
    ended += [(run.last, run.process) for run in runs]
    restarts = []
    for run in runs:
        before = [one for one in ended if one[0] <= run.start and one != (run.last, run.process)]
        own = [one for one in before if _akin((collectors or {}).get(one[1], ""), run.collector)]
        if own or any(other.start < run.start <= other.last for other in runs):
            before = own
        if run.began and before:
            last, previous = max(before)
            ended.remove((last, previous))
            cause, detail = _told(last, run.start, previous, told)
            own_gaps = [gap for gap in gaps if _akin(gap.collector or "", run.collector)]
            restarts.append(
                Restart(
                    run.start,
                    run.process,
                    previous,
                    last,
                    (run.start - last) / 1e6,
                    cause or _cause(last, run.start, own_gaps, events),
                    detail,
                )
            )
    return restarts


def _akin(collector: str, other: str) -> bool:
    """Whether they may be the same; rows from before there were names may be anybody's."""
    return not collector or not other or collector == other


def _told(last: int, start: int, previous: str, told: Sequence[ProcessEvent]) -> tuple[str, str]:
    """What the programs themselves say of the end between two runs; ("", "") where they say nothing."""
    ends = [
        event
        for event in told
        if event.process == process_of(previous)
        and event.event in ("crashed", "stopped")
        and last - MARGIN_US <= event.ts <= start
    ]
    return (ends[-1].event, ends[-1].cause) if ends else ("", "")


def _cause(last: int, start: int, gaps: Sequence[Declared], events: Sequence[Event]) -> str:
    """The holes over the time between the two runs say how the first one ended."""
    found = {
        CAUSES[gap.cause]
        for gap in gaps
        if gap.cause in CAUSES
        and last - MARGIN_US <= gap.start <= start
        and (gap.end is None or gap.end >= last)
    }
    if "crashed" in found:
        return "crashed"
    stopped = any(
        event.event == "collector_stopped" and last - MARGIN_US <= event.ts <= start for event in events
    )
    return "stopped" if found or stopped else "unknown"


def down_by_collector(
    runs: Sequence[Run], earlier: Mapping[str, Interval], collectors: Mapping[str, str], start: int, end: int
) -> dict[str, list[Interval]]:
    """When each collector that was seen, in the window or the day before, was not alive in [start, end), in µs."""
    seen = {run.collector for run in runs} | {collectors.get(process, "") for process in earlier}
    return {
        name: down_times([run for run in runs if run.collector == name], start, end) for name in sorted(seen)
    }


def tell_ends(runs: Sequence[Run], told: Sequence[ProcessEvent], dead: Set[str]) -> None:
    """Of the last run of each process: it said that it stops, the next one said how it ended, or its process is no more."""
    newest = {run.process: run for run in sorted(runs, key=lambda run: run.last)}
    for event in told:
        run = newest.get(event.process)
        if run is not None and event.event in ("stopped", "crashed") and event.ts >= run.last:
            run.ended = f"it {event.event} ({event.cause})"
    for process in dead & newest.keys():
        newest[process].ended = newest[process].ended or GONE


def down_times(runs: Sequence[Run], start: int, end: int) -> list[Interval]:
    """When none of their processes was alive in [start, end), in µs."""
    holes, reached = [], start
    for run in sorted(runs, key=lambda run: run.start):
        if run.start > reached:
            holes.append((reached, min(run.start, end)))
        reached = max(reached, run.last + run.grace)
    if reached < end:
        holes.append((reached, end))
    return holes
