"""RFC 3339 times in UTC, as several venues write them."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import datetime
from functools import lru_cache

MOST_SECONDS = 10**10
"""The year 2286."""
SECONDS = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", re.ASCII)


@lru_cache(maxsize=1024)
def _seconds(text: str) -> int:
    if not SECONDS.fullmatch(text):
        raise ValueError(f"{text!r} is no time")
    seconds = timegm(datetime.fromisoformat(text).timetuple())
    if not 0 < seconds < MOST_SECONDS:
        raise ValueError(f"{text!r} is no time that an exchange can mean")
    return seconds


def iso_us(text: str) -> int:
    """µs since the epoch of "2024-11-24T08:26:22.356Z": whole seconds or any number of decimals, of which six count.

    Raises ValueError."""
    decimals = text[20:-1]
    if text[-1:] != "Z" or (decimals and not (decimals.isascii() and decimals.isdigit() and text[19] == ".")):
        raise ValueError(f"{text!r} is no time in UTC")
    if not decimals and len(text) != 20:
        raise ValueError(f"{text!r} is no time in UTC")
    return _seconds(text[:19]) * 1_000_000 + int(f"{decimals:0<6.6}")
