"""`analyzer export` to Parquet: read back by DuckDB and Polars, whole, over partitions, under any name."""

from __future__ import annotations

import json
import random
import string
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from analyzer.cli import main
from analyzer.exports.files import ExportError, alone, replacing, safe
from collector.database.endpoint import Endpoint
from collector.rows import BookSnapshot, Liquidation, Ticker, Trade
from tests.analyzer.answers import snapshot
from tests.analyzer.fixtures import VENUE, analyzer, at, settings, store
from tests.conftest import query

HOSTILE = ["../../x", 'a,b\n"c"', "..", "P=1/2 %", "☃" * 60, "1000"]
SPAN = ("--from", "2026-03-01T22:30:00Z", "--to", "2026-03-03T00:00:00Z")
LOW, HIGH = at(SPAN[1]), at(SPAN[3])


def some_rows(rng: random.Random) -> list[Any]:
    """Of two venues and hostile symbols, over hours and days, some of them outside of the window."""
    rows: list[Any] = []
    for n in range(600):
        ts = rng.randrange(LOW - 3_600_000_000, HIGH + 3_600_000_000)
        venue = rng.choice((VENUE, ("kraken", "spot")))
        symbol = rng.choice(["BTCUSDT", "BTCUSDT", "ETHUSDT", *HOSTILE])
        price, qty = rng.randint(800, 1200) / 8, rng.randint(1, 64) / 16
        name = "".join(rng.choices(string.ascii_letters, k=rng.choice((1, 8, 9, 30))))
        side = rng.choice(("buy", "sell", None))
        kind = rng.randrange(4)
        if kind == 0:
            rows.append(
                Trade(ts, ts + rng.randint(-50, 5000), *venue, symbol, side, price, qty, f"{n}{name}")
            )
        elif kind == 1:
            bids = [(price - k, qty + k) for k in range(rng.randint(1, 4))]
            rows.append(snapshot(ts, bids, [(price + 1, qty)], n, symbol))
        elif kind == 2:
            rows.append(Liquidation(ts, ts, *venue, symbol, side or "buy", price, qty, f"{n}"))
        else:
            rows.append(Ticker(ts, ts, *venue, symbol, last=price, mark=price, open_interest=qty))
    # Both bounds, and both sides of midnight.
    for n, ts in enumerate(
        (LOW, HIGH - 1, HIGH, LOW - 1, at("2026-03-02T00:00:00Z"), at("2026-03-02T00:00:00Z") - 1)
    ):
        rows.append(Trade(ts, ts, *VENUE, "BTCUSDT", "buy", 100.0, 1.0, f"edge{n}"))
    return rows


