"""Coverage: the share of the window that was really recorded, per channel, by what the collectors declared (`recorded`)."""

from __future__ import annotations

from collections import defaultdict

from analyzer.passes.base import Analysis, Metric, Tables, Value
from analyzer.passes.groups import Instrument
from analyzer.passes.recorded import QUERIES, of_tables, uncovered
from analyzer.windows import Window

CHANNELS = ("trades", "orderbook", "liquidations", "tickers")


def compute(tables: Tables, window: Window) -> list[Value]:
    """Of the tables that `recorded.QUERIES` names, of which `alive` may be missing."""
    start, end = window.start_us, window.end_us
    found = of_tables(tables, end)
    shares: dict[Instrument, dict[str, float]] = defaultdict(dict)
    for name, channel in found.begun():
        missing = uncovered(found.missing((name, channel)), start, end)
        shares[name][channel] = 1.0 - missing / (end - start)
    values = []
    for name, by_channel in shares.items():
        for channel, share in by_channel.items():
            values.append(Value(*name, f"coverage_{channel}", share))
        values.append(Value(*name, "coverage", sum(by_channel.values()) / len(by_channel)))
    return values


COVERAGE = Analysis(
    name="coverage",
    metrics=(
        Metric("coverage", "share", "mean of the recorded channels' coverage"),
        *(
            Metric(f"coverage_{channel}", "share", f"share of the window in which {channel} were recorded")
            for channel in CHANNELS
        ),
    ),
    channels=(),
    queries=QUERIES,
    compute=compute,
)
