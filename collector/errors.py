"""Errors for the operator: one line on stderr and an exit code, never a traceback."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

from collector import logs
from collector.config import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

FAILED = 1
BAD_CONFIG = 2


class OperatorError(Exception):
    """Something that the operator can mend; the message names operation, object, cause and next step."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def reports_errors(command: Callable[P, R]) -> Callable[P, R]:
    """For the callback of a click command: an OperatorError or ConfigError becomes its message and its exit code."""

    @functools.wraps(command)
    def reporting(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except OperatorError as error:
            click.echo(logs.masked(f"error: {error}"), err=True)
            sys.exit(error.exit_code)
        except ConfigError as error:
            click.echo(logs.masked(f"error: {error}"), err=True)
            sys.exit(BAD_CONFIG)

    return reporting
