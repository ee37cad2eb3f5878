"""`analyzer export --format tardis`: the documented columns, and each cell."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, Liquidation, Row, Ticker, Trade
from tests.analyzer.fixtures import VENUE, at, settings, store
from tests.analyzer.test_export import export

NOON = at("2026-03-02T12:00:00Z")
DAY = ("--from", "2026-03-02", "--to", "2026-03-03", "--format", "tardis")
FOLDER = Path(f"{VENUE[0]}-{VENUE[1]}")
COMMON = ["exchange", "symbol", "timestamp", "local_timestamp"]


def cells(path: Path) -> list[list[str]]:
    with gzip.open(path, "rt", newline="") as file:
        return list(csv.reader(file))


def test_trades_and_liquidations(database: Endpoint, tmp_path: Path) -> None:
    rows: list[Row] = [
        Trade(NOON + 5, NOON + 90, *VENUE, "BTCUSDT", "sell", 1e-7, 65000.0, "late"),
        Trade(NOON + 7, NOON + 60, *VENUE, "BTCUSDT", "buy", 123456.7, 0.001, "soon"),
        Trade(NOON + 8, NOON + 60, *VENUE, "BTCUSDT", None, 8.5, 2.0, 'a,\n"b"'),
        Trade(NOON + 9, NOON + 60, *VENUE, "../B,T", "buy", 8.5, 2.0, "1"),
        Liquidation(NOON, NOON + 1, *VENUE, "BTCUSDT", "sell", 99.5, 3.0, "9"),
    ]
    store(database, rows)
    code, document = export(settings(tmp_path, database), tmp_path / "out", *DAY)
    assert code == 0
    folder = tmp_path / "out" / FOLDER
    assert {one["path"] for one in document["files"]} == {
        f"{FOLDER}/trades/2026/03/02/BTCUSDT.csv.gz",
        f"{FOLDER}/trades/2026/03/02/%2E.%2FB%2CT.csv.gz",
        f"{FOLDER}/liquidations/2026/03/02/BTCUSDT.csv.gz",
    }
    known = [str(FOLDER), "BTCUSDT"]
    header = [*COMMON, "id", "side", "price", "amount"]
    found = cells(folder / "trades/2026/03/02/BTCUSDT.csv.gz")
    assert found[0] == header
    # In the order of receipt; of equal times in that of the events.
    assert [row[:6] for row in found[1:]] == [
        [*known, str(NOON + 7), str(NOON + 60), "soon", "buy"],
        [*known, str(NOON + 8), str(NOON + 60), 'a,\n"b"', "unknown"],
        [*known, str(NOON + 5), str(NOON + 90), "late", "sell"],
    ]
    assert [[float(x) for x in row[6:]] for row in found[1:]] == [
        [123456.7, 0.001],
        [8.5, 2.0],
        [1e-7, 65000.0],
    ]
    assert cells(folder / "liquidations/2026/03/02/BTCUSDT.csv.gz") == [
        header,
        [*known, str(NOON), str(NOON + 1), "9", "sell", "99.5", "3"],
    ]
    assert cells(folder / "trades/2026/03/02/%2E.%2FB%2CT.csv.gz")[1][1] == "../B,T"


def test_books_of_any_depth(database: Endpoint, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    books = []
    for n, (b, a) in enumerate([(25, 25), (50, 1), (0, 3), (2, 0), (30, 40)]):
        bids = np.array([100 - np.arange(b) / 4, rng.integers(1, 99, b) / 8])
        asks = np.array([101 + np.arange(a) / 4, rng.integers(1, 99, a) / 8])
        books.append(BookSnapshot(NOON + n, NOON + n + 3, *VENUE, "BTCUSDT", bids, asks, n))
    store(database, books)
    export(settings(tmp_path, database), tmp_path / "out", *DAY)
    frame = pl.read_csv(tmp_path / "out" / FOLDER / "book_snapshot_25/2026/03/02/BTCUSDT.csv.gz")
    columns = [
        f"{side}[{n}].{what}" for n in range(25) for side in ("asks", "bids") for what in ("price", "amount")
    ]
    assert frame.columns == [*COMMON, *columns]
    assert frame["timestamp"].to_list() == [book.ts for book in books]
    for side in ("bids", "asks"):
        for row, book in enumerate(books):
            whole = getattr(book, side)
            for what, line in (("price", 0), ("amount", 1)):
                found = (
                    frame[row]
                    .select(pl.col(f"{side}[{n}].{what}" for n in range(25)).cast(pl.Float64))
                    .to_numpy()[0]
                )
                wanted = np.full(25, np.nan)
                wanted[: min(25, whole.shape[1])] = whole[line, :25]
                np.testing.assert_array_equal(found, wanted)


def test_tickers(database: Endpoint, tmp_path: Path) -> None:
    rows: list[Row] = [
        Ticker(
            NOON,
            NOON + 1,
            *VENUE,
            "BTCUSDT",
            last=1.5,
            mark=2.5,
            index=3.5,
            funding_rate=-0.0001,
            next_funding_ts=NOON + 9,
            open_interest=7.0,
        ),
        Ticker(NOON + 2, NOON + 3, *VENUE, "BTCUSDT", last=1.75),
    ]
    store(database, rows)
    export(settings(tmp_path, database), tmp_path / "out", *DAY, "--table", "tickers")
    found = cells(tmp_path / "out" / FOLDER / "derivative_ticker/2026/03/02/BTCUSDT.csv.gz")
    own = "funding_timestamp funding_rate predicted_funding_rate open_interest last_price index_price mark_price"
    assert found[0] == [*COMMON, *own.split()]
    assert found[1][4:] == [str(NOON + 9), "-0.0001", "", "7", "1.5", "3.5", "2.5"]
    assert found[2][4:] == ["", "", "", "", "1.75", "", ""]


@pytest.mark.parametrize("table", ["trades", "orderbook"])
def test_a_read_by_slices_is_the_same_file(
    database: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """Row groups and slices of any size give the same rows; the writer's own table is that of one batch."""
    from analyzer.config import Endpoint as Address
    from analyzer.exports import FORMATS, base
    from analyzer.exports.plan import export as run
    from analyzer.exports.plan import plan
    from analyzer.rows import read
    from analyzer.source import Source
    from analyzer.windows import Window, parse_time

    rng = np.random.default_rng(2)
    rows: list[Row] = []
    for n in range(500):
        ts = NOON + int(rng.integers(0, 3_600_000_000))
        levels = np.array([[100.0, 99.0], [float(n + 1), 2.0]])
        rows.append(BookSnapshot(ts, ts + 5, *VENUE, "BTCUSDT", levels, levels + 2, n))
        rows.append(Trade(ts, ts + 5, *VENUE, "BTCUSDT", "buy", 1.0, float(n + 1), str(n)))
    store(database, rows)
    source = Source(Address(database.http_url, database.pg))
    form = FORMATS["tardis"]
    parts = plan(source, form, [table], Window(parse_time("2026-03-02"), parse_time("2026-03-03")))
    contents = []
    for size in (1_000_000, 20):
        monkeypatch.setattr(base, "read", lambda s, r, size=size: read(s, r, size))
        (written,) = run(source, form, parts, tmp_path / str(size))
        contents.append(gzip.decompress((tmp_path / str(size) / written.path).read_bytes()))
    assert contents[0] == contents[1]
    assert contents[0].count(b"\n") == 501
    source.close()
