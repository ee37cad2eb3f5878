"""What stands out in a window, in sentences, the most telling first. Each says its numbers and their units."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import combinations

import msgspec
import numpy as np

from analyzer.dashboard.figures import si, span_text
from analyzer.passes.cross import correlations
from analyzer.passes.groups import Instrument
from analyzer.reports.events import events
from analyzer.reports.holes import length
from analyzer.reports.model import SCORE, Report, Signal, Total
from analyzer.reports.names import percent, title, words

TELLING_INTEREST, TELLING_LEAN = 0.001, 0.1
FEW = 3
"""Sentences of one kind."""


class Finding(msgspec.Struct, frozen=True):
    kind: str
    """score, event, move, liquidations, trade, interest, correlation or flow"""
    text: str


def clock(us: int) -> str:
    return f"{datetime.fromtimestamp(us // 1_000_000, UTC):%H:%M:%S}"


def findings(report: Report) -> list[Finding]:
    """Empty for a window in which nothing was recorded."""
    return [
        *_scores(report),
        *_events(report),
        *_moves(report),
        *_forced(report),
        *_trades(report),
        *_others(report),
    ]


def recorded(report: Report) -> tuple[float | None, str]:
    """The mean share of the window that was recorded, over all instruments and channels, and a sentence on it."""
    shares = [share for total in report.totals for share in total.coverage.values()]
    if not shares:
        return (
            None,
            "Nothing says what was recorded in this window: no subscription is known from before its end.",
        )
    mean = sum(shares) / len(shares)
    streams = f"{len(shares)} stream{'s' if len(shares) > 1 else ''}"
    text = f"{_share(mean)} of the window was recorded, over {streams} of {len(_covered(report))} instruments"
    worst = min(_covered(report), key=lambda total: (total.least_coverage or 0.0, total.name))
    least, channel = min((share, channel) for channel, share in worst.coverage.items())
    if least < 1:
        text += f"; least: {channel} of {title(worst.name)} with {_share(least)}"
    lost = [gap for gap in report.gaps if gap.lost]
    elsewhere = sum(not gap.lost and gap.elsewhere for gap in report.gaps)
    if lost:
        lengths = [sum(high - low for low, high in gap.lost) for gap in lost]
        many = "more than " if report.more_gaps else ""
        text += f". {many}{len(lost)} declared gap{'s' if len(lost) > 1 else ''}, the longest {length(max(lengths))}"
    else:
        text += ". No gap is declared" if not elsewhere else ". No hole is left"
    if elsewhere:
        text += f"; of {elsewhere} more another collector has the rows"
    return mean, text + "."


def _covered(report: Report) -> list[Total]:
    return [total for total in report.totals if total.coverage]


def _share(value: float) -> str:
    """Rounded down: 99.96 % isn't all."""
    return f"{np.floor(value * 1000) / 10:g}%"


def score_rows(report: Report) -> dict[Instrument, dict[str, Signal]]:
    """Instrument → metric → newest signal of the score, of the shortest window where there are several."""
    found: dict[Instrument, dict[str, Signal]] = {}
    for signal in report.signals:
        if signal.analysis == SCORE:
            metrics = found.setdefault(signal.name, {})
            known = metrics.get(signal.metric)
            if known is None or (-signal.ts_us, signal.window_s) < (-known.ts_us, known.window_s):
                metrics[signal.metric] = signal
    return found


def _scores(report: Report) -> Iterator[Finding]:
    rows = [(name, row) for name, row in score_rows(report).items() if "score" in row]
    rows.sort(key=lambda one: -abs(one[1]["score"].value - 50))
    for name, row in rows:
        verdict = row.get("verdict")
        if verdict is None or not verdict.value:
            continue
        parts = sorted(
            (signal for metric, signal in row.items() if metric not in ("score", "verdict", "weight")),
            key=lambda signal: -abs(signal.value - 50),
        )
        leading = ", ".join(f"{words(signal.metric)} {signal.value:.0f}" for signal in parts[:3])
        side = "long" if verdict.value > 0 else "short"
        of = f" ({leading})" if leading else ""
        yield Finding("score", f"{title(name)} scores {row['score'].value:.0f} of 100: {side}{of}")


