"""The least-squares line of one variable on another."""

from __future__ import annotations

import math
from typing import Any

import msgspec

ROUNDING = 1e-24
"""A smaller share of a sum of squares is the last bits of equal numbers, and no variation."""


class Line(msgspec.Struct, frozen=True):
    slope: float
    r2: float | None
    """None where y doesn't vary."""
    t: float | None
    """Slope / its standard error, under equal and independent errors; None where the fit is exact."""


def line(x: Any, y: Any) -> Line | None:
    """y = a + slope · x, by ordinary least squares. None where x doesn't vary, or with fewer than three points."""
    if len(x) < 3:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    sxx, sxy, syy = float(dx @ dx), float(dx @ dy), float(dy @ dy)
    if sxx <= ROUNDING * float(x @ x):
        return None
    slope = sxy / sxx
    if syy <= ROUNDING * float(y @ y):
        return Line(slope, None, None)
    r2 = sxy * sxy / (sxx * syy)
    left = dy - slope * dx
    error = math.sqrt(float(left @ left) / (len(x) - 2) / sxx)
    return Line(slope, r2, slope / error if error > 0 else None)
