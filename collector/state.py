"""What a restart must know to declare the hole that it made: `state.json` beside the journal, replaced at every fsync."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from collector.exchanges.base import Stream
from collector.feed import Feed
from collector.gaps import QUIET_MARGIN_US


class FeedState(msgspec.Struct):
    feed: str
    """exchange/market"""
    newest_push_us: int
    """Event time of the newest message whose rows are in the journal."""
    streams: list[Stream]
    """Those recorded so far."""
    open_gaps: list[tuple[str, str, int, str]] = msgspec.field(default_factory=list)
    """(channel, symbol, from_ts, cause)"""


class State(msgspec.Struct):
    feeds: list[FeedState]
    at_us: int
    clean: bool = False


def encode(feeds: Sequence[Feed], at_us: int, clean: bool, carried: Sequence[FeedState] = ()) -> bytes:
    """`carried`: of the last run, for feeds that have not begun yet."""
    now = [
        FeedState(
            feed.name,
            feed.newest_push_us(),
            sorted(feed.recorder.gaps.begun & set(feed.streams)),
            [
                (*stream, gap.from_ts, gap.cause)
                for stream, gap in feed.recorder.gaps.all_open()
                if stream in feed.streams
            ],
        )
        for feed in feeds
    ]
    return msgspec.json.encode(State([*now, *carried], at_us, clean))


def decode(data: bytes) -> State:
    """Raises msgspec.DecodeError."""
    return msgspec.json.decode(data, type=State)


def restore(
    state: State, feeds: Sequence[Feed], recv_us: int, torn_since: int | None = None, alone: bool = True
) -> None:
    """Open a gap for every stream that was recorded before and is configured now. It begins earlier where the journal's tail
    was torn off after a row received at `torn_since`. `alone`: no other feeds have the name of these, so that what they do
    not have is recorded no more."""
    cause = "collector_stopped" if state.clean else "collector_crashed"
    streams = {stream for feed in feeds for stream in feed.streams}
    for feed in feeds:
        for past in state.feeds:
            if past.feed != feed.name:
                continue
            gaps, mine = feed.recorder.gaps, set(feed.streams)
            for channel, symbol, from_ts, old_cause in past.open_gaps:
                if (channel, symbol) in mine:
                    gaps.broken((channel, symbol), from_ts, old_cause, None, recv_us)
            from_ts = past.newest_push_us - QUIET_MARGIN_US if past.newest_push_us else state.at_us
            if torn_since:
                from_ts = min(from_ts, torn_since - QUIET_MARGIN_US)
            for stream in past.streams:
                if stream in mine:
                    gaps.broken(stream, from_ts, cause, None, recv_us)
                elif alone and stream not in streams:
                    gaps.begun.add(stream)
                    gaps.dropped(stream, from_ts, recv_us)
