"""`analyzer export`: recorded rows as files."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from analyzer.config import endpoint, load
from analyzer.options import FAILED, config_option, exchange_option, reports_errors, split, symbols_option
from analyzer.quantities import duration
from analyzer.windows import Window, ending, parse_time

if TYPE_CHECKING:
    from analyzer.exports.plan import Written

FORMAT_NAMES = ("parquet", "hftbacktest", "tardis")
TABLE_NAMES = ("trades", "orderbook", "liquidations", "tickers")


@click.command("export")
@config_option
@click.option(
    "--table",
    "tables",
    multiple=True,
    type=click.Choice(TABLE_NAMES),
    help="[default: all that the format has]",
)
@click.option("--window", help='length before --to, for example "24h"')
@click.option("--since", help='the same, until now, for example "7d"')
@click.option("--from", "start", help="begin, ISO 8601 UTC; in the window")
@click.option("--to", "end", help="end, ISO 8601 UTC; not in the window [default: now]")
@symbols_option
@exchange_option
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="folder")
@click.option("--format", "form", type=click.Choice(FORMAT_NAMES), default="parquet", show_default=True)
@click.option(
    "--summary",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="on stdout, at the end",
)
@reports_errors
def export(
    file: str | None,
    tables: tuple[str, ...],
    window: str | None,
    since: str | None,
    start: str | None,
    end: str | None,
    symbols: str,
    exchange: str,
    out: Path,
    form: str,
    summary: str,
) -> None:
    """Recorded rows as Parquet, hftbacktest's event arrays or Tardis's CSV: a file a day and symbol.

    A file that is there already is replaced by the rows of this window."""
    span = _span(window, since, start, end)
    from analyzer.exports import FORMATS
    from analyzer.exports.files import ExportError
    from analyzer.exports.plan import export as run
    from analyzer.exports.plan import plan
    from analyzer.source import Source, SourceError

    chosen = FORMATS[form]
    for table in tables:
        if table not in chosen.tables:
            raise ValueError(f"--table {table}: --format {form} holds {', '.join(chosen.tables)}")
    source = Source(endpoint(load(file).questdb))
    written: list[Written] = []
    try:
        parts = plan(source, chosen, tables or chosen.tables, span, split(symbols), exchange)
        with _bar(sum(sum(part.counts.values()) for part in parts)) as (progress, say):
            for one in run(source, chosen, parts, out, progress):
                written.append(one)
                say(one.path)
    except (SourceError, ExportError) as error:
        click.echo(f"error: {error}", err=True)
        if written:
            click.echo(f"{len(written)} files were written before, and are whole", err=True)
        sys.exit(FAILED)
    finally:
        source.close()
    _tell(written, span, out, summary)


def _span(window: str | None, since: str | None, start: str | None, end: str | None) -> Window:
    """Raises ValueError."""
    if [window, since, start].count(None) != 2:
        raise ValueError("say one of --window, --since and --from, for example --since 24h")
    if since and end:
        raise ValueError("--since ends now: use --window with --to")
    try:
        finish = parse_time(end) if end else datetime.now(UTC)
        begin = parse_time(start) if start else None
    except ValueError as error:
        raise ValueError(f'--from, --to: {error}; write for example "2026-11-23T12:00:00Z"') from error
    if begin is None:
        return ending(finish, duration(window or since or ""))
    if begin >= finish:
        raise ValueError(f"--from {start} is not before the end of the window ({finish:%Y-%m-%dT%H:%M:%SZ})")
    return Window(begin, finish)


@contextmanager
def _bar(rows: int) -> Iterator[tuple[Callable[[int], None], Callable[[str], None]]]:
    """A progress bar of rows on stderr; nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("rows", total=rows)
        yield (
            lambda count: progress.advance(task, count),
            lambda path: progress.update(task, description=path[-40:]),
        )


def _tell(written: Sequence[Written], span: Window, out: Path, summary: str) -> None:
    rows, size = sum(one.rows for one in written), sum(one.bytes for one in written)
    if summary == "json":
        import msgspec

        document = {
            "status": "ok" if written else "empty",
            "window": {"from": span.start, "to": span.end, "seconds": span.seconds},
            "out": str(out),
            "rows": rows,
            "bytes": size,
            "files": written,
        }
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
    elif not written:
        click.echo(
            f"no rows in window {span.start:%Y-%m-%d %H:%M:%S} – {span.end:%Y-%m-%d %H:%M:%S} UTC: nothing written"
        )
    else:
        click.echo(f"{rows:,} rows in {len(written):,} files, {size / 1e6:,.1f} MB: {out}")
