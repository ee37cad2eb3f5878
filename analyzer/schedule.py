"""`analyzer schedule`: passes at their cadence, each in a process of its own, so that its memory goes back.

One pass runs at a time. What was missed, since the schedule or the database was down or a pass failed, is run between the
passes that are due (see backlog).
"""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import structlog
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from analyzer.alerts.job import AlertsJob
from analyzer.backlog import Backlog, Task
from analyzer.health import Figure
from analyzer.jobs import Job
from analyzer.notify import Notifier

log = structlog.get_logger()

ALERTS = "alerts"
"""Name of the alerts' job."""
PASSES = "passes"
"""Name of the thread that runs them, one after the other."""

STOP_SECONDS = 10.0
GRACE_SECONDS = 60.0
"""How much later than planned a pass may end before systemd's watchdog is told no more of progress."""


class Scheduler:
    """Runs until `stop`."""

    def __init__(
        self,
        jobs: Sequence[Job],
        settle: timedelta,
        time_limit: timedelta,
        arguments: Sequence[str],
        backlog: Backlog,
        alerts: AlertsJob | None = None,
        alerts_every: timedelta = timedelta(seconds=30),
    ) -> None:
        """`arguments`: further ones for `analyzer run-once`. `alerts` is called at its own cadence and after each pass."""
        self.passes = self.failures = 0
        self._jobs, self._settle, self._backlog = jobs, settle, backlog
        self._time_limit, self._arguments = time_limit, list(arguments)
        self._alerts, self._alerts_every = alerts, alerts_every
        self._scheduler = BackgroundScheduler(
            timezone=UTC,
            executors={"default": ThreadPoolExecutor(1), PASSES: ThreadPoolExecutor(1)},
            job_defaults={"max_instances": 1, "coalesce": True, "misfire_grace_time": None},
        )
        self._trouble = "no pass has ended yet"
        """Of the last pass; "" when there was none."""
        self._took_ms = 0.0
        self._child: subprocess.Popen[str] | None = None
        self._stopping = False
        self._ends: dict[Job, datetime] = {}
        self._ended_at = time.monotonic()
        """When the newest pass ended (monotonic), or this began."""

    def run(self, duration: timedelta | None) -> None:
        """Until SIGTERM, SIGINT, or `duration`. A pass that comes late takes the newest window."""
        stop = [False]

        def on_signal(number: int, frame: FrameType | None) -> None:
            stop[0] = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        logging.getLogger("apscheduler").setLevel(logging.ERROR)  # that passes come too late is told below
        scheduler, now = self._scheduler, datetime.now(UTC)
        due = [job.next_due(now, self._settle) for job in self._jobs]
        for job, first in zip(self._jobs, due, strict=True):
            trigger = IntervalTrigger(seconds=job.every.total_seconds(), start_date=first, timezone=UTC)
            scheduler.add_job(self.pass_once, trigger, args=[job], executor=PASSES)
            log.info(
                "scheduled",
                every=str(job.every),
                window=str(job.length),
                first=first.isoformat(),
                analyses=",".join(job.analyses),
            )
        scheduler.add_job(
            self.catch_up, IntervalTrigger(seconds=1, timezone=UTC), executor=PASSES, next_run_time=now
        )
        if self._alerts is not None:
            scheduler.add_job(
                self._alerts,
                IntervalTrigger(seconds=self._alerts_every.total_seconds(), timezone=UTC),
                id=ALERTS,
                next_run_time=datetime.now(UTC),
            )
        scheduler.start()
        end = None if duration is None else time.monotonic() + duration.total_seconds()
        notifier, tell_at = Notifier(), time.monotonic()
        notifier.ready(f"first pass at {min(due).isoformat()}")
        while not stop[0] and (end is None or time.monotonic() < end):
            time.sleep(0.1)
            if time.monotonic() >= tell_at:
                tell_at += notifier.interval
                fires = f", {self._alerts.firing} alerts" if self._alerts is not None else ""
                notifier.progress(f"{self.passes} passes, {self.failures} failed{fires}", self.stuck())
        notifier.stopping("waiting for the last pass")
        self._stopping = True
        deadline = time.monotonic() + STOP_SECONDS
        while self._child is not None and time.monotonic() < deadline:
            time.sleep(0.05)
        if self._child is not None:
            self._child.kill()
        scheduler.shutdown(wait=True)
        log.info("stopped", passes=self.passes, failures=self.failures)

    def stuck(self) -> str:
        """Why systemd's watchdog is not to be told of progress, else "". A pass that fails is progress: the next goes on."""
        late = time.monotonic() - self._ended_at
        longest = min(job.every for job in self._jobs) + self._settle + self._time_limit
        if late > longest.total_seconds() + GRACE_SECONDS:
            return f"no pass has ended for {late:.0f} s"
        return ""

    def health(self) -> dict[str, Any]:
        """What /health answers. Ready: the last pass and the last evaluation of alerts went well."""
        stuck = self.stuck()
        alerts = self._alerts.trouble if self._alerts is not None else ""
        reasons = [reason for reason in (stuck, self._trouble, alerts and f"alerts: {alerts}") if reason]
        return {
            "live": not stuck,
            "ready": not reasons,
            "reasons": reasons,
            "passes": self.passes,
            "failures": self.failures,
        }

    def figures(self) -> list[Figure]:
        found = [
            Figure("passes", "Passes begun", self.passes),
            Figure("pass_failures", "Passes that failed", self.failures),
            Figure("missed_windows", "Missed windows that wait", len(self._backlog), counter=False),
            Figure("pass_seconds", "What the last pass took", self._took_ms / 1e3, counter=False),
        ]
        if (alerts := self._alerts) is not None:
            found += [
                Figure("alert_evaluations", "Evaluations of the alerts' rules", alerts.evaluations),
                Figure("alert_evaluation_failures", "Evaluations that failed", alerts.failures),
                Figure("alert_messages", "Messages that a target has taken", alerts.delivered),
                Figure(
                    "alert_message_failures", "Messages that no attempt could deliver", alerts.undelivered
                ),
                Figure("alerts_firing", "Rules that fire", alerts.firing, counter=False),
            ]
        return found

    def pass_once(self, job: Job) -> None:
        """One pass over the newest window of a job."""
        if self._stopping:
            return
        task = Task(job, job.latest(datetime.now(UTC), self._settle), job.analyses)
        before = self._ends.get(job)
        self._ends[job] = task.end
        if before is not None and task.end - before > job.every:
            log.warning("passes take longer than their cadence", left=(task.end - before) // job.every - 1)
        self._pass(task)
        self._backlog.due(task)

    def catch_up(self) -> None:
        """Record what could not be recorded, and run one window that was missed."""
        if self._stopping or not self._backlog.record():
            return
        task = self._backlog.take()
        if task is not None:
            names = ",".join(task.analyses)
            log.info("catching up", window_end=task.end.isoformat(), analyses=names, left=len(self._backlog))
            self._pass(task)

    def _pass(self, task: Task) -> None:
        started = time.time_ns() // 1000
        self.passes += 1
        code, errors, told = self._run(task)
        self._ended_at = time.monotonic()
        took_ms = self._took_ms = (time.time_ns() // 1000 - started) / 1e3
        if self._alerts is not None and not self._stopping:
            self._scheduler.modify_job(ALERTS, next_run_time=datetime.now(UTC))
        self._backlog.ended(task, code == 0)
        if code == 0:
            self._trouble = ""
            log.info("pass", window_end=task.end.isoformat(), took_ms=round(took_ms))
            return
        self.failures += 1
        cause = errors.strip()[-500:] if code is not None else f"took longer than {self._time_limit}, ended"
        self._trouble = f"the last pass failed: {cause}"
        log.error("pass failed, the next goes on", window_end=task.end.isoformat(), exit=code, cause=cause)
        if not told:  # it could not record its own failure
            self._backlog.failed(task, started, took_ms, cause or f"ended by signal {-(code or 0)}")

    def _run(self, task: Task) -> tuple[int | None, str, bool]:
        """Exit code (None: ended at the time limit), stderr, and whether it told a result: it does once that is stored."""
        command = [sys.executable, "-m", "analyzer", "run-once", "--format", "json"]
        command += ["--window", f"{task.job.length.total_seconds():g}s", "--as-of", task.end.isoformat()]
        command += ["--analyses", ",".join(task.analyses), *self._arguments]
        with tempfile.TemporaryFile() as document:
            self._child = subprocess.Popen(command, stdout=document, stderr=subprocess.PIPE, text=True)
            try:
                _, errors = self._child.communicate(timeout=self._time_limit.total_seconds())
                code: int | None = self._child.returncode
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.communicate()
                code, errors = None, ""
            finally:
                self._child = None
            return code, errors, document.seek(0, 2) > 0
