"""`analyzer`: one pass, the schedule, and what the numbers mean."""

from __future__ import annotations

import os
import sys

import click

from analyzer import __version__
from analyzer.alerts_cli import alerts, targets
from analyzer.audit_cli import audit
from analyzer.config import duration, endpoint, load
from analyzer.dashboard_cli import dashboard
from analyzer.evaluate_cli import evaluate
from analyzer.export_cli import export
from analyzer.heap import bound_heap
from analyzer.jobs_cli import jobs
from analyzer.options import (
    FAILED,
    analyses_option,
    as_of_option,
    config_option,
    exchange_option,
    format_option,
    reports_errors,
    split,
    symbols_option,
    window_of,
    window_option,
)
from analyzer.report_cli import report
from analyzer.sql_cli import sql


def chosen(text: str) -> list[str]:
    """Names of analyses. Raises ValueError."""
    from analyzer.passes import ANALYSES

    names = split(text) or list(ANALYSES)
    for name in names:
        if name not in ANALYSES:
            raise ValueError(f'--analyses: "{name}" is unknown; there are {", ".join(ANALYSES)}')
    return names


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="analyzer")
def main() -> None:
    """Analyse windows of recorded market data."""
    # Before numpy is loaded. Its products are small here: a thread more only waits for the server's, and costs its share.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@main.command("run-once")
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


@main.command()
@config_option
@window_option
@click.option("--every", help='cadence, for example "1m" [default: analyzer.every]')
@click.option("--duration", "stop_after", help="stop after this time [default: until SIGTERM]")
@symbols_option
@exchange_option
@analyses_option
@reports_errors
def schedule(
    file: str | None,
    window: str | None,
    every: str | None,
    stop_after: str | None,
    symbols: str,
    exchange: str,
    analyses: str,
) -> None:
    """Passes at their cadence, aligned to the clock, each in a fresh process."""
    config = load(file)
    settings = config.analyzer
    options = {"--config": file, "--symbols": symbols, "--exchange": exchange}
    arguments = [word for option, value in options.items() if value for word in (option, value)]
    from analyzer import logs
    from analyzer.alerts.job import AlertsJob
    from analyzer.alerts.watch import Watch
    from analyzer.backlog import Backlog
    from analyzer.health import HealthServer
    from analyzer.jobs import jobs_of
    from analyzer.schedule import Scheduler

    logs.configure()
    told = AlertsJob(Watch(endpoint(config.questdb), config.alerts, targets()))
    settle = duration(settings.settle)
    planned = jobs_of(settings, chosen(analyses), every, window)
    scheduler = Scheduler(
        planned,
        settle,
        duration(settings.time_limit),
        arguments,
        Backlog(lambda: endpoint(load(file).questdb), planned, settle, settings.catch_up),
        told,
        duration(config.alerts.every),
    )
    health = HealthServer(settings.listen, scheduler.health, scheduler.figures) if settings.listen else None
    try:
        scheduler.run(duration(stop_after) if stop_after else None)
    finally:
        if health is not None:
            health.close()
        told.close()


@main.command()
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


main.add_command(dashboard)
main.add_command(evaluate)
main.add_command(sql)
main.add_command(export)
main.add_command(audit)
main.add_command(alerts)
main.add_command(report)
main.add_command(jobs)
