"""Events planted into a market: a test can then say what the analyses must find, where and when, and that they find no more.

A market with plants is tame: two calm regimes, no cascade of its own, sizes within a factor of three of the median, no
sweep of more than three levels, few forced orders. What stands out in it was planted. Each event comes once a cycle of
CYCLE_S seconds; the lead lasts for ever. Which symbol has what follows from their order:

    leadlag   once a second the first symbol's price steps up or down, and the second's does the same LAG_S later
    whale     a taker buy in the first symbol, of WHALE times the median size
    spoof     a bid in the last symbol, of WALL times the median, some levels away from the touch, that stands for a few
              seconds and goes again, while the price stays where it is and no trade comes near
    cascade   forced sells in the last symbol, while its price falls; it recovers afterwards. It lasts so long that a venue
              that tells of one a second tells of enough
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collector.simulator.market import Event, SymbolMarket

NAMES = ("cascade", "leadlag", "spoof", "whale")
CYCLE_S = 40.0
SPANS_S = {"whale": (6.0, 7.0), "spoof": (10.0, 14.0), "cascade": (20.0, 30.0)}
"""From and to, in a cycle. The whale comes at the first of the two."""
LAG_S = 2.0
STEP = 2.5e-4
"""Of the leader's, in ln price. Steps of one size are significant soonest: squares of some large ones don't outweigh all."""
STEPS = 2048
"""After so many the same ones come back, in reverse."""
OWN = 0.2
"""Share of their own moves that leader and led keep."""
WALL, WHALE = 40, 2000
"""Multiples of the median size."""
WALL_LEVEL = 9
"""From the touch, counted from 0: a venue that shows 20 levels shows it yet when the touch has moved."""
FALL = 0.004
"""Of a cascade, in ln price."""
RECOVERY_S = 4.0
"""The price is where it was when the next wall comes."""
FORCED_A_SECOND = 40.0
FORCED_EVERY_S = 100.0
"""A symbol's other forced orders, on average."""
HELD, HELD_S = 0.01, 2.0
"""Share of its moves that a price keeps while a wall is to be seen, and so many seconds before and after: a wall is
compared with all trades of the seconds in which it comes and goes."""


class Course:
    """The price of a symbol in a tame market: its own walk, and what is planted."""

    def __init__(self, first_tick: int) -> None:
        self._first, self._drawn, self._own = first_tick, 0.0, 0.0
        self.kept = 1.0
        """Share of the walk's own moves that counts."""
        self.moved = self.led = 0.0
        """Of a cascade, of the steps that one leads; in ln price."""

    def fair(self, drawn: float) -> float:
        """Ticks, of the next price of the symbol's own walk."""
        at = math.log(drawn / self._first)
        self._own += self.kept * (at - self._drawn - 1e-4 * self._own)  # small steps add up to no drift
        self._drawn = at
        return self._first * math.exp(self._own + self.moved + self.led)


class Plants:
    """Lets the planted events happen at their time: whoever runs the market tells the time, and when it begins to count."""

    def __init__(self, names: Iterable[str], symbols: list[SymbolMarket], seed: int) -> None:
        self.told: list[tuple[str, str, str]] = []
        """(name, symbol of the model, "begin" or "end"), for whoever keeps account to take out."""
        self._spans = {name: span for name, span in SPANS_S.items() if name in names}
        self._first, self._last = symbols[0], symbols[-1]
        self._led = symbols[1] if "leadlag" in names and len(symbols) > 1 else None
        self._path = _path(seed)
        self._kept = OWN if self._led is not None and self._last in (self._first, self._led) else 1.0
        self._on: set[str] = set()
        self._now = 0.0
        self._forced = 0.0
        if self._led is not None:
            self._first.course.kept = self._led.course.kept = OWN
            self.told.append(("leadlag", self._led.instrument.symbol, "begin"))

    def step(self, now: float, counted: float) -> Iterator[Event]:
        """What happens up to `now` (seconds, of any clock), beside the market's own events. `counted`: the seconds since the
        first cycle began; below 0 none has begun."""
        passed, self._now = min(now - self._now, 1.0), now
        if self._led is not None:
            # Half a second off the clock's, so that no step falls between two seconds.
            for symbol, at in ((self._first, now + 0.5), (self._led, now + 0.5 - LAG_S)):
                symbol.course.led = STEP * self._path[int(at) % len(self._path)]
        course = self._last.course
        if "cascade" in self._on:
            low, high = SPANS_S["cascade"]
            course.moved -= FALL * passed / (high - low)
            self._forced += FORCED_A_SECOND * passed
            while self._forced >= 1:
                self._forced -= 1
                yield self._last.forced_sell()
        elif course.moved:
            course.moved *= math.exp(-passed / RECOVERY_S)
        if "spoof" in self._spans:
            low, high = SPANS_S["spoof"]
            held = counted >= 0 and low - HELD_S <= counted % CYCLE_S < high + HELD_S
            course.kept = HELD if held else self._kept
        for name, (low, high) in self._spans.items():
            inside = counted >= 0 and low <= counted % CYCLE_S < high
            if inside and name not in self._on:
                self._on.add(name)
                yield from self._begin(name)
            elif name in self._on and not inside:
                self._on.remove(name)
                self._end(name)

    def _begin(self, name: str) -> Iterator[Event]:
        symbol = self._first if name == "whale" else self._last
        self.told.append((name, symbol.instrument.symbol, "begin"))
        if name == "whale":
            yield symbol.whale_buy()
        elif name == "spoof":
            symbol.wall_wanted = True

    def _end(self, name: str) -> None:
        symbol = self._first if name == "whale" else self._last
        self.told.append((name, symbol.instrument.symbol, "end"))
        if name == "spoof":
            symbol.wall_wanted = False


def _path(seed: int) -> list[int]:
    """Levels of the leader's steps, there and back again; they stay near 0."""
    rng, level, path = np.random.default_rng([seed, STEPS]), 0, [0]
    for draw in rng.random(STEPS).tolist():
        level += 1 if draw < 0.5 - 0.05 * level else -1
        path.append(level)
    return path + path[-2:0:-1]


def parse(text: str) -> list[str]:
    """ "cascade,whale", "all" or "none". Raises ValueError."""
    names = list(NAMES) if text == "all" else [] if text == "none" else text.split(",")
    for name in names:
        if name not in NAMES:
            raise ValueError(f'"{name}" can\'t be planted; there are {", ".join(NAMES)}, all and none')
    return names
