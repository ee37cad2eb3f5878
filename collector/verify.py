"""`collector verify`: compares what a ledger says was sent with what the tables hold. Sent = stored ∪ declared gaps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
import psycopg
from rich.console import Console
from rich.table import Table

from collector.config import load
from collector.database.endpoint import DatabaseError, Endpoint, connect, resolve
from collector.declared import FOR_EVER, Interval, declared
from collector.errors import BAD_CONFIG, FAILED, OperatorError, reports_errors
from collector.settings import Config, Duration, FeedConfig
from collector.simulator import sent as fingerprints
from collector.simulator.compare import NUMBERS, Gaps, Outcome, compare, total
from collector.simulator.ledger import TICKER_FIELDS, read_ledger
from collector.simulator.sent import Events, Key, SentBook, Tickers, Untimed
from collector.symbols import is_dynamic

RECEIPT_US = 10_000_000
"""How long what has no time may take to be received, whose time it is given."""
ROWS_AT_ONCE = 1000
Rows = Iterator[tuple[Any, ...]]
COLUMNS = {
    "trades": "side, price, qty, trade_id",
    "liquidations": "side, price, qty, liq_id",
    "tickers": ", ".join(TICKER_FIELDS),
    "orderbook": "seq, bids[1][1], bids[2][1], asks[1][1], asks[2][1]",
}
READ_TABLES = (*COLUMNS, "gaps", "feed_events", "collector_stats")
READERS: dict[str, Callable[..., tuple[int, int, int]]] = {
    "trades": fingerprints.trade,
    "liquidations": lambda ts, side, price, qty, liq_id: fingerprints.liquidation(ts, side, price, qty),
    "orderbook": lambda ts, seq, bp, bq, ap, aq: fingerprints.book(ts, seq, (bp, bq), (ap, aq)),
}


def wait_until_applied(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Return when what has been written can be read. Raises OperatorError for a suspended or missing table."""
    said = time.monotonic()
    while True:
        tables = {
            name: (suspended, behind)
            for name, suspended, behind in connection.execute(
                "SELECT name, suspended, sequencerTxn - writerTxn FROM wal_tables()"
            )
        }
        for name in READ_TABLES:
            if name not in tables:
                raise OperatorError(f"verify: there is no table {name}; run 'collector migrate'")
            if tables[name][0]:
                raise OperatorError(
                    f"verify: table {name} is suspended, so rows are missing; find the cause in wal_tables(), "
                    f"then run 'ALTER TABLE {name} RESUME WAL'"
                )
        if not any(tables[name][1] for name in READ_TABLES):
            return
        if time.monotonic() - said > 5:
            said = time.monotonic()
            click.echo("waiting for the database to apply its write-ahead log", err=True)
        time.sleep(0.05)


def read_rows(connection: psycopg.Connection[tuple[Any, ...]], query: str, exchange: str) -> Rows:
    with connection.cursor(binary=True) as cursor:
        yield from cursor.stream(query, (exchange,), size=ROWS_AT_ONCE)


def read_stored(
    connection: psycopg.Connection[tuple[Any, ...]], exchange: str, sent: dict[Key, Events]
) -> dict[Key, Events]:
    """What is stored within each stream's span, and, of streams that sent nothing, within the span of all."""
    spans = {key: (int(events.ts.min()), int(events.ts.max())) for key, events in sent.items()}
    whole = min(span[0] for span in spans.values()), max(span[1] for span in spans.values())
    stored: dict[Key, Events] = {}
    for table, columns in COLUMNS.items():
        query = (
            f"SELECT market, symbol, ts::long, {columns} FROM {table} "  # noqa: S608 - our own names, and integers
            f"WHERE exchange = %s AND ts >= {whole[0]} AND ts <= {whole[1] + RECEIPT_US}"
        )
        read = READERS.get(table)
        for market, symbol, ts, *values in read_rows(connection, query, exchange):
            key = table, market, symbol
            first, last = spans.get(key, whole)
            timed = not isinstance(sent.get(key), Untimed)
            if not timed:
                first, last = whole[0], FOR_EVER
            if first <= ts <= last:
                events = stored.get(key)
                if events is None:
                    events = stored[key] = Tickers() if table == "tickers" and timed else Events()
                if isinstance(events, Tickers):
                    events.tell(ts, values)
                elif not timed:
                    untimed = fingerprints.untimed_state(ts, values) if table == "tickers" else None
                    events.add(*(untimed or fingerprints.untimed(ts, *values)))
                elif read is not None:
                    events.add(*read(ts, *values))
    return stored


