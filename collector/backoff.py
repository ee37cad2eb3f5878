"""Waiting between attempts, for ever: capped, doubling, jittered."""

from __future__ import annotations

import random
from collections.abc import Iterator


def backoff(first: float, cap: float) -> Iterator[float]:
    """Seconds to wait before each next attempt. The start is random, so that many clients do not come back as one."""
    delay = first
    while True:
        yield random.uniform(0.5, 1.0) * delay  # noqa: S311 - jitter, not a secret
        delay = min(delay * 2, cap)
