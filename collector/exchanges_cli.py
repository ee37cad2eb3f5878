"""`collector exchanges` and `collector symbols`: what the venues have, from their modules and from their REST."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.table import Table

from collector.errors import BAD_CONFIG, FAILED, OperatorError, reports_errors
from collector.exchanges import EXCHANGES
from collector.exchanges.base import REPAIRABLE, Instrument
from collector.gate import Gates
from collector.instruments import UNANSWERED, fetch_listing, rest_url
from collector.rest import Rest
from collector.settings import CHANNELS, FeedConfig
from collector.symbols import select

FORMAT = click.option(
    "--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True
)


def offered() -> list[dict[str, Any]]:
    """One entry a venue, market and channel."""
    entries = []
    for name, exchange in sorted(EXCHANGES.items()):
        for market in sorted(exchange.markets):
            rules = exchange.gap_rules(market)
            for channel in CHANNELS:
                there = channel in exchange.channels(market)
                history = exchange.history(market, channel)
                repair = (
                    history.reach
                    if history
                    else "not offered"
                    if channel in REPAIRABLE
                    else "none: begun anew"
                )
                entries.append(
                    {
                        "exchange": name,
                        "market": market,
                        "channel": channel,
                        "offered": there,
                        "gaps": rules.get(channel, "") if there else "",
                        "repair": repair if there else "",
                    }
                )
    return entries


@click.command()
@FORMAT
@reports_errors
def exchanges(form: str) -> None:
    """Venues, their channels, how a missing message is noticed, and how far REST can repair it."""
    entries = offered()
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(entries)).decode())
        return
    table = Table("exchange", "market", "channel", "a gap is noticed by", "missing rows by REST")
    before = None
    for entry in entries:
        if before not in (None, (entry["exchange"], entry["market"])):
            table.add_section()
        before = entry["exchange"], entry["market"]
        gaps = entry["gaps"] if entry["offered"] else "[dim]not offered[/]"
        table.add_row(entry["exchange"], entry["market"], entry["channel"], gaps, entry["repair"])
    Console(width=None if sys.stdout.isatty() else 140).print(table)


async def listed(feed: FeedConfig) -> tuple[dict[str, Instrument], dict[str, float]]:
    """What the venue lists, and the turnovers. Raises one of UNANSWERED."""
    exchange, url = EXCHANGES[feed.exchange], rest_url(feed)
    rest = Rest(url, Gates().of(url, exchange.limits))
    try:
        listing = await fetch_listing(feed, rest.fetch_once)
        body = await rest.fetch_once(exchange.turnover_request(feed.market))
        return listing, exchange.turnover(feed.market, body)
    finally:
        await rest.close()


@click.command()
@click.argument("exchange", type=click.Choice(sorted(EXCHANGES)))
@click.argument("selectors", nargs=-1)
@click.option("--market", help="[default: the first of linear, inverse, spot that the venue has]")
@click.option("--top", type=click.IntRange(1, 2000), help="only the busiest, as top:N does")
@click.option("--rest-url", default="", help="instead of the venue's own, for example a simulator's")
@FORMAT
@reports_errors
def symbols(
    exchange: str, selectors: tuple[str, ...], market: str | None, top: int | None, rest_url: str, form: str
) -> None:
    """The symbols of a venue, or what SELECTORS (names, '*USDT', 'top:20') mean, busiest first."""
    there = EXCHANGES[exchange].markets
    market = market or next((name for name in ("linear", "inverse", "spot") if name in there), min(there))
    if market not in there:
        raise OperatorError(
            f"symbols: {exchange} has no market {market}; there are {', '.join(sorted(there))}", BAD_CONFIG
        )
    chosen = [f"top:{top}"] if top else list(selectors) or ["*"]
    feed = FeedConfig(exchange=exchange, market=market, symbols=chosen, rest_url=rest_url)
    try:
        listing, turnover = asyncio.run(listed(feed))
    except UNANSWERED as error:
        raise OperatorError(
            f"symbols: {exchange} {market}: REST did not answer: {type(error).__name__}: {error}; check the network, "
            "or name another address with --rest-url"
        ) from error
    names = sorted(select(chosen, listing, turnover), key=lambda name: (-turnover.get(name, 0.0), name))
    if form == "json":
        rows = [msgspec.to_builtins(listing[name]) | {"turnover": turnover.get(name)} for name in names]
        click.echo(msgspec.json.format(msgspec.json.encode(rows)).decode())
    else:
        table = Table("symbol", "name", "kind", "status", "contract size", "tick", "lot", "turnover 24 h")
        for name in names:
            item = listing[name]
            size = f"{item.contract_size:g} {item.quote if item.inverse else item.base}"
            traded = f"{turnover[name]:,.0f}" if name in turnover else ""
            table.add_row(
                name,
                f"{item.base}-{item.quote}",
                item.kind,
                item.status,
                size,
                _text(item.tick),
                _text(item.lot),
                traded,
            )
        Console(width=None if sys.stdout.isatty() else 140).print(table)
    sys.exit(0 if names else FAILED)


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:.12g}"
