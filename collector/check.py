"""`collector check`: reads the configuration, reaches everything in it, says what is wrong and what to do."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from websockets.exceptions import InvalidHandshake

from collector import instruments
from collector.config import load
from collector.database import managed
from collector.database.endpoint import DatabaseError, Endpoint, of_url, require_supported
from collector.database.migrate import pending
from collector.errors import FAILED, OperatorError, reports_errors
from collector.exchanges import EXCHANGES
from collector.settings import Config
from collector.sink import QuestDBSink, UnavailableError
from collector.transport import open_connection


class Finding(msgspec.Struct, frozen=True):
    """The outcome of one check."""

    what: str
    ok: bool
    detail: str
    """When not ok: the cause and the operator's next step."""


def check_feeds(config: Config) -> Iterator[Finding]:
    if not config.feeds:
        yield Finding("feeds", False, "nothing to record; add a [[feeds]] table (README.md shows one)")
    for feed in config.feeds:
        name = f"{feed.exchange} {feed.market}"
        exchange = EXCHANGES[feed.exchange]
        for url in dict.fromkeys(exchange.ws_url(feed, streams) for streams in exchange.plan(feed)):
            try:
                asyncio.run(_handshake(url))
            except (OSError, TimeoutError, InvalidHandshake) as error:
                cause = str(error) or type(error).__name__
                yield Finding(
                    f"{name} WebSocket", False, f"{url}: {cause}; check the network, or the feed's ws_url"
                )
            else:
                yield Finding(f"{name} WebSocket", True, url)
        if not instruments.rest_url(feed):
            yield Finding(f"{name} symbols", True, "not checked: ws_url is set and rest_url is not")
            continue
        try:
            missing = sorted(set(feed.symbols) - instruments.fetch_once(feed).keys())
        except instruments.UNANSWERED as error:
            cause = f"{type(error).__name__}: {error}"
            yield Finding(
                f"{name} symbols", False, f"REST did not answer: {cause}; check the network, or rest_url"
            )
            continue
        detail = (
            f"{', '.join(missing)}: not there; use the exchange's own names"
            if missing
            else ", ".join(feed.symbols)
        )
        yield Finding(f"{name} symbols", not missing, detail)


async def _handshake(url: str) -> None:
    connection = await open_connection(url, lambda messages: None)
    await connection.close()


def check_journal(config: Config) -> Iterator[Finding]:
    folder = Path(config.journal.path)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Finding("journal", False, f"{existing} can't be written; change its owner, or set journal.path")
        return
    free = shutil.disk_usage(existing).free
    if free < config.journal.max_bytes:
        yield Finding(
            "journal",
            False,
            f"{free >> 20} MiB free on its disk, less than journal.max_bytes ({config.journal.max_bytes >> 20} MiB); "
            "free space or lower max_bytes",
        )
    else:
        yield Finding("journal", True, f"{folder}, {free >> 30} GiB free")


def check_database(config: Config) -> Iterator[Finding]:
    endpoint: Endpoint
    if config.questdb.url == "managed":
        server = managed.status(config.questdb)
        if server is None:
            yield Finding("QuestDB", True, "managed and not running: 'collector run' starts it")
            return
        endpoint = managed.endpoint_of(server, config.questdb)
    else:
        endpoint = of_url(config.questdb)
    try:
        version = require_supported(endpoint)
        yield Finding("QuestDB", True, f"{version} at {endpoint.http_url}")
        waiting = pending(endpoint)
        sink = QuestDBSink(endpoint.http_url, endpoint.user, endpoint.password)
        cause, remedy = sink.ailment()
        sink.close()
    except UnavailableError as error:
        yield Finding("QuestDB", False, f"{error}; look at the server's log")
        return
    except DatabaseError as error:
        yield Finding("QuestDB", False, str(error))
        return
    applied = (
        "up to date"
        if not waiting
        else f"{len(waiting)} to apply: 'collector run' or 'collector migrate' does"
    )
    yield Finding("migrations", True, applied)
    yield Finding("tables", not cause, f"{cause}; {remedy}" if cause else "none suspended")


@click.command()
@click.option("--config", "file", type=click.Path(dir_okay=False), help="TOML file [default: evenkeel.toml]")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@reports_errors
def check(file: str | None, form: str) -> None:
    """Say what is wrong with the configuration and all that it names. Exit 1 when something is, 2 for the file itself."""
    config = load(file)
    instruments.check_feeds(config.feeds)
    findings: list[Finding] = []
    for checks in (check_journal, check_database, check_feeds):
        try:
            findings += checks(config)
        except OperatorError as error:
            findings.append(Finding(checks.__name__.removeprefix("check_"), False, str(error)))
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(findings)).decode())
    else:
        table = Table("", "", "", box=None, show_header=False)
        for finding in findings:
            table.add_row("ok" if finding.ok else "[red]WRONG", escape(finding.what), escape(finding.detail))
        Console().print(table)
    sys.exit(0 if all(finding.ok for finding in findings) else FAILED)
