"""`collector demo`: the whole way on this machine, as processes: QuestDB, exchange, collector, verification, analysis."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from math import ceil
from pathlib import Path

import click
import httpx
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from collector.config import load
from collector.database import managed
from collector.database.endpoint import Endpoint, connect, resolve
from collector.database.migrate import migrate
from collector.demo import Exchange, end, feed_table, free_port, process, write_config
from collector.demo_analysis import analyse
from collector.errors import OperatorError, reports_errors
from collector.settings import Duration
from collector.simulator import SIMULATORS

FOLDER = Path("var/demo")
TABLES = (
    "trades",
    "orderbook",
    "liquidations",
    "tickers",
    "ohlcv_1m",
    "gaps",
    "feed_events",
    "collector_stats",
)
RATE, SHARED_RATE = 2_000, 4_000
"""Messages per second that an exchange's market makes; of several exchanges together, which share the machine's cores."""
TORMENT = ["--spare", "--disconnect-every", "4s", "--skip-every", "200", "--refuse-every", "9"]
START_SECONDS, SETTLE_SECONDS = 120.0, 60.0


def watch(
    collector: subprocess.Popen[str],
    exchanges: list[Exchange],
    port: int,
    total: int,
    console: Console,
    log: Path,
) -> datetime:
    """Show what the collector says of itself until the exchanges have sent all. Returns when the first messages had come.
    Raises OperatorError when it ends."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    started, began = time.monotonic(), None
    with Progress(*columns, console=console) as progress, httpx.Client(timeout=2) as client:
        task = progress.add_task("connecting", total=total)
        messages = 0
        while not all(exchange.stopped.wait(0.1) for exchange in exchanges):
            if collector.poll() is not None:
                raise OperatorError(
                    f"demo: the collector ended early (exit {collector.returncode}); its log is {log}"
                )
            with contextlib.suppress(httpx.HTTPError):
                health = client.get(f"http://127.0.0.1:{port}/health").json()
                messages, rows = health["messages"], sum(health["rows"].values())
                began = began or (datetime.now(UTC) if messages else None)
                text = f"recording: {messages:,} messages, {rows:,} rows"
                progress.update(task, description=text, completed=messages)
            if not messages and time.monotonic() - started > START_SECONDS:
                raise OperatorError(
                    f"demo: no message within {START_SECONDS:g} s; the collector's log is {log}"
                )
        progress.update(task, completed=total)
    return began or datetime.now(UTC)


def settle(port: int) -> None:
    """Wait while the collector still reads what is on its sockets."""
    before, deadline = -1, time.monotonic() + SETTLE_SECONDS
    with httpx.Client(timeout=10) as client, contextlib.suppress(httpx.HTTPError):
        while time.monotonic() < deadline:
            messages = client.get(f"http://127.0.0.1:{port}/health").json()["messages"]
            if messages == before:
                return
            before = messages
            time.sleep(0.5)


def count_rows(endpoint: Endpoint, console: Console) -> None:
    table = Table("table", "rows", "first", "last", title="Rows in QuestDB", title_justify="left")
    table.columns[1].justify = "right"
    with connect(endpoint) as connection:
        for name in TABLES:
            count, first, last = connection.execute(
                f"SELECT count(), min(ts), max(ts) FROM {name}"  # noqa: S608 - names from a constant
            ).fetchall()[0]
            times = [f"{at:%H:%M:%S}" if at else "" for at in (first, last)]
            table.add_row(name, f"{count:,}", *times)
    console.print(table)


def record(
    folder: Path,
    venues: list[str],
    seconds: float,
    rate: int,
    symbols: list[str],
    torment: bool,
    console: Console,
) -> tuple[Path, datetime, datetime]:
    """Exchanges and collector, side by side. The configuration used, and from when to when messages came. `torment`:
    the exchanges cut connections, leave out messages and refuse subscriptions, and every stream has two connections."""
    messages = max(1, int(rate * seconds))
    with contextlib.ExitStack() as stack:
        exchanges = []
        for venue in venues:
            arguments = [
                "simulate",
                "--exchange",
                venue,
                "--port",
                "0",
                "--symbols",
                ",".join(symbols),
                "--seed",
                "1",
            ]
            arguments += [
                "--rate",
                str(rate),
                "--messages",
                str(messages),
                "--ledger",
                str(folder / f"{venue}.jsonl"),
            ]
            arguments += ["--plant", "all", *(TORMENT if torment else [])]
            log = folder / f"{venue}.log"
            child = stack.enter_context(process("collector", *arguments, log=log, stdout=subprocess.PIPE))
            exchanges.append(Exchange(venue, child, log))
        port = free_port()
        feeds = "".join(
            feed_table(exchange.venue, market, exchange.ready, symbols, 2 if torment else 1)
            for exchange in exchanges
            for market in exchange.ready["ws_urls"]
        )
        path = write_config(folder, feeds, port)
        log = folder / "collector.log"
        with process("collector", "run", "--config", str(path), log=log) as collector:
            began = watch(collector, exchanges, port, messages * len(venues), console, log)
            stopped = datetime.now(UTC)
            settle(port)
            code = end(collector, "run")
        if code:
            raise OperatorError(f"demo: the collector ended with exit code {code}; its log is {log}")
    return path, began, stopped


