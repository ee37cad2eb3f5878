"""`analyzer dashboard`."""

from __future__ import annotations

import sys

import click

from analyzer.config import load
from analyzer.logs import masked
from analyzer.options import FAILED, config_option, reports_errors


@click.command()
@config_option
@click.option(
    "--listen",
    default="127.0.0.1:8097",
    show_default=True,
    help="address and port; another than this machine's own needs EVENKEEL_DASHBOARD_TOKEN[_FILE]",
)
@reports_errors
def dashboard(file: str | None, listen: str) -> None:
    """A live page: how the recording goes, and the market of a chosen symbol."""
    config = load(file)
    from analyzer.dashboard.access import parse_address, token_for

    address = parse_address(listen)
    token = token_for(address)
    from analyzer import logs
    from analyzer.dashboard.server import ListenError, serve

    logs.hide(token)
    logs.configure()
    try:
        serve(config, address, token)
    except ListenError as error:
        click.echo(masked(f"error: {error}"), err=True)
        sys.exit(FAILED)
