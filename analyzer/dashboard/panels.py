"""The charts that the page has, in their order. `system` and `market` fill them by name."""

from __future__ import annotations

from typing import NamedTuple


class Panel(NamedTuple):
    name: str
    title: str
    about: str


SYSTEM = (
    Panel("memory", "Memory", "Resident memory of each collector, beside the limit that its service has"),
    Panel("messages", "Messages per second", "What the venues send, by venue"),
    Panel("lag", "Lag", "Age of the oldest row that is not yet in QuestDB, and delay of the event loop"),
    Panel("gaps", "Gaps", "What no collector has, by cause, at the time at which it began"),
    Panel("journal", "Journal", "What is on disk, and what of it QuestDB has not acknowledged"),
)
MARKET = (
    Panel("price", "Price", "Last trade, in quote units"),
    Panel(
        "cvd",
        "CVD",
        "Cumulative volume delta: taker buys less taker sells, in base units, from 0 at the left",
    ),
    Panel("book", "Order book", "Newest snapshot: base units up to each price, from the touch outwards"),
    Panel(
        "depth",
        "Depth near mid",
        "Quote units within 10 bps of the mid, or in all recorded levels; means of the passes",
    ),
    Panel(
        "liquidations",
        "Liquidations",
        "Forced orders, in quote units: shorts closed above, longs closed below",
    ),
    Panel(
        "scores",
        "Scores",
        "The analysis `confluence`: its score, 0 (short) to 100 (long), and those of its components",
    ),
)
