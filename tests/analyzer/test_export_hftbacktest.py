"""`analyzer export --format hftbacktest`: the package loads the file, checks it, and replays it with its backtester."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path
from typing import Any

import hftbacktest as hb  # type: ignore[import-untyped]
import numpy as np
import pytest
from hftbacktest.data import correct_event_order, validate_event_order  # type: ignore[import-untyped]

from analyzer.exports.hftbacktest import DTYPE, EXCH, LOCAL, Group, in_both_orders
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, Row, Trade
from tests.analyzer.answers import snapshot
from tests.analyzer.fixtures import VENUE, at, settings, store
from tests.analyzer.test_export import export

NOON = at("2026-03-02T12:00:00Z")
SECOND = 1_000_000
DAY = ("--from", "2026-03-02", "--to", "2026-03-03", "--format", "hftbacktest")


def exported(database: Endpoint, tmp_path: Path, rows: list[Row]) -> tuple[Path, Any]:
    store(database, rows)
    code, document = export(settings(tmp_path, database), tmp_path / "out", *DAY)
    assert code == 0
    (one,) = document["files"]
    assert one["path"] == f"{VENUE[0]}-{VENUE[1]}/2026-03-02/BTCUSDT.npz"
    file = tmp_path / "out" / one["path"]
    data = np.load(file)["data"]
    assert data.dtype == hb.event_dtype == DTYPE
    validate_event_order(data)
    assert (data["local_ts"] >= data["exch_ts"]).all()
    return file, data


def kinds(data: Any) -> list[tuple[str, str, float, float]]:
    """Of events that neither order had to split."""
    names = {1: "depth", 2: "trade", 3: "clear", 4: "snapshot"}
    found = []
    for ev, px, qty in zip(*(data[name].tolist() for name in ("ev", "px", "qty")), strict=True):
        assert ev & (hb.EXCH_EVENT | hb.LOCAL_EVENT) == hb.EXCH_EVENT | hb.LOCAL_EVENT
        side = "buy" if ev & hb.BUY_EVENT else "sell" if ev & hb.SELL_EVENT else ""
        found.append((names[ev & 0xFF], side, px, qty))
    return found


def test_events_by_hand(database: Endpoint, tmp_path: Path) -> None:
    rows: list[Row] = [
        Trade(NOON + SECOND, NOON + SECOND, *VENUE, "BTCUSDT", "sell", 99.0, 0.5, "1"),
        Trade(NOON + SECOND, NOON + SECOND, *VENUE, "BTCUSDT", "buy", 101.0, 0.25, "2"),
        Trade(NOON + SECOND, NOON + SECOND, *VENUE, "BTCUSDT", None, 100.0, 1.0, "3"),
        Trade(NOON + SECOND, NOON + SECOND, *VENUE, "BTCUSDT", "buy", float("nan"), 1.0, "4"),
        snapshot(NOON, [(99, 1), (98, 2)], [(101, 3)], 1),
        snapshot(NOON + SECOND, [(99, 0.5), (97, 4)], [(101, 3), (102, 1)], 2),
        snapshot(NOON + SECOND, [(99, 0.5), (97, 4)], [(101, 3), (102, 1)], 3),  # nothing changed
        snapshot(NOON + 20 * SECOND, [(95, 1)], [(96, 1)], 4),  # after a hole
    ]
    _, data = exported(database, tmp_path, rows)
    assert kinds(data) == [
        ("clear", "", 0, 0),
        ("snapshot", "buy", 99, 1),
        ("snapshot", "buy", 98, 2),
        ("snapshot", "sell", 101, 3),
        ("trade", "sell", 99, 0.5),
        ("trade", "buy", 101, 0.25),
        ("trade", "", 100, 1),
        ("depth", "buy", 98, 0),
        ("depth", "buy", 99, 0.5),
        ("depth", "buy", 97, 4),
        ("depth", "sell", 102, 1),
        ("clear", "", 0, 0),
        ("snapshot", "buy", 95, 1),
        ("snapshot", "sell", 96, 1),
    ]
    assert (
        data["exch_ts"].tolist()[:5]
        == data["local_ts"].tolist()[:5]
        == [NOON * 1000] * 4 + [(NOON + SECOND) * 1000]
    )


def test_clocks_that_run_ahead_shift_all_local_times(database: Endpoint, tmp_path: Path) -> None:
    rows: list[Row] = [
        Trade(NOON, NOON - 300, *VENUE, "BTCUSDT", "buy", 1.0, 1.0, "1"),
        Trade(NOON + 1000, NOON + 1500, *VENUE, "BTCUSDT", "buy", 2.0, 1.0, "2"),
    ]
    _, data = exported(database, tmp_path, rows)
    assert (data["local_ts"] - data["exch_ts"]).tolist() == [0, 800_000]


def in_package(groups: list[Group]) -> Any:
    """As the package's own functions make it of the same events."""
    flat = [
        (kind, exch, local, px, qty, 0, 0, 0.0) for exch, local, events in groups for kind, px, qty in events
    ]
    data = np.array(flat, dtype=hb.event_dtype)
    by = [np.argsort(data[name], kind="mergesort") for name in ("exch_ts", "local_ts")]
    # It reads one row past the end of an index; what it finds there is not used.
    return correct_event_order(data, *(np.append(index, index[-1]) for index in by))


