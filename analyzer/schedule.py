"""`analyzer schedule`: passes at their cadence, each in a process of its own, so that its memory goes back."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

import structlog
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from analyzer.alerts.job import AlertsJob
from analyzer.config import Endpoint
from analyzer.health import Figure
from analyzer.notify import Notifier
from analyzer.signals import Run, WriteError, write
from analyzer.windows import Window, aligned, ending, microseconds

log = structlog.get_logger()

ALERTS = "alerts"
"""Name of the alerts' job."""

STOP_SECONDS = 10.0
GRACE_SECONDS = 60.0
"""How much later than planned a pass may end before systemd's watchdog is told no more of progress."""


class Scheduler:
    """Runs until `stop`."""

    def __init__(
        self,
        endpoint: Endpoint,
        length: timedelta,
        every: timedelta,
        settle: timedelta,
        time_limit: timedelta,
        arguments: Sequence[str],
        alerts: AlertsJob | None = None,
        alerts_every: timedelta = timedelta(seconds=30),
    ) -> None:
        """`arguments`: further ones for `analyzer run-once`. `alerts` is called at its own cadence and after each pass."""
        self.passes = self.failures = 0
        self._endpoint, self._length, self._every, self._settle = endpoint, length, every, settle
        self._time_limit, self._arguments = time_limit, list(arguments)
        self._alerts, self._alerts_every = alerts, alerts_every
        self._scheduler = BackgroundScheduler(timezone=UTC)
        self._trouble = "no pass has ended yet"
        """Of the last pass; "" when there was none."""
        self._took_ms = 0.0
        self._child: subprocess.Popen[str] | None = None
        self._stopping = False
        self._ended_at = time.monotonic()
        """When the newest pass ended (monotonic), or this began."""

    def run(self, duration: timedelta | None) -> None:
        """Until SIGTERM, SIGINT, or `duration`. A pass that comes too late, or while one runs, is left to the next."""
        stop = [False]

        def on_signal(number: int, frame: FrameType | None) -> None:
            stop[0] = True

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        scheduler = self._scheduler
        first = aligned(datetime.now(UTC), self._every) + self._every + self._settle
        scheduler.add_job(
            self.pass_once,
            IntervalTrigger(seconds=self._every.total_seconds(), start_date=first, timezone=UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=max(1, int(self._every.total_seconds())),
        )
        if self._alerts is not None:
            scheduler.add_job(
                self._alerts,
                IntervalTrigger(seconds=self._alerts_every.total_seconds(), timezone=UTC),
                id=ALERTS,
                next_run_time=datetime.now(UTC),
                max_instances=1,
                coalesce=True,
                misfire_grace_time=None,
            )
        scheduler.start()
        log.info("scheduled", every=str(self._every), window=str(self._length), first=first.isoformat())
        end = None if duration is None else time.monotonic() + duration.total_seconds()
        notifier, tell_at = Notifier(), time.monotonic()
        notifier.ready(f"first pass at {first.isoformat()}")
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
        if late > (self._every + self._settle + self._time_limit).total_seconds() + GRACE_SECONDS:
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

    def pass_once(self) -> None:
        """One pass over the window that ended at the last multiple of the cadence."""
        if self._stopping:
            return
        window = ending(aligned(datetime.now(UTC) - self._settle, self._every), self._length)
        command = [sys.executable, "-m", "analyzer", "run-once", "--format", "json"]
        command += [
            "--window",
            f"{self._length.total_seconds():g}s",
            "--as-of",
            window.end.isoformat(),
            *self._arguments,
        ]
        started = time.time_ns() // 1000
        self.passes += 1
        self._child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = self._child.communicate(timeout=self._time_limit.total_seconds())
            code: int | None = self._child.returncode
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()
            code, errors = None, ""
        finally:
            self._child = None
            self._ended_at = time.monotonic()
        took_ms = self._took_ms = (time.time_ns() // 1000 - started) / 1e3
        self._trouble = ""
        if self._alerts is not None and not self._stopping:
            self._scheduler.modify_job(ALERTS, next_run_time=datetime.now(UTC))
        if code == 0:
            log.info("pass", window_end=window.end.isoformat(), took_ms=round(took_ms))
            return
        self.failures += 1
        cause = errors.strip()[-500:] if code is not None else f"took longer than {self._time_limit}, ended"
        self._trouble = f"the last pass failed: {cause}"
        log.error("pass failed, the next goes on", window_end=window.end.isoformat(), exit=code, cause=cause)
        if code is None or code < 0:  # it could not record its own failure
            self._record(window, started, took_ms, cause or f"ended by signal {-(code or 0)}")

    def _record(self, window: Window, started_us: int, took_ms: float, cause: str) -> None:
        run = Run(secrets.token_hex(8), "*", started_us, took_ms, 0, 0, "failed", cause)
        try:
            write(self._endpoint, window, [(run, [])])
        except WriteError as error:
            log.error("failure not recorded", cause=str(error), at=microseconds(window.end))
