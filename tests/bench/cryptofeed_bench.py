"""`collector run` against cryptofeed on the same work: every book update and every trade of one simulated market stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from collector.database.endpoint import Endpoint
from tests.bench import scratch, sides
from tests.conftest import query

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
PACKAGE = "cryptofeed>=3,<4"
CONFIGURED_LEVELS = 51
"""The fewest levels for which the configuration takes the 200-level topic."""
ALL = {"overflow": "block"}
"""Settings of cryptofeed's back ends so that everything is stored. As it comes it drops rows when they arrive faster than it
writes."""


class Round(msgspec.Struct, frozen=True):
    name: str
    levels: int
    """Stored a side."""
    share: float
    """Of the messages."""
    module: str = "collector"
    drops: bool = False
    """Whether cryptofeed's queue is as it comes."""


KEPT_200 = "tests.bench.collector_kept_200"
ROUNDS = (
    Round("10_levels", 10, 0.4, KEPT_200),
    Round("10_levels_again", 10, 0.4, KEPT_200),
    Round("10_levels_default_queue", 10, 0.4, KEPT_200, drops=True),
    Round("51_levels", CONFIGURED_LEVELS, 0.15),
)


class Result(msgspec.Struct, frozen=True):
    work: sides.Work
    trades: int
    books: int
    """Rows stored."""


def interpreter() -> Path:
    """Of an environment with cryptofeed 3. Raises LeftOutError."""
    return scratch.environment("cryptofeed", scratch.newer_python((3, 13)), PACKAGE, "uvloop")


def run(endpoint: Endpoint, folder: Path, messages: int) -> dict[str, Any]:
    """The rounds, ours and cryptofeed by turns; `messages` of the market at most in each. Raises LeftOutError.

    `ratio` is that of the two equal rounds together: messages per CPU second, ours by cryptofeed's."""
    python = interpreter()
    figures: dict[str, Any] = {"ratio": 0.0}
    works: dict[str, list[sides.Work]] = {"ours": [], "theirs": []}
    for one in ROUNDS:
        count = round(messages * one.share)
        ours = _ours(endpoint, folder / one.name / "ours", one, count)
        theirs = _theirs(endpoint, folder / one.name / "theirs", one, count, python)
        figures[f"{one.name}_ratio"] = round(ours.work.per_cpu_second / theirs.work.per_cpu_second, 2)
        for side, result in (("ours", ours), ("cryptofeed", theirs)):
            figures |= {
                f"{one.name}_{side}_messages_per_cpu_second": round(result.work.per_cpu_second),
                f"{one.name}_{side}_messages": result.work.messages,
                f"{one.name}_{side}_wall_s": round(result.work.wall_s, 1),
                f"{one.name}_{side}_peak_rss_mb": round(result.work.peak_rss_mb, 1),
                f"{one.name}_{side}_trade_rows": result.trades,
                f"{one.name}_{side}_book_rows": result.books,
            }
        if one.module == KEPT_200 and not one.drops:
            works["ours"].append(ours.work)
            works["theirs"].append(theirs.work)
    figures["ratio"] = round(together(works["ours"]) / together(works["theirs"]), 2)
    return figures


def together(works: Sequence[sides.Work]) -> float:
    """Messages per CPU second."""
    return sum(work.messages for work in works) / sum(work.cpu_s for work in works)


def _ours(endpoint: Endpoint, folder: Path, one: Round, messages: int) -> Result:
    for table in ("trades", "orderbook"):
        query(endpoint, f"TRUNCATE TABLE {table}")
    with (
        sides.simulator(folder, SYMBOLS, 0, "--messages", str(messages)) as exchange,
        sides.evenkeel(
            folder,
            endpoint,
            exchange,
            one.module,
            symbols=SYMBOLS,
            channels=["trades", "orderbook"],
            book_depth=one.levels,
            book_interval="0ms",
        ) as side,
    ):
        work = sides.watch(side, exchange)
    return Result(work, *stored(endpoint, "trades", "orderbook"))


def _theirs(endpoint: Endpoint, folder: Path, one: Round, messages: int, python: Path) -> Result:
    trades, books = f"trades_{one.name}", f"books_{one.name}"
    create_tables(endpoint, trades, books, one.levels)
    with (
        sides.simulator(folder, SYMBOLS, 0, "--messages", str(messages)) as exchange,
        sides.cryptofeed(
            folder,
            python,
            endpoint.http_url,
            exchange,
            symbols=SYMBOLS,
            books=one.levels,
            trades_key=trades,
            books_key=books,
            queue={} if one.drops else ALL,
        ) as side,
    ):
        work = sides.watch(side, exchange)
    return Result(work, *stored(endpoint, f"{trades}-BYBIT", f"{books}-BYBIT"))


def create_tables(endpoint: Endpoint, trades_key: str, books_key: str = "", levels: int = 0) -> None:
    """Those that cryptofeed writes to, with the columns that a server which creates tables by itself gives them."""
    end = "receipt_timestamp TIMESTAMP, timestamp TIMESTAMP) TIMESTAMP(timestamp) PARTITION BY DAY WAL"
    trade = "symbol SYMBOL, side SYMBOL, type SYMBOL, price DOUBLE, amount DOUBLE, id VARCHAR"
    query(endpoint, f"CREATE TABLE '{trades_key}-BYBIT' ({trade}, {end}")
    if books_key:
        columns = [
            f"{side}_{level}_{what} DOUBLE"
            for side in ("bid", "ask")
            for level in range(levels)
            for what in ("price", "size")
        ]
        query(endpoint, f"CREATE TABLE '{books_key}-BYBIT' (symbol SYMBOL, {', '.join(columns)}, {end}")


def stored(endpoint: Endpoint, *tables: str) -> tuple[int, ...]:
    """Rows of each table, once what was written can be read."""
    deadline = time.monotonic() + sides.PATIENCE_S
    while query(endpoint, "SELECT name FROM wal_tables() WHERE sequencerTxn > writerTxn"):
        if time.monotonic() > deadline:
            raise TimeoutError("QuestDB has not applied its write-ahead log")
        time.sleep(0.2)
    return tuple(int(query(endpoint, f"SELECT count() FROM '{table}'")[0][0]) for table in tables)