def read_gaps(connection: psycopg.Connection[tuple[Any, ...]], exchange: str) -> dict[Key, list[Interval]]:
    """The holes that the collectors declare together, but for those that claim to be repaired. One left open lasts until its
    collector subscribes the stream again."""
    alive = dict(
        connection.execute(
            "SELECT coalesce(collector, ''), max(ts)::long FROM collector_stats GROUP BY collector"
        ).fetchall()
    )
    subscribed: dict[tuple[Key, str], list[int]] = {}
    query = (
        "SELECT channel, market, symbol, coalesce(collector, ''), ts::long FROM feed_events "
        "WHERE exchange = %s AND event = 'subscribed'"
    )
    for channel, market, symbol, name, ts in read_rows(connection, query, exchange):
        subscribed.setdefault(((channel, market, symbol), name), []).append(ts)
    recording: dict[Key, dict[str, Interval]] = {}
    for (key, name), times in subscribed.items():
        recording.setdefault(key, {})[name] = min(times), alive.get(name, FOR_EVER)
    holes: dict[Key, dict[str, list[Interval]]] = {}
    query = (
        "SELECT channel, market, symbol, coalesce(collector, ''), from_ts::long, to_ts::long, recv_ts::long FROM gaps "
        "WHERE exchange = %s AND NOT repaired"
    )
    for channel, market, symbol, name, first, last, noticed in read_rows(connection, query, exchange):
        key = (channel, market, symbol)
        if last is None:  # it may begin before the last subscription, but was noticed after it
            last = min((ts for ts in subscribed.get((key, name), ()) if ts > noticed), default=FOR_EVER)
        holes.setdefault(key, {}).setdefault(name, []).append((first, last))
    return {key: declared(own, recording.get(key, {})) for key, own in holes.items()}


def choose_depth(key: Key, sent: SentBook, feed: FeedConfig | None) -> SentBook:
    """The updates of the one topic that the collector has subscribed. Raises OperatorError when that can't be told."""
    depths = np.frombuffer(sent.depths, dtype=np.int16)
    there = sorted({int(depth) for depth in np.unique(depths)})
    if len(there) == 1:
        return sent
    fitting = [depth for depth in there if feed is not None and depth >= feed.book_depth]
    if not fitting:
        raise OperatorError(
            f"verify: the ledger has {key[1]} {key[2]} at depths {', '.join(map(str, there))}; name the collector's "
            "configuration with --config, so that it tells which is recorded",
            BAD_CONFIG,
        )
    chosen = SentBook()
    ts, ids, full = sent.ts, sent.ids, sent.full
    for i in np.flatnonzero(depths == fitting[0]).tolist():
        chosen.add(int(ts[i]), int(ids[i]), int(full[i]))
        chosen.depths.append(fitting[0])
        chosen.repetition.append(sent.repetition[i])
    return chosen


def is_asked(symbol: str, feeds: Sequence[FeedConfig], exchange: str, market: str) -> bool:
    """Whether a feed records the symbol, as far as the configuration tells."""
    fitting = [feed for feed in feeds if (feed.exchange, feed.market) == (exchange, market)]
    selectors = [selector for feed in fitting for selector in feed.symbols]
    return not fitting or symbol in selectors or any(map(is_dynamic, selectors))


