"""Sent against stored, stream by stream: pure functions over fingerprints."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import numpy as np
import numpy.typing as npt

from collector.simulator.sent import Events, Key, Longs, SentBook, Tickers, UntimedStates

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float64]


class Outcome(msgspec.Struct, kw_only=True):
    """One stream. `missing` = `declared` + `undeclared`; of the order book, `sent` counts what had to be stored."""

    table: str
    market: str
    symbol: str
    sent: int = 0
    stored: int = 0
    missing: int = 0
    declared: int = 0
    undeclared: int = 0
    duplicated: int = 0
    wrong: int = 0
    unexpected: int = 0
    first_undeclared: str = ""

    @property
    def good(self) -> bool:
        return not (self.undeclared or self.duplicated or self.wrong or self.unexpected)


NUMBERS = ("sent", "stored", "missing", "declared", "undeclared", "duplicated", "wrong", "unexpected")


class Gaps:
    """The declared holes of one stream, closed intervals (µs)."""

    def __init__(self, intervals: list[tuple[int, int]]) -> None:
        ordered = np.array(sorted(intervals), dtype=np.int64).reshape(-1, 2)
        self._from = ordered[:, 0]
        self._to = np.maximum.accumulate(ordered[:, 1])

    def overlap(self, first: Longs, last: Longs) -> Mask:
        """Which of the closed intervals `first`..`last` meet a hole."""
        if not len(self._from):
            return np.zeros(len(first), dtype=bool)
        index = np.searchsorted(self._from, last, side="right") - 1
        found: Mask = (index >= 0) & (self._to[np.maximum(index, 0)] >= first)
        return found


def compare(key: Key, sent: Events, stored: Events, gaps: Gaps, interval_us: int) -> Outcome:
    """`interval_us`: that at which books are stored; 0: every update."""
    if key[0] == "liquidations":
        return compare_multiset(key, sent, stored, gaps)
    if isinstance(sent, UntimedStates):
        return compare_untimed_states(key, sent, stored, gaps)
    if isinstance(sent, Tickers) and isinstance(stored, Tickers):
        return compare_states(key, sent, stored, gaps)
    out = Outcome(table=key[0], market=key[1], symbol=key[2], stored=len(stored))
    ids, rows = np.unique(stored.ids, return_counts=True)
    out.duplicated = int((rows - 1).sum())
    known = np.isin(ids, sent.ids)
    out.unexpected = int((~known).sum())
    right = np.isin(ids, stored.ids[np.isin(stored.full, sent.full)])
    out.wrong = int((known & ~right).sum())
    wanted, width = expected(sent, interval_us)
    out.sent = len(wanted)
    found = np.isin(sent.full[wanted], stored.full) | np.isin(sent.ids[wanted], ids[known & ~right])
    missing_ts = sent.ts[wanted[~found]]
    first = missing_ts - missing_ts % width if width > 1 else missing_ts
    count_missing(out, missing_ts, gaps.overlap(first, first + width - 1))
    return out


def expected(sent: Events, interval_us: int) -> tuple[Longs, int]:
    """Indices of the events that must be stored, and for how long (µs) each of them stands."""
    if isinstance(sent, SentBook):
        new = np.flatnonzero(np.frombuffer(sent.repetition, dtype=np.int8) == 0)
        if not interval_us:
            _, index = np.unique(sent.ids[new], return_index=True)
            return new[index], 1
        return new[last_of_each(sent.ts[new] // interval_us)], interval_us
    _, index = np.unique(sent.ids, return_index=True)
    return index.astype(np.int64), 1


def last_of_each(values: Longs) -> Longs:
    """Index of the last occurrence of each value."""
    _, index = np.unique(values[::-1], return_index=True)
    return (len(values) - 1 - index).astype(np.int64)


def compare_states(key: Key, sent: Tickers, stored: Tickers, gaps: Gaps) -> Outcome:
    """One row for all that was told of one time (µs): it must hold what was told last of each field."""
    out = Outcome(table=key[0], market=key[1], symbol=key[2], stored=len(stored))
    times, told = newest_values(sent)
    held, rows = newest_values(stored)
    out.sent, out.duplicated = len(times), len(stored) - len(held)
    known = np.isin(held, times)
    out.unexpected = int((~known).sum())
    there = np.isin(times, held)
    differ = np.flatnonzero(~agree(told[there], rows[known]))
    # The newest of a time may be lost where an older one is stored.
    older = np.array([_told_before(sent, held[known][i], rows[known][i]) for i in differ], dtype=bool)
    out.wrong = int((~older).sum())
    missing = np.concatenate((times[~there], held[known][differ[older]]))
    count_missing(out, missing, gaps.overlap(missing, missing))
    return out


def agree(told: Values, stored: Values) -> Mask:
    """Rows in which everything told is stored."""
    same: Mask = ((told == stored) | np.isnan(told)).all(axis=-1)
    return same


def _told_before(sent: Tickers, ts: int, row: Values) -> bool:
    return bool(agree(sent.values[sent.ts == ts], row).any())


def newest_values(states: Tickers) -> tuple[Longs, Values]:
    """Distinct times, ascending, and what was told last of each field at each; NaN: nothing."""
    values = states.values
    order = np.argsort(states.ts, kind="stable")
    times, starts = np.unique(states.ts[order], return_index=True)
    if not len(times):
        return times, values
    values = values[order]
    told = np.where(np.isnan(values), -1, np.arange(len(values))[:, None])
    last = np.maximum.reduceat(told, starts, axis=0)
    return times, np.where(last < 0, np.nan, np.take_along_axis(values, np.maximum(last, 0), axis=0))


def compare_multiset(key: Key, sent: Events, stored: Events, gaps: Gaps) -> Outcome:
    """Events without an id: as many of each content as were sent."""
    out = Outcome(table=key[0], market=key[1], symbol=key[2], sent=len(sent), stored=len(stored))
    contents, first, sent_rows = np.unique(sent.full, return_index=True, return_counts=True)
    held, held_rows = np.unique(stored.full, return_counts=True)
    out.unexpected = int(held_rows[~np.isin(held, contents)].sum())
    stored_rows: npt.NDArray[np.int64] = np.zeros(len(contents), dtype=np.int64)
    if len(held):
        at = np.minimum(np.searchsorted(held, contents), len(held) - 1)
        stored_rows = np.where(held[at] == contents, held_rows[at], 0)
    out.duplicated = int(np.maximum(stored_rows - sent_rows, 0).sum())
    missing_ts = np.repeat(sent.ts[first], np.maximum(sent_rows - stored_rows, 0))
    count_missing(out, missing_ts, gaps.overlap(missing_ts, missing_ts))
    return out


def compare_untimed_states(key: Key, sent: Events, stored: Events, gaps: Gaps) -> Outcome:
    """Each state that was sent, once or more, and none more often than it was sent."""
    out = Outcome(table=key[0], market=key[1], symbol=key[2], stored=len(stored))
    contents, first, sent_rows = np.unique(sent.full, return_index=True, return_counts=True)
    held, held_rows = np.unique(stored.full, return_counts=True)
    out.sent = len(contents)
    known = np.isin(held, contents)
    out.unexpected = int(held_rows[~known].sum())
    times_sent = sent_rows[np.searchsorted(contents, held[known])]
    out.duplicated = int(np.maximum(held_rows[known] - times_sent, 0).sum())
    missing_ts = sent.ts[first[~np.isin(contents, held)]]
    count_missing(out, missing_ts, gaps.overlap(missing_ts, missing_ts))
    return out


def count_missing(out: Outcome, ts: Longs, declared: Mask) -> None:
    out.missing, out.declared = len(ts), int(declared.sum())
    out.undeclared = out.missing - out.declared
    if out.undeclared:
        out.first_undeclared = datetime.fromtimestamp(int(ts[~declared].min()) / 1e6, UTC).isoformat()


def total(outcomes: list[Outcome]) -> dict[str, int]:
    return {name: sum(getattr(outcome, name) for outcome in outcomes) for name in NUMBERS}
