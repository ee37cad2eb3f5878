"""Tables for the dashboard, filled by formulas of the row's number x = 1, 2, …, which say what a chart must show."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from analyzer.windows import aligned, microseconds
from collector.database.endpoint import Endpoint
from tests.conftest import query, wait_rows
from tests.processes import CLEAN_ENVIRONMENT

MINUTES = 60
STATS = MINUTES * 6
TRADES = 600
PROCESS = "collector:1234"
BTC = ("bybit", "linear", "BTCUSDT")
ETH = ("okx", "linear", "ETH-USDT-SWAP")
BASES = {"BTCUSDT": 65_000.0, "ETH-USDT-SWAP": 3_000.0}
LIMIT = 8_000_000_000
BOOK = ([99.0, 98.0, 97.0], [1.0, 2.0, 3.0], [101.0, 102.0], [4.0, 5.0])
"""prices and sizes of bids and asks"""


def rss(x: int) -> int:
    return 60_000_000 + x % 7 * 250_000


def price(x: int, symbol: str = "BTCUSDT") -> float:
    return BASES[symbol] + x % 40


def side(x: int) -> str:
    return "sell" if x % 3 == 0 else "buy"


def fill(endpoint: Endpoint, now: datetime) -> datetime:
    """An hour of a collector and ten minutes of two markets, up to `now`. The time of the last `collector_stats` row."""
    last = aligned(now, timedelta(seconds=10))
    stats = _sequence(last - timedelta(minutes=MINUTES), 10)
    _insert(
        endpoint,
        "collector_stats",
        f"SELECT {stats} ts, '{PROCESS}' process, 60000000 + x % 7 * 250000 rss, 0L swap, x * 0.9 cpu, 5 threads, "
        "40 fds, x * 5000 messages, x * 6000 rows, 0L bad_messages, 2L gaps, 1L reconnects, "
        "40000000L journal_bytes, x % 5 * 100000 journal_pending_bytes, 120.0 + x % 10 lag_ms, "
        f"3.0 + x % 4 loop_lag_ms, 0L dead_letters, {LIMIT}L memory_limit",
        STATS,
    )
    for exchange, each in (("bybit", 3000), ("okx", 1500)):
        _insert(
            endpoint,
            "stream_stats",
            f"SELECT {stats} ts, '{PROCESS}' process, '{exchange}' exchange, 'linear' market, "
            f"'trades' channel, x * {each} messages, x * {each} rows",
            STATS,
        )
    wait_rows(endpoint, "stream_stats", 2 * STATS)
    for exchange, market, symbol in (BTC, ETH):
        trades(endpoint, (exchange, market, symbol), now - timedelta(seconds=TRADES), TRADES)
    first = microseconds(now - timedelta(minutes=8))
    bids, asks = (f"ARRAY[{BOOK[i]}, {BOOK[i + 1]}]" for i in (0, 2))
    name = "'bybit', 'linear', 'BTCUSDT'"
    statements = [
        f"INSERT INTO orderbook VALUES ({first + 400_000_000}, now(), {name}, {bids}, {asks}, 1)",
        f"INSERT INTO liquidations VALUES ({first}, now(), {name}, 'sell', 65000.0, 4.0, 'l1'), "
        f"({first + 1_000_000}, now(), {name}, 'sell', 65000.0, 1.0, 'l2'), "
        f"({first + 180_000_000}, now(), {name}, 'buy', 65100.0, 2.0, 'l3')",
        "INSERT INTO gaps (ts, recv_ts, exchange, market, symbol, channel, from_ts, to_ts, cause, repaired) VALUES "
        f"({first}, now(), {name}, 'trades', {first}, {first + 60_000_000}, 'disconnected', false), "
        f"({first}, now(), {name}, 'orderbook', {first}, {first + 45_000_000}, 'disconnected', false), "
        f"({first + 200_000_000}, now(), {name}, 'tickers', {first + 200_000_000}, {first + 201_000_000}, 'silent', true)",
        "INSERT INTO alerts (ts, rule, severity, state, exchange, market, symbol, value, message) VALUES "
        f"({first}, 'questdb_unavailable', 'critical', 'firing', '*', '*', '*', 12.0, 'QuestDB takes no rows'), "
        f"({first + 30_000_000}, 'questdb_unavailable', 'critical', 'resolved', '*', '*', '*', 0.0, 'over'), "
        f"({first + 60_000_000}, 'liquidation', 'warning', 'firing', {name}, 260000.0, "
        "'a long of 260,000 USDT was closed at 65,000')",
        "INSERT INTO feed_events (ts, recv_ts, exchange, market, symbol, channel, event) VALUES "
        f"({first}, now(), {name}, 'trades', 'subscribed'), "
        f"({first}, now(), 'kraken', 'spot', 'XBT/USD', 'trades', 'subscribed')",
        "INSERT INTO signals (ts, exchange, market, symbol, window_s, analysis, metric, value, detail) VALUES "
        f"({first}, 'okx', 'linear', 'ETH-USDT-SWAP', 900, 'confluence', 'weight', 0.4, "
        '\'{"score":null,"why":"recorded 40% of the window, below 90%"}\')',
    ]
    for statement in statements:
        query(endpoint, statement)
    for analysis, metric, value in (
        ("confluence", "score", "40.0 + x * 3"),
        ("confluence", "verdict", "1.0"),
        ("confluence", "weight", "0.9"),
        ("confluence", "flow", "50.0 + x * 5"),
        ("confluence", "book", "60.0 - x * 4"),
        ("depth", "depth_bid_10bps_notional", "2000000.0 + x * 10000"),
        ("depth", "depth_bid_notional", "9000000.0 + x"),
        ("depth", "depth_ask_10bps_notional", "1500000.0 - x * 10000"),
    ):
        _insert(
            endpoint,
            "signals",
            f"SELECT {_sequence(now - timedelta(minutes=9, seconds=30), 60)} ts, 'bybit' exchange, 'linear' market, "
            f"'BTCUSDT' symbol, 900 window_s, '{analysis}' analysis, '{metric}' metric, {value} value, 1.0 coverage",
            9,
        )
    _insert(
        endpoint,
        "signals",
        f"SELECT {_sequence(now - timedelta(minutes=9), 60)} ts, 'okx' exchange, 'linear' market, "
        "'ETH-USDT-SWAP' symbol, 900 window_s, 'depth' analysis, 'depth_ask_notional' metric, x * 1000.0 value",
        2,
    )
    for table, count in (("signals", 75), ("gaps", 3), ("alerts", 3), ("liquidations", 3), ("orderbook", 1)):
        wait_rows(endpoint, table, count)
    wait_rows(endpoint, "ohlcv_1s", 2 * TRADES)
    return last


def trades(
    endpoint: Endpoint, name: tuple[str, str, str], start: datetime, count: int, base: float = 0.0
) -> None:
    """One a second after `start`, of 0.5 units each, above `base` [default: the symbol's]."""
    exchange, market, symbol = name
    before = query(endpoint, "SELECT count() FROM trades")[0][0]
    _insert(
        endpoint,
        "trades",
        f"SELECT {_sequence(start, 1)} ts, now() recv_ts, '{exchange}' exchange, '{market}' market, "
        f"'{symbol}' symbol, CASE WHEN x % 3 = 0 THEN 'sell' ELSE 'buy' END side, "
        f"{base or BASES[symbol]} + x % 40 price, 0.5 qty, concat('{microseconds(start)}-', x) trade_id",
        count,
    )
    wait_rows(endpoint, "trades", before + count)


def _sequence(start: datetime, seconds: int) -> str:
    """SQL: `start` and x steps."""
    return f"cast({microseconds(start.astimezone(UTC))} + x * {seconds} * 1000000L AS TIMESTAMP)"


def _insert(endpoint: Endpoint, table: str, select: str, count: int) -> None:
    columns = [part.rsplit(" ", 1)[1] for part in _parts(select.removeprefix("SELECT "))]
    query(endpoint, f"INSERT INTO {table} ({', '.join(columns)}) {select} FROM long_sequence({count})")


def _parts(text: str) -> list[str]:
    """At the commas that are in no brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


@contextlib.contextmanager
def dashboard(config: Path, log: Path, **environment: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`analyzer dashboard` as a process, and its address."""
    with log.open("w") as errors:
        child = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "analyzer",
                "dashboard",
                "--config",
                str(config),
                "--listen",
                "127.0.0.1:0",
            ],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=CLEAN_ENVIRONMENT | environment,
        )
    with child:
        try:
            assert child.stdout is not None
            url = child.stdout.readline().strip()
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url), log.read_text()
            yield child, url
        finally:
            if child.poll() is None:
                child.kill()
