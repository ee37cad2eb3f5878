"""A pass for people (tables) and for machines (one JSON document)."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from analyzer.passes import ANALYSES
from analyzer.passes.base import Value
from analyzer.passes.confluence import CONFLUENCE
from analyzer.scores import print_scores, shown
from analyzer.windows import Window
from analyzer.work import Outcome

WIDTH = 100
NUMBER_WIDTH = 12


def status_of(outcomes: Sequence[Outcome]) -> str:
    """failed, ok, or empty (no analysis but coverage found anything)."""
    if any(outcome.run.status == "failed" for outcome in outcomes):
        return "failed"
    found = any(outcome.run.status == "ok" for outcome in outcomes if outcome.run.analysis != "coverage")
    return "ok" if found else "empty"


def as_json(outcomes: Sequence[Outcome], window: Window) -> str:
    document = {
        "window": {"from": window.start, "to": window.end, "seconds": window.seconds},
        "as_of": window.end,
        "run_id": outcomes[0].run.run_id if outcomes else "",
        "status": status_of(outcomes),
        "analyses": [
            {
                "name": outcome.run.analysis,
                "status": outcome.run.status,
                "took_ms": outcome.run.took_ms,
                "rows_read": outcome.run.rows_read,
                "error": outcome.run.error,
                "values": [
                    {
                        "exchange": signal.value.exchange,
                        "market": signal.value.market,
                        "symbol": signal.value.symbol,
                        "metric": signal.value.metric,
                        "value": signal.value.value,
                        "coverage": signal.coverage,
                        **evidence(signal.value),
                    }
                    for signal in outcome.signals
                ],
            }
            for outcome in outcomes
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def evidence(value: Value) -> dict[str, msgspec.Raw]:
    """What a number rests on, where it says."""
    return {"detail": msgspec.Raw(value.detail.encode())} if value.detail else {}


def print_tables(outcomes: Sequence[Outcome], window: Window) -> None:
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    span = f"{window.start:%Y-%m-%d %H:%M:%S} – {window.end:%H:%M:%S} UTC"
    if status_of(outcomes) == "empty":
        console.print(f"no data in window {span}")
    for outcome in outcomes:
        run = outcome.run
        title = f"{run.analysis}   {span}   {run.rows_read:,} rows read, {run.took_ms:,.0f} ms"
        if run.status == "failed":
            console.print(f"{title}\n  FAILED: {run.error}", markup=False)
        elif run.status == "empty":
            console.print(f"{title}\n  nothing in this window", markup=False)
        else:
            _print_one(console, outcome, title)


def _print_one(console: Console, outcome: Outcome, title: str) -> None:
    if outcome.run.analysis == CONFLUENCE.name:
        print_scores(console, outcome.signals, title)
        return
    analysis = ANALYSES[outcome.run.analysis]
    cells: dict[tuple[str, str, str], dict[str, float]] = {}
    coverage: dict[tuple[str, str, str], float | None] = {}
    for signal in outcome.signals:
        value = signal.value
        name = (value.exchange, value.market, value.symbol)
        cells.setdefault(name, {})[value.metric] = value.value
        coverage[name] = signal.coverage
    units = {metric.name: metric.unit for metric in analysis.metrics}
    present = [metric for metric in units if any(metric in numbers for numbers in cells.values())]
    names = max(cell_len(shown(name).plain) for name in cells)
    console.print(title, style="bold", markup=False, highlight=False)
    for metrics in _fitting(present, WIDTH - names - 15):
        table = Table()
        table.add_column("exchange market symbol", no_wrap=True, min_width=names)
        for metric in metrics:
            table.add_column(
                f"{metric.removeprefix('coverage_')}\n{units[metric]}", justify="right", no_wrap=True
            )
        if analysis.channels:
            table.add_column("coverage\nshare", justify="right", no_wrap=True)
        for name in sorted(cells):
            row = [number(cells[name].get(metric), percent=not analysis.channels) for metric in metrics]
            if analysis.channels:
                share = coverage[name]
                row.append("?" if share is None else f"{share:.1%}")
            table.add_row(shown(name), *row)
        console.print(table)


def _fitting(metrics: Sequence[str], width: int) -> list[list[str]]:
    """The metrics in parts, each narrow enough for one table."""
    parts: list[list[str]] = [[]]
    taken = 0
    for metric in metrics:
        needed = max(len(metric), NUMBER_WIDTH) + 3
        if parts[-1] and taken + needed > width:
            parts.append([])
            taken = 0
        parts[-1].append(metric)
        taken += needed
    return parts


def number(value: float | None, percent: bool = False) -> str:
    """Six significant digits, with thousands separated; "–" for none."""
    if value is None:
        return "–"
    if percent:
        return f"{value:.2%}"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    magnitude = abs(value)
    if magnitude >= 1e6:
        return f"{value:,.0f}"
    if magnitude >= 1000:
        return f"{value:,.2f}"
    return f"{value:.6g}"
