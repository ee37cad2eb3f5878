"""One time for a state that several connections bring and of which the venue told none: that of its first receipt.

Connections of one stream bring the same states in the same order, so a connection's next state is looked for behind its
last one only: a state that comes a second time is told apart from one that the other connection brings later.
"""

from __future__ import annotations

from collections import deque

import msgspec

from collector.rows import Ticker

MOST_TOLD = 64
"""States of a symbol that are held for the connections that have yet to bring them."""
SAME_STATE_US = 10_000_000
"""Two connections bring one state within this time."""
BEHIND_US = 1_000_000
"""By how much a connection that begins may be behind."""


class _Told:
    """What was told of one symbol, numbered from the first on."""

    __slots__ = ("begin", "next_of", "states")

    def __init__(self) -> None:
        self.begin = 0
        """Number of the oldest that is held."""
        self.states: deque[tuple[int, Ticker]] = deque()
        """First receipt (µs), and the state without times."""
        self.next_of: dict[int, int] = {}
        """Connection → number of the first state that it has not brought."""


class UntimedStates:
    def __init__(self) -> None:
        self._symbols: dict[str, _Told] = {}

    def time_of(self, row: Ticker, source: int) -> int:
        """When the state of `row`, received at `row.recv_ts` (µs) by the connection `source`, came first."""
        told = self._symbols.setdefault(row.symbol, _Told())
        states, state = told.states, msgspec.structs.replace(row, ts=0, recv_ts=0)
        while states and (len(states) >= MOST_TOLD or row.recv_ts - states[0][0] > SAME_STATE_US):
            states.popleft()
            told.begin += 1
        end = told.begin + len(states)
        if source in told.next_of:
            numbers = range(max(told.next_of[source], told.begin), end)
        else:
            # On subscribing the venue sends the newest state once more; others may have brought newer ones meanwhile. Of
            # equal ones the first of late, lest those that follow find no place.
            numbers = range(told.begin, end)
            late = [n for n in numbers if row.recv_ts - states[n - told.begin][0] <= BEHIND_US]
            numbers = range(late[0] if late else max(end - 1, told.begin), end)
        for number in numbers:
            first, known = states[number - told.begin]
            if known == state:
                told.next_of[source] = number + 1
                return first
        states.append((row.recv_ts, state))
        told.next_of[source] = end + 1
        return row.recv_ts

    def closed(self, source: int) -> None:
        """The connection brings nothing more."""
        for told in self._symbols.values():
            told.next_of.pop(source, None)
