"""The confluence scores for people: a line an instrument, with its parts, and below what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analyzer.passes.confluence import Score
from analyzer.passes.groups import Instrument
from analyzer.signals import Signal

HEADS = {
    "order_flow": "flow",
    "order_book": "book",
    "volume": "volume",
    "structure": "struct",
    "technical": "tech",
    "sentiment": "senti",
}
NAMED = 6
"""Instruments that a note names."""
COLOURS = {"long": "green", "short": "red", "none": "yellow"}


def shown(name: tuple[str, str, str]) -> Text:
    """As it is, without what could steer the terminal: no markup, no control characters."""
    return Text("".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(name)))


def of_signals(signals: Sequence[Signal]) -> dict[Instrument, Score]:
    """Every instrument's score, or why it has none."""
    return {
        (s.value.exchange, s.value.market, s.value.symbol): msgspec.json.decode(s.value.detail, type=Score)
        for s in signals
        if s.value.metric in ("score", "weight") and s.value.detail
    }


def print_scores(console: Console, signals: Sequence[Signal], title: str) -> None:
    scores = of_signals(signals)
    console.print(title, style="bold", markup=False, highlight=False)
    table = Table()
    table.add_column("exchange market symbol", overflow="fold")
    table.add_column("score\n0–100", no_wrap=True)
    for part in next(iter(scores.values())).parts:
        table.add_column(f"{HEADS[part.component]}\n{part.weight:.0%}", justify="right", no_wrap=True)
    table.add_column("cover-\nage", justify="right", no_wrap=True)
    for name in sorted(scores):
        one = scores[name]
        number = "   –" if one.score is None else f"{one.score:4.1f}"
        table.add_row(
            shown(name),
            Text(f"{number} {one.verdict}", style=COLOURS.get(one.verdict, "")),
            *("–" if part.score is None else f"{part.score:.0f}" for part in one.parts),
            "?" if one.coverage is None else f"{one.coverage:.1%}",
        )
    console.print(table)
    for text, names in _notes(scores).items():
        told = [shown(name) for name in names[:NAMED]]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        whom = Text("all") if len(names) == len(scores) else Text(", ").join(told) + Text(more)
        console.print(Text(f"  {text}: ") + whom, highlight=False)


def _notes(scores: dict[Instrument, Score]) -> dict[str, list[Instrument]]:
    """What is to be said → of which instruments."""
    notes: dict[str, list[Instrument]] = {}
    for name in sorted(scores):
        one = scores[name]
        if one.why:
            notes.setdefault(f"no score, {one.why}", []).append(name)
        for part in one.parts:
            if part.missing:
                notes.setdefault(f"without {part.component}, {part.missing}", []).append(name)
    return notes
