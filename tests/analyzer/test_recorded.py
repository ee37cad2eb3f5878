"""What of a gap nobody has, where several collectors record: a hand-computed table, in Python and in SQL (the view `holes`),
and both against counting second by second."""

from __future__ import annotations

import random
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from analyzer.config import Endpoint as ReadEndpoint
from analyzer.passes.recorded import Recorded, Recording, read
from analyzer.source import Source
from analyzer.windows import Window, aligned, microseconds
from collector.database.endpoint import Endpoint
from collector.rows import CollectorStats, FeedEvent, Gap, Row
from tests.analyzer.audits import IDLE
from tests.analyzer.fixtures import VENUE, store
from tests.conftest import query

S = 1_000_000
BEGIN = microseconds(aligned(datetime.now(UTC) - timedelta(hours=1), timedelta(minutes=1)))
BEFORE = -600
"""When collectors subscribe, in seconds after BEGIN, where nothing else is said."""
C_LAST = -3
"""The last sign of life of the collector c. The others live."""


def at(seconds: float) -> int:
    return BEGIN + round(seconds * S)


def subscribed(collector: str, symbol: str, seconds: float = BEFORE) -> FeedEvent:
    return FeedEvent(at(seconds), at(seconds), *VENUE, symbol, "trades", "subscribed", collector=collector)


def gap(collector: str, symbol: str, low: float, high: float | None, **more: Any) -> Gap:
    end = None if high is None else at(high)
    return Gap(at(low), end, at(low), *VENUE, symbol, "trades", "disconnected", collector=collector, **more)


def life(collector: str, ts: int) -> CollectorStats:
    return msgspec.structs.replace(IDLE, ts=ts, process=f"{collector}:1", collector=collector)


def lives() -> list[Row]:
    now = time.time_ns() // 1000
    return [life("a", now), life("b", now + 1), life("c", at(C_LAST))]


TABLE: dict[str, tuple[list[Row], list[tuple[str, float, float | None, float, str]]]] = {
    # symbol: what is stored, and of each gap: collector, from, to, seconds that are lost, who has the rows
    "COVERED": (
        [gap("a", "COVERED", 10, 20), subscribed("b", "COVERED")],
        [("a", 10, 20, 0, "another collector")],
    ),
    "UNCOVERED": (
        [gap("a", "UNCOVERED", 10, 20), subscribed("b", "UNCOVERED"), gap("b", "UNCOVERED", 5, 25)],
        [("b", 5, 25, 10, "another collector, in part"), ("a", 10, 20, 10, "nobody")],
    ),
    "HALF": (
        [gap("a", "HALF", 10, 20), subscribed("b", "HALF"), gap("b", "HALF", 15, 30)],
        [("a", 10, 20, 5, "another collector, in part"), ("b", 15, 30, 5, "another collector, in part")],
    ),
    "TWICE": (  # of one gap two parts are lost, one of which two gaps of b make together
        [
            gap("a", "TWICE", 10, 60),
            subscribed("b", "TWICE"),
            gap("b", "TWICE", 20, 25),
            gap("b", "TWICE", 40, 44),
            gap("b", "TWICE", 43, 50),
        ],
        [
            ("a", 10, 60, 15, "another collector, in part"),
            ("b", 20, 25, 5, "nobody"),
            ("b", 40, 44, 4, "nobody"),
            ("b", 43, 50, 7, "nobody"),
        ],
    ),
    "ALONE": ([gap("a", "ALONE", 10, 20)], [("a", 10, 20, 10, "nobody")]),
    "LATER": (
        [gap("a", "LATER", 10, 20), subscribed("b", "LATER", 14)],
        [("a", 10, 20, 4, "another collector, in part")],
    ),
    "GONE": (  # c may have recorded until 15 s after its last sign of life
        [gap("a", "GONE", 10, 20), subscribed("c", "GONE")],
        [("a", 10, 20, 8, "another collector, in part")],
    ),
    "FETCHED": (  # what REST gave one of them, the other need not have
        [
            gap("a", "FETCHED", 10, 20, repaired=True, repair="complete"),
            subscribed("b", "FETCHED"),
            gap("b", "FETCHED", 12, 14),
        ],
        [("a", 10, 20, 0, "REST"), ("b", 12, 14, 0, "another collector")],
    ),
    "MOMENT": (
        [gap("a", "MOMENT", 10, 10), subscribed("b", "MOMENT")],
        [("a", 10, 10, 0, "another collector")],
    ),
    "RESUMED": (  # nothing closed it, but it was subscribed again
        [gap("a", "RESUMED", 10, None), subscribed("a", "RESUMED", 30)],
        [("a", 10, None, 20, "nobody")],
    ),
    "TAKEN": (
        [gap("a", "TAKEN", 10, None), subscribed("b", "TAKEN"), gap("b", "TAKEN", 50, 60)],
        [("a", 10, None, 10, "another collector, in part"), ("b", 50, 60, 10, "nobody")],
    ),
}


def test_a_hand_computed_table(database: Endpoint) -> None:
    rows = [row for stored, _ in TABLE.values() for row in stored]
    store(database, [*rows, *(subscribed("a", symbol) for symbol in TABLE), *lives()])
    expected = {
        (symbol, collector, at(low)): (lost, kept)
        for symbol, (_, gaps) in TABLE.items()
        for collector, low, _, lost, kept in gaps
    }
    told = query(
        database, "SELECT symbol, collector, from_ts::long, lost_s, kept_by, lost, lost_since FROM holes"
    )
    assert {(row[0], row[1], row[2]): (row[3], row[4]) for row in told} == expected
    assert all((row[3] > 0) == row[5] and row[6] is None for row in told)
    found = recorded(database)
    for symbol, (_, gaps) in TABLE.items():
        for collector, low, high, lost, kept in gaps:
            end = at(high) if high is not None else at(3000)
            if kept != "REST":
                assert found(symbol, collector, at(low), end) == lost * S, (symbol, collector)


