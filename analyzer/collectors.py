"""Which collectors there are, how long each has been silent, and which markets one has not reached since its start."""

# ruff: noqa: S608 - every part of the queries is ours: numbers and names of tables

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

LOOKED_US = 86_400_000_000
"""A collector that gave no sign of life for longer has been taken away, and is not missed."""
OVERDUE_S = 15.0
"""One that runs gives a sign of life every 10 s."""
FAILING_US = 3_600_000_000
SAME_START_US = 60_000_000
"""All feeds of a process begin within this time."""
Ask = Callable[[str], Iterable[Sequence[Any]]]
"""A query's rows. What it raises is raised."""


class Life(msgspec.Struct, frozen=True):
    """A collector by its rows of `collector_stats` of a day."""

    collector: str
    """ "": the rows are older than the column"""
    process: str
    """The newest."""
    first: int
    last: int
    """µs"""


class Unreached(msgspec.Struct, frozen=True):
    """A market of which a collector has not subscribed anything since it began with it."""

    exchange: str
    market: str
    collector: str
    since: int
    """µs"""


def process_names(keys: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """(process, collector) → the process, with its collector where another one's has the same name, as in containers."""
    known = list(keys)
    often = Counter(process for process, _ in known)
    return {
        (process, collector): f"{process} of {collector}" if often[process] > 1 and collector else process
        for process, collector in known
    }


def process_of(name: str) -> str:
    """The process of a name that `process_names` gave."""
    return name.partition(" of ")[0]


def lives(ask: Ask, now: int) -> list[Life]:
    """Those that gave a sign of life within a day before `now` (µs), the newest first."""
    rows = ask(
        "SELECT collector, last(process), min(ts)::long, max(ts)::long FROM collector_stats "
        f"WHERE ts > {now - LOOKED_US} AND ts <= {now}"
    )
    found = [Life(name or "", process or "", first, last) for name, process, first, last in rows if last]
    return sorted(found, key=lambda one: -one.last)


def gone(found: Sequence[Life], now: int, silence_us: int) -> list[Life]:
    """Of several collectors those that have been silent for that long while another one lives that has lived beside them:
    one that begins later takes their place. Where none lives, nobody records, which is more than one that is gone."""
    living = [one for one in found if now - one.last < silence_us]
    return [
        one
        for one in found
        if one.collector and now - one.last >= silence_us and any(other.first <= one.last for other in living)
    ]


def unreached(ask: Ask, found: Sequence[Life], now: int, silence_us: int, least_us: int) -> list[Unreached]:
    """Of the collectors in `found` that live, the markets that they have not reached for `least_us`.

    Such a market leaves no gap: nothing of it was recorded before. A collector tells that it begins with a market
    (`starting`), however its connections fail; of one of a version that doesn't, failed connections of the last hour count
    where it has never subscribed anything of the market."""
    rows = ask(
        "SELECT exchange, market, collector, max(CASE WHEN event = 'starting' THEN ts END)::long, "
        "max(CASE WHEN event = 'subscribed' THEN ts END)::long, "
        f"min(CASE WHEN event = 'connect_failed' AND ts > {now - FAILING_US} THEN ts END)::long FROM feed_events "
        f"WHERE event IN ('starting', 'subscribed', 'connect_failed') AND ts <= {now}"
    )
    markets = [Unreached(row[0], row[1], row[2] or "", _since(*row[3:])) for row in rows]
    living = {one.collector for one in found if now - one.last < silence_us}
    newest: dict[str, int] = {}
    for _, _, name, begun, *_ in rows:
        newest[name or ""] = max(newest.get(name or "", 0), begun or 0)
    return sorted(
        (
            one
            for one in markets
            if one.since
            and one.collector in living
            and now - one.since >= least_us
            and one.since >= newest[one.collector] - SAME_START_US  # not of an earlier configuration
        ),
        key=lambda one: (one.exchange, one.market, one.collector),
    )


def _since(begun: int | None, subscribed: int | None, failed: int | None) -> int:
    """Since when a market has not been reached, in µs; 0: it has been, or nothing says that it was to be."""
    if begun:
        return begun if (subscribed or 0) < begun else 0
    return (failed or 0) if not subscribed else 0
