"""Gap rows: when they open, when they close, and what their bounds are."""

from __future__ import annotations

from collector.gaps import QUIET_MARGIN_US, GapTracker
from collector.rows import Gap

S = 1_000_000
NOW = 1_700_000_000 * S
TRADES, BOOK = ("trades", "BTCUSDT"), ("orderbook", "BTCUSDT")


def tracker() -> tuple[GapTracker, list[Gap]]:
    rows: list[Gap] = []
    return GapTracker("bybit", "linear", lambda gap, new: rows.append(gap)), rows


def test_nothing_is_missing_before_recording_has_begun() -> None:
    gaps, rows = tracker()
    gaps.disconnected([TRADES, BOOK], "disconnected", lambda s: 0, 0, NOW)
    assert rows == []


def test_what_was_subscribed_and_never_acknowledged_is_missing_since_then() -> None:
    """The venue may have sent it: a connection that ends with its answers unread has lost them."""
    gaps, rows = tracker()
    gaps.disconnected([TRADES], "disconnected", lambda s: 0, 0, NOW + 9 * S, 1, asked_us=NOW)
    gaps.subscribed(TRADES, NOW + 20 * S, 2)
    gaps.received(NOW + 21 * S, NOW + 21 * S, 2)
    assert [(g.from_ts, g.to_ts) for g in rows] == [(NOW, None), (NOW, NOW + 21 * S)]


def test_disconnect_opens_at_the_last_event_and_closes_after_the_new_acknowledgement() -> None:
    gaps, rows = tracker()
    gaps.subscribed(TRADES, NOW)
    gaps.disconnected([TRADES], "disconnected", lambda s: NOW + 8 * S, NOW + 9 * S, NOW + 10 * S)
    assert [(g.from_ts, g.to_ts, g.cause) for g in rows] == [(NOW + 8 * S, None, "disconnected")]
    gaps.received(NOW + 11 * S, NOW + 11 * S)  # data before the acknowledgement proves nothing
    assert len(rows) == 1
    gaps.subscribed(TRADES, NOW + 12 * S)
    gaps.received(NOW + 13 * S, NOW + 13 * S)
    assert (rows[1].from_ts, rows[1].to_ts) == (NOW + 8 * S, NOW + 13 * S)
    gaps.received(NOW + 14 * S, NOW + 14 * S)
    assert len(rows) == 2


def test_quiet_stream_misses_only_what_its_connection_missed() -> None:
    gaps, rows = tracker()
    gaps.subscribed(TRADES, NOW)
    hours_ago = NOW - 7200 * S
    gaps.disconnected([TRADES], "disconnected", lambda s: hours_ago, NOW + 9 * S, NOW + 10 * S)
    assert rows[0].from_ts == NOW + 9 * S - QUIET_MARGIN_US


def test_old_stamp_after_the_acknowledgement_does_not_close_too_early() -> None:
    gaps, rows = tracker()
    gaps.broken(TRADES, NOW, "disconnected", None, NOW)
    gaps.subscribed(TRADES, NOW + 20 * S)
    gaps.received(NOW + 17 * S, NOW + 20 * S)  # another stream's snapshot, stamped when it last changed
    assert rows[1].to_ts == NOW + 20 * S


def test_replayed_recording_closes_in_its_own_time() -> None:
    gaps, rows = tracker()
    recorded = NOW - 10**8 * S // 1000
    gaps.broken(TRADES, recorded, "disconnected", None, NOW)
    gaps.subscribed(TRADES, NOW + S)
    gaps.received(recorded + 5 * S, NOW + S)
    assert rows[1].to_ts == recorded + 5 * S


def test_break_during_a_gap_keeps_the_first_cause_and_start() -> None:
    gaps, rows = tracker()
    gaps.broken(BOOK, NOW, "sequence_gap", 3, NOW)
    gaps.disconnected([BOOK], "disconnected", lambda s: NOW + S, NOW + S, NOW + S)
    gaps.resynced(BOOK, NOW + 2 * S, NOW + 2 * S)
    assert [(g.from_ts, g.to_ts, g.cause, g.missing) for g in rows] == [
        (NOW, None, "sequence_gap", 3),
        (NOW, NOW + 2 * S, "sequence_gap", 3),
    ]
    assert rows[1].repaired is False


def test_stream_that_another_connection_carries_has_no_hole() -> None:
    gaps, rows = tracker()
    for source in (1, 2):
        gaps.subscribed(TRADES, NOW, source)
        gaps.received(NOW, NOW, source)
    gaps.disconnected([TRADES], "disconnected", lambda s: NOW + 8 * S, NOW + 8 * S, NOW + 9 * S, 1)
    assert rows == []
    gaps.disconnected([TRADES], "disconnected", lambda s: NOW + 12 * S, NOW + 12 * S, NOW + 13 * S, 2)
    assert [(g.from_ts, g.to_ts) for g in rows] == [(NOW + 12 * S, None)]


def test_second_connection_that_came_too_late_leaves_a_hole_of_known_bounds() -> None:
    gaps, rows = tracker()
    gaps.subscribed(TRADES, NOW, 1)
    gaps.received(NOW, NOW, 1)
    gaps.subscribed(TRADES, NOW + 30 * S, 2)
    gaps.received(NOW + 31 * S, NOW + 31 * S, 2)
    # The first had been dead since the eighth second, which was noticed in the fortieth.
    gaps.disconnected([TRADES], "disconnected", lambda s: NOW + 8 * S, NOW + 8 * S, NOW + 40 * S, 1)
    assert [(g.from_ts, g.to_ts) for g in rows] == [(NOW + 8 * S, NOW + 31 * S)]
    assert gaps.open == {}


def test_connection_that_is_replaced_in_good_order_leaves_none() -> None:
    gaps, rows = tracker()
    gaps.subscribed(TRADES, NOW, 1)
    gaps.received(NOW, NOW, 1)
    assert not gaps.covers({2}, {1})
    gaps.subscribed(TRADES, NOW + 30 * S, 2)
    gaps.received(NOW + 31 * S, NOW + 31 * S, 2)
    assert gaps.covers({2}, {1})
    gaps.left(1)
    gaps.disconnected([TRADES], "disconnected", lambda s: NOW + 8 * S, NOW + 32 * S, NOW + 32 * S, 1)
    assert rows == []


def test_resync_does_not_end_what_is_given_up_for_want_of_room() -> None:
    gaps, rows = tracker()
    gaps.resynced(BOOK, NOW, NOW)
    gaps.shed(BOOK, NOW + S, "journal_quota", NOW + S)
    gaps.broken(BOOK, NOW + 2 * S, "sequence_gap", 1, NOW + 2 * S)
    gaps.resynced(BOOK, NOW + 3 * S, NOW + 3 * S)
    gaps.kept(BOOK, NOW + 9 * S, NOW + 9 * S)
    assert [(g.from_ts, g.to_ts, g.cause) for g in rows if g.to_ts] == [
        (NOW + 2 * S, NOW + 3 * S, "sequence_gap"),
        (NOW + S, NOW + 9 * S, "journal_quota"),
    ]


def test_two_holes_that_begin_together_have_keys_of_their_own() -> None:
    gaps, rows = tracker()
    gaps.shed(BOOK, NOW, "journal_quota", NOW)
    gaps.broken(BOOK, NOW, "sequence_gap", 1, NOW)
    assert len({g.from_ts for g in rows}) == 2