def recorded(database: Endpoint) -> Any:
    """How long of a gap nobody has, in µs, as Python tells it; an open gap is its own hole until its stream is resumed."""
    source = Source(ReadEndpoint(database.http_url, database.pg))
    try:
        found = read(source.rows, Window(datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC)))
    finally:
        source.close()

    def lost(symbol: str, collector: str, low: int, end: int) -> int:
        stream = (*VENUE, symbol), "trades"
        (high,) = {high for start, high in found.parts[stream][collector].holes if start == low}
        return sum(b - a for a, b in found.lost(stream, collector, low, min(end, high)))

    return lost


def test_an_open_gap_is_lost_since_nobody_records(database: Endpoint) -> None:
    store(
        database,
        [
            *(subscribed(name, symbol) for name in "ab" for symbol in ("KEPT", "BOTH", "AGAIN")),
            subscribed("a", "ONE"),
            gap("a", "ONE", 10, None),
            gap("a", "KEPT", 10, None),
            gap("a", "BOTH", 10, None),
            gap("b", "BOTH", 50, None),
            gap("a", "AGAIN", 10, None),
            gap("b", "AGAIN", 50, 60),
            *lives(),
        ],
    )
    told = query(
        database, "SELECT symbol, collector, lost_since::long, lost_s FROM holes WHERE to_ts IS NULL"
    )
    since = {(symbol, name): start for symbol, name, start, _ in told}
    assert since == {
        ("ONE", "a"): at(10),
        ("KEPT", "a"): None,
        ("BOTH", "a"): at(50),
        ("BOTH", "b"): at(50),
        ("AGAIN", "a"): None,
    }
    lost = {(symbol, name): seconds for symbol, name, _, seconds in told}
    age = time.time() - BEGIN / S
    assert lost["ONE", "a"] == pytest.approx(age - 10, abs=30)
    assert lost["BOTH", "a"] == lost["BOTH", "b"] == pytest.approx(age - 50, abs=30)
    assert (lost["KEPT", "a"], lost["AGAIN", "a"]) == (0, 10)


def test_what_is_before_the_beginning_of_the_look_back_does_not_count(database: Endpoint) -> None:
    store(
        database,
        [
            *(subscribed(name, "BTCUSDT") for name in "ab"),
            gap("a", "BTCUSDT", 10, 40),
            gap("b", "BTCUSDT", 1, 30),
            gap("b", "BTCUSDT", -50, -20),
            *lives(),
        ],
    )
    told = query(
        database,
        f"DECLARE @since := {at(25)} SELECT collector, seconds, lost_s, kept_by FROM holes ORDER BY collector",
    )
    assert told == [
        ("a", 30.0, 5.0, "another collector, in part"),
        ("b", 29.0, 5.0, "nobody"),
    ]


@pytest.mark.parametrize("seed", [1])
def test_sql_and_python_against_counting(database: Endpoint, seed: int) -> None:
    """Sixty streams of one to three collectors with gaps of whole seconds at random; c dies at 50, 35 + 15 s of grace."""
    rng = random.Random(seed)
    rows: list[Row] = []
    lacking: dict[tuple[str, str], set[int]] = {}
    gaps: dict[tuple[str, str, int], int] = {}
    for number in range(60):
        symbol = f"S{number}"
        for name in "abc"[: 1 + number % 3]:
            first = rng.choice((BEFORE, BEFORE, rng.randrange(90)))
            rows.append(subscribed(name, symbol, first))
            lacks = {n for n in range(120) if n < first or (name == "c" and n >= 50)}
            for low in rng.sample(range(100), rng.randrange(5)):
                high = low + rng.randrange(1, 20)
                repaired = rng.random() < 0.2
                rows.append(gap(name, symbol, low, high, repaired=repaired))
                if not repaired:
                    lacks |= set(range(low, high))
                    gaps[symbol, name, low] = high
            lacking[symbol, name] = lacks
    now = time.time_ns() // 1000
    store(database, [*rows, life("a", now), life("b", now + 1), life("c", at(35))])
    expected = {
        key: sum(
            all(n in lacks for (of, name), lacks in lacking.items() if of == key[0] and name != key[1])
            for n in range(key[2], high)
        )
        for key, high in gaps.items()
    }
    assert 50 < sum(lost > 0 for lost in expected.values()) < len(expected) - 20
    told = query(database, "SELECT symbol, collector, from_ts::long, lost_s FROM holes WHERE NOT repaired")
    assert {(row[0], row[1], (row[2] - BEGIN) // S): row[3] for row in told} == expected
    found = recorded(database)
    for (symbol, name, low), lost in expected.items():
        assert found(symbol, name, at(low), at(gaps[symbol, name, low])) == lost * S


def test_a_collector_that_nobody_knows_lacks_what_all_others_lack() -> None:
    one = Recording()
    one.first, one.holes = 0, [(10, 20)]
    stream = (*VENUE, "BTCUSDT"), "trades"
    found = Recorded({stream: {"a": one}})
    assert found.lost(stream, "b", 0, 100) == [(10, 20)]
    assert found.lost(stream, "a", 5, 8) == [(5, 8)]
    assert found.lost(stream, "a", 5, 5) == [(5, 6)]
    assert found.lost(((*VENUE, "ETHUSDT"), "trades"), "a", 5, 8) == [(5, 8)]
    assert found.holes(stream) == [(10, 20)]
