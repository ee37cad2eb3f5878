"""Absorption, exhaustion, icebergs: planted and found, near misses left alone, and the SQL against plain loops."""

from __future__ import annotations

import json
import math
import random
import statistics
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyzer.passes import absorption as module
from analyzer.passes.absorption import ABSORPTION, PRICES
from analyzer.passes.base import Value
from analyzer.passes.blocks import BLOCK_US, BLOCKS
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, Trade
from tests.analyzer.answers import Side, by_metric, of_server, of_tables, snapshot
from tests.analyzer.fixtures import VENUE, store
from tests.analyzer.tables import table, window

END = datetime(2026, 11, 22, 0, 0, 30, tzinfo=UTC)  # over a day's partition, on a block's bound
SPAN = 200
WINDOW = ending(END, timedelta(seconds=SPAN))
NAMES = ("exchange", "market", "symbol")
ZERO = {f"{kind}_{side}": 0.0 for kind in ("absorption", "iceberg") for side in ("bid", "ask")}
ZERO |= {"exhaustion_up": 0.0, "exhaustion_down": 0.0}


def block(n: int, opened: float, close: float, buys: float = 5.0, sells: float = 5.0) -> dict[str, Any]:
    prices = {"open": opened, "close": close, "high": max(opened, close), "low": min(opened, close)}
    return {"ts": 10 * n, "buys": buys, "sells": sells, "volume": buys + sells} | prices


def answer(
    blocks: list[dict[str, Any]], prices: Sequence[dict[str, Any]] = (), books: bool = True
) -> tuple[dict[str, float], Sequence[Value]]:
    """The numbers that aren't 0, and all."""
    tables = {
        "blocks": table(blocks, (*NAMES, *BLOCKS)),
        "prices": table(list(prices), (*NAMES, *PRICES)),
        "books": table([{"ts": 0}] if books else [], (*NAMES, "ts")),
    }
    values = of_tables(ABSORPTION, tables, window(1000))
    return {name: value for name, value in by_metric(values).items() if value}, values


def evidence(values: Sequence[Value], metric: str) -> Any:
    (text,) = [value.detail for value in values if value.metric == metric]
    return json.loads(text)["rows"]


def calm(count: int) -> list[dict[str, Any]]:
    """Up and down by 1 % in turns on even volume."""
    return [block(n, 100 + n % 2, 101 - n % 2) for n in range(count)]


def test_absorption_by_hand() -> None:
    rows = calm(15)
    rows[7] = block(7, 101, 100.9, buys=1.0, sells=30.0)  # −10 bps where 100 are usual
    found, values = answer(rows)
    assert found == {"absorption_bid": 1.0}
    (row,) = evidence(values, "absorption_bid")
    assert row == pytest.approx(
        {
            "from": "2026-11-23T12:01:10.000000Z",
            "open": 101.0,
            "high": 101.0,
            "low": 100.9,
            "close": 100.9,
            "buys": 1.0,
            "sells": 30.0,
            "move_bps": math.log(100.9 / 101) * 1e4,
            "taken": 30.0,
            "times_median": 6.0,  # of 5
            "median_move_bps": math.log(1.01) * 1e4,
        }
    )


@pytest.mark.parametrize(
    ("changed", "wanted"),
    [
        (block(7, 101, 100.9, 1.0, 19.0), {}),  # 3.8 times
        (block(7, 101, 100.9, 6.0, 20.0), {}),  # 77 % one-sided
        (block(7, 101, 100.7, 1.0, 30.0), {}),  # price gave way by 30 bps
        (block(7, 101, 101.5, 1.0, 30.0), {"absorption_bid": 1.0}),  # it even rose
        (block(7, 101, 101.1, 30.0, 1.0), {"absorption_ask": 1.0}),
        (block(7, 101, 100.0, 30.0, 1.0), {"absorption_ask": 1.0}),
    ],
)
def test_the_bounds_of_absorption(changed: dict[str, Any], wanted: dict[str, float]) -> None:
    rows = calm(15)
    rows[7] = changed
    assert answer(rows)[0] == wanted


