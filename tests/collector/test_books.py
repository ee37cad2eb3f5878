"""The bounded book against a plain dictionary, on random updates."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from collector.books import Book, SampledBook, Side
from collector.exchanges.base import Broken, Item, Resynced
from collector.exchanges.states import BookTopic
from collector.rows import BookSnapshot
from collector.settings import Duration, FeedConfig

PRICES = st.integers(1, 60).map(lambda n: n / 4)
SIZES = st.integers(0, 3).map(float)
UPDATES = st.lists(st.lists(st.tuples(PRICES, SIZES), max_size=8), max_size=20)


@given(UPDATES, st.sampled_from([1, -1]), st.integers(1, 12))
def test_side_equals_a_sorted_dictionary(
    updates: list[list[tuple[float, float]]], sign: int, limit: int
) -> None:
    side, plain = Side(sign, limit), dict[float, float]()
    for levels in updates:
        side.update(levels)
        side.settle()
        plain.update(levels)
        best = sorted(((p, s) for p, s in plain.items() if s), reverse=sign > 0)
        plain = dict(best[:limit])  # beyond the bound nothing is known any more
        assert len(side) == len(plain)
        top = side.top(5)
        assert top.shape == (2, min(5, len(plain)))
        assert top.tolist() == [[p for p, _ in best[:limit][:5]], [s for _, s in best[:limit][:5]]]


def test_snapshot_replaces_and_is_bounded() -> None:
    book = Book(2)
    book.asks.update([(5.0, 1.0)])
    book.asks.replace([(3.0, 1.0), (1.0, 2.0), (2.0, 4.0), (9.0, 0.0)])
    assert book.asks.top(9).tolist() == [[1.0, 2.0], [2.0, 4.0]]
    book.bids.replace([(1.0, 1.0)])
    assert book.crossed()
    book.bids.replace([(0.5, 1.0)])
    assert not book.crossed()


@given(UPDATES, st.sampled_from([1, -1]))
def test_updates_looked_at_late_end_in_the_same_book(
    updates: list[list[tuple[float, float]]], sign: int
) -> None:
    """As long as the venue deletes what it no longer shows, when they are worked in makes no difference."""
    at_once, late = Side(sign, 60), Side(sign, 60)
    for levels in updates:
        at_once.update(levels)
        at_once.settle()
        late.update(levels)
    assert late.top(99).tolist() == at_once.top(99).tolist()


def test_a_state_let_out_in_the_middle_of_a_moment_is_put_right() -> None:
    """A venue tells one moment in several messages, and a busy machine hears the last of them late."""
    out: list[BookSnapshot] = []
    book = SampledBook(("x", "linear", "S"), 10, 10, 100_000)
    book.change(1_000_000, 1_000_100, 1, [(10.0, 1.0)], [(11.0, 1.0)], out)
    book.flush(1_100_100, out)
    assert [(row.ts, row.bids.tolist()) for row in out] == [(1_000_000, [[10.0], [1.0]])]
    book.change(1_000_000, 1_200_000, 2, [(10.0, 2.0)], [], out)  # the rest of that moment
    assert len(out) == 1
    book.change(1_050_000, 1_200_000, 3, [(10.0, 3.0)], [], out)  # of the same interval
    book.flush(1_400_000, out)
    assert [(row.ts, row.seq, row.bids[1].tolist()) for row in out] == [
        (1_000_000, 1, [1.0]),
        (1_000_000, 2, [2.0]),  # in the place of the row before
        (1_050_000, 3, [3.0]),
    ]


def test_what_is_held_at_a_break_lies_in_the_hole() -> None:
    """Of the same moment an update may be lost: the row would be wrong, or go over another connection's right one."""
    feed = FeedConfig(exchange="x", market="linear", symbols=["S"], book_interval=Duration(0.1))
    out: list[Item] = []
    topic = BookTopic(feed, "S", "book:S", 10)
    topic.restart(1_000_000, 1_000_100, 1, [(10.0, 1.0)], [(11.0, 1.0)], out)
    topic.apply(1_010_000, 1_010_100, 2, [(10.0, 2.0)], [], out)
    topic.invalidate("checksum", None, 1_020_000, out)
    topic.flush(9_000_000, out)
    assert [type(item) for item in out] == [Resynced, Broken]
    assert isinstance(out[-1], Broken) and out[-1].from_ts == 1_010_000
