"""The analyses' own SQL on the real server, through the export, against plain loops over the same rows."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from analyzer import config
from analyzer.passes import ANALYSES
from analyzer.source import Source, render
from analyzer.windows import Window, ending
from collector.database.endpoint import Endpoint
from collector.rows import CollectorStats, FeedEvent, Gap, Liquidation, Row, Trade
from tests.analyzer.fixtures import VENUE, store

SPAN = 100
END = datetime(2026, 11, 22, 0, 0, 30, 250_000, tzinfo=UTC)  # over a day's partition, not on a whole second
WINDOW = ending(END, timedelta(seconds=SPAN))
SECOND = 1_000_000
NAN = float("nan")
Numbers = dict[tuple[str, str], float]
"""(symbol, metric) → value"""


def found(database: Endpoint, analysis: str, window: Window = WINDOW, symbols: Iterable[str] = ()) -> Numbers:
    """What an analysis says; every metric of it is declared, and said once."""
    source = Source(config.Endpoint(database.http_url, database.pg))
    one = ANALYSES[analysis]
    tables = {name: source.fetch(render(sql, window, list(symbols))) for name, sql in one.queries.items()}
    source.close()
    values = one.compute(tables, window)
    numbers = {(value.symbol, value.metric): value.value for value in values}
    assert len(numbers) == len(values)
    assert {value.metric for value in values} <= {metric.name for metric in one.metrics}
    assert all(math.isfinite(value) for value in numbers.values())
    return numbers


def some_trades(rng: random.Random) -> list[Trade]:
    """Before, in and after the window, no two at the same microsecond; each symbol with seconds without a trade."""
    low, high = WINDOW.start_us - 5 * SECOND, WINDOW.end_us + 5 * SECOND
    return [
        Trade(
            ts,
            ts,
            *VENUE,
            rng.choice(("BTCUSDT", "ETHUSDT", "SOLUSDT")),
            rng.choice(("buy", "sell", "sell", None)),
            rng.randint(900, 1100) / 8,
            rng.randint(1, 64) / 16,
            str(n),
        )
        for n, ts in enumerate([*sorted(rng.sample(range(low, high), 200)), WINDOW.start_us, WINDOW.end_us])
    ]


def inside(trades: list[Trade]) -> dict[str, list[Trade]]:
    by_symbol: dict[str, list[Trade]] = {}
    for trade in sorted(trades, key=lambda trade: trade.ts):
        if WINDOW.start_us <= trade.ts < WINDOW.end_us:
            by_symbol.setdefault(trade.symbol, []).append(trade)
    return by_symbol


def test_bars(database: Endpoint) -> None:
    trades = some_trades(random.Random(1))
    store(database, trades)
    wanted: Numbers = {}
    for symbol, own in inside(trades).items():
        prices = [trade.price for trade in own]
        closes = list({trade.ts // SECOND: trade.price for trade in own}.values())
        bar = {
            "open": prices[0],
            "high": max(prices),
            "low": min(prices),
            "close": prices[-1],
            "volume": sum(trade.qty for trade in own),
            "notional": sum(trade.price * trade.qty for trade in own),
            "trades": len(own),
            "return": math.log(prices[-1] / prices[0]),
            "realized_vol": math.sqrt(sum(math.log(b / a) ** 2 for a, b in pairwise(closes))),
        }
        wanted |= {(symbol, metric): value for metric, value in bar.items()}
    assert found(database, "bars") == pytest.approx(wanted)


def test_flow(database: Endpoint) -> None:
    trades = some_trades(random.Random(2))
    store(database, trades)
    wanted: Numbers = {}
    for symbol, own in inside(trades).items():
        cvd = 0.0
        for trade in own:
            cvd += {"buy": trade.qty, "sell": -trade.qty, None: 0.0}[trade.side]
        buys = sum(trade.qty for trade in own if trade.side == "buy")
        sells = sum(trade.qty for trade in own if trade.side == "sell")
        takers = [sum(trade.side == side for trade in own) for side in ("buy", "sell")]
        sums = {
            "cvd": cvd,
            "buy_volume": buys,
            "sell_volume": sells,
            "imbalance": (buys - sells) / (buys + sells),
            "vwap": sum(trade.price * trade.qty for trade in own) / sum(trade.qty for trade in own),
            "trade_count": len(own),
            "largest_trade": max(trade.qty for trade in own),
            "buy_trades": takers[0],
            "sell_trades": takers[1],
            "trade_imbalance": (takers[0] - takers[1]) / sum(takers),
        }
        wanted |= {(symbol, metric): value for metric, value in sums.items()}
    assert found(database, "flow") == pytest.approx(wanted)


@pytest.mark.parametrize("analysis", ["bars", "flow"])
def test_a_trade_without_price_or_size_changes_nothing(database: Endpoint, analysis: str) -> None:
    """QuestDB stores NaN as NULL, which its sums pass over: the size alone would bias the vwap."""
    good = [
        Trade(WINDOW.start_us + n * SECOND, 0, *VENUE, "BTCUSDT", "buy", 8.0 + n, 2.0, f"good{n}")
        for n in (2, 3)
    ]
    store(database, good)
    before = found(database, analysis)
    bad = [
        Trade(WINDOW.start_us + 1 * SECOND, 0, *VENUE, "BTCUSDT", "buy", NAN, 5.0, "no price, first"),
        Trade(WINDOW.start_us + 4 * SECOND, 0, *VENUE, "BTCUSDT", "buy", NAN, 5.0, "no price, last"),
        Trade(WINDOW.start_us + 5 * SECOND, 0, *VENUE, "BTCUSDT", "sell", 7.0, NAN, "no size"),
        Trade(WINDOW.start_us + 5 * SECOND, 0, *VENUE, "BTCUSDT", "sell", math.inf, 3.0, "no number"),
        Trade(WINDOW.start_us + 6 * SECOND, 0, *VENUE, "BTCUSDT", "sell", 7.0, 0.0, "nothing traded"),
        Trade(WINDOW.start_us + 6 * SECOND, 0, *VENUE, "ETHUSDT", "sell", NAN, NAN, "nothing at all"),
    ]
    store(database, [*good, *bad])
    assert found(database, analysis) == before != {}


def test_liquidations(database: Endpoint) -> None:
    rng = random.Random(3)
    low, high = WINDOW.start_us - 5 * SECOND, WINDOW.end_us + 5 * SECOND
    rows = [
        Liquidation(
            ts,
            ts,
            *VENUE,
            symbol,
            rng.choice(("buy", "sell") if symbol == "BTCUSDT" else ("sell",)),
            rng.randint(900, 1100) / 8,
            rng.randint(1, 64) / 16,
            str(n),
        )
        for symbol in ("BTCUSDT", "ETHUSDT")
        for n, ts in enumerate(
            [*(rng.randrange(low, high) for _ in range(40)), WINDOW.start_us, WINDOW.end_us]
        )
    ]
    unpriced = Liquidation(WINDOW.start_us, 0, *VENUE, "SOLUSDT", "buy", NAN, 1.0, "no price")
    store(database, [*rows, unpriced])
    wanted: Numbers = {}
    for symbol in ("BTCUSDT", "ETHUSDT"):
        own = [row for row in rows if row.symbol == symbol and WINDOW.start_us <= row.ts < WINDOW.end_us]
        for side, closed in (("sell", "long"), ("buy", "short")):
            orders = [row for row in own if row.side == side]
            wanted[symbol, f"liq_{closed}_count"] = len(orders)
            wanted[symbol, f"liq_{closed}_qty"] = sum(row.qty for row in orders)
            wanted[symbol, f"liq_{closed}_notional"] = sum(row.price * row.qty for row in orders)
        longs, shorts = (wanted[symbol, f"liq_{closed}_notional"] for closed in ("long", "short"))
        wanted[symbol, "liq_imbalance"] = (longs - shorts) / (longs + shorts)
        wanted[symbol, "liq_largest_notional"] = max(row.price * row.qty for row in own)
    assert found(database, "liquidations") == pytest.approx(wanted)


def alive(at: int, collector: str) -> CollectorStats:
    names = [name for name in CollectorStats.__struct_fields__ if name not in ("ts", "process", "collector")]
    floats = {"cpu": 0.0, "lag_ms": 0.0, "loop_lag_ms": 0.0}
    zeros = dict.fromkeys(names, 0) | floats
    return CollectorStats(ts=at, process=f"host:{collector}", collector=collector, **zeros)  # type: ignore[arg-type]


@pytest.mark.parametrize("last", [40, SPAN + 300], ids=["killed", "recording"])
@pytest.mark.parametrize("seed", [4, 5])
def test_coverage(database: Endpoint, seed: int, last: int) -> None:
    """Whole seconds of the window are counted one by one. Rows may be older than the column that names the collector."""
    rng = random.Random(seed)

    def at(second: int) -> int:
        return WINDOW.start_us + second * SECOND

    rows: list[Row] = [alive(at(second), name) for second in range(-60, last + 1, 10) for name in ("", "a")]
    wanted: Numbers = {}
    for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"):
        shares = []
        name = rng.choice(("", "a"))
        for channel in ("trades", "orderbook", "liquidations", "tickers")[: rng.randint(1, 4)]:
            stream = (*VENUE, symbol)
            subscribed = sorted(rng.sample(range(-50, SPAN + 50), 4))
            rows += [
                FeedEvent(at(s), at(s), *stream, channel, "subscribed", collector=name) for s in subscribed
            ]
            rows += [FeedEvent(at(-200), at(-200), *stream, channel, "connected")]
            holes = [(-1000, subscribed[0]), (last + 15, 1000)] if last < SPAN else [(-1000, subscribed[0])]
            for low in rng.sample(range(subscribed[0], SPAN + 20), 5):
                noticed = low + rng.randint(0, 9)
                to = rng.choice((None, low + rng.randint(0, 40)))
                ends = None if to is None else at(to)
                rows.append(Gap(at(low), ends, at(noticed), *stream, channel, "x", collector=name))
                again = min((s for s in subscribed if s > noticed), default=1000)
                holes.append((low, again if to is None else to))
            if subscribed[0] < SPAN:
                recorded = [not any(low <= n < high for low, high in holes) for n in range(SPAN)]
                shares.append(sum(recorded) / SPAN)
                wanted[symbol, f"coverage_{channel}"] = shares[-1]
        if shares:
            wanted[symbol, "coverage"] = sum(shares) / len(shares)
    store(database, rows)
    assert found(database, "coverage") == pytest.approx(wanted)
    only = {key: value for key, value in wanted.items() if key[0] == "ETHUSDT"}
    assert found(database, "coverage", symbols=["ETHUSDT"]) == pytest.approx(only)
