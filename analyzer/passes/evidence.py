"""The rows on which a suspicion rests, as the detail of its number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

ROWS = 20
"""At most so many, the first ones: a signal is one row of a table."""


def detail(rows: Sequence[Mapping[str, object]]) -> str:
    """JSON: {"rows": […], "more": number of those left out}; empty without rows."""
    if not rows:
        return ""
    return msgspec.json.encode({"rows": rows[:ROWS], "more": max(len(rows) - ROWS, 0)}).decode()


def iso(us: int) -> str:
    """A time in µs since the epoch, as people read it."""
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%Y-%m-%dT%H:%M:%S}.{us % 1_000_000:06d}Z"
