"""What a rule is, and what it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from analyzer.source import Source

if TYPE_CHECKING:
    from analyzer.alerts.settings import AlertsConfig

MINUTE_US = 60_000_000
HOUR_US = 60 * MINUTE_US
Key = tuple[str, str, str, str]
"""rule, exchange, market, symbol; "*" for all"""


class Firing(msgspec.Struct, frozen=True):
    """A rule that fires for one thing."""

    exchange: str
    market: str
    symbol: str
    value: float
    message: str
    """What has happened, and the next step."""


Evaluate = Callable[[Source, "AlertsConfig", int], Iterator[Firing]]
"""The third argument is the time in µs."""


class Rule(msgspec.Struct, frozen=True):
    severity: str
    evaluate: Evaluate
    market: bool = False
    """Tells of the market, not of this system: that it is over is recorded and not sent."""
