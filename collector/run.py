"""`collector run`: what must be right before a process records, its heap, its signals and its end."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import gc
import signal
import sys
from pathlib import Path

import click
import structlog

from collector import logs
from collector.app import App
from collector.config import ConfigError, load
from collector.control import ControlServer
from collector.database.endpoint import (
    DatabaseError,
    Endpoint,
    UnsupportedServerError,
    require_supported,
    resolve,
)
from collector.errors import reports_errors
from collector.health import HealthServer
from collector.instruments import Directory, check_feeds
from collector.settings import Config, Duration
from collector.store import JournalStore

log = structlog.get_logger()

M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -8, -3, -1  # glibc's malloc.h
MALLOC_PARAMETERS = {M_ARENA_MAX: 2, M_MMAP_THRESHOLD: 128 << 10, M_TRIM_THRESHOLD: 256 << 10}


def record(config: Config, duration: float | None = None) -> None:
    """Run a collector in this process until SIGTERM, SIGINT or `duration`. Raises OperatorError."""
    if not config.feeds:
        raise ConfigError(
            "configuration: key feeds: nothing to record; add a [[feeds]] table (README.md shows one)"
        )
    check_feeds(config.feeds)
    folder = Path(config.journal.path)
    directory = Directory(folder)
    directory.check(config.feeds)
    store = JournalStore(folder)
    directory.save()
    endpoint: Endpoint | None = None
    try:
        endpoint = resolve(config.questdb)
        require_supported(endpoint)
    except UnsupportedServerError:
        raise
    except DatabaseError as error:
        log.warning("QuestDB is not there, recording into the journal until it is", cause=str(error))
    app = App(config, store, directory)
    server = HealthServer(config.http.listen, app.metrics, app.health) if config.http.listen else None
    control: ControlServer | None = None
    try:
        control = ControlServer(folder, app.metrics)
    except OSError as error:
        log.warning("no control socket, 'collector memory' won't work", folder=str(folder), cause=str(error))
    try:
        _run_loop(app, endpoint, duration)
    except BaseException as error:
        app.life.died(error)
        raise
    finally:
        if server is not None:
            server.close()
        if control is not None:
            control.close()
        store.close()


def _bound_heap() -> None:
    """Keep glibc from holding on to freed memory: batches of 256 KiB to 2 MiB pass from thread to thread, and by default
    every thread has an arena of its own and the size from which blocks are given back grows with use."""
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in MALLOC_PARAMETERS.items():
            mallopt(parameter, value)


def _run_loop(app: App, endpoint: Endpoint | None, duration: float | None) -> None:
    async def main() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def asked_to_stop(number: signal.Signals) -> None:
            if stop.is_set():
                app.hurry()
            else:
                app.life.stop_cause = number.name
            stop.set()

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked_to_stop, number)
        await app.run(stop, endpoint, duration)

    _bound_heap()
    # What exists now stays; what comes is freed by reference counts, except for what a post leaves behind in cycles: those
    # are collected every few seconds, before there are enough of them to need memory of their own.
    gc.freeze()
    gc.set_threshold(2_000, 10, 10)
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        uvloop.run(main())


@click.command()
@click.option("--config", "file", type=click.Path(dir_okay=False), help="TOML file [default: evenkeel.toml]")
@click.option("--duration", help='stop after this time, for example "60s" [default: until SIGTERM]')
@reports_errors
def run(file: str | None, duration: str | None) -> None:
    """Record until stopped. SIGTERM drains and exits 0."""
    logs.configure()
    faulthandler.enable()  # systemd's watchdog ends a process by SIGABRT: where every thread stood is told then
    try:
        seconds = Duration.parse(duration) if duration else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--duration") from error
    record(load(file), seconds)
    sys.exit(0)
