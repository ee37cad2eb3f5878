"""`collector db` and `collector migrate`."""

from __future__ import annotations

import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from collector.config import load
from collector.database import managed, runtime
from collector.database.backup import backup, restore
from collector.database.endpoint import Endpoint, answers, connect, of_url, require_supported, resolve
from collector.database.migrate import migrate as apply_migrations
from collector.database.record import ManagedServer
from collector.errors import FAILED, OperatorError, reports_errors
from collector.notify import Notifier
from collector.settings import Config

config_option = click.option(
    "--config", metavar="FILE", help="Configuration file; default: evenkeel.toml if it exists."
)


class TableStatus(msgspec.Struct):
    name: str
    kind: str
    """"table" or "view" (materialized)."""
    rows: int
    suspended: bool
    """Its write-ahead log is: rows are accepted and stay invisible."""
    pending: int
    """Transactions accepted and not yet applied."""


class Status(msgspec.Struct):
    url: str
    managed: bool
    running: bool
    version: str | None = None
    pg: str | None = None
    """host:port"""
    pid: int | None = None
    started: str | None = None
    data: str | None = None
    disk_bytes: int | None = None
    """What the tables take, as the server counts it."""
    disk_free_bytes: int | None = None
    """On the disk of `data`."""
    tables: list[TableStatus] = msgspec.field(default_factory=list)


@click.group()
def db() -> None:
    """The managed local QuestDB."""


@db.command()
@config_option
@reports_errors
def start(config: str | None) -> None:
    """Start it and wait until it answers."""
    settings = _managed(load(config))
    before = managed.status(settings.questdb)
    server = managed.start(settings.questdb)
    what = "running already" if before == server else "started"
    click.echo(f"QuestDB {server.version} {what}: console {server.http}, pid {server.pid}")


@db.command()
@config_option
@reports_errors
def stop(config: str | None) -> None:
    """Stop it."""
    settings = _managed(load(config))
    stopped = managed.stop(settings.questdb)
    click.echo(
        "QuestDB stopped" if stopped else f"no managed QuestDB runs in {managed.data_dir(settings.questdb)}"
    )


@db.command()
@reports_errors
def fetch() -> None:
    """Fetch the server, so that no start needs the network."""
    click.echo(
        f"QuestDB {runtime.VERSION}: {runtime.questdb_jar(managed.say_on_stderr)}, Java: {runtime.java()}"
    )


@db.command("run")
@config_option
@reports_errors
def run_server(config: str | None) -> None:
    """Keep it in the foreground, for systemd or another supervisor. Exit 1 when it ends by itself."""
    settings = _managed(load(config)).questdb
    notifier, stopped = Notifier(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    def ready(server: ManagedServer) -> None:
        where = f"QuestDB {server.version}: console {server.http}, pid {server.pid}"
        click.echo(where)
        notifier.ready(where)
        threading.Thread(target=watch, args=(server, where), daemon=True).start()

    def watch(server: ManagedServer, where: str) -> None:
        while not stopped.wait(notifier.interval):
            notifier.progress(where, "" if answers(server.http) else f"no answer at {server.http}")
        notifier.stopping("QuestDB stops")

    managed.run(settings, stopped, ready)


@db.command()
@config_option
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@reports_errors
def status(config: str | None, form: str) -> None:
    """Version, addresses, tables and disk; of any server, also one that is not managed. Exit 1 when it is not running."""
    found = inspect(load(config))
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _show(found)
    if not found.running:
        raise SystemExit(FAILED)


@db.command("backup")
@config_option
@click.option("--to", "target", type=click.Path(path_type=Path), required=True, help="a folder to be made")
@reports_errors
def make_backup(config: str | None, target: Path) -> None:
    """Copy its data while it runs and records."""
    settings = _managed(load(config)).questdb
    with _progress("copying") as progress:
        copied = backup(settings, target, progress)
    click.echo(f"backed up {copied / 1e6:,.1f} MB to {target}")


@db.command("restore")
@config_option
@click.option(
    "--from", "source", type=click.Path(path_type=Path), required=True, help="made by 'collector db backup'"
)
@reports_errors
def take_backup(config: str | None, source: Path) -> None:
    """Put a backup where the server has its data; the next start takes it up."""
    settings = _managed(load(config)).questdb
    with _progress("copying") as progress:
        copied = restore(settings, source, progress)
    click.echo(
        f"restored {copied / 1e6:,.1f} MB to {managed.data_dir(settings)}; 'collector db start' starts it"
    )


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), console=Console(stderr=True)
    ) as shown:
        task = shown.add_task(what, total=None)
        yield lambda done, total: shown.update(task, completed=done, total=total)


