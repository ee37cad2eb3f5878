"""States without a time that two connections bring: each is one row, and each row a state that was sent."""

from __future__ import annotations

import random
from collections import Counter

from collector.rows import Ticker
from collector.untimed import BEHIND_US, MOST_TOLD, SAME_STATE_US, UntimedStates

NOW = 1_790_000_000_000_000


def state(mark: float, recv_us: int, symbol: str = "BTC") -> Ticker:
    return Ticker(recv_us, recv_us, "hyperliquid", "linear", symbol, mark=mark)


def test_a_state_that_returns_is_told_apart_from_one_that_is_late() -> None:
    """Marks 1, 2, 1: a connection that begins may be behind, so that its 1 is taken for the first of late."""
    states = UntimedStates()
    assert [states.time_of(state(mark, NOW + at), 1) - NOW for at, mark in ((0, 1), (10, 2), (20, 1))] == [
        0,
        10,
        20,
    ]
    assert [states.time_of(state(mark, NOW + at), 2) - NOW for at, mark in ((25, 1), (26, 3))] == [0, 26]
    # Connection 1 brings 3 too, both go on with 2: that of connection 2 may be the one of late, that of connection 1 is not.
    assert states.time_of(state(3, NOW + 30), 1) - NOW == 26
    assert states.time_of(state(2, NOW + 40), 2) - NOW == 10
    assert states.time_of(state(2, NOW + 41), 1) - NOW == 41


def test_a_state_that_returns_later_is_a_new_one() -> None:
    states = UntimedStates()
    for at, mark in ((0, 1), (10, 2), (20, 1)):
        states.time_of(state(mark, NOW + at), 1)
    assert [states.time_of(state(mark, NOW + at), 2) - NOW for at, mark in ((25, 1), (26, 3))] == [0, 26]
    states.closed(1)
    later = NOW + BEHIND_US + 30
    assert [states.time_of(state(mark, later + at), 2) - later for at, mark in ((0, 4), (1, 2))] == [0, 1]


def test_any_interleaving_of_two_connections_gives_one_row_a_state() -> None:
    chance = random.Random(7)
    for _ in range(50):
        sent = [float(chance.randint(1, 3)) for _ in range(200)]
        states, told, done, now = UntimedStates(), [], {1: 0, 2: 0}, NOW
        for source in done:  # both have begun
            states.time_of(state(0.5, now), source)
        while min(done.values()) < len(sent):
            ahead = max(done, key=lambda one: done[one])
            source = chance.choice((1, 2))
            if done[source] - min(done.values()) > 20 or done[source] == len(sent):
                source = 3 - ahead
            now += 1000
            told.append((states.time_of(state(sent[done[source]], now), source), sent[done[source]]))
            done[source] += 1
        assert [mark for _, mark in sorted(set(told))] == sent


def test_a_connection_that_begins_ahead_of_the_other_doubles_nothing() -> None:
    """It begins while the other is behind by up to half a second, with states that return soon: of each there are as many
    rows as were sent, where the newest may be there once more."""
    for seed in range(300):
        chance, now, mark = random.Random(seed), 0.0, 0
        sent: list[tuple[float, int]] = []
        while now < 6e6:
            now += chance.expovariate(15) * 1e6
            mark = max(-3, min(3, mark + chance.choice((-1, -1, 0, 1, 1))))
            sent.append((now, mark))
        begin = chance.uniform(2e6, 4e6)
        once_more = [mark for at, mark in sent if at <= begin][-1]
        brought: list[tuple[int, int, int]] = []
        for source, states in (
            (1, sent),
            (2, [(begin, once_more), *(one for one in sent if one[0] > begin)]),
        ):
            last = stalled = 0.0
            for at, mark in states:
                if at > stalled and chance.random() < 0.08:
                    stalled = at + chance.uniform(0, BEHIND_US / 2)
                last = max(at + chance.uniform(500, 5000), stalled, last + 2)
                brought.append((NOW + int(last), source, mark))
        told, rows = UntimedStates(), dict[int, int]()
        for at, source, mark in sorted(brought):
            rows[told.time_of(state(100.0 + mark, at), source)] = mark
        wanted, found = Counter(mark for _, mark in sent), Counter(rows.values())
        assert all(wanted[mark] <= found[mark] <= wanted[mark] + (mark == once_more) for mark in wanted), seed


def test_one_connection_keeps_every_state_also_equal_ones_and_those_of_other_symbols() -> None:
    states = UntimedStates()
    times = [
        states.time_of(state(1.0, NOW + at, symbol), 1) for at in range(300) for symbol in ("BTC", "ETH")
    ]
    assert times == [NOW + at for at in range(300) for _ in range(2)]


def test_what_is_old_or_far_behind_is_a_state_of_its_own() -> None:
    states = UntimedStates()
    states.time_of(state(1.0, NOW), 1)
    late = NOW + SAME_STATE_US + 1
    assert states.time_of(state(1.0, late), 2) == late
    for at in range(1, 2 * MOST_TOLD):
        states.time_of(state(float(at), late + at), 1)
    assert states.time_of(state(1.0, late + 5000), 2) == late + 5000


def test_a_connection_that_begins_anew_brings_the_newest_once_more() -> None:
    states = UntimedStates()
    for at in range(3):
        states.time_of(state(float(at), NOW + at), 1)
    states.closed(1)
    assert states.time_of(state(2.0, NOW + 9), 3) == NOW + 2


def test_a_connection_that_begins_behind_the_other_finds_its_place() -> None:
    states, marks = UntimedStates(), (1.0, 1.0, 1.0, 2.0)
    for at, mark in enumerate(marks):
        states.time_of(state(mark, NOW + at), 1)
    late = [states.time_of(state(mark, NOW + 100 + at), 2) - NOW for at, mark in enumerate((*marks, 3.0))]
    assert late == [0, 1, 2, 3, 104]


def test_a_state_that_the_connection_ahead_has_missed_moves_no_other() -> None:
    states = UntimedStates()
    for source in (1, 2):
        states.time_of(state(0.5, NOW), source)
    ahead = [states.time_of(state(mark, NOW + at), 1) - NOW for at, mark in ((1, 1.0), (2, 3.0))]
    behind = [
        states.time_of(state(mark, NOW + at), 2) - NOW for at, mark in ((11, 1.0), (12, 2.0), (13, 3.0))
    ]
    assert (ahead, behind) == ([1, 2], [1, 12, 2])
    assert [states.time_of(state(4.0, NOW + at), at % 2 + 1) - NOW for at in (20, 21)] == [20, 20]
