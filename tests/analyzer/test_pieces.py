"""A pass over a window in pieces is the pass over the whole; and no pass looks at what came at its window's end or later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from analyzer import pieces
from analyzer.config import Endpoint as Address
from analyzer.passes import ANALYSES
from analyzer.pieces import divide
from analyzer.run import run_pass
from analyzer.source import Source
from analyzer.windows import Window
from analyzer.work import Outcome
from collector.database.endpoint import Endpoint
from collector.rows import CollectorStats, Gap
from tests.analyzer import market_now
from tests.analyzer.fixtures import store
from tests.analyzer.test_loading import END, START, fill
from tests.conftest import query
from tests.processes import wait_until

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def address(database: Endpoint) -> Address:
    return Address(database.http_url, database.pg)


def window_from(start_us: int, seconds: int) -> Window:
    start = EPOCH + timedelta(microseconds=start_us)
    return Window(start, start + timedelta(seconds=seconds))


def numbers(outcomes: list[Outcome]) -> dict[tuple[str, ...], tuple[Any, ...]]:
    assert [(o.run.analysis, o.run.error) for o in outcomes if o.run.status == "failed"] == []
    found: dict[tuple[str, ...], tuple[Any, ...]] = {}
    for outcome in outcomes:
        for signal in outcome.signals:
            v = signal.value
            key = (outcome.run.analysis, v.exchange, v.market, v.symbol, v.metric)
            assert key not in found
            found[key] = (pytest.approx(v.value, rel=1e-9, abs=1e-12), signal.coverage, v.detail)
    return found


def views_are_fresh(database: Endpoint) -> bool:
    behind = query(
        database, "SELECT count() FROM materialized_views() WHERE refresh_base_table_txn <> base_table_txn"
    )
    return bool(behind[0][0] == 0)


def run(database: Endpoint, window: Window) -> dict[tuple[str, ...], tuple[Any, ...]]:
    wait_until(lambda: views_are_fresh(database), 60, "the views")
    return numbers(run_pass(address(database), window, list(ANALYSES)))


def test_every_analysis_says_the_same_in_pieces(database: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    window = window_from(market_now.fill(database), market_now.SECONDS)
    whole = run(database, window)
    assert {key[0] for key in whole} >= set(ANALYSES) - {"cascades", "divergence", "technical", "walls"}
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 200)  # less than two instruments
    source = Source(address(database))
    conditions = divide(source, window).conditions
    source.close()
    assert len(conditions) >= 3
    assert len(set(conditions)) == len(conditions)
    in_pieces = run(database, window)
    assert in_pieces == {key: (value.expected, *rest) for key, (value, *rest) in whole.items()}


def test_a_long_window_has_the_servers_own_sums(database: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """300,000 trades of 14 instruments over 5 hours; a piece holds two instruments or 20,000 trades."""
    fill(database)
    monkeypatch.setattr(pieces, "PIECE_SECONDS", 36_000)
    monkeypatch.setattr(pieces, "PIECE_ROWS", 20_000)
    window = Window(datetime.fromisoformat(START), datetime.fromisoformat(END))
    found = numbers(run_pass(address(database), window, ["bars", "flow"]))
    rows = query(
        database,
        "SELECT exchange, symbol, first(price), max(price), last(price), sum(price * qty), count(), "
        "sum(CASE WHEN side = 'buy' THEN qty WHEN side = 'sell' THEN -qty ELSE 0.0 END) FROM trades",
    )
    assert len(rows) == 14
    for exchange, symbol, *wanted in rows:
        metrics = [("bars", m) for m in ("open", "high", "close", "notional", "trades")] + [("flow", "cvd")]
        got = [
            found[analysis, exchange, "linear", symbol, metric][0].expected for analysis, metric in metrics
        ]
        assert got == pytest.approx(wanted)


def test_what_cannot_be_compared_at_once_fails_and_says_so(
    database: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = window_from(market_now.fill(database), market_now.SECONDS)
    monkeypatch.setattr(pieces, "ACROSS_SECONDS", 500)
    outcomes = run_pass(address(database), window, ["cross", "book"])
    status = {outcome.run.analysis: (outcome.run.status, outcome.run.error) for outcome in outcomes}
    assert status["book"] == ("ok", "")
    assert status["cross"][0] == "failed"
    assert "--symbols" in status["cross"][1]


def test_no_number_depends_on_what_came_at_the_end_or_later(database: Endpoint) -> None:
    """The same window, first with the rows before its end alone, then with all that came."""
    t0 = market_now.start()
    window = window_from(t0, 100)
    gap = (*market_now.VENUE, market_now.BTC, "trades", "disconnected")
    begun, noticed = t0 + 90_000_000, t0 + 91_000_000
    everything: list[Any] = [
        *market_now.trades(t0),
        *market_now.books(t0),
        *market_now.liquidations(t0),
        *(row for row in market_now.others(t0) if not silent(row, t0)),
    ]
    known = [row for row in everything if row_time(row) < window.end_us]
    assert 500 < len(known) < len(everything)
    store(database, [*known, Gap(begun, None, noticed, *gap)])
    before = run(database, window)
    store(database, [*everything, Gap(begun, t0 + 130_000_000, t0 + 131_000_000, *gap)])  # now it has an end
    after = run(database, window)
    assert after == {key: (value.expected, *rest) for key, (value, *rest) in before.items()}
    assert len(before) > 300


def silent(row: Any, t0: int) -> bool:
    """A sign of life of the collector's last 40 s in the window: so it is taken for dead, though it lives later."""
    return isinstance(row, CollectorStats) and 60_000_000 < row.ts - t0 < 100_000_000


def row_time(row: Any) -> int:
    return int(row.from_ts if isinstance(row, Gap) else row.ts)
