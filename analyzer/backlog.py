"""What a schedule has still to do besides the passes that are due: windows that were missed, and runs not recorded yet."""

from __future__ import annotations

import secrets
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from analyzer.config import ConfigError, Endpoint, UnreachableError
from analyzer.jobs import Job, given_up_text, history, missed
from analyzer.quantities import duration
from analyzer.signals import Run, WriteError, write
from analyzer.source import Source, SourceError
from analyzer.windows import Window

log = structlog.get_logger()

TRIES = 3
"""How often this process tries a window: what fails for a reason of its own must not go on for ever."""
LOOK_SECONDS = 5.0
"""A server that hangs must not hold the passes up for longer."""
TELL_SECONDS = 30.0
UNRECORDED = 1000
"""Failures that wait for the database to be recorded; older ones are in the log alone."""


class Task(msgspec.Struct, frozen=True):
    """One pass: a window of a job, and those of its analyses that are to run."""

    job: Job
    end: datetime
    analyses: Sequence[str]

    @property
    def window(self) -> Window:
        return self.job.window(self.end)


class Backlog:
    """Used by one thread at a time."""

    def __init__(
        self, endpoint: Callable[[], Endpoint], jobs: Sequence[Job], settle: timedelta, catch_up: str
    ) -> None:
        """`endpoint` is asked each time: a server that comes back may have another address."""
        self._endpoint, self._jobs, self._settle, self._catch_up = endpoint, jobs, settle, catch_up
        self._look = True
        self._waiting: deque[Task] = deque()
        self._newest: dict[Job, datetime] = {}
        self._tries: dict[tuple[str, timedelta, datetime], int] = {}
        self._unrecorded: deque[tuple[Window, list[Run]]] = deque(maxlen=UNRECORDED)
        self._tell_again = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def due(self, task: Task) -> None:
        """A pass of the cadence has ended: from now on it is looked for windows up to this one."""
        self._newest[task.job] = task.end
        self._look = True

    def ended(self, task: Task, good: bool) -> None:
        """A pass has ended. After one that failed the others wait for the next of the cadence."""
        for name in task.analyses:
            key = (name, task.job.length, task.end)
            self._tries[key] = TRIES if good else self._tries.get(key, 0) + 1
        if not good:
            self._waiting.clear()

    def take(self) -> Task | None:
        """The oldest window that was missed; None where there is none, or where the database can't be asked."""
        if self._look and not self._waiting:
            self._find()
        return self._waiting.popleft() if self._waiting else None

    def _find(self) -> None:
        now, limit = datetime.now(UTC), duration(self._catch_up)
        lacking: dict[tuple[datetime, int], list[str]] = {}
        given_up: list[tuple[Window, list[Run]]] = []
        try:
            with closing(Source(self._endpoint(), LOOK_SECONDS)) as source:
                for number, job in enumerate(self._jobs):
                    newest = self._newest.get(job) or job.latest(now, self._settle)
                    for name, past in history(source, job, now, limit).items():
                        found = missed(job, past, newest, limit)
                        for end in found.ends:
                            if self._tries.get((name, job.length, end), 0) < TRIES:
                                lacking.setdefault((end, number), []).append(name)
                        if found.given_up is not None:
                            text = given_up_text(self._catch_up, found.given_up, job.every)
                            log.warning("missed windows are left out", analysis=name, cause=text)
                            window = Window(found.given_up.start - job.length, found.given_up.end)
                            given_up.append((window, [_outcome(name, "skipped", text)]))
        except (SourceError, UnreachableError, ConfigError):
            return  # asked again in a second
        self._look = False
        self._waiting.extend(
            Task(self._jobs[number], end, names) for (end, number), names in sorted(lacking.items())
        )
        oldest = now - limit - 2 * max(job.every for job in self._jobs)
        self._tries = {key: count for key, count in self._tries.items() if key[2] > oldest}
        self._unrecorded.extend(given_up)
        self.record()

    def failed(self, task: Task, started_us: int, took_ms: float, cause: str) -> None:
        """Of a pass that could not record this itself."""
        runs = [_outcome(name, "failed", cause, started_us, took_ms) for name in task.analyses]
        self._unrecorded.append((task.window, runs))
        self.record()

    def record(self) -> bool:
        """Write the runs that wait for it, in order; False where the database takes none."""
        while self._unrecorded:
            window, runs = self._unrecorded[0]
            try:
                write(self._endpoint(), window, [(run, []) for run in runs])
            except (WriteError, UnreachableError, ConfigError) as error:
                if time.monotonic() >= self._tell_again:
                    log.error("runs are not recorded yet", waiting=len(self._unrecorded), cause=str(error))
                    self._tell_again = time.monotonic() + TELL_SECONDS
                return False
            self._unrecorded.popleft()
        return True


def _outcome(name: str, status: str, text: str, started_us: int | None = None, took_ms: float = 0.0) -> Run:
    at = time.time_ns() // 1000 if started_us is None else started_us
    return Run(secrets.token_hex(8), name, at, took_ms, 0, 0, status, text)