def rise(volumes: Sequence[float], closes: Sequence[float], late: int = 0) -> list[dict[str, Any]]:
    """12 blocks that alternate between 100 and 101, then these, whose buyers are given."""
    last = [
        block(12 + n + late * (n > 2), 100, close, buys=v)
        for n, (v, close) in enumerate(zip(volumes, closes, strict=True))
    ]
    return calm(12) + last


def test_exhaustion_by_hand() -> None:
    rows = rise((19.0, 12.0, 8.0, 6.0, 5.0), (102, 104, 105, 105.5, 105))
    found, values = answer(rows)
    assert found == {"exhaustion_up": 1.0}
    (row,) = evidence(values, "exhaustion_up")
    assert [one["buys"] for one in row["blocks"]] == [19.0, 12.0, 8.0, 6.0, 5.0]  # the last one turned back
    assert row["median_move_bps"] == pytest.approx(math.log(1.01) * 1e4)


@pytest.mark.parametrize(
    ("volumes", "closes", "late"),
    [
        ((19.0, 12.0, 8.0, 7.0, 5.0), (102, 104, 105, 105.5, 105), 0),  # faded by less than two thirds
        ((19.0, 8.0, 12.0, 6.0, 5.0), (102, 104, 105, 105.5, 105), 0),  # volume came back
        (
            (19.0, 12.0, 8.0, 6.0, 5.0),
            (101, 102, 103, 103.5, 103),
            0,
        ),  # a small rise, of 3.5 from 100 … to 101
        ((19.0, 12.0, 8.0, 6.0, 5.0), (102, 104, 105, 105.5, 106), 0),  # it goes on, on less and less
        ((19.0, 12.0, 8.0, 6.0), (102, 104, 105, 105.5), 0),  # not seen to turn back
        ((19.0, 12.0, 8.0, 6.0, 5.0), (102, 104, 105, 105.5, 105), 1),  # a hole in it
    ],
    ids=["much", "again", "small", "on", "end", "hole"],
)
def test_no_exhaustion(volumes: Sequence[float], closes: Sequence[float], late: int) -> None:
    assert answer(rise(volumes, closes, late))[0] == {}


def test_exhaustion_of_a_fall() -> None:
    rows = rise((5.0,) * 5, (99, 97, 96, 95.5, 96))
    for row, sells in zip(rows[12:], (19.0, 12.0, 8.0, 6.0, 5.0), strict=True):
        row["sells"] = sells
    assert answer(rows)[0] == {"exhaustion_down": 1.0}


def test_icebergs_by_hand() -> None:
    """The median block's volume is 10."""
    one = {"ts": 10, "side": "buy", "price": 101.5, "traded": 12.0, "trades": 9, "shown": 3.0, "books": 5}
    found, values = answer(calm(15), [one])
    assert found == {"iceberg_ask": 1.0}
    assert evidence(values, "iceberg_ask") == [
        {
            "from": "2026-11-23T12:00:10.000000Z",
            "price": 101.5,
            "traded": 12.0,
            "trades": 9,
            "largest_shown": 3.0,
            "books": 5,
        }
    ]
    assert answer(calm(15), [one | {"side": "sell"}])[0] == {"iceberg_bid": 1.0}
    for less in ({"traded": 9.9, "shown": 1.0}, {"traded": 11.9}, {"books": 2}):
        assert answer(calm(15), [one | less])[0] == {}
    assert "iceberg_bid" not in by_metric(answer(calm(15), books=False)[1])


def test_too_little_to_judge() -> None:
    assert answer([])[1] == []
    assert answer(calm(11))[1] == []
    assert by_metric(answer(calm(12))[1]) == ZERO
    flat = [block(n, 100, 100, 0.0, 0.0) for n in range(15)]  # sides unknown, prices all equal
    assert by_metric(answer(flat)[1]) == ZERO


