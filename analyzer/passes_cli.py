"""`analyzer run-once` and `analyzer metrics`: one pass, and what the numbers mean."""

from __future__ import annotations

import sys

import click

from analyzer.config import endpoint, load
from analyzer.heap import bound_heap
from analyzer.options import (
    FAILED,
    analyses_option,
    as_of_option,
    chosen,
    config_option,
    exchange_option,
    format_option,
    reports_errors,
    split,
    symbols_option,
    window_of,
    window_option,
)


@click.command("run-once")
@config_option
@window_option
@as_of_option
@symbols_option
@exchange_option
@analyses_option
@format_option
@reports_errors
def run_once(
    file: str | None,
    window: str | None,
    as_of: str | None,
    symbols: str,
    exchange: str,
    analyses: str,
    form: str,
) -> None:
    """One pass over every analysis. Exit 1 when one failed; an empty window is no failure."""
    config = load(file)
    names = chosen(analyses)
    span = window_of(config, window, as_of)
    bound_heap()
    from analyzer import show
    from analyzer.run import run_pass

    outcomes = run_pass(endpoint(config.questdb), span, names, split(symbols), exchange, config.confluence)
    if form == "json":
        click.echo(show.as_json(outcomes, span))
    else:
        show.print_tables(outcomes, span)
    for outcome in outcomes:
        if outcome.run.status == "failed":
            click.echo(f"error: {outcome.run.error}", err=True)
    if show.status_of(outcomes) == "failed":
        sys.exit(FAILED)


@click.command()
@format_option
def metrics(form: str) -> None:
    """Every number that the analyses yield: name, unit, definition."""
    import msgspec

    from analyzer.passes import ANALYSES

    rows = [(a.name, m.name, m.unit, m.definition) for a in ANALYSES.values() for m in a.metrics]
    if form == "json":
        keys = ("analysis", "name", "unit", "definition")
        click.echo(msgspec.json.encode([dict(zip(keys, row, strict=True)) for row in rows]).decode())
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("analysis", "metric", "unit", "definition")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
