"""A pass' queries on the real server: each asked once and not too far ahead, a failure told to all who need the answer."""

from __future__ import annotations

import threading

import pyarrow as pa
import pytest

from analyzer import config
from analyzer.answers import AHEAD, CONNECTIONS, Answers
from analyzer.source import Source, SourceError
from collector.database.endpoint import Endpoint


class Watched(Source):
    """Remembers what it was asked, and how much at once."""

    def __init__(self, database: Endpoint) -> None:
        super().__init__(config.Endpoint(database.http_url, database.pg))
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def fetch(self, sql: str) -> pa.Table:
        with self.lock:
            self.asked.append(sql)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            return super().fetch(sql)
        finally:
            with self.lock:
                self.at_once -= 1


def number(n: int) -> str:
    return f"SELECT {n} n FROM long_sequence(1)"


def test_each_is_asked_once_and_not_far_ahead(database: Endpoint) -> None:
    source = Watched(database)
    plan = [0, 1, 2, 1, 3, 4, 0, 5, 6, 7, 8, 9, 1]
    answers = Answers(source, [number(n) for n in plan])
    taken: set[int] = set()
    for n in plan:
        table, took_ms = answers.take(number(n))
        assert table.column("n").to_pylist() == [n]
        assert (took_ms > 0) == (n not in taken)
        taken.add(n)
        assert len(source.asked) <= len(taken) + AHEAD
    answers.close()
    source.close()
    assert sorted(source.asked) == sorted(number(n) for n in set(plan))
    assert 1 <= source.most_at_once <= CONNECTIONS


def test_a_failure_is_told_to_each_who_needs_the_answer_and_to_nobody_else(database: Endpoint) -> None:
    source = Watched(database)
    bad = "SELECT nothing FROM nowhere"
    answers = Answers(source, [number(1), bad, number(2), bad])
    assert answers.take(number(1))[0].num_rows == 1
    for _ in range(2):
        with pytest.raises(SourceError, match="nowhere"):
            answers.take(bad)
    assert answers.take(number(2))[0].num_rows == 1
    answers.close()
    source.close()
    assert source.asked.count(bad) == 1


def test_what_nobody_waits_for_any_more_is_not_begun(database: Endpoint) -> None:
    source = Watched(database)
    answers = Answers(source, [number(n) for n in range(30)])
    answers.take(number(0))
    answers.close()
    assert len(source.asked) <= 1 + AHEAD
    source.close()
