"""What the analyzer's commands share: their options, exit codes, and how they report errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import ParamSpec

import click

from analyzer.config import Config, ConfigError, UnreachableError
from analyzer.logs import masked
from analyzer.quantities import duration
from analyzer.windows import Window, ending, parse_time

P = ParamSpec("P")
FAILED, BAD_USAGE = 1, 2

config_option = click.option(
    "--config", "file", type=click.Path(dir_okay=False), help="TOML file [default: evenkeel.toml]"
)
window_option = click.option("--window", help='length, for example "15m" [default: analyzer.window]')
as_of_option = click.option(
    "--as-of", help="end of the window, ISO 8601 UTC [default: now, less analyzer.settle]"
)
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
        from analyzer.source import SourceError

        try:
            command(*args, **kwargs)
        except (ConfigError, ValueError) as error:
            click.echo(masked(f"error: {error}"), err=True)
            sys.exit(BAD_USAGE)
        except (UnreachableError, SourceError, WriteError) as error:
            click.echo(masked(f"error: {error}"), err=True)
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


def window_of(config: Config, length: str | None, as_of: str | None) -> Window:
    """The window of --window and --as-of. Raises ValueError."""
    try:
        end = parse_time(as_of) if as_of else datetime.now(UTC) - duration(config.analyzer.settle)
    except ValueError as error:
        raise ValueError(f'--as-of: {error}; write for example "2026-11-23T12:00:00Z"') from error
    return ending(end, duration(length or config.analyzer.window))
