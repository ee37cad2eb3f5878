"""What a report holds: everything that is shown, and nothing more."""

from __future__ import annotations

from typing import Any

import msgspec

from analyzer.passes.groups import Instrument
from analyzer.reports.charted import Charted
from analyzer.windows import Window

SCORE = "confluence"
"""The analysis whose numbers are the scores."""


class Total(msgspec.Struct):
    """One instrument over the window. Notional is in quote units; None where nothing says."""

    name: Instrument
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    notional: float = 0.0
    bought: float = 0.0
    """Notional of taker buys."""
    sold: float = 0.0
    trades: int = 0
    spark: list[float] = []
    """Closes, evenly spaced; shorter where nothing traded."""
    longs: float = 0.0
    """Notional of liquidated longs."""
    shorts: float = 0.0
    liquidations: int = 0
    interest: tuple[float, float] | None = None
    """Open interest, first and last."""
    funding: float | None = None
    coverage: dict[str, float] = {}
    """Channel → share of the window that was recorded."""

    @property
    def change(self) -> float | None:
        return self.close / self.open - 1 if self.open and self.close else None

    @property
    def least_coverage(self) -> float | None:
        return min(self.coverage.values()) if self.coverage else None


class Gap(msgspec.Struct, frozen=True):
    name: Instrument
    channel: str
    start_us: int
    """Within the window, as is the end."""
    end_us: int
    cause: str
    repaired: bool
    lost: tuple[tuple[int, int], ...]
    """What of it nobody has: no other collector recorded the stream then, nor has REST repaired it. µs, in order."""

    @property
    def elsewhere(self) -> bool:
        """Whether another collector has some of it."""
        length = sum(high - low for low, high in self.lost)
        return not self.repaired and (not self.lost or length < self.end_us - self.start_us)


class LargeTrade(msgspec.Struct, frozen=True):
    ts_us: int
    name: Instrument
    side: str
    price: float
    qty: float


class Signal(msgspec.Struct, frozen=True):
    """The newest value of one number, at most an hour before the window's end."""

    ts_us: int
    name: Instrument
    window_s: int
    analysis: str
    metric: str
    value: float
    coverage: float | None
    detail: str


class Report(msgspec.Struct):
    """Everything that is shown."""

    window: Window
    totals: list[Total]
    """The most traded first."""
    gaps: list[Gap]
    more_gaps: bool
    largest: list[LargeTrade]
    signals: list[Signal]
    scores: dict[Instrument, list[tuple[int, float]]]
    """(ms, score), oldest first."""
    related: list[Instrument]
    returns: Any
    """One row a step, one column an instrument of `related`; NaN where unknown."""
    returns_s: int
    charted: list[Charted]
