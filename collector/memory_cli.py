"""`collector memory`: where the memory of a running collector is, without a restart."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from collector.config import load
from collector.control import ask
from collector.errors import OperatorError, reports_errors
from collector.memory import MOST_FRAMES, MOST_ROWS, Report
from collector.settings import Duration

config_option = click.option(
    "--config", metavar="FILE", help="Configuration file; default: evenkeel.toml if it exists."
)
format_option = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)
limit_option = click.option(
    "--limit", type=click.IntRange(1, MOST_ROWS), default=20, show_default=True, help="Rows of each table."
)
frames_option = click.option(
    "--frames",
    type=click.IntRange(1, MOST_FRAMES),
    default=1,
    show_default=True,
    help="Callers that are kept for each allocation, when tracing begins.",
)


class Growth(msgspec.Struct):
    """Of one line of code or one type, between two reports."""

    name: str
    count: int
    size: int
    """bytes"""
    now: int
    """bytes"""


class Comparison(msgspec.Struct):
    seconds: float
    rss: int
    """bytes, growth"""
    traced: int | None
    """bytes, growth; None: was not traced at both times"""
    lines: list[Growth]
    kinds: list[Growth]


@click.group()
def memory() -> None:
    """Where the memory of the running collector is."""


@memory.command()
@config_option
@limit_option
@format_option
@reports_errors
def top(config: str | None, limit: int, form: str) -> None:
    """Objects by type, and how full each buffer is. Nothing is traced for it."""
    _print(_report(_folder(config), limit), limit, form)


@memory.command()
@config_option
@frames_option
@click.option("--output", type=click.Path(dir_okay=False), help="Keep it there, for `compare`.")
@limit_option
@format_option
@reports_errors
def snapshot(config: str | None, frames: int, output: str | None, limit: int, form: str) -> None:
    """Also allocations by line. Begins to trace them; that ends after 15 minutes, or by `stop`."""
    folder = _folder(config)
    ask(folder, do="trace", frames=frames)
    report = _report(folder, MOST_ROWS if output else limit)
    if output:
        Path(output).write_bytes(msgspec.json.encode(report))
    _print(report, limit, form)


@memory.command()
@click.argument("file", required=False, type=click.Path(exists=True, dir_okay=False))
@config_option
@frames_option
@click.option("--wait", default="60s", show_default=True, help="Between two looks, where no FILE is given.")
@limit_option
@format_option
@reports_errors
def compare(file: str | None, config: str | None, frames: int, wait: str, limit: int, form: str) -> None:
    """What has grown since FILE (of `snapshot --output`), or in the time of --wait."""
    folder = _folder(config)
    if file:
        try:
            before = msgspec.json.decode(Path(file).read_bytes(), type=Report)
        except msgspec.DecodeError as error:
            raise OperatorError(f"{file}: not written by 'collector memory snapshot': {error}") from error
    else:
        try:
            seconds = Duration.parse(wait)
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--wait") from error
        ask(folder, do="trace", frames=frames, seconds=min(3600.0, seconds + 900))
        before = _report(folder, MOST_ROWS)
        time.sleep(seconds)
    now = _report(folder, MOST_ROWS)
    if before.pid != now.pid:
        raise OperatorError(f"the collector was started anew since (pid {before.pid}, now {now.pid})")
    growth = difference(before, now, limit)
    if form == "json":
        click.echo(msgspec.json.encode(growth))
        return
    console = Console(highlight=False)
    console.print(f"in {growth.seconds:.0f} s: RSS {_signed(growth.rss)}", soft_wrap=True)
    for title, rows in (("allocated at", growth.lines), ("type", growth.kinds)):
        table = Table(title)
        for column in ("objects", "size", "now"):
            table.add_column(column, justify="right")
        for row in rows:
            table.add_row(row.name, f"{row.count:+,}", _signed(row.size), _bytes(row.now))
        console.print(table)


@memory.command()
@config_option
@reports_errors
def stop(config: str | None) -> None:
    """Trace no more: the process is as fast as before, and the traces' memory free."""
    ask(_folder(config), do="stop")


def difference(before: Report, now: Report, limit: int) -> Comparison:
    """The largest growth first. What is in one report only is taken as 0 in the other."""
    same_trace = before.tracing_since_us is not None and before.tracing_since_us == now.tracing_since_us
    return Comparison(
        (now.at_us - before.at_us) / 1e6,
        now.rss - before.rss,
        (now.traced or 0) - (before.traced or 0) if same_trace else None,
        _grown(
            ((row.where, row.count, row.size) for row in before.lines if same_trace),
            ((row.where, row.count, row.size) for row in now.lines),
            limit,
        ),
        _grown(
            ((row.type, row.count, row.size) for row in before.kinds),
            ((row.type, row.count, row.size) for row in now.kinds),
            limit,
        ),
    )


def _grown(
    before: Iterable[tuple[str, int, int]], now: Iterable[tuple[str, int, int]], limit: int
) -> list[Growth]:
    old = {name: (count, size) for name, count, size in before}
    new = {name: (count, size) for name, count, size in now}
    rows = []
    for name in old.keys() | new.keys():
        (count, size), (old_count, old_size) = new.get(name, (0, 0)), old.get(name, (0, 0))
        if count != old_count or size != old_size:
            rows.append(Growth(name, count - old_count, size - old_size, size))
    return sorted(rows, key=lambda row: (-row.size, -row.count, row.name))[:limit]


def _folder(config: str | None) -> Path:
    return Path(load(config).journal.path)


def _report(folder: Path, limit: int) -> Report:
    report = ask(folder, do="memory", limit=limit)
    assert report is not None
    return report


def _print(report: Report, limit: int, form: str) -> None:
    if form == "json":
        click.echo(msgspec.json.encode(report))
        return
    console = Console(highlight=False)
    pss = f", PSS {_bytes(report.pss)}" if report.pss is not None else ""
    console.print(
        f"pid {report.pid}: RSS {_bytes(report.rss)}{pss}, swap {_bytes(report.swap)}; it stood still for "
        f"{report.stalled_ms:.1f} ms",
        soft_wrap=True,
    )
    buffers = Table("buffer")
    for column in ("size", "limit", "full"):
        buffers.add_column(column, justify="right")
    for one in report.buffers:
        buffers.add_row(one.name, _bytes(one.size), _bytes(one.limit), f"{one.size / one.limit:.0%}")
    console.print(buffers)
    lines = [(row.where, row.count, row.size) for row in report.lines]
    kinds = [(row.type, row.count, row.size) for row in report.kinds]
    for title, rows in (("allocated at", lines), ("type", kinds)):
        table = Table(title)
        table.add_column("objects", justify="right")
        table.add_column("size", justify="right")
        for name, count, size in rows[:limit]:
            table.add_row(name, f"{count:,}", _bytes(size))
        if rows:
            console.print(table)
    if report.traced is not None:
        console.print(
            f"traced: {_bytes(report.traced)}, which takes {_bytes(report.tracing_costs)} itself",
            soft_wrap=True,
        )


def _bytes(size: int) -> str:
    return f"{size / 1024:,.1f} KiB" if abs(size) < 1 << 20 else f"{size / 2**20:,.1f} MiB"


def _signed(size: int) -> str:
    return ("+" if size > 0 else "") + _bytes(size)
