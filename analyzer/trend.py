"""Growth over time, robustly: the Theil–Sen slope with an interval that allows for autocorrelation.

The slope is the median of the slopes of all pairs (Theil 1950, Sen 1968): a jump or a spike does not move it much. Its
interval is Sen's, from the ranks of these slopes and the variance of Kendall's S; that variance is enlarged by
(1 + ρ) / (1 - ρ), ρ being the autocorrelation of the residuals' ranks, since memory at one moment tells a lot about memory
a second later.
"""

from __future__ import annotations

from statistics import NormalDist

import msgspec
import numpy as np
import numpy.typing as npt

Series = npt.NDArray[np.float64]
MAX_POINTS = 400
"""More samples are reduced to medians of equal bins: the number of pairs grows with the square."""


class Trend(msgspec.Struct, frozen=True):
    """Change of y per unit of x."""

    slope: float
    low: float
    high: float
    points: int
    inflation: float
    """Factor by which autocorrelation enlarged the variance; 1: none was found."""


def trend(x: Series, y: Series, confidence: float = 0.95, fewest: int = 10) -> Trend:
    """The trend of `y` over the rising `x`, both of shape (n,). Raises ValueError below `fewest` (at least 2) points."""
    x, y = _bins(x, y)
    n = len(x)
    if n < fewest:
        raise ValueError(f"{n} points are too few for a trend")
    first, second = np.triu_indices(n, 1)
    slopes = np.sort((y[second] - y[first]) / (x[second] - x[first]))
    slope = float(np.median(slopes))
    inflation = _inflation(y - slope * x)
    deviation = np.sqrt(n * (n - 1) * (2 * n + 5) / 18 * inflation)
    reach = NormalDist().inv_cdf((1 + confidence) / 2) * deviation
    last = len(slopes) - 1
    low = slopes[max(0, int(np.floor((len(slopes) - reach) / 2)))]
    high = slopes[min(last, int(np.ceil((len(slopes) + reach) / 2)))]
    return Trend(slope, float(low), float(high), n, inflation)


def _bins(x: Series, y: Series) -> tuple[Series, Series]:
    if len(x) <= MAX_POINTS:
        return x, y
    parts = np.array_split(np.arange(len(x)), MAX_POINTS)
    return np.array([np.median(x[part]) for part in parts]), np.array([np.median(y[part]) for part in parts])


def _inflation(residuals: Series) -> float:
    """n / n*: by how much fewer the independent samples are, taking the residuals' ranks for a process of first order."""
    ranks = np.argsort(np.argsort(residuals, kind="stable"), kind="stable").astype(np.float64)
    ranks -= ranks.mean()
    rho = float(ranks[:-1] @ ranks[1:]) / float(ranks @ ranks)
    return max(1.0, (1 + rho) / (1 - rho))
