"""The book's SQL on a real server against plain loops over the same levels."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from analyzer import config
from analyzer.passes.book import BOOK
from analyzer.source import Source, render
from analyzer.windows import ending
from collector.database.endpoint import Endpoint
from collector.encode import RowEncoder
from collector.rows import BookSnapshot, Levels
from tests.conftest import wait_rows

END = datetime(2026, 11, 22, 0, 0, 30, tzinfo=UTC)  # the window crosses a day's partition
START_US = round((END - timedelta(seconds=60)).timestamp()) * 1_000_000
Side = list[tuple[float, float]]
OFF = 1 / 100
"""Keeps prices off the band's edge, where rounding decides; the edge has a test of its own."""
METRICS = ("spread_bps", "imbalance", "depth_bid_10bps", "depth_ask_10bps")


def levels(side: Side) -> Levels:
    return np.array([[p for p, _ in side], [q for _, q in side]], dtype=np.float64)


def found(database: Endpoint, snapshots: list[tuple[int, Side, Side]]) -> dict[str, float]:
    """What the analysis says of the snapshots: (ms after the window's start, bids, asks)."""
    encoder = RowEncoder()
    for n, (ms, bids, asks) in enumerate(snapshots):
        ts = START_US + ms * 1000
        encoder.add(BookSnapshot(ts, ts, "bybit", "linear", "BTCUSDT", levels(bids), levels(asks), n))
    httpx.post(f"{database.http_url}/write", content=encoder.take()[0]).raise_for_status()
    wait_rows(database, "orderbook", len(snapshots))
    window = ending(END, timedelta(seconds=60))
    source = Source(config.Endpoint(database.http_url, database.pg))
    tables = {name: source.fetch(render(sql, window)) for name, sql in BOOK.queries.items()}
    source.close()
    return {value.metric: value.value for value in BOOK.compute(tables, window)}


def expected(bids: Side, asks: Side) -> tuple[float, ...]:
    mid = (bids[0][0] + asks[0][0]) / 2
    top_bid, top_ask = sum(q for _, q in bids[:5]), sum(q for _, q in asks[:5])
    return (
        (asks[0][0] - bids[0][0]) / mid * 1e4,
        (top_bid - top_ask) / (top_bid + top_ask),
        sum(q for p, q in bids if p >= mid * (1 - 0.001)),
        sum(q for p, q in asks if p <= mid * (1 + 0.001)),
    )


def test_against_plain_loops(database: Endpoint) -> None:
    rng = random.Random(3)
    snapshots, wanted = [], []
    for second in range(60):
        for part in (100, 900):  # the later one of the second counts
            bids = [
                (1000 - OFF - p / 16, float(rng.randint(1, 9)))
                for p in sorted(rng.sample(range(1, 60), rng.randint(1, 20)))
            ]
            asks = [
                (1000 + OFF + p / 16, float(rng.randint(1, 9)))
                for p in sorted(rng.sample(range(1, 60), rng.randint(1, 20)))
            ]
            snapshots.append((second * 1000 + part, bids, asks))
        wanted.append(expected(bids, asks))
    numbers = found(database, snapshots)
    for column, metric in enumerate(METRICS):
        assert numbers[metric] == pytest.approx(sum(row[column] for row in wanted) / len(wanted)), metric
    assert numbers["mid"] == (bids[0][0] + asks[0][0]) / 2
    size = bids[0][1] + asks[0][1]
    assert numbers["microprice"] == pytest.approx((bids[0][0] * asks[0][1] + asks[0][0] * bids[0][1]) / size)
    assert numbers["crossed"] == 0.0


def test_the_edge_of_the_band_is_in(database: Endpoint) -> None:
    # mid 1000: the band is 999 … 1001, exact in binary.
    bids: Side = [(999.5, 1.0), (999.0, 2.0), (998.875, 4.0)]
    asks: Side = [(1000.5, 8.0), (1001.0, 16.0), (1001.125, 32.0)]
    numbers = found(database, [(500, bids, asks)])
    assert (numbers["depth_bid_10bps"], numbers["depth_ask_10bps"]) == (3.0, 24.0)


def test_empty_one_sided_and_crossed_books(database: Endpoint) -> None:
    snapshots: list[tuple[int, Side, Side]] = [
        (0, [], []),
        (1000, [], [(5.0, 1.0)]),
        (2000, [(5.0, 1.0)], []),
        (3000, [(6.0, 1.0)], [(5.0, 1.0)]),
    ]
    assert found(database, snapshots) == {"crossed": 1.0}
    whole: tuple[int, Side, Side] = (4000, [(99.0, 3.0)], [(101.0, 1.0)])
    numbers = found(database, [*snapshots, whole])
    assert (numbers["mid"], numbers["imbalance"], numbers["crossed"]) == (100.0, 0.5, 1.0)