def verify_ledger(ledger: Path, endpoint: Endpoint, config: Config, interval: float | None) -> list[Outcome]:
    """One outcome a stream. `interval` (s) replaces the configured book_interval. Raises OperatorError."""
    header, entries = read_ledger(ledger)
    sent = fingerprints.collect(entries)
    if not sent:
        raise OperatorError(f"ledger {ledger}: no event in it: nobody subscribed; record first", BAD_CONFIG)
    feeds = {
        (feed.market, symbol): feed
        for feed in config.feeds
        if feed.exchange == header.exchange
        for symbol in feed.symbols
    }
    by_market = {feed.market: feed for feed in config.feeds if feed.exchange == header.exchange}
    # Some venues send the liquidations of all symbols to whoever asks for those of one.
    sent = {
        key: events
        for key, events in sent.items()
        if key[0] != "liquidations" or is_asked(key[2], config.feeds, header.exchange, key[1])
    }
    for key, events in sent.items():
        if isinstance(events, SentBook):
            sent[key] = choose_depth(key, events, feeds.get(key[1:]) or by_market.get(key[1]))
    try:
        with connect(endpoint) as connection:
            wait_until_applied(connection)
            stored = read_stored(connection, header.exchange, sent)
            gaps = read_gaps(connection, header.exchange)
    except psycopg.Error as error:
        raise DatabaseError(
            "verify",
            f"QuestDB at {endpoint.http_url}",
            str(error).strip(),
            "check the server's log and try again",
        ) from error
    outcomes = []
    for key in sorted(sent.keys() | stored.keys()):
        feed = feeds.get(key[1:]) or by_market.get(key[1])
        nothing = Tickers() if key[0] == "tickers" else Events()
        seconds = interval if interval is not None else feed.book_interval if feed is not None else 0.1
        outcomes.append(
            compare(
                key,
                sent.get(key, nothing),
                stored.get(key, nothing),
                Gaps(gaps.get(key, [])),
                round(seconds * 1e6),
            )
        )
    return outcomes


def print_table(outcomes: list[Outcome], good: bool) -> None:
    table = Table(title="sent against stored")
    for name in ("table", "market", "symbol"):
        table.add_column(name)
    for name in NUMBERS:
        table.add_column(name, justify="right")
    for outcome in outcomes:
        numbers = [f"{getattr(outcome, name):,}" for name in NUMBERS]
        table.add_row(
            outcome.table, outcome.market, outcome.symbol, *numbers, style="" if outcome.good else "red"
        )
    table.add_section()
    table.add_row("all", "", "", *[f"{number:,}" for number in total(outcomes).values()], style="bold")
    Console(width=None if sys.stdout.isatty() else 140).print(table)
    for outcome in outcomes:
        if outcome.first_undeclared:
            where = f"{outcome.table} {outcome.market} {outcome.symbol}"
            click.echo(f"{where}: the first undeclared loss is at {outcome.first_undeclared}")
    click.echo(
        "verified: sent = stored + declared"
        if good
        else "NOT verified: see undeclared, duplicated, wrong, unexpected"
    )


@click.command()
@click.option(
    "--ledger", type=click.Path(path_type=Path), required=True, help="Written by simulate or replay."
)
@click.option(
    "--config", "config_file", type=click.Path(path_type=Path), help="The collector's configuration."
)
@click.option("--format", "output", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--book-interval", help='Replaces the configured one, for example "100ms"; "0ms": every update.'
)
@reports_errors
def verify(ledger: Path, config_file: Path | None, output: str, book_interval: str | None) -> None:
    """Compare a ledger of what was sent with what is stored.

    Exit code 0: every event is stored once and as sent, or its absence is declared in gaps. 1: not so. 2: wrong usage.
    """
    config = load(config_file)
    try:
        interval = None if book_interval is None else float(Duration.parse(book_interval))
    except ValueError as error:
        raise OperatorError(f"verify: --book-interval: {error}", BAD_CONFIG) from error
    if not ledger.is_file():
        raise OperatorError(f"ledger {ledger}: there is no such file; correct --ledger", BAD_CONFIG)
    outcomes = verify_ledger(ledger, resolve(config.questdb), config, interval)
    good = all(outcome.good for outcome in outcomes)
    if output == "json":
        answer = {"verified": good, "totals": total(outcomes), "streams": outcomes}
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    else:
        print_table(outcomes, good)
    if not good:
        sys.exit(FAILED)
