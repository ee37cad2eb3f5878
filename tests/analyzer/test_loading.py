"""Rows for notebooks: whole, over partitions, and the same however finely they are sliced."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

import analyzer
from analyzer.config import Endpoint as Address
from analyzer.rows import Rows, slices
from analyzer.source import Source
from analyzer.windows import Window
from collector.database.endpoint import Endpoint
from tests.analyzer.answers import snapshot
from tests.analyzer.fixtures import at, settings, store, trade
from tests.conftest import query, wait_rows

START, END = "2026-03-01T22:00:00Z", "2026-03-02T03:00:00Z"
COUNT = 300_000


def fill(database: Endpoint, count: int = COUNT) -> None:
    """Trades of 7 symbols over 5 hours and a midnight, with short ids, at times that many of them share."""
    start, step = at(START), 5 * 3600 * 1_000_000 // count
    query(
        database,
        f"INSERT INTO trades SELECT cast({start} + (x - 1) / 3 * 3 * {step} AS TIMESTAMP), "
        f"cast({start} + x * {step} AS TIMESTAMP), 'v' || (x % 2), 'linear', 'S' || (x % 7), "
        "CASE WHEN x % 11 = 0 THEN null WHEN x % 2 = 0 THEN 'buy' ELSE 'sell' END, "
        "100 + x % 97 / 8.0, 1 + x % 13, x::varchar "
        f"FROM long_sequence({count})",
    )
    wait_rows(database, "trades", count)


def test_a_stream_in_many_slices_is_the_table_and_the_servers_own_sums(
    database: Endpoint, tmp_path: Path
) -> None:
    fill(database)
    config = str(settings(tmp_path, database))
    whole = analyzer.load("trades", START, END, config=config)
    stream = list(analyzer.batches("trades", START, END, config=config, slice_rows=2000))
    assert max(batch.num_rows for batch in stream) <= 5000
    assert len(stream) >= COUNT / 2000 / 2
    assert pa.Table.from_batches(stream) == whole
    assert whole.column_names == [
        "ts",
        "recv_ts",
        "exchange",
        "market",
        "symbol",
        "side",
        "price",
        "qty",
        "trade_id",
    ]
    assert whole.num_rows == COUNT
    times = whole.column("ts").cast(pa.int64()).to_numpy()
    assert (times[1:] >= times[:-1]).all()
    assert len(pc.unique(whole.column("trade_id"))) == COUNT
    sums = query(database, "SELECT symbol, sum(price * qty), count() FROM trades ORDER BY symbol")
    mine = whole.append_column("notional", pc.multiply(whole.column("price"), whole.column("qty")))
    grouped = mine.group_by("symbol", use_threads=False).aggregate([("notional", "sum"), ("qty", "count")])
    rows = sorted(
        zip(*(grouped.column(n).to_pylist() for n in ("symbol", "notional_sum", "qty_count")), strict=True)
    )
    assert [(symbol, count) for symbol, _, count in rows] == [(symbol, count) for symbol, _, count in sums]
    assert [total for _, total, _ in rows] == pytest.approx([total for _, total, _ in sums])


def test_slices_cover_the_window_once(database: Endpoint) -> None:
    fill(database, 20_000)
    source = Source(Address(database.http_url, database.pg))
    window = Window(datetime(2026, 3, 1, 22, 10, tzinfo=UTC), datetime(2026, 3, 2, 2, 59, 59, 1, tzinfo=UTC))
    parts = slices(source, Rows("trades", window), 1000)
    assert len(parts) > 10
    assert parts[0].start == window.start
    assert parts[-1].end == window.end
    assert all(before.end == after.start for before, after in itertools.pairwise(parts))
    condition = Rows("trades", window).where()
    counted = query(database, f"SELECT count() FROM trades WHERE {condition}")[0][0]
    found = [
        source.fetch(f"SELECT ts FROM trades WHERE {Rows('trades', part).where()}").num_rows for part in parts
    ]
    assert sum(found) == counted
    assert max(found) <= 1000
    source.close()


def test_bounds_symbols_and_columns(database: Endpoint, tmp_path: Path) -> None:
    store(
        database,
        [
            trade("2026-03-01T23:59:59.999999Z", "BTCUSDT", "buy", 1.0, 1.0, "a"),
            trade("2026-03-02T00:00:00Z", "BTCUSDT", "buy", 2.0, 1.0, "b"),
            trade("2026-03-02T00:30:00Z", "a'b", None, 3.0, 1.0, "c"),
            trade("2026-03-02T01:00:00Z", "BTCUSDT", "sell", 4.0, 1.0, "d"),
        ],
    )
    config = str(settings(tmp_path, database))
    bounds = ("2026-03-02", datetime(2026, 3, 2, 1))
    table = analyzer.load("trades", *bounds, config=config, columns=["price", "trade_id"])
    assert table.to_pydict() == {"price": [2.0, 3.0], "trade_id": ["b", "c"]}
    only = analyzer.load("trades", *bounds, config=config, symbols="a'b")
    assert only.column("side").to_pylist() == [None]
    same = analyzer.load("trades", end="2026-03-02T01:00+00:00", window="1h", config=config, exchange="bybit")
    assert same.num_rows == 2
    empty = analyzer.load("trades", "2026-04-01", "2026-04-02", config=config)
    assert (empty.num_rows, empty.schema) == (0, same.schema)


def test_books_come_as_lists_of_prices_and_sizes(database: Endpoint, tmp_path: Path) -> None:
    bids, asks = [(99.0, 1.0), (98.0, 2.0)], [(101.0, 3.0)]
    store(
        database, [snapshot(at("2026-03-02T00:00:00Z") + n * 3_600_000_000, bids, asks, n) for n in range(3)]
    )
    table = analyzer.load("orderbook", "2026-03-02", "2026-03-03", config=str(settings(tmp_path, database)))
    assert table.column("bids").to_pylist() == [[[99.0, 98.0], [1.0, 2.0]]] * 3
    assert table.column("asks").to_pylist() == [[[101.0], [3.0]]] * 3


def test_duckdb_answers_over_the_rows_and_leaves_nothing_behind(
    database: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(database, 50_000)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    config = str(settings(tmp_path, database))
    answer = analyzer.query(
        "SELECT a.symbol, count(*) n, median(a.price) m FROM trades a JOIN (SELECT DISTINCT symbol FROM trades) b "
        "USING (symbol) GROUP BY 1 ORDER BY 1",
        START,
        END,
        config=config,
        memory="64MB",
        slice_rows=5000,
    )
    expected = query(database, "SELECT symbol, count() FROM trades ORDER BY symbol")
    assert (
        list(zip(answer.column("symbol").to_pylist(), answer.column("n").to_pylist(), strict=True))
        == expected
    )
    prices = sorted(price for (price,) in query(database, "SELECT price FROM trades WHERE symbol = 'S3'"))
    middle = len(prices) // 2
    median = prices[middle] if len(prices) % 2 else (prices[middle - 1] + prices[middle]) / 2
    assert answer.column("m").to_pylist()[3] == median
    assert [path.name for path in tmp_path.iterdir()] == ["evenkeel.toml"]


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("trades",), {}, "start or window"),
        (("trades", START), {"window": "1h"}, "start or window"),
        (("trades", END, START), {}, "not before"),
        (("trades; DROP TABLE trades", START, END), {}, "name of a table"),
        (("trades", START, END), {"columns": ["prize"]}, 'no column "prize"'),
        (("trades", "yesterday", END), {}, "yesterday"),
    ],
)
def test_a_mistake_is_told(
    database: Endpoint, tmp_path: Path, arguments: tuple[str, ...], options: dict[str, object], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        analyzer.load(*arguments, config=str(settings(tmp_path, database)), **options)  # type: ignore[arg-type]


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = "{'pyarrow', 'duckdb', 'httpx'}"
    code = f"import analyzer, sys; assert not {heavy} & set(sys.modules); from analyzer import load; load"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_documented_example_runs(
    database: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    code = text.split("```python\n")[1].split("```")[0]
    rows = [
        trade(f"2026-11-{day}T12:30:00Z", symbol, "buy", 2.0, 3.0, f"{day}{symbol}")
        for day in ("22", "23")
        for symbol in ("BTCUSDT", "ETHUSDT")
    ]
    store(database, rows)
    settings(tmp_path, database)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["trades"].to_pydict()["price"] == [2.0]
    assert names["volume"] == {"BTCUSDT": 3.0, "ETHUSDT": 3.0}
    assert names["bars"].num_rows == 0
    assert names["spread"].column_names == ["symbol", "q99"]
