"""Evaluations one after the other: none ends the program, and how they went is kept for /health and /metrics."""

from __future__ import annotations

import structlog

from analyzer.alerts.watch import Watch
from analyzer.signals import WriteError
from analyzer.source import SourceError

log = structlog.get_logger()


class AlertsJob:
    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self.evaluations = self.failures = self.delivered = self.undelivered = self.firing = 0
        self.trouble = ""
        """Of the last evaluation; "" when there was none."""

    def __call__(self) -> None:
        """One evaluation."""
        self.evaluations += 1
        try:
            result = self._watch.evaluate()
        except (SourceError, WriteError) as error:
            self._failed(str(error))
            log.error("alerts not evaluated, tried again", cause=str(error))
        except Exception as error:  # a mistake of ours must not end the watch
            self._failed(f"{type(error).__name__}: {error}")
            log.exception("evaluating alerts failed, tried again", remedy="report it")
        else:
            self.firing = result.firing
            self.delivered += result.delivered
            self.undelivered += result.failed
            self.trouble = "; ".join(result.errors)
            for error_text in result.errors:
                log.error("rule not evaluated, tried again", cause=error_text)
            if result.failed:
                self.trouble = f"{result.failed} messages could not be delivered"

    def _failed(self, cause: str) -> None:
        self.failures += 1
        self.trouble = cause

    def close(self) -> None:
        self._watch.close()
