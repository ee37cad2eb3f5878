"""One time for a state that several connections bring and of which the venue told none: that of its first receipt.

Connections of one stream bring the same states in the same order, so a connection's next state is looked for behind its
last one only: a state that comes a second time is told apart from one that the other connection brings later. Either may
miss one; but one that goes on does not miss what one that has just begun brings behind its first.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import msgspec

from collector.rows import Ticker

MOST_TOLD = 64
"""States of a symbol that are held for the connections that have yet to bring them."""
SAME_STATE_US = 10_000_000
"""Two connections bring one state within this time."""
BEHIND_US = 1_000_000
"""By how much a connection that begins, or brings what another has missed, may be behind."""
JUST_BEGUN_US = 2 * BEHIND_US


class _State(NamedTuple):
    recv_us: int
    """Of its first receipt."""
    told: Ticker
    """Without times."""
    sources: set[int]
    """Connections that have brought it."""
    repeats: bool
    """A connection began with it: on subscribing the venue sends the newest state once more."""


class _Told:
    """What was told of one symbol, numbered from the first on."""

    __slots__ = ("began", "begin", "next_of", "states")

    def __init__(self) -> None:
        self.began: dict[int, int] = {}
        """Connection → receipt of its first state."""
        self.begin = 0
        """Number of the oldest that is held."""
        self.states: deque[_State] = deque()
        self.next_of: dict[int, int] = {}
        """Connection → number of the first state that it may bring next."""


class UntimedStates:
    def __init__(self) -> None:
        self._symbols: dict[str, _Told] = {}

    def time_of(self, row: Ticker, source: int) -> int:
        """When the state of `row`, received at `row.recv_ts` (µs) by the connection `source`, came first."""
        told = self._symbols.setdefault(row.symbol, _Told())
        states, state = told.states, msgspec.structs.replace(row, ts=0, recv_ts=0)
        while states and (len(states) >= MOST_TOLD or row.recv_ts - states[0].recv_us > SAME_STATE_US):
            states.popleft()
            told.begin += 1
        end = told.begin + len(states)
        begins = source not in told.next_of
        if begins:
            # Others may have brought newer states than its first meanwhile. Of equal ones the first of late, lest those that
            # follow find no place.
            told.began[source] = row.recv_ts
            told.next_of[source] = min(self._late(told, told.begin, row.recv_ts), max(end - 1, told.begin))
        told.next_of[source] = max(told.next_of[source], told.begin)
        for number in range(told.next_of[source], end):
            known = self._at(told, number)
            if known.told == state and source not in known.sources:
                known.sources.add(source)
                told.next_of[source] = number + 1
                return known.recv_us
            if self._is_to_come(told, known, source, row.recv_ts):
                break
        states.append(_State(row.recv_ts, state, {source}, begins))
        # What others have brought of late, it may still bring: they may have missed this one.
        told.next_of[source] = self._late(told, told.next_of[source], row.recv_ts)
        if told.next_of[source] == end:
            told.next_of[source] = end + 1
        return row.recv_ts

    def _is_to_come(self, told: _Told, known: _State, source: int, now_us: int) -> bool:
        """Whether those that have brought the state have just begun, later than `source`, which therefore brings it too."""
        return not known.repeats and all(
            told.began.get(other, 0) > max(told.began[source], now_us - JUST_BEGUN_US)
            for other in known.sources
        )

    def _late(self, told: _Told, begin: int, now_us: int) -> int:
        """The first number from `begin` on whose state came of late, or the one after the last."""
        end = told.begin + len(told.states)
        return next((n for n in range(begin, end) if now_us - self._at(told, n).recv_us <= BEHIND_US), end)

    def _at(self, told: _Told, number: int) -> _State:
        return told.states[number - told.begin]

    def closed(self, source: int) -> None:
        """The connection brings nothing more."""
        for told in self._symbols.values():
            told.next_of.pop(source, None)
            told.began.pop(source, None)