def export(config: Path, out: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """In this process; its exit code and JSON."""
    done = CliRunner().invoke(
        main, ["export", "--config", str(config), "--out", str(out), "--summary", "json", *arguments]
    )
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return done.exit_code, document


def kept(rows: list[Any], kind: Any) -> list[Any]:
    return sorted((row for row in rows if isinstance(row, kind) and LOW <= row.ts < HIGH), key=repr)


def test_duckdb_and_polars_read_it_back_equal(database: Endpoint, tmp_path: Path) -> None:
    rows = some_rows(random.Random(1))
    store(database, rows)
    config, out = settings(tmp_path, database), tmp_path / "out"
    code, document = export(config, out, *SPAN)
    assert (code, document["status"]) == (0, "ok")
    files = {Path(one["path"]) for one in document["files"]}
    assert {path.relative_to(out) for path in out.rglob("*") if path.is_file()} == files | {
        Path(".export.lock")
    }
    assert not (tmp_path.parent / "x").exists()
    assert {path.parts[1] for path in files} == {"day=2026-03-01", "day=2026-03-02"}
    trades, books = kept(rows, Trade), kept(rows, BookSnapshot)
    assert document["rows"] == sum(
        len(kept(rows, kind)) for kind in (Trade, BookSnapshot, Liquidation, Ticker)
    )
    pattern = f"{out}/trades/*/*/*.parquet"
    columns = ["ts", "recv_ts", "exchange", "market", "symbol", "side", "price", "qty", "trade_id"]
    expected = [tuple(getattr(row, name) for name in columns) for row in trades]
    for hive in ("false", "true, hive_types_autocast = 0"):
        found = duckdb.execute(
            f"SELECT epoch_us(ts), epoch_us(recv_ts), {', '.join(columns[2:])} "
            f"FROM read_parquet('{pattern}', hive_partitioning = {hive})"
        ).fetchall()
        # With hive's names the path says the symbol, and it can't hold the longest.
        wanted = [row for row in expected if hive == "false" or len(row[4]) < 60]
        if hive != "false":
            found = [row for row in found if row[4] in {row[4] for row in wanted}]
        assert sorted(found, key=repr) == sorted(wanted, key=repr)
    frame = pl.read_parquet(pattern, hive_partitioning=False)
    taken = frame.with_columns(pl.col("ts", "recv_ts").dt.epoch("us")).select(columns).rows()
    assert sorted(taken, key=repr) == sorted(expected, key=repr)
    assert pl.read_parquet(f"{out}/trades", hive_partitioning=True, try_parse_hive_dates=False).height == len(
        trades
    )
    depth = pl.read_parquet(f"{out}/orderbook/*/*/*.parquet", hive_partitioning=False).sort("seq")
    books.sort(key=lambda book: book.seq)
    assert depth["bids"].to_list() == [book.bids.tolist() for book in books]
    assert depth["asks"].to_list() == [book.asks.tolist() for book in books]


def test_a_file_is_zstd_ordered_and_says_all_by_itself(database: Endpoint, tmp_path: Path) -> None:
    store(database, some_rows(random.Random(2)))
    config, out = settings(tmp_path, database), tmp_path / "out"
    code, document = export(
        config, out, *SPAN, "--table", "trades", "--symbols", "BTCUSDT", "--exchange", VENUE[0]
    )
    assert (code, len(document["files"])) == (0, 2)
    for one in document["files"]:
        file = pq.ParquetFile(out / one["path"])
        assert file.metadata.row_group(0).column(0).compression == "ZSTD"
        table = file.read(use_threads=False)
        assert table.num_rows == one["rows"]
        assert set(table.column("symbol").to_pylist()) == {"BTCUSDT"}
        assert set(table.column("exchange").to_pylist()) == {VENUE[0]}
        times = table.column("ts").to_pylist()
        assert times == sorted(times)


def test_exporting_again_replaces_and_leaves_no_rest(database: Endpoint, tmp_path: Path) -> None:
    store(database, some_rows(random.Random(3)))
    config, out = settings(tmp_path, database), tmp_path / "out"
    arguments = (*SPAN, "--table", "trades")
    export(config, out, *arguments)
    before = {path: path.read_bytes() for path in out.rglob("*.parquet")}
    (next(iter(before)).parent / ".rows.parquet.tmp").write_bytes(b"left by one that was killed")
    assert export(config, out, *arguments)[0] == 0
    assert {
        path: path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != ".export.lock"
    } == before
    code, document = export(
        config, out, "--from", "2026-03-02T12:00:00Z", "--to", "2026-03-03T00:00:00Z", "--table", "trades"
    )
    count = query(database, "SELECT count() FROM trades WHERE ts IN '2026-03-02T12:00:00Z;12h'")[0][0]
    assert (code, document["rows"]) == (0, count)
    day = pl.read_parquet(f"{out}/trades/day=2026-03-02/symbol=BTCUSDT/*.parquet", hive_partitioning=False)
    assert day["ts"].min().timestamp() >= at("2026-03-02T12:00:00Z") / 1e6  # type: ignore[union-attr]


def test_an_empty_window_writes_nothing_and_says_so(database: Endpoint, tmp_path: Path) -> None:
    config, out = settings(tmp_path, database), tmp_path / "out"
    code, document = export(config, out, *SPAN)
    assert (code, document["status"], document["files"], document["rows"]) == (0, "empty", [], 0)
    told = analyzer("export", "--config", str(config), "--out", str(out), *SPAN)
    assert (told.returncode, told.stdout.count("no rows in window 2026-03-01 22:30:00")) == (0, 1)
    assert not list(out.rglob("*.parquet"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "--since"),
        (("--since", "1h", "--window", "1h"), "--since"),
        (("--since", "1h", "--to", "2026-03-01"), "--window"),
        (("--from", "2026-03-02", "--to", "2026-03-01"), "before"),
        (("--from", "soon"), "soon"),
        (("--since", "soon"), "soon"),
        (("--since", "1h", "--table", "tickers", "--format", "hftbacktest"), "trades, orderbook"),
        (("--since", "1h", "--table", "gaps"), "gaps"),
    ],
)
def test_wrong_usage_is_exit_2(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(main, ["export", "--out", str(tmp_path), *arguments])
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_server_that_is_gone_is_exit_1(tmp_path: Path) -> None:
    config = settings(tmp_path, Endpoint("http://127.0.0.1:1", ""))
    done = analyzer("export", "--config", str(config), "--out", str(tmp_path / "out"), "--since", "1h")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "refused" in done.stderr


def test_a_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "a" / "rows"
    with replacing(path) as temporary:
        temporary.write_text("whole")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert [file.name for file in path.parent.iterdir()] == ["rows"]
    assert path.read_text() == "whole"
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match="--out"), replacing(tmp_path / "file" / "rows"):
        pass


def test_one_export_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(ExportError, match="another export"), alone(tmp_path):
        pass
    with alone(tmp_path):
        pass


def test_names_are_safe_and_different() -> None:
    names = [*HOSTILE, "", ".hidden", "a/b", "a%2Fb", "x" * 300, "x" * 301, "con:\\", "tab\t"]
    made = [safe(name) for name in names]
    assert len(set(made)) == len(names)
    for name in made:
        assert set(name) <= set(string.ascii_letters + string.digits + "_-.~%")
        assert not name.startswith(".")
        assert 0 < len(name) <= 200
    assert safe("BTC-USDT_1.0~") == "BTC-USDT_1.0~"