@click.command()
@click.option("--duration", default="50s", show_default=True, help="how long to record")
@click.option(
    "--rate",
    type=click.IntRange(1),
    help="messages per second that each exchange's market makes; with two connections and three markets it sends six times "
    f"as many [default: {RATE:,}; of several exchanges {SHARED_RATE:,} in all]",
)
@click.option("--symbols", default="BTCUSDT,ETHUSDT,SOLUSDT", show_default=True)
@click.option(
    "--venues",
    default="bybit",
    show_default=True,
    help='exchanges to simulate, with commas between, or "all"',
)
@click.option(
    "--torment/--no-torment",
    default=None,
    help="the exchanges cut connections, leave out messages and refuse subscriptions, one of two connections at a time "
    "[default: with all venues]",
)
@click.option("--keep", is_flag=True, help="leave QuestDB running, for its console")
@reports_errors
def demo(
    duration: str, rate: int | None, symbols: str, venues: str, torment: bool | None, keep: bool
) -> None:
    """Record simulated exchanges into a real QuestDB, verify every row, and analyse it. Needs no network."""
    try:
        seconds = Duration.parse(duration)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--duration") from error
    chosen = sorted(SIMULATORS) if venues == "all" else venues.split(",")
    tormented = venues == "all" if torment is None else torment
    if unknown := set(chosen) - set(SIMULATORS):
        raise click.BadParameter(f"no simulator of {', '.join(sorted(unknown))}", param_hint="--venues")
    if rate is None:
        rate = RATE if len(chosen) == 1 else SHARED_RATE // len(chosen)
    console = Console(width=None if sys.stdout.isatty() else 100)
    path = write_config(FOLDER, "", 0) if FOLDER.exists() else None
    if path is not None:
        managed.stop(load(path).questdb)
        shutil.rmtree(FOLDER)
    FOLDER.mkdir(parents=True)
    config = load(write_config(FOLDER, "", 0))

    console.print(f"[bold]1/4[/] QuestDB: the real server, its data in {FOLDER / 'questdb'}")
    endpoint = resolve(config.questdb)
    try:
        migrate(endpoint, config.retention)
        console.print(f"    {endpoint.http_url}")
        console.print(
            f"[bold]2/4[/] Recording {', '.join(chosen)}: {seconds:g} s from the exchange simulator, "
            f"{rate:,} messages/s each"
        )
        path, began, stopped = record(FOLDER, chosen, seconds, rate, symbols.split(","), tormented, console)
        count_rows(endpoint, console)
        console.print("[bold]3/4[/] Verifying every message that the exchange sent against what is stored")
        failed = False
        for venue in chosen:
            failed |= call(
                "collector", "verify", "--ledger", str(FOLDER / f"{venue}.jsonl"), "--config", str(path)
            )
        span = max(1, ceil((stopped - began).total_seconds()))
        console.print(f"[bold]4/4[/] One pass of the analyzer over the last {span} s")
        failed |= analyse(path, span, stopped, [FOLDER / f"{venue}.jsonl" for venue in chosen], console)
    finally:
        if keep:
            console.print(f"QuestDB goes on: its console is at {endpoint.http_url}")
            console.print(f"collector db stop --config {FOLDER / 'evenkeel.toml'} ends it")
        else:
            managed.stop(config.questdb)
    if failed:
        raise OperatorError("demo: a step failed, see above")


def call(*arguments: str) -> bool:
    """Run a module in the foreground; whether it failed."""
    sys.stdout.flush()
    return subprocess.run([sys.executable, "-m", *arguments], check=False).returncode != 0
