"""What a finding of the audit is, and when a figure is a warning or critical."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from analyzer.audit.settings import FALLING, AuditConfig

OK, WARNING, CRITICAL, UNKNOWN = "ok", "warning", "critical", "unknown"
ORDER = (UNKNOWN, OK, WARNING, CRITICAL)
AREAS = (
    "life",
    "streams",
    "memory",
    "swap",
    "cpu",
    "restarts",
    "coverage",
    "latency",
    "storage",
    "analyses",
    "alerts",
)


class Finding(msgspec.Struct, frozen=True):
    """One figure, judged."""

    area: str
    name: str
    verdict: str
    value: float | None
    unit: str
    """bytes, s, MB/h, share, cores, count"""
    warning: float | None
    critical: float | None
    text: str
    """In words."""


class Step(msgspec.Struct, frozen=True):
    """What to do next."""

    area: str
    text: str
    command: str


def worst(verdicts: Sequence[str]) -> str:
    return max(verdicts, key=ORDER.index, default=UNKNOWN)


def level(value: float | None, name: str, config: AuditConfig) -> str:
    """A value that reaches its threshold is over it."""
    if value is None:
        return UNKNOWN
    warning, critical = config.pair(name)
    if name in FALLING:
        return CRITICAL if value < critical else WARNING if value < warning else OK
    return CRITICAL if value >= critical else WARNING if value >= warning else OK


def measured(area: str, name: str, value: float | None, unit: str, text: str, config: AuditConfig) -> Finding:
    warning, critical = config.pair(name)
    return Finding(area, name, level(value, name, config), value, unit, warning, critical, text)


def counted(area: str, name: str, count: int, text: str, verdict: str = WARNING) -> Finding:
    return Finding(
        area, name, verdict if count else OK, count, "count", 1 if verdict == WARNING else None, None, text
    )