def some_market(rng: random.Random) -> tuple[list[BookSnapshot], list[Trade]]:
    """Few prices, so that much is traded at each; books every now and then."""
    books, trades = [], []
    for n, ms in enumerate(sorted(rng.sample(range(-9000, SPAN * 1000 + 9000), 900))):
        bids: Side = [(100 - k / 2, rng.choice((0.5, 1.0))) for k in range(rng.randint(1, 3))]
        asks: Side = [(100.5 + k / 2, rng.choice((0.5, 1.0))) for k in range(rng.randint(0, 3))]
        books.append(snapshot(WINDOW.start_us + ms * 1000, bids, asks, n))
    for n, ms in enumerate(sorted(rng.sample(range(-9000, SPAN * 1000 + 9000), 1200))):
        ts = WINDOW.start_us + ms * 1000 + 500
        busy = ts // BLOCK_US % 5  # in two of five blocks most is traded at the touch
        side = rng.choice((*{0: ("buy",) * 9, 1: ("sell",) * 9}.get(busy, ()), "buy", "sell", None))
        price = {0: 100.5, 1: 100.0}.get(busy, rng.choice((100.0, 100.5, 101.0)))
        trades.append(
            Trade(
                ts,
                ts,
                *VENUE,
                "BTCUSDT",
                side,
                price,
                float(rng.choice((1, 1, 2)) * (4 if busy < 2 else 1)),
                str(n),
            )
        )
    return books, trades


def test_icebergs_against_plain_loops(database: Endpoint) -> None:
    books, trades = some_market(random.Random(12))
    books = [
        one for one in books if not 50_000_000 <= one.ts - WINDOW.start_us < 80_000_000
    ]  # too old at the end
    store(database, [*books, *trades])
    inside = [one for one in trades if WINDOW.start_us <= one.ts < WINDOW.end_us]
    volumes: dict[int, float] = {}
    groups: dict[tuple[int, str, float], list[tuple[float, float, int]]] = {}
    for trade in inside:
        volumes[trade.ts // BLOCK_US] = volumes.get(trade.ts // BLOCK_US, 0.0) + trade.qty
        before = [one for one in books if WINDOW.start_us <= one.ts <= trade.ts]
        if trade.side is None or not before or trade.ts - before[-1].ts > 10_000_000:
            continue
        levels = before[-1].asks if trade.side == "buy" else before[-1].bids
        for price, size in levels.T:
            if price == trade.price:
                key = trade.ts // BLOCK_US, trade.side, trade.price
                groups.setdefault(key, []).append((trade.qty, size, before[-1].ts))
    usual = statistics.median(volumes.values())
    wanted = {"buy": 0, "sell": 0}
    for (_, side, _), rows in groups.items():
        total, shown = sum(qty for qty, _, _ in rows), max(size for _, size, _ in rows)
        seen = len({ts for _, _, ts in rows})
        wanted[side] += total >= usual and total >= module.SHOWN_TIMES * shown and seen >= module.REFILLS
    numbers = by_metric(of_server(ABSORPTION, database, WINDOW))
    assert (numbers["iceberg_ask"], numbers["iceberg_bid"]) == (wanted["buy"], wanted["sell"])
    assert all(0 < count < 8 for count in wanted.values())


def test_blocks_on_the_server(database: Endpoint) -> None:
    """Even trade in all blocks, but one in which 50 are sold at once, and a trade that is none."""
    trades = [
        Trade(ts, ts, *VENUE, "BTCUSDT", side, 100 + (n + k) % 2, 1.0, f"{n}{side}")
        for n in range(20)
        for k, side in enumerate(("buy", "sell"))
        for ts in [WINDOW.start_us + n * 10_000_000 + k]
    ]
    at = WINDOW.start_us + 73_000_000
    trades.append(Trade(at, at, *VENUE, "BTCUSDT", "sell", 101.0, 50.0, "large"))
    trades.append(Trade(at, at, *VENUE, "BTCUSDT", "sell", float("nan"), 900.0, "none"))
    store(database, trades)
    values = of_server(ABSORPTION, database, WINDOW)
    assert {name: value for name, value in by_metric(values).items() if value} == {"absorption_bid": 1.0}
    assert evidence(values, "absorption_bid")[0]["taken"] == 51.0
    assert "iceberg_bid" not in by_metric(values)  # no books
