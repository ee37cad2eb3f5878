"""The ranges of time that the page shows, and how finely: at most 720 points a line."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from analyzer.source import timestamp
from analyzer.windows import Window, aligned


class Range(msgspec.Struct, frozen=True):
    name: str
    label: str
    words: str
    seconds: int
    step_s: int
    """between the points of a line"""
    bar_s: int
    """width of a bar"""
    bars: str
    """The view whose rows are added up to points."""
    fresh_s: float
    """How long an answer is kept: a point of a long range changes slowly."""

    def window(self, now: datetime) -> Window:
        """Until now, from a full step on, so that the first point is whole."""
        start = aligned(now - timedelta(seconds=self.seconds), timedelta(seconds=self.step_s))
        return Window(start, now)

    def since(self, now: datetime) -> str:
        """SQL: no bound above, as the venues' clocks may be ahead of this machine's."""
        return f"ts >= {timestamp(self.window(now).start)}"


RANGES = {
    one.name: one
    for one in (
        Range("15m", "15 min", "15 minutes", 900, 2, 15, "ohlcv_1s", 3),
        Range("1h", "1 h", "hour", 3600, 5, 60, "ohlcv_1s", 3),
        Range("6h", "6 h", "6 hours", 6 * 3600, 30, 6 * 60, "ohlcv_1s", 8),
        Range("24h", "24 h", "24 hours", 86400, 120, 30 * 60, "ohlcv_1m", 15),
        Range("7d", "7 days", "7 days", 7 * 86400, 900, 3 * 3600, "ohlcv_5m", 60),
    )
}
DEFAULT_RANGE = "15m"
