"""Section `[audit]`: from which value on a figure is a warning, and from which it is critical."""

from __future__ import annotations

from typing import Any

import msgspec

from analyzer.quantities import duration, size

Pair = tuple[float, float]
"""(warning, critical), in seconds, bytes, or the unit that the key says."""

FALLING = frozenset({"coverage", "disk_free"})
"""Figures of which less is worse."""
IN_REACH = 0.25
"""Of a limit: charts of memory draw it once a process has come so near. Before, it would press the process' line flat."""
PAIRS = (
    "memory",
    "memory_share",
    "swap",
    "growth",
    "restarts",
    "coverage",
    "ship_lag",
    "latency",
    "loop_lag",
    "cpu",
    "disk_free",
    "silence",
)


class AuditConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    memory_warning: str = "8GB"
    memory_critical: str = "10GB"
    """RSS of one collector process."""
    memory_share_warning: float = 0.8
    memory_share_critical: float = 0.95
    """RSS as a share of the process's own limit (MemoryMax), where there is one."""
    swap_warning: str = "2GB"
    swap_critical: str = "3.5GB"
    growth_warning: float = 100.0
    growth_critical: float = 200.0
    """MB (10⁶ bytes) per hour."""
    growth_after: str = "10m"
    """Growth over less than this is shown and not judged."""
    warmup: str = "5m"
    """The beginning of a process that growth leaves out, where at least three times as much follows."""
    restarts_warning: float = 1.0
    restarts_critical: float = 3.0
    """Per day; a shorter window counts as a day."""
    coverage_warning: float = 0.999
    coverage_critical: float = 0.99
    """Share of the streams' time that was recorded."""
    ship_lag_warning: str = "30s"
    ship_lag_critical: str = "5m"
    """How far QuestDB is behind the journal."""
    latency_warning: str = "2s"
    latency_critical: str = "30s"
    """From the exchange's event to the receipt here, p99."""
    loop_lag_warning: str = "1s"
    loop_lag_critical: str = "5s"
    """How late the event loop was, p99 of the worst of each 10 s."""
    cpu_warning: float = 0.8
    cpu_critical: float = 0.95
    """Cores in use, mean of the window."""
    disk_free_warning: str = "5GB"
    disk_free_critical: str = "1GB"
    silence_warning: str = "30s"
    silence_critical: str = "60s"
    """Age of the last sign of life of any collector."""

    def __post_init__(self) -> None:
        for name in ("growth_after", "warmup"):
            _number(name, getattr(self, name))
        for name in PAIRS:
            warning, critical = self.pair(name)
            if (warning < critical) if name in FALLING else (warning > critical):
                raise ValueError(
                    f"{name}_critical must be {'at most' if name in FALLING else 'at least'} {name}_warning"
                )

    def pair(self, name: str) -> Pair:
        keys = (f"{name}_warning", f"{name}_critical")
        warning, critical = (_number(key, getattr(self, key)) for key in keys)
        return warning, critical

    def seconds(self, name: str) -> float:
        return _number(name, getattr(self, name))


def _number(key: str, value: Any) -> float:
    """A number as it is, a size in bytes, a duration in seconds. Raises ValueError."""
    if not isinstance(value, str):
        if not 0 <= value < 1e12:
            raise ValueError(f"{key}: {value} can't be; it must be a number from 0 on")
        return float(value)
    try:
        if key.startswith(("memory", "swap", "disk_free")):
            return float(size(value))
        return duration(value).total_seconds()
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error
