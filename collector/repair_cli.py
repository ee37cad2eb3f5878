"""`collector repair`: fills past holes in trades and liquidations from the venues' REST, on demand."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from collector import logs
from collector.config import load
from collector.database.endpoint import Endpoint, resolve
from collector.database.migrate import migrate
from collector.encode import RowEncoder
from collector.errors import FAILED, OperatorError, reports_errors
from collector.gate import Gates
from collector.instruments import Directory, check_feeds, rest_url
from collector.repair import Outcome, Repair, beside, is_repairable, waiting
from collector.rows import Row
from collector.settings import Config, Duration, FeedConfig
from collector.sink import QuestDBSink, RefusedError, UnavailableError
from collector.venue import Venue

POST_BYTES = 1 << 20
MOST_HOLES = 100_000
"""Of a feed, in one run: 25 MB."""


class Posting:
    """Rows straight into QuestDB. Raises OperatorError: nothing is lost then, the gap stays as it was."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._sink = QuestDBSink(endpoint.http_url, endpoint.user, endpoint.password)
        self._encoder = RowEncoder()

    def add(self, row: Row) -> None:
        if self._encoder.add(row) > POST_BYTES:
            self.flush()

    def flush(self) -> None:
        if not len(self._encoder):
            return
        try:
            self._sink.post([self._encoder.take()[0]])
        except (UnavailableError, RefusedError) as error:
            raise OperatorError(
                f"repair: QuestDB does not take the rows: {error}; mend that and run it again"
            ) from error


async def repair_feed(
    feed: FeedConfig, gates: Gates, directory: Directory, endpoint: Endpoint, since_us: int, again: bool
) -> list[Outcome]:
    """All its holes. Raises OperatorError."""
    posting = Posting(endpoint)
    venue = Venue(feed, gates, directory)
    work = Repair(venue, posting.add)
    outcomes: list[Outcome] = []
    console = Console(stderr=True)
    try:
        with Progress(console=console, disable=not console.is_terminal) as progress:
            task = progress.add_task(f"{feed.exchange} {feed.market}", total=None)
            # What patterns and `top:N` meant when it was recorded.
            symbols = sorted({*feed.symbols, *venue.kept_symbols()})
            known = msgspec.structs.replace(feed, symbols=symbols)
            gaps = waiting(endpoint, known, since_us, time.time_ns() // 1000, again, MOST_HOLES)
            progress.update(task, total=len(gaps))
            for gap in gaps:
                outcomes.append(await work.fill(gap, *beside(endpoint, gap)))
                posting.flush()
                progress.update(task, completed=len(outcomes))
    finally:
        await venue.rest.close()
    return outcomes


def report(outcomes: Sequence[Outcome]) -> None:
    table = Table(
        "exchange",
        "market",
        "symbol",
        "channel",
        "from (UTC)",
        "seconds",
        "cause",
        "repair",
        "rows",
        "detail",
    )
    for outcome in outcomes:
        gap = outcome.gap
        start = datetime.fromtimestamp(gap.from_ts / 1e6, UTC)
        seconds = ((gap.to_ts or gap.from_ts) - gap.from_ts) / 1e6
        table.add_row(
            gap.exchange,
            gap.market,
            gap.symbol,
            gap.channel,
            f"{start:%Y-%m-%d %H:%M:%S}",
            f"{seconds:,.1f}",
            gap.cause,
            gap.repair,
            f"{gap.recovered:,}",
            outcome.detail,
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table if outcomes else "no hole to repair")


async def repair_all(config: Config, endpoint: Endpoint, since_us: int, again: bool) -> list[Outcome]:
    gates, directory = Gates(), Directory(Path(config.journal.path))
    outcomes = []
    for feed in config.feeds:
        if is_repairable(feed) and rest_url(feed):
            outcomes += await repair_feed(feed, gates, directory, endpoint, since_us, again)
    return outcomes


@click.command()
@click.option("--config", "file", type=click.Path(dir_okay=False), help="TOML file [default: evenkeel.toml]")
@click.option("--since", default="6h", show_default=True, help="how far back")
@click.option("--again", is_flag=True, help="also holes that were tried before and are not whole")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@reports_errors
def repair(file: str | None, since: str, again: bool, form: str) -> None:
    """Fetch missing trades and liquidations from the venues' REST. Exit 1 when a venue refused to answer."""
    try:
        seconds = Duration.parse(since)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error
    logs.configure()
    config = load(file)
    check_feeds(config.feeds)
    endpoint = resolve(config.questdb)
    migrate(endpoint, config.retention)
    outcomes = asyncio.run(repair_all(config, endpoint, time.time_ns() // 1000 - round(seconds * 1e6), again))
    if form == "json":
        click.echo(msgspec.json.encode(outcomes).decode())
    else:
        report(outcomes)
    sys.exit(FAILED if any(outcome.gap.repair == "failed" for outcome in outcomes) else 0)
