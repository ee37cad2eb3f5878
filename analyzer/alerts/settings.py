"""Section `[alerts]`: which rules fire, from which value on, and how often is told of them. Targets are secrets: they come
from EVENKEEL_ALERTS_URLS or the file that EVENKEEL_ALERTS_URLS_FILE names, never from the configuration file."""

from __future__ import annotations

import msgspec

from analyzer.quantities import duration, size

DURATIONS = (
    "every",
    "cooldown",
    "retry_for",
    "growth_over",
    "ship_lag",
    "silence",
    "stale",
    "gap",
    "market_window",
)


RULE_NAMES = (
    "memory_growth",
    "ship_lag",
    "silence",
    "stale_market",
    "gap_open",
    "redundancy",
    "never_reached",
    "table_suspended",
    "disk_free",
    "dead_letters",
    "liquidation",
    "liquidations_symbol",
    "liquidations_all",
    "whale",
    "score_long",
    "score_short",
)
"""Those in `alerts.rules`."""


class AlertsConfig(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    every: str = "30s"
    """Cadence of the evaluation in `analyzer schedule`, beside the one after each pass."""
    off: str = ""
    """Rules that don't fire, with commas between."""
    cooldown: str = "15m"
    """A rule that fires again for the same thing is told again after this time only."""
    retry_for: str = "24h"
    """A message that can't be delivered is tried again for this long."""
    growth: float = 200.0
    """MB per hour…"""
    growth_over: str = "1h"
    """…over this time, of which at least half must be there."""
    ship_lag: str = "60s"
    silence: str = "60s"
    stale: str = "2m"
    """A market that brings nothing for this long."""
    gap: str = "60s"
    """A hole that stays open for this long, and a market that has not been reached for it."""
    disk_free: str = "5GB"
    market_window: str = "10m"
    """Of liquidations and large trades."""
    liquidation: float = 250_000.0
    liquidations_symbol: float = 500_000.0
    liquidations_all: float = 2_000_000.0
    whale: float = 1_000_000.0
    """One trade. All four in quote units."""
    score_long: float = 70.0
    score_short: float = 35.0

    def __post_init__(self) -> None:
        for name in DURATIONS:
            try:
                duration(getattr(self, name))
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        size(self.disk_free)
        for name in self.switched_off:
            if name not in RULE_NAMES:
                raise ValueError(f'off: "{name}" is no rule; there are {", ".join(RULE_NAMES)}')

    @property
    def switched_off(self) -> list[str]:
        return [name.strip() for name in self.off.split(",") if name.strip()]

    def us(self, name: str) -> int:
        """A duration, in µs."""
        return round(duration(getattr(self, name)).total_seconds() * 1e6)
