"""`analyzer`: one pass, the schedule, and what the numbers mean."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec

import click

from analyzer import __version__
from analyzer.config import Config, ConfigError, UnreachableError, duration, endpoint, load
from analyzer.windows import Window, ending, parse_time

P = ParamSpec("P")
FAILED, BAD_USAGE = 1, 2

config_option = click.option(
    "--config", "file", type=click.Path(dir_okay=False), help="TOML file [default: evenkeel.toml]"
)
window_option = click.option("--window", help='length, for example "15m" [default: analyzer.window]')
symbols_option = click.option("--symbols", default="", help="only these, with commas between")
exchange_option = click.option("--exchange", default="", help="only this one")
analyses_option = click.option("--analyses", default="", help="only these, with commas between")
format_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)


def reports_errors(command: Callable[P, None]) -> Callable[P, None]:
    """A mistake of configuration or usage is one line and exit code 2, a database that is not there exit code 1."""

    @wraps(command)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> None:
        from analyzer.signals import WriteError

        try:
            command(*args, **kwargs)
        except (ConfigError, ValueError) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(BAD_USAGE)
        except (UnreachableError, WriteError) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(FAILED)

    return reporting


def split(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


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


@main.command("run-once")
@config_option
@window_option
@click.option("--as-of", help="end of the window, ISO 8601 UTC [default: now, less analyzer.settle]")
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
    span = _window(config, window, as_of)
    from analyzer import show
    from analyzer.run import run_pass

    outcomes = run_pass(endpoint(config.questdb), span, names, split(symbols), exchange)
    if form == "json":
        click.echo(show.as_json(outcomes, span))
    else:
        show.print_tables(outcomes, span)
    for outcome in outcomes:
        if outcome.run.status == "failed":
            click.echo(f"error: {outcome.run.error}", err=True)
    if show.status_of(outcomes) == "failed":
        sys.exit(FAILED)


def _window(config: Config, length: str | None, as_of: str | None) -> Window:
    try:
        end = parse_time(as_of) if as_of else datetime.now(UTC) - duration(config.analyzer.settle)
    except ValueError as error:
        raise ValueError(f'--as-of: {error}; write for example "2026-11-23T12:00:00Z"') from error
    return ending(end, duration(length or config.analyzer.window))


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
    chosen(analyses)
    options = {"--config": file, "--symbols": symbols, "--exchange": exchange, "--analyses": analyses}
    arguments = [word for option, value in options.items() if value for word in (option, value)]
    import structlog

    from analyzer.schedule import Scheduler

    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    scheduler = Scheduler(
        endpoint(config.questdb),
        duration(window or settings.window),
        duration(every or settings.every),
        duration(settings.settle),
        duration(settings.time_limit),
        arguments,
    )
    scheduler.run(duration(stop_after) if stop_after else None)


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