@click.command()
@config_option
@reports_errors
def migrate(config: str | None) -> None:
    """Bring the tables in sql/ up to date, once and in order."""
    settings = load(config)
    endpoint = resolve(settings.questdb)
    version = require_supported(endpoint)
    names = apply_migrations(endpoint, settings.retention)
    for name in names:
        click.echo(f"applied {name}")
    click.echo(
        f"QuestDB {version} at {endpoint.http_url}: {'up to date' if names else 'was up to date already'}"
    )


def _managed(settings: Config) -> Config:
    if settings.questdb.url != "managed":
        raise OperatorError(
            f'questdb.url is "{settings.questdb.url}": that server is not ours to start or stop; '
            'use its own tools, or set questdb.url = "managed"'
        )
    return settings


def inspect(config: Config) -> Status:
    """The state of the configured server, which is not started for it. Raises DatabaseError for one that is too old."""
    settings = config.questdb
    found = Status(url=settings.url, managed=settings.url == "managed", running=False)
    if found.managed:
        folder = managed.data_dir(settings)
        found.data = str(folder)
        if folder.exists():
            found.disk_free_bytes = shutil.disk_usage(folder).free
        server = managed.status(settings)
        if server is None:
            return found
        endpoint = managed.endpoint_of(server, settings)
        found.pid, found.started, found.url = server.pid, server.started, server.http
    else:
        endpoint = of_url(settings)
    found.version = require_supported(endpoint)
    found.running = True
    _ask(endpoint, found)
    return found


def _ask(endpoint: Endpoint, found: Status) -> None:
    with connect(endpoint) as connection:
        found.pg = f"{connection.info.host}:{connection.info.port}"
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT t.table_name, t.matView, w.suspended, w.sequencerTxn - w.writerTxn "
            "FROM tables() t LEFT JOIN wal_tables() w ON t.table_name = w.name "
            "WHERE t.table_type != 'V' ORDER BY t.table_name"
        ).fetchall()
        for name, view, suspended, pending in rows:
            count = connection.execute(f'SELECT count() FROM "{name}"').fetchone()  # noqa: S608  the server's own name
            kind, lines = "view" if view else "table", count[0] if count else 0
            found.tables.append(TableStatus(name, kind, lines, bool(suspended), pending or 0))
        size = connection.execute("SELECT sum(diskSize) FROM table_storage()").fetchone()
        found.disk_bytes = size[0] or 0 if size else 0


def _show(found: Status) -> None:
    console = Console(highlight=False)
    if not found.running:
        console.print(f"QuestDB is not running in {found.data}; 'collector db start' starts it")
        return
    kind = (
        f"managed, pid {found.pid} since {found.started}, data {found.data}"
        if found.managed
        else "not managed"
    )
    console.print(f"QuestDB {found.version} ({kind})", soft_wrap=True)
    console.print(f"console {found.url}   PGWire {found.pg}")
    free = f", {found.disk_free_bytes / 2**30:.1f} GiB free" if found.disk_free_bytes is not None else ""
    console.print(f"tables take {(found.disk_bytes or 0) / 2**20:.1f} MiB{free}")
    table = Table("table", "kind")
    table.add_column("rows", justify="right")
    table.add_column("pending", justify="right")
    table.add_column("")
    for one in found.tables:
        fault = "[red]SUSPENDED[/red]" if one.suspended else ""
        table.add_row(one.name, one.kind, f"{one.rows:,}", str(one.pending), fault)
    console.print(table)
    for one in found.tables:
        if one.suspended:
            console.print(
                f"[red]{one.name} accepts rows that stay invisible[/red]: free disk space if it ran out, then run "
                f"in the console: ALTER TABLE {one.name} RESUME WAL"
            )
