"""Streams and feeds: what of their time was recorded, how much came, and how often their connections failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import msgspec

from analyzer.audit.facts import Declared, Facts, Received
from analyzer.audit.processes import Run
from analyzer.collectors import process_of
from analyzer.passes.recorded import FOR_EVER, Interval, Recorded, Recording, Stream, uncovered
from analyzer.windows import Window

NETWORK_ERRORS = ("connect_failed", "disconnected")


class StreamHealth(msgspec.Struct, frozen=True):
    """One channel of one symbol."""

    exchange: str
    market: str
    symbol: str
    channel: str
    coverage: float
    expected_s: float
    """Part of the window in which it was to be recorded: from its first subscription on, until it was dropped."""
    missing_s: float
    undeclared_s: float
    """Of the missing: no collector of it was alive, and no gap says so."""
    gaps: int
    repaired: int
    rows: int
    rows_per_hour: float
    newest: int
    """time of receipt, µs; 0: nothing in the window"""
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    subscriptions: int
    silences: int
    rejections: int


class FeedHealth(msgspec.Struct, frozen=True):
    """One market of one venue."""

    exchange: str
    market: str
    streams: int
    messages: int | None
    """None where no process counted them."""
    messages_per_hour: float | None
    bad_messages: int
    connections: int
    network_errors: int
    """Connections that were lost or did not come about."""
    network_errors_per_hour: float
    silences: int
    bans: int


def recorded_of(facts: Facts, down: Mapping[str, Sequence[Interval]]) -> Recorded:
    """What the collectors recorded together, by what they declared and by when each was not alive (`down`, of those that
    were seen). Time of that kind over which a gap goes was declared: the gap says how long it was."""
    begun, end = facts.recorded.begun(), facts.window.end_us
    parts = {stream: dict(there) for stream, there in facts.recorded.parts.items()}
    spoken: dict[tuple[Stream, str], list[Interval]] = {}
    for gap in facts.gaps:
        parts.setdefault(gap.stream, {}).setdefault(gap.collector or "", Recording())
        bounds = (gap.start, gap.end if gap.end is not None else end)
        spoken.setdefault((gap.stream, gap.collector or ""), []).append(bounds)
    for stream, there in parts.items():
        for name, told in there.items():
            there[name] = own = Recording(FOR_EVER if name in down else told.last)
            # Where no subscription of the stream is known at all, its gaps alone count.
            own.first = told.first if stream in begun else 0
            own.holes = told.holes
            own.down = [
                hole
                for hole in down.get(name, ())
                if not any(low < hole[1] and high > hole[0] for low, high in spoken.get((stream, name), ()))
            ]
    return Recorded(parts)


def lost_of(gap: Declared, recorded: Recorded, window: Window) -> list[Interval]:
    """What of the gap nobody has, within the window."""
    if gap.repaired:
        return []
    start, end = window.start_us, window.end_us
    low, high = max(gap.start, start), end if gap.end is None else min(gap.end, end)
    return recorded.lost(gap.stream, gap.collector or "", low, high)


def stream_health(facts: Facts, recorded: Recorded, first_life: int) -> list[StreamHealth]:
    """`recorded`: of `recorded_of`; `first_life`: the first sign of life of any collector (µs)."""
    start, end = max(facts.window.start_us, first_life), facts.window.end_us
    declared: dict[Stream, list[Declared]] = {}
    for gap in facts.gaps:
        declared.setdefault(gap.stream, []).append(gap)
    begun = facts.recorded.begun()
    hours = (end - start) / 3.6e9
    return [
        _health(
            facts,
            recorded,
            stream,
            declared.get(stream, []),
            (max(start, begun.get(stream, 0)), end),
            hours,
        )
        for stream in sorted(begun.keys() | declared.keys())
    ]


def _health(
    facts: Facts,
    recorded: Recorded,
    stream: Stream,
    gaps: Sequence[Declared],
    bounds: Interval,
    hours: float,
) -> StreamHealth:
    start, end = bounds
    dropped = {gap.start for gap in gaps if gap.cause == "dropped"}
    holes = recorded.holes(stream)
    unwanted = [hole for hole in holes if hole[0] in dropped]
    declared = [hole for hole in holes if hole[0] not in dropped]
    expected = end - start - uncovered(unwanted, start, end)
    missing = uncovered([*unwanted, *recorded.missing(stream)], start, end) - (end - start - expected)
    told = uncovered([*unwanted, *declared], start, end) - (end - start - expected)
    (exchange, market, symbol), channel = stream
    counts = facts.event_counts
    stored = facts.stored.get(stream)
    rows = stored.rows if stored else 0
    return StreamHealth(
        exchange=exchange,
        market=market,
        symbol=symbol,
        channel=channel,
        coverage=1.0 - missing / expected if expected > 0 else 1.0,
        expected_s=max(0, expected) / 1e6,
        missing_s=missing / 1e6,
        undeclared_s=(missing - told) / 1e6,
        gaps=len(gaps),
        repaired=sum(gap.repaired for gap in gaps),
        rows=rows,
        rows_per_hour=rows / hours if hours > 0 else 0.0,
        newest=stored.newest if stored else 0,
        latency_p50_ms=stored.p50_ms if stored else None,
        latency_p99_ms=stored.p99_ms if stored else None,
        subscriptions=counts[exchange, market, symbol, channel, "subscribed"],
        silences=counts[exchange, market, symbol, channel, "silent"],
        rejections=counts[exchange, market, symbol, channel, "rejected"],
    )


def overall(streams: Sequence[StreamHealth]) -> float | None:
    """Share of all the streams' time that was recorded; None where no stream is known."""
    expected = sum(stream.expected_s for stream in streams)
    if expected <= 0:
        return None
    return 1.0 - sum(stream.missing_s for stream in streams) / expected


def feed_health(
    facts: Facts, streams: Sequence[StreamHealth], runs: Sequence[Run], hours: float
) -> list[FeedHealth]:
    began = {process_of(run.process) for run in runs if run.began}
    messages: Counter[tuple[str, str]] = Counter()
    bad: Counter[tuple[str, str]] = Counter()
    for one in facts.received:
        messages[one.exchange, one.market] += _counted(one.messages, one, began)
        bad[one.exchange, one.market] += _counted(one.bad, one, began)
    events: Counter[tuple[str, str, str]] = Counter()
    for (exchange, market, _, _, event), count in facts.event_counts.items():
        events[exchange, market, event] += count
    names = {(stream.exchange, stream.market) for stream in streams}
    names |= {(exchange, market) for exchange, market, _ in events} | messages.keys()
    feeds = []
    for exchange, market in sorted(names):
        errors = sum(events[exchange, market, event] for event in NETWORK_ERRORS)
        counted = messages.get((exchange, market))
        feeds.append(
            FeedHealth(
                exchange=exchange,
                market=market,
                streams=sum((stream.exchange, stream.market) == (exchange, market) for stream in streams),
                messages=counted,
                messages_per_hour=counted / hours if counted is not None and hours > 0 else None,
                bad_messages=bad[exchange, market],
                connections=events[exchange, market, "connected"],
                network_errors=errors,
                network_errors_per_hour=errors / hours if hours > 0 else 0.0,
                silences=events[exchange, market, "silent"],
                bans=events[exchange, market, "banned"],
            )
        )
    return feeds


def _counted(bounds: Interval, one: Received, began: set[str]) -> int:
    """A counter's growth in the window; a process that began in it counted from 0 on."""
    low, high = bounds
    return high if one.process in began else high - low
