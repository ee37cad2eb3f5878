"""Quantities as they are written in the configuration and on the command line."""

from __future__ import annotations

import re
from datetime import timedelta

LONGEST = 10 * 366 * 86400.0
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def duration(text: str) -> timedelta:
    """ "500ms", "30s", "15m", "4h", "1d". Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)", text)
    if match is None or not float(match[1]):
        raise ValueError(f'"{text}" is not a duration; write for example "30s", "15m" or "4h"')
    seconds = float(match[1]) * UNITS[match[2]]
    if seconds > LONGEST:
        raise ValueError(f'"{text}" is longer than ten years; write for example "30s", "15m" or "4h"')
    return timedelta(seconds=seconds)


def size(text: str) -> int:
    """Bytes of "500MB", "8GB" (powers of ten), "512MiB", "10GiB". Raises ValueError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(B|[KMGT]B|[KMGT]iB)", text)
    if match is None:
        raise ValueError(f'"{text}" is not a size; write for example "500MB", "8GB" or "10GiB"')
    base = 1024 if "i" in match[2] else 1000
    return round(float(match[1]) * float(base) ** "BKMGT".index(match[2][0]))
