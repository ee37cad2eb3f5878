"""Three minutes of rows in every table, up to a few minutes ago: what the queries for the console and the report read."""

from __future__ import annotations

import time

import numpy as np

from collector.database.endpoint import Endpoint
from collector.rows import (
    Alert,
    BookSnapshot,
    CollectorStats,
    FeedEvent,
    Gap,
    Liquidation,
    ListedInstrument,
    Row,
    Ticker,
    Trade,
)
from tests.analyzer.fixtures import store
from tests.conftest import query, wait_rows

SECOND, MINUTE = 1_000_000, 60_000_000
SECONDS = 180
VENUE, SPOT, OTHER = ("bybit", "linear"), ("bybit", "spot"), ("okx", "linear")
BTC, ETH, ODD = "BTCUSDT", "ETHUSDT", "ODDUSDT"
LEVELS = 30
LATE_US = 20_000
"""From event to receipt."""


def start() -> int:
    """Microseconds: a whole minute, six to seven minutes ago."""
    return int(time.time() // 60 - 6) * MINUTE


def walk(leader_lag: int = 0) -> list[float]:
    """Prices second by second; with a lag the same moves come so many seconds later."""
    steps = np.random.default_rng(5).normal(0, 2e-4, SECONDS + 10)[
        10 - leader_lag : 10 - leader_lag + SECONDS
    ]
    return [float(round(price, 6)) for price in np.exp(np.cumsum(steps))]


BITCOIN = [60_000 * one for one in walk()]
ETHER = [2_000 * one for one in walk(leader_lag=2)]


def trades(t0: int) -> list[Trade]:
    """A buy and two sells a second for bitcoin, one trade a second for the others; bitcoin's sizes rise with time."""

    def made(
        second: int, venue: tuple[str, str], symbol: str, side: str | None, price: float, qty: float
    ) -> Trade:
        ts = t0 + second * SECOND
        name = f"{symbol}-{venue[1]}-{second}-{side}-{qty}"
        return Trade(ts, ts + LATE_US, *venue, symbol, side, price, qty, name)

    rows = []
    for second in range(SECONDS):
        rows += [
            made(second, VENUE, BTC, "buy", BITCOIN[second], 0.01 * (1 + second)),
            made(second, VENUE, BTC, "sell", BITCOIN[second], 0.002),
            made(second, VENUE, BTC, "sell", BITCOIN[second], 0.003),
            made(second, SPOT, BTC, "buy", BITCOIN[second] * 0.999, 0.5),
            made(second, VENUE, ETH, "sell", ETHER[second], 1.0),
        ]
    rows.append(made(30, VENUE, BTC, "buy", BITCOIN[30] * 2, 0.0001))  # far from its minute's vwap
    rows.append(made(31, VENUE, ODD, "buy", 1.0, 1.0))
    again = rows[-1]
    rows.append(Trade(again.ts + SECOND, again.recv_ts, *VENUE, ODD, "buy", 1.0, 1.0, again.trade_id))
    return rows


def book(ts: int, venue: tuple[str, str], symbol: str, mid: float, seq: int) -> BookSnapshot:
    """30 levels a side, half a basis point of the mid apart, of one base unit each; the best ask has two."""
    steps = np.arange(1, LEVELS + 1) * mid * 0.5e-4
    sizes = np.ones(LEVELS)
    asks = np.concatenate(([2.0], sizes[1:]))
    return BookSnapshot(
        ts, ts + LATE_US, *venue, symbol, np.array([mid - steps, sizes]), np.array([mid + steps, asks]), seq
    )


def books(t0: int) -> list[BookSnapshot]:
    """Each second, half a second before its trades; one of ODD is crossed, one has no bids."""
    rows = []
    for second in range(SECONDS):
        ts = t0 + second * SECOND - SECOND // 2
        rows += [
            book(ts, VENUE, BTC, BITCOIN[second], second),
            book(ts, VENUE, ETH, ETHER[second], second),
            book(ts, OTHER, "BTC-USDT-SWAP", BITCOIN[second] * 1.001, second),
        ]
    crossed = np.array([[1.1, 1.0], [1.0, 1.0]]), np.array([[1.0, 1.1], [1.0, 1.0]])
    rows.append(BookSnapshot(t0, t0, *VENUE, ODD, *crossed, 1))
    empty = np.zeros((2, 0))
    rows.append(BookSnapshot(t0 + SECOND, t0 + SECOND, *VENUE, ODD, empty, crossed[1], 2))
    return rows


def liquidations(t0: int) -> list[Liquidation]:
    """Ten longs in the second minute, one short in the third."""
    return [
        Liquidation(
            t0 + MINUTE + n * SECOND,
            t0 + MINUTE + n * SECOND,
            *VENUE,
            BTC,
            "sell",
            60_000.0,
            1.0 + n,
            f"l{n}",
        )
        for n in range(10)
    ] + [Liquidation(t0 + 2 * MINUTE, t0 + 2 * MINUTE, *VENUE, BTC, "buy", 61_000.0, 2.0, "s")]


def others(t0: int) -> list[Row]:
    end = t0 + SECONDS * SECOND
    tickers = [
        Ticker(
            t0 + n * SECOND,
            t0 + n * SECOND,
            *VENUE,
            BTC,
            BITCOIN[n],
            60_060.0,
            60_000.0,
            1e-4,
            end,
            1000.0 + n,
            None,
            None,
        )
        for n in range(0, SECONDS, 10)
    ]
    gaps = [
        Gap(
            t0 + MINUTE,
            t0 + MINUTE + 10 * SECOND,
            end,
            *VENUE,
            ETH,
            "trades",
            "disconnected",
            7,
            False,
            "partial",
            3,
        ),
        Gap(
            t0 + 10 * SECOND,
            t0 + 12 * SECOND,
            end,
            *VENUE,
            BTC,
            "orderbook",
            "sequence_gap",
            None,
            True,
            "complete",
            2,
        ),
        Gap(end, None, end, *VENUE, ETH, "trades", "collector_stopped"),
    ]
    events = [
        FeedEvent(t0 - SECOND, t0 - SECOND, *venue, symbol, channel, "subscribed")
        for venue, symbol, channels in (
            (VENUE, BTC, ("trades", "orderbook", "liquidations", "tickers")),
            (VENUE, ETH, ("trades", "orderbook")),
            (SPOT, BTC, ("trades",)),
            (OTHER, "BTC-USDT-SWAP", ("orderbook",)),
        )
        for channel in channels
    ]
    listed = [
        ListedInstrument(
            t0,
            t0,
            *venue,
            symbol,
            f"{base}-USDT-{kind.upper()}",
            base,
            "USDT",
            kind,
            "trading",
            1.0,
            False,
            0.1,
            0.001,
        )
        for venue, symbol, base, kind in (
            (VENUE, BTC, "BTC", "perpetual"),
            (VENUE, ETH, "ETH", "perpetual"),
            (SPOT, BTC, "BTC", "spot"),
            (OTHER, "BTC-USDT-SWAP", "BTC", "perpetual"),
        )
    ]
    alerts = [
        Alert(t0, "journal_quota", "critical", "firing", 0.9, "the journal is nearly full"),
        Alert(t0, "questdb_unavailable", "critical", "firing", 11.0, "it is down"),
        Alert(t0 + MINUTE, "questdb_unavailable", "critical", "resolved", 0.0, "it is back"),
    ]
    stats = [
        CollectorStats(
            ts=t0 + n * 10 * SECOND,
            process="host:1",
            rss=90 << 20,
            swap=0,
            cpu=3.0 * n,
            threads=4,
            fds=20,
            messages=1000 * n,
            rows=600 * n,
            bad_messages=0,
            gaps=3,
            reconnects=1,
            journal_bytes=1 << 20,
            journal_pending_bytes=2 << 20,
            lag_ms=150.0,
            loop_lag_ms=5.0,
            dead_letters=2,
        )
        for n in range(SECONDS // 10 + 1)
    ]
    return [*tickers, *gaps, *events, *listed, *alerts, *stats]


SIGNALS = (
    ("flow", "imbalance", 0.25, 1.0, None),
    ("flow", "cvd", 12.5, 1.0, None),
    ("coverage", "coverage", 0.9, None, None),
    ("coverage", "coverage_trades", 0.8, None, None),
    ("walls", "spoof_bid", 1.0, 0.95, '{"rows": [{"from": "x"}], "more": 0}'),
)


def fill(endpoint: Endpoint) -> int:
    """All of it into the empty tables; returns the start in microseconds. The views are up to date."""
    t0 = start()
    store(endpoint, [*trades(t0), *books(t0), *liquidations(t0), *others(t0)])
    end = t0 + SECONDS * SECOND
    for analysis, metric, value, coverage, detail in SIGNALS:
        told = ["NULL" if one is None else str(one) for one in (value, coverage)]
        text = "NULL" if detail is None else f"'{detail}'"
        query(
            endpoint,
            f"INSERT INTO signals VALUES ({end}, '{VENUE[0]}', '{VENUE[1]}', '{BTC}', 180, '{analysis}', '{metric}', "
            f"{told[0]}, {told[1]}, {text})",
        )
    for analysis, status, took in (("flow", "ok", 10.0), ("flow", "failed", 30.0), ("bars", "ok", 5.0)):
        query(
            endpoint,
            f"INSERT INTO analysis_runs VALUES ({end}, '{analysis}{status}', '{analysis}', {t0}, {end}, {end}, {took}, 100, "
            f"{200 << 20}, '{status}', NULL)",
        )
    wait_rows(endpoint, "signals", len(SIGNALS))
    wait_rows(endpoint, "analysis_runs", 3)
    bars = 3 * 3 + 1  # three instruments and minutes, and the odd one
    wait_rows(endpoint, "ohlcv_1m", bars)
    wait_rows(endpoint, "liquidations_1m", 2)
    hours = 4 * (1 + (t0 // (60 * MINUTE) != (end - SECOND) // (60 * MINUTE)))
    wait_rows(endpoint, "ohlcv_1h", min(hours, 4))
    return t0
