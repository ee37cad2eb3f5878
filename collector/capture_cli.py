"""`collector capture`: keeps the frames of some feeds, and nothing else; no journal, no database."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import cast

import click
import msgspec
import structlog

from collector import logs
from collector.capture import captures_of
from collector.config import ConfigError, load
from collector.deadletters import DeadLetters
from collector.errors import reports_errors
from collector.exchanges import EXCHANGES
from collector.gate import Gates
from collector.instruments import Directory, check_feeds
from collector.journal import Journal
from collector.metrics import Metrics
from collector.roster import Roster
from collector.rows import Row
from collector.settings import CHANNELS, Config, FeedConfig, Size
from collector.simulator.cli import DurationParam, run_async, stop_signals
from collector.venue import Venue

log = structlog.get_logger()

DEFAULT_FOLDER = "var/capture"


class Nowhere:
    """Rows are not wanted here: what keeps connections whole is in the decoders, which need no journal."""

    shedding: frozenset[type] = frozenset()

    def add(self, row: Row, recv_us: int) -> None:
        pass


async def keep(feeds: list[FeedConfig], duration: float) -> None:
    """Until a signal, or `duration` seconds (0: no end)."""
    stop, metrics, gates = stop_signals(), Metrics(), Gates()
    captures = captures_of(feeds)
    rosters = []
    for feed in feeds:
        folder = Path(feed.capture)
        venue = Venue(feed, gates, Directory(folder), captures[feed.capture, feed.exchange])
        dead = DeadLetters(folder / "dead-letters", metrics)
        rosters.append(Roster(venue, cast(Journal, Nowhere()), dead, metrics, lambda feeds: None))
    tasks = [asyncio.create_task(roster.run()) for roster in rosters]
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(duration or None):
                done, _ = await asyncio.wait(
                    [asyncio.create_task(stop.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()  # a crash of ours is not to be mistaken for a stop
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for roster in rosters:
            await roster.venue.rest.close()
        for capture in captures.values():
            await asyncio.to_thread(capture.close)
    log.info("stopped", messages=metrics.messages, folders=sorted({feed.capture for feed in feeds}))


@click.command()
@click.option("--config", "file", type=click.Path(dir_okay=False), help="The feeds of this TOML file.")
@click.option("--exchange", type=click.Choice(sorted(EXCHANGES)), help="One feed, instead of a file's.")
@click.option("--market", help="[default: the first that the exchange has]")
@click.option("--symbols", default="", help='For example "BTCUSDT,ETHUSDT", "*USDT", "top:20".')
@click.option("--channels", default="", help="[default: all]")
@click.option("--ws-url", default="", help="Instead of the exchange's own, for example a simulator's.")
@click.option("--rest-url", default="", help="Likewise.")
@click.option("--path", help=f"Folder. [default: the feed's `capture`, else {DEFAULT_FOLDER}]")
@click.option("--max-bytes", help='Oldest files make room. [default: the feed\'s `capture_bytes`, "10GiB"]')
@click.option("--duration", type=DurationParam(), default=0.0, help="[default: until SIGTERM]")
@reports_errors
def capture(
    file: str | None,
    exchange: str | None,
    market: str | None,
    symbols: str,
    channels: str,
    ws_url: str,
    rest_url: str,
    path: str | None,
    max_bytes: str | None,
    duration: float,
) -> None:
    """Keep the frames themselves, as received and sent, without a database. `collector replay` serves them again."""
    logs.configure()
    if exchange and file:
        raise click.UsageError("--exchange and --config exclude each other")
    if exchange:
        there = EXCHANGES[exchange].markets
        market = market or next(name for name in ("linear", "inverse", "spot") if name in there)
        if not symbols:
            raise click.UsageError("name the --symbols, for example BTCUSDT,ETHUSDT or top:20")
        offered = EXCHANGES[exchange].channels(market) if market in there else frozenset(CHANNELS)
        feeds: list[dict[str, object]] = [
            {
                "exchange": exchange,
                "market": market,
                "symbols": symbols.split(","),
                "channels": channels.split(",") if channels else sorted(offered),
                "ws_url": ws_url,
                "rest_url": rest_url,
            }
        ]
        config = converted(feeds)
    else:
        config = load(file)
    if not config.feeds:
        raise ConfigError("capture: no feeds; name a file with --config, or --exchange and --symbols")
    try:
        quota = Size.parse(max_bytes) if max_bytes else None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--max-bytes") from error
    check_feeds(config.feeds)
    wanted = [
        msgspec.structs.replace(
            feed,
            capture=path or feed.capture or DEFAULT_FOLDER,
            capture_bytes=quota or feed.capture_bytes,
        )
        for feed in config.feeds
    ]
    run_async(keep(wanted, duration))


def converted(feeds: list[dict[str, object]]) -> Config:
    """Raises ConfigError."""
    try:
        return msgspec.convert({"feeds": feeds}, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"capture: {error}; correct the option") from error
