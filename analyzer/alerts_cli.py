"""`analyzer alerts`: evaluate the rules, try the targets, list what fires."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import TYPE_CHECKING

import click
import msgspec

from analyzer.config import ConfigError, endpoint, from_environment, load
from analyzer.options import FAILED, config_option, format_option, reports_errors
from analyzer.quantities import duration

if TYPE_CHECKING:
    from analyzer.alerts.delivery import Target
    from analyzer.alerts.watch import Result, Watch


def targets() -> list[Target]:
    """Of EVENKEEL_ALERTS_URLS[_FILE]. Raises ConfigError."""
    text = from_environment("EVENKEEL_ALERTS_URLS", os.environ)
    if not text:
        return []
    from analyzer.alerts.delivery import targets_of

    try:
        return targets_of(text)
    except ValueError as error:
        raise ConfigError(str(error)) from error


@click.group()
def alerts() -> None:
    """Rules on the tables: record what fires, and tell the targets in EVENKEEL_ALERTS_URLS."""


@alerts.command()
@config_option
@click.option("--every", help='go on at this cadence until SIGTERM, for example "30s" [default: once]')
@format_option
@reports_errors
def run(file: str | None, every: str | None, form: str) -> None:
    """Evaluate the rules, once or at a cadence. Exit 1 when a rule could not be asked or a message not delivered."""
    config = load(file)
    pause = duration(every).total_seconds() if every else None
    from analyzer import logs
    from analyzer.alerts.watch import Watch

    logs.configure()
    watch = Watch(endpoint(config.questdb), config.alerts, targets())
    try:
        if pause is None:
            result = watch.evaluate()
            click.echo(_words(result) if form == "table" else msgspec.json.encode(result).decode())
            if result.errors or result.failed:
                sys.exit(FAILED)
        else:
            _go_on(watch, pause)
    finally:
        watch.close()


def _go_on(watch: Watch, pause: float) -> None:
    from analyzer.alerts.job import AlertsJob

    stop = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    job = AlertsJob(watch)
    while not stop.is_set():
        job()
        stop.wait(pause)


def _words(result: Result) -> str:
    lines = [f"{result.firing} firing, {result.fired} new, {result.resolved} over"]
    lines.append(f"{result.delivered} messages delivered, {result.failed} failed")
    return "\n".join([*lines, *(f"error: {error}" for error in result.errors)])


@alerts.command()
@config_option
@reports_errors
def test(file: str | None) -> None:
    """Send a test message to every target. Exit 1 when one failed, 2 when there is none."""
    load(file)
    found = targets()
    if not found:
        raise ConfigError(
            "EVENKEEL_ALERTS_URLS: no target; set it, or EVENKEEL_ALERTS_URLS_FILE, to addresses of apprise with white "
            'space between, for example "discord://id/token"'
        )
    from analyzer import logs
    from analyzer.alerts.delivery import deliver

    logs.configure()
    failed = False
    for target in found:
        outcome = deliver(target, "Evenkeel test", "This is a test of 'analyzer alerts test'.", "info")
        failed |= not outcome.delivered
        how = "delivered" if outcome.delivered else f"FAILED: {outcome.error}"
        click.echo(f"{target.name}: {how} ({outcome.attempts} attempts)")
    if failed:
        sys.exit(FAILED)


@alerts.command("list")
@config_option
@click.option("--all", "everything", is_flag=True, help="also what is over")
@format_option
@reports_errors
def list_alerts(file: str | None, everything: bool, form: str) -> None:
    """What fires now, by rule and since when."""
    config = load(file)
    from analyzer.alerts.record import latest
    from analyzer.source import Source

    source = Source(endpoint(config.questdb))
    try:
        found = sorted(latest(source).values(), key=lambda alert: -alert.ts)
    finally:
        source.close()
    shown = [alert for alert in found if everything or alert.state == "firing"]
    if form == "json":
        click.echo(msgspec.json.encode(shown).decode())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not shown:
        click.echo("nothing fires" if not everything else "no alert so far")
        return
    table = Table("at (UTC)", "rule", "severity", "state", "message")
    for alert in shown:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(alert.ts / 1e6))
        message = "".join(c if c.isprintable() else " " for c in alert.message)
        table.add_row(at, alert.rule, alert.severity, alert.state, Text(message))
    Console(width=None if sys.stdout.isatty() else 140).print(table)
