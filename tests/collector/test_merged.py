"""Redundant connections don't spoil one another's rows: merged tickers that know less, books held back at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from collector.exchanges.base import Resynced, Subscribed
from collector.merged import MOST_ROWS, MOST_TIMES, MergedTickers
from collector.recorder import Recorder, Source
from collector.rows import BookSnapshot, Row, Ticker
from collector.settings import FeedConfig

NOW = 1_790_000_000_000_000
WHERE = ("bitmex", "linear", "XBTUSDT")


def ticker(**known: Any) -> Ticker:
    return Ticker(NOW, NOW + 1, *WHERE, **known)


def test_a_connection_that_begins_is_not_heard_before_it_knows_as_much() -> None:
    merged = MergedTickers()
    assert merged.is_whole(ticker(last=1.0), 1)
    assert merged.is_whole(ticker(last=1.0, mark=2.0), 1)
    assert not merged.is_whole(ticker(mark=2.0), 2)
    assert not merged.is_whole(ticker(last=1.0), 2)
    assert merged.is_whole(ticker(last=1.0, mark=2.0), 2)
    assert merged.is_whole(ticker(mark=2.0), 2)  # the venue has taken it back
    assert merged.is_whole(ticker(last=3.0, mark=2.0, bid=4.0), 2)
    assert merged.is_whole(ticker(last=3.0, mark=2.0), 1)  # it was whole before
    merged.closed(1)
    assert not merged.is_whole(ticker(last=3.0, mark=2.0), 1)
    assert merged.is_whole(ticker(last=3.0, mark=2.0, bid=4.0, index=5.0), 1)


def test_a_connection_that_is_behind_does_not_bring_back_the_first_of_a_moment() -> None:
    merged = MergedTickers()
    first, second = ticker(last=1.0), ticker(last=2.0)
    assert [merged.of_several(row, 1, True) for row in (first, second)] == [first, second]
    assert [merged.of_several(row, 2, True) for row in (first, second)] == [None, second]
    third = ticker(last=3.0)  # it is ahead now
    assert merged.of_several(third, 2, True) == third
    assert merged.of_several(third, 1, True) == third


def test_what_only_a_lesser_connection_brings_is_filled_up_with_what_was_known_then() -> None:
    """An answer of REST belongs to the connection that asked."""
    merged = MergedTickers()
    for ts, mark in ((NOW - 20, 1.0), (NOW - 10, 2.0), (NOW + 10, 3.0)):
        merged.of_several(Ticker(ts, ts, *WHERE, mark=mark, last=9.0), 1, True)
    told = merged.of_several(ticker(open_interest=5.0), 2, True)
    assert told == ticker(open_interest=5.0, mark=2.0, last=9.0)
    early = Ticker(NOW - 30, NOW, *WHERE, open_interest=5.0)
    assert merged.of_several(early, 2, True) is None
    assert merged.of_several(early, 2, False) == early


def test_what_is_kept_of_times_and_rows_is_bounded() -> None:
    merged = MergedTickers()
    for at in range(10 * MOST_TIMES):
        for source in (1, 2):
            merged.of_several(Ticker(NOW + at, NOW, *WHERE, last=1.0), source, True)
    kept = merged._symbols[WHERE[2]]
    assert (len(kept.most), len(kept.own), len(kept.rows)) == (MOST_TIMES, MOST_TIMES, MOST_ROWS)


@pytest.fixture
def recording() -> tuple[Recorder, list[Row]]:
    """With two connections, and what it stores."""
    from collector.metrics import Metrics

    stored: list[Row] = []

    class Journal:
        shedding: frozenset[type] = frozenset()

        def add(self, row: Row, recv_us: int) -> None:
            stored.append(row)

    class DeadLetters:
        pass

    feed = FeedConfig(exchange=WHERE[0], market=WHERE[1], symbols=[WHERE[2]])
    recorder = Recorder(feed, Journal(), DeadLetters(), Metrics())  # type: ignore[arg-type]
    for number in (1, 2):
        recorder.opened(number, Source(lambda *_: None, lambda _: None, lambda _: 0))
    return recorder, stored


def book(ts: int, size: float) -> BookSnapshot:
    level = np.array([[100.0], [size]])
    return BookSnapshot(ts, ts + 1, *WHERE, level, level, 0)


def whole(recorder: Recorder, channel: str, since: int, source: int) -> None:
    recorder.take([Subscribed(channel, WHERE[2]), Resynced(channel, WHERE[2], since)], since, source=source)


def test_what_an_ended_connection_held_back_does_not_replace_the_others_row(
    recording: tuple[Recorder, list[Row]],
) -> None:
    recorder, stored = recording
    whole(recorder, "orderbook", NOW, 1)
    whole(recorder, "orderbook", NOW + 50, 2)
    stored.clear()
    recorder.take([book(NOW + 60, 2.0)], NOW + 61, source=2)
    recorder.take_last([book(NOW + 40, 1.0), book(NOW + 60, 1.0)], NOW + 62, 1)
    kept = [(row.ts, row.bids[1, 0]) for row in stored if isinstance(row, BookSnapshot)]
    assert kept == [(NOW + 60, 2.0), (NOW + 40, 1.0)]  # the other had no book yet at 40


def test_a_lesser_ticker_is_stored_where_nobody_else_has_the_stream(
    recording: tuple[Recorder, list[Row]],
) -> None:
    recorder, stored = recording
    whole(recorder, "tickers", NOW - 10, 1)
    whole(recorder, "tickers", NOW - 10, 2)
    stored.clear()
    recorder.take([ticker(last=1.0, mark=2.0)], NOW + 1, source=1)
    recorder.take([ticker(last=1.0)], NOW + 2, source=2)
    assert [row for row in stored if isinstance(row, Ticker)] == [ticker(last=1.0, mark=2.0)]
    recorder.gaps.left(1)
    recorder.take([ticker(last=1.0)], NOW + 3, source=2)
    assert [row for row in stored if isinstance(row, Ticker)][1:] == [ticker(last=1.0)]