def _events(report: Report) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for event in events(report):
        if event.unit != "count":
            leader = dict(event.evidence).get("leader", "another")
            yield Finding("event", f"{title(event.name)} follows {leader} by {event.value:g} s")
            continue
        seen[event.analysis] = seen.get(event.analysis, 0) + 1
        if seen[event.analysis] <= FEW:
            when = next((value for key, value in event.evidence if key in ("from", "ts", "at")), "")
            at = f", for example at {when.split(' ')[-1][:8]}" if when else ""
            yield Finding("event", f"{title(event.name)}: {event.value:g} {event.definition}{at}")


def _moves(report: Report) -> Iterator[Finding]:
    moved = [total for total in report.totals if total.change is not None]
    moved.sort(key=lambda total: (-abs(total.change or 0.0), total.name))
    for total in moved[:1]:
        assert total.change is not None
        assert total.low is not None
        assert total.high is not None
        text = f"{title(total.name)} moved most: {percent(total.change)}, between {price(total.low)} and {price(total.high)}"
        changes = [abs(other.change or 0.0) for other in moved[1:]]
        if changes and (median := float(np.median(changes))) > 0:
            text += f"; the others' median is {median:.2%}"
        yield Finding("move", text)


def price(value: float) -> str:
    return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}"


def _forced(report: Report) -> Iterator[Finding]:
    hit = [total for total in report.totals if total.liquidations]
    hit.sort(key=lambda total: (-(total.longs + total.shorts), total.name))
    charted = {one.name: one for one in report.charted}
    for total in hit[:1]:
        notional = total.longs + total.shorts
        side, own = ("longs", total.longs) if total.longs >= total.shorts else ("shorts", total.shorts)
        text = f"{title(total.name)} was liquidated most: {si(notional, '')} in quote units, "
        text += f"{own / notional:.0%} of it {side}"
        one = charted.get(total.name)
        if one is not None:
            at, most = max(
                ((at, value) for rows in one.forced.values() for at, value in rows),
                key=lambda pair: pair[1],
                default=(0, 0.0),
            )
            if most > 0:
                text += f"; {si(most, '')} within {span_text(one.step_s)} from {clock(at * 1000)}"
        yield Finding("liquidations", text)


def _trades(report: Report) -> Iterator[Finding]:
    for trade in report.largest[:1]:
        side = trade.side or "trade of unknown side"
        yield Finding(
            "trade",
            f"largest trade: {title(trade.name)}, {side} of {si(trade.price * trade.qty, '')} in quote units "
            f"at {price(trade.price)}, {clock(trade.ts_us)}",
        )


def _others(report: Report) -> Iterator[Finding]:
    interest = [(t.interest[1] / t.interest[0] - 1, t) for t in report.totals if t.interest]
    if interest:
        change, total = max(interest, key=lambda pair: (abs(pair[0]), pair[1].name))
        if abs(change) >= TELLING_INTEREST:
            yield Finding("interest", f"open interest changed most in {title(total.name)}: {percent(change)}")
    sided = [t for t in report.totals if t.bought + t.sold > 0]
    if sided:
        lean, total = max(
            (((t.bought - t.sold) / (t.bought + t.sold), t) for t in sided[: len(report.related) or 1]),
            key=lambda pair: (abs(pair[0]), pair[1].name),
        )
        side = "bought" if lean > 0 else "sold"
        if abs(lean) >= TELLING_LEAN:
            yield Finding(
                "flow", f"takers leaned most in {title(total.name)}: {(1 + abs(lean)) / 2:.0%} {side}"
            )
    pairs = _pairs(report)
    if pairs:
        rho, a, b = max(pairs, key=lambda one: (-abs(one[0]), one[1], one[2]))
        yield Finding("correlation", f"least related: {title(a)} and {title(b)}, correlation {rho:+.2f}")


def _pairs(report: Report) -> list[tuple[float, Instrument, Instrument]]:
    rho = correlations(report.returns) if len(report.returns) else np.empty((0, 0))
    return [
        (float(rho[a, b]), report.related[a], report.related[b])
        for a, b in combinations(range(len(rho)), 2)
        if np.isfinite(rho[a, b])
    ]
