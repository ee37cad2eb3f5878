"""`collector run` against cryptofeed on the same work: every book update and every trade of one simulated market stored."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from collector.database.endpoint import Endpoint
from tests.bench import scratch, sides
from tests.conftest import query

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
PACKAGE = "cryptofeed>=3,<4"
CONFIGURED_LEVELS = 51
"""The fewest levels for which the configuration takes the 200-level topic."""
QUEUE = {"overflow": "block"}
"""So that cryptofeed stores everything: as it comes it drops what its database is slower than."""


def interpreter() -> Path:
    """Of an environment with cryptofeed 3. Raises LeftOutError."""
    return scratch.environment("cryptofeed", scratch.newer_python((3, 13)), PACKAGE, "uvloop")


def run(endpoint: Endpoint, folder: Path, messages: int) -> dict[str, Any]:
    """Two rounds: 10 levels stored a side, as cryptofeed comes; and 51, which both do by configuration alone.

    `messages`: of the market, in the first round; the second has a third. Raises LeftOutError."""
    python = interpreter()
    figures: dict[str, Any] = {}
    rounds = (
        (10, messages, "tests.bench.collector_kept_200"),
        (CONFIGURED_LEVELS, messages // 3, "collector"),
    )
    for levels, count, module in rounds:
        name = f"{levels}_levels"
        end = ["--messages", str(count)]
        with (
            sides.simulator(folder / f"ours_{name}", SYMBOLS, 0, *end) as exchange,
            sides.evenkeel(
                folder / f"ours_{name}",
                endpoint,
                exchange,
                module,
                symbols=SYMBOLS,
                channels=["trades", "orderbook"],
                book_depth=levels,
                book_interval="0ms",
            ) as ours,
        ):
            work = sides.watch(ours, exchange)
        figures |= _told("ours", name, work, stored(endpoint, "trades", "orderbook"))
        _forget(endpoint, "trades", "orderbook")
        create_tables(endpoint, f"trades{levels}", f"books{levels}", levels)
        with (
            sides.simulator(folder / f"theirs_{name}", SYMBOLS, 0, *end) as exchange,
            sides.cryptofeed(
                folder / f"theirs_{name}",
                python,
                endpoint.http_url,
                exchange,
                symbols=SYMBOLS,
                books=levels,
                books_key=f"books{levels}",
                trades_key=f"trades{levels}",
                queue=QUEUE,
            ) as theirs,
        ):
            other = sides.watch(theirs, exchange)
            dropped = theirs.latest["dropped_overflow"] + theirs.latest["dropped_failed"]
        tables = f"trades{levels}-BYBIT", f"books{levels}-BYBIT"
        figures |= _told("cryptofeed", name, other, stored(endpoint, *tables))
        figures[f"{name}_cryptofeed_dropped"] = dropped
        figures[f"{name}_ratio"] = round(work.per_cpu_second / other.per_cpu_second, 2)
    return figures


def _told(side: str, name: str, work: sides.Work, rows: tuple[int, ...]) -> dict[str, Any]:
    return {
        f"{name}_{side}_messages_per_cpu_second": round(work.per_cpu_second),
        f"{name}_{side}_messages": work.messages,
        f"{name}_{side}_wall_s": round(work.wall_s, 1),
        f"{name}_{side}_peak_rss_mb": round(work.peak_rss_mb, 1),
        f"{name}_{side}_trade_rows": rows[0],
        f"{name}_{side}_book_rows": rows[1],
    }


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


def _forget(endpoint: Endpoint, *tables: str) -> None:
    for table in tables:
        query(endpoint, f"TRUNCATE TABLE '{table}'")
