"""`analyzer sql`: the queries for the console, listed, shown and run."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import click
import msgspec

from analyzer.config import endpoint, load
from analyzer.options import config_option, format_option, reports_errors
from analyzer.queries import answer, named, queries, with_settings

Row = tuple[Any, ...]
TABLE_ROWS = 100
"""A terminal is no place for more."""
CELL = 60
"""Characters."""


@click.group()
def sql() -> None:
    """Queries for the console: what there is, their text, and their answers."""


@sql.command("list")
@format_option
def list_queries(form: str) -> None:
    """All queries, and what each answers."""
    found = list(queries().values())
    if form == "json":
        document = [{"name": q.name, "about": q.about, "settings": q.settings} for q in found]
        click.echo(msgspec.json.encode(document).decode())
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("query", "answers", "settings")
    table.columns[0].no_wrap = True
    for query in found:
        settings = "\n".join(f"{name}={value.strip(chr(39))}" for name, value in query.settings.items())
        table.add_row(query.name, Text(query.about), Text(settings))
    Console(width=None if sys.stdout.isatty() else 120).print(table)


@sql.command()
@click.argument("name")
@reports_errors
def show(name: str) -> None:
    """The text of a query, to paste into the console."""
    click.echo(named(name).text.rstrip())


@sql.command()
@click.argument("name")
@config_option
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="another value for a setting")
@click.option(
    "--limit", type=click.IntRange(1), help=f"rows at most [default: {TABLE_ROWS} in a table, else all]"
)
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True
)
@reports_errors
def run(name: str, file: str | None, changes: tuple[str, ...], limit: int | None, form: str) -> None:
    """Run a query. No rows are an answer too: exit 0; 1 when the server refuses or is not there."""
    config = load(file)
    text = with_settings(named(name), dict(map(_pair, changes)))
    with answer(endpoint(config.questdb), name, text) as (columns, rows):
        if form == "table":
            _print_table(columns, rows, limit or TABLE_ROWS)
        elif form == "csv":
            writer = csv.writer(sys.stdout, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(map(_csv_row, islice(rows, limit)))
        else:
            _print_json(columns, islice(rows, limit))


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f'--set: "{text}" is not NAME=VALUE; write for example --set symbol=ETHUSDT')
    return name.strip(), value


def _print_json(columns: list[str], rows: Iterator[Row]) -> None:
    """An array of objects, a line each, written as the rows come."""
    separator = "["
    for row in rows:
        document = dict(zip(columns, map(_plain, row), strict=True))
        click.echo(f"{separator}{msgspec.json.encode(document).decode()}", nl=False)
        separator = ",\n"
    click.echo("[]" if separator == "[" else "]")


def _plain(value: Any) -> Any:
    """As JSON writes it: times as ISO 8601 with their zone, no NaN."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _csv_row(row: Row) -> list[Any]:
    plain = map(_plain, row)
    return [f"{value.isoformat()}" if isinstance(value, datetime) else value for value in plain]


def _print_table(columns: list[str], rows: Iterator[Row], limit: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(width=None if sys.stdout.isatty() else 160)
    shown = list(islice(rows, limit))
    if not shown:
        console.print("no rows")
        return
    table = Table()
    for n, column in enumerate(columns):
        numbers = all(isinstance(row[n], int | float | None) for row in shown)
        table.add_column(Text(column), justify="right" if numbers else "left", overflow="fold")
    for row in shown:
        table.add_row(*(Text(_cell(value)) for value in row))
    console.print(table)
    if next(rows, None) is not None:
        console.print(f"the first {limit:,} rows; --limit shows more", highlight=False)


def _cell(value: Any) -> str:
    from analyzer.show import number

    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03d}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return number(value)
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"
