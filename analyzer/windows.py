"""Half-open UTC windows of event time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec


class Window(msgspec.Struct, frozen=True):
    """[start, end): an event at `start` is in, one at `end` is not. Both UTC, microseconds."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()

    @property
    def start_us(self) -> int:
        return microseconds(self.start)

    @property
    def end_us(self) -> int:
        return microseconds(self.end)


def microseconds(at: datetime) -> int:
    """Microseconds since the epoch, exactly."""
    return (at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


def moment(us: int) -> datetime:
    """The time of microseconds since the epoch, exactly."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


def ending(end: datetime, length: timedelta) -> Window:
    """The window of that length before `end`. Raises ValueError when it would start before 1970."""
    end = end.astimezone(UTC)
    if end - datetime(1970, 1, 1, tzinfo=UTC) < length:
        raise ValueError(f"the window of {length} before {end:%Y-%m-%dT%H:%M:%SZ} starts before 1970")
    return Window(end - length, end)


def parse_time(text: str) -> datetime:
    """ISO 8601; without an offset it is UTC. Raises ValueError."""
    at = datetime.fromisoformat(text)
    try:
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f'"{text}" is out of range') from error


def aligned(at: datetime, every: timedelta) -> datetime:
    """The last multiple of `every` since the epoch that is not after `at`."""
    step = every // timedelta(microseconds=1)
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=microseconds(at) // step * step)