@pytest.mark.parametrize("seed", range(20))
def test_both_orders_are_those_of_the_package(seed: int) -> None:
    rng = random.Random(seed)
    exch = 1000
    groups: list[Group] = []
    for n in range(300):
        exch += rng.choice((0, 1, 5, 30))
        latency = rng.choice((0, 3, 40, 5000 if rng.random() < 0.05 else 10))
        groups.append((exch, exch + latency, [(2, float(n), float(k)) for k in range(rng.randint(1, 3))]))
    mine = [
        (kind | flags, exch, local, px, qty)
        for flags, (exch, local, events) in in_both_orders(groups)
        for kind, px, qty in events
    ]
    both = EXCH | LOCAL
    for flag, at_time in ((EXCH, 1), (LOCAL, 2)):
        taken = [event for event in mine if event[0] & flag]
        assert [event[at_time] for event in taken] == sorted(event[at_time] for event in taken)
        assert sorted(event[3:] for event in taken) == sorted(
            (px, qty) for *_, events in groups for _, px, qty in events
        )
    theirs = in_package(groups)
    validate_event_order(theirs)
    for flag in (EXCH, LOCAL):
        wanted = theirs[theirs["ev"] & flag == flag]
        assert [event[1:] for event in mine if event[0] & flag] == [
            tuple(row)[1:5] for row in wanted.tolist()
        ]
    split = sum(event[0] & both != both for event in mine)
    assert split <= sum((theirs["ev"] & both) != both)
    assert split > 0


def test_the_packages_backtester_replays_the_recorded_books(database: Endpoint, tmp_path: Path) -> None:
    """At each book's arrival its depth is the recorded one, and the trades are those between."""
    rng = random.Random(7)
    rows: list[Any] = []
    books: list[BookSnapshot] = []
    now = NOON
    for n in range(60):
        now += rng.choice((100_000, 200_000, 7 * SECOND if n == 30 else 100_000))
        mid = 1000 + rng.randint(-8, 8)
        bids = [(mid - k, rng.randint(1, 9) / 2) for k in range(1, 6) if k == 1 or rng.random() < 0.8]
        asks = [(mid + k, rng.randint(1, 9) / 2) for k in range(1, 6) if k == 1 or rng.random() < 0.8]
        book = snapshot(now, bids, asks, n)
        books.append(BookSnapshot(book.ts, book.ts + 20_000, *VENUE, "BTCUSDT", book.bids, book.asks, n))
        at_time = now + rng.randint(1, 90_000)
        late = 70_000 if rng.random() < 0.3 else 20_000  # some overtake each other
        rows.append(
            Trade(
                at_time,
                at_time + late,
                *VENUE,
                "BTCUSDT",
                rng.choice(("buy", "sell")),
                float(mid),
                0.5,
                str(n),
            )
        )
    rows += books
    file, data = exported(database, tmp_path, rows)
    with zipfile.ZipFile(file) as archive:
        assert archive.namelist() == ["data.npy"]
    asset = (
        hb.BacktestAsset()
        .data([str(file)])
        .linear_asset(1.0)
        .constant_order_latency(0, 0)
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0, 0)
        .tick_size(1.0)
        .lot_size(0.5)
        .last_trades_capacity(1000)
    )
    backtest = hb.HashMapMarketDepthBacktest([asset])
    seen: list[tuple[float, float]] = []
    try:
        assert backtest.elapse(1) == 0  # its clock begins at the first event
        assert backtest.current_timestamp == int(data["exch_ts"][0]) + 1
        for book in books:
            ended = backtest.elapse(book.recv_ts * 1000 - backtest.current_timestamp)
            assert ended == 0 or book is books[-1]
            depth = backtest.depth(0)
            wanted_bids, wanted_asks = dict(book.bids.T.tolist()), dict(book.asks.T.tolist())
            assert (depth.best_bid, depth.best_ask) == (book.bids[0, 0], book.asks[0, 0]), book.seq
            for price in range(980, 1021):
                assert depth.bid_qty_at_tick(price) == wanted_bids.get(price, 0.0), (book.seq, price)
                assert depth.ask_qty_at_tick(price) == wanted_asks.get(price, 0.0), (book.seq, price)
            seen += [(float(trade["px"]), float(trade["qty"])) for trade in backtest.last_trades(0)]
            backtest.clear_last_trades(0)
    finally:
        backtest.close()
    arrived = [row for row in rows if isinstance(row, Trade) and row.recv_ts <= books[-1].recv_ts]
    assert len(seen) == len(arrived)
    assert sorted(seen) == sorted((row.price, row.qty) for row in arrived)
