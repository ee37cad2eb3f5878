"""`analyzer schedule`: passes at their cadence, until told to stop."""

from __future__ import annotations

import click

from analyzer.alerts_cli import targets
from analyzer.config import endpoint, load
from analyzer.options import (
    analyses_option,
    chosen,
    config_option,
    exchange_option,
    reports_errors,
    symbols_option,
    window_option,
)
from analyzer.quantities import duration


@click.command()
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
