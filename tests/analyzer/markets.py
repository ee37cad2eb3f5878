"""Trades drawn at random for the tests of the analyses, with the faults that venues have."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Sequence

from analyzer.windows import Window
from collector.rows import Trade
from tests.analyzer.fixtures import VENUE

NAN = float("nan")


def made(
    window: Window, us: int, side: str | None, price: float, qty: float, number: object, symbol: str
) -> Trade:
    """`us` after the window's start."""
    return Trade(window.start_us + us, window.start_us + us, *VENUE, symbol, side, price, qty, str(number))


def walk(
    rng: random.Random, window: Window, count: int, symbol: str = "BTCUSDT", quiet: bool = True
) -> list[Trade]:
    """Prices of a random walk on a grid of 1/8, heavy-tailed sizes, one side in eight unknown, some sweeps of several trades
    at one microsecond; before, in and after the window, with a trade on each bound. `quiet`: a tenth has no trades."""
    span = window.end_us - window.start_us
    times = [*sorted(rng.sample(range(-span // 10, span + span // 10), count)), 0, span]
    price, trades = 100.0, []
    for n, us in enumerate(times):
        if quiet and span * 0.4 <= us < span * 0.5:
            continue
        price = max(8.0, price + rng.choice((-0.25, -0.125, 0.0, 0.125, 0.25)))
        side = rng.choice(("buy", "sell", "buy", "sell", "buy", "sell", "sell", None))
        for fill in range(rng.choice((1, 1, 1, 3))):
            sign = 1 if side == "buy" else -1
            qty = max(1, round(16 * rng.paretovariate(1.3))) / 16
            trades.append(made(window, us, side, price + sign * fill / 8, qty, f"{n}.{fill}", symbol))
    return trades


def bad(window: Window, symbol: str = "BTCUSDT") -> list[Trade]:
    """Rows that are no trades."""
    rows = [
        (NAN, 5e6),
        (100.0, NAN),
        (math.inf, 1.0),
        (100.0, math.inf),
        (100.0, 0.0),
        (-1.0, 5e6),
        (0.0, 1.0),
    ]
    return [made(window, 7 + n, "buy", price, qty, f"bad{n}", symbol) for n, (price, qty) in enumerate(rows)]


def inside(trades: Iterable[Trade], window: Window, symbol: str = "BTCUSDT") -> list[Trade]:
    """Those of the window that have a price and a size, in order of time."""
    own = [
        one
        for one in trades
        if one.symbol == symbol
        and window.start_us <= one.ts < window.end_us
        and 0 < one.price < math.inf
        and 0 < one.qty < math.inf
    ]
    return sorted(own, key=lambda one: one.ts)


def blocks(trades: Sequence[Trade], length_us: int = 10_000_000) -> dict[int, list[Trade]]:
    """By the block of the clock, in order."""
    found: dict[int, list[Trade]] = {}
    for one in trades:
        found.setdefault(one.ts // length_us, []).append(one)
    return found
