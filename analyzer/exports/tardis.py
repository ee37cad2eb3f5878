"""CSV in the layouts of Tardis, gzip: one file a venue, type, day and symbol, under the path that their API has:
`EXCHANGE/TYPE/YYYY/MM/DD/SYMBOL.csv.gz`. The columns are those of docs.tardis.dev, "Downloadable CSV files", "Data types".

Times are µs since the epoch; rows are in the order of `local_timestamp`; a cell without a value is empty. `exchange` is
ours: exchange and market with a hyphen, since one symbol can be on several markets. As with all our windows it is
`timestamp` that decides the day; theirs are cut by `local_timestamp`. `predicted_funding_rate` isn't recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

from analyzer.duck import ordered
from analyzer.exports.base import TABLES, Format, Part, Reader
from analyzer.exports.files import safe
from analyzer.exports.levels import levels

if TYPE_CHECKING:
    import pyarrow as pa

TYPES = {
    "trades": "trades",
    "orderbook": "book_snapshot_25",
    "liquidations": "liquidations",
    "tickers": "derivative_ticker",
}
DEPTH = 25
COMMON = ("exchange", "symbol", "timestamp", "local_timestamp")
COLUMNS = {
    "trades": {"id": "trade_id", "side": "side", "price": "price", "amount": "qty"},
    "liquidations": {"id": "liq_id", "side": "side", "price": "price", "amount": "qty"},
    "tickers": {
        "funding_timestamp": "next_funding_ts",
        "funding_rate": "funding_rate",
        "predicted_funding_rate": "",
        "open_interest": "open_interest",
        "last_price": "last",
        "index_price": "index",
        "mark_price": "mark",
    },
}
"""Theirs → ours."""


def path(part: Part) -> PurePath:
    (table,) = part.counts
    return PurePath(_exchange(part), TYPES[table], f"{part.day:%Y/%m/%d}", f"{safe(part.symbol)}.csv.gz")


def write(file: Path, part: Part, read: Reader) -> None:
    import pyarrow as pa
    import pyarrow.csv as pc

    (table,) = part.counts
    wanted = pc.WriteOptions(include_header=False, quoting_style="needed")
    with ordered(read(table), "recv_ts, ts") as rows, pa.CompressedOutputStream(str(file), "gzip") as out:
        out.write((",".join(header(table)) + "\n").encode())
        for batch in rows:
            pc.write_csv(pa.Table.from_batches([_converted(table, part, batch)]), out, wanted)


def header(table: str) -> list[str]:
    if table == "orderbook":
        own = [
            f"{side}[{level}].{what}"
            for level in range(DEPTH)
            for side in ("asks", "bids")
            for what in ("price", "amount")
        ]
    else:
        own = list(COLUMNS[table])
    return [*COMMON, *own]


def _converted(table: str, part: Part, batch: pa.RecordBatch) -> pa.RecordBatch:
    import pyarrow as pa
    import pyarrow.compute as pc

    count = batch.num_rows
    times = pc.coalesce(batch["recv_ts"], batch["ts"])
    columns = [
        pa.repeat(f"{part.exchange}-{part.market}", count),
        batch["symbol"],
        batch["ts"].cast(pa.int64()),
        times.cast(pa.int64()),
    ]
    columns += _books(batch) if table == "orderbook" else _plain(table, batch)
    return pa.RecordBatch.from_arrays(columns, names=header(table))


def _plain(table: str, batch: pa.RecordBatch) -> Iterator[pa.Array]:
    import pyarrow as pa

    for theirs, ours in COLUMNS[table].items():
        if not ours:
            yield pa.nulls(batch.num_rows, pa.float64())
        elif theirs == "side":
            yield batch[ours].fill_null("unknown")
        elif theirs == "funding_timestamp":
            yield batch[ours].cast(pa.int64())
        else:
            yield batch[ours]


def _books(batch: pa.RecordBatch) -> Iterator[pa.Array]:
    import pyarrow as pa

    sides = [levels(batch[side]).matrix(DEPTH) for side in ("asks", "bids")]
    for level in range(DEPTH):
        for prices, sizes in sides:
            for values in (prices, sizes):
                yield pa.array(values[:, level], from_pandas=True)  # NaN: no such level, an empty cell


def _exchange(part: Part) -> str:
    return safe(f"{part.exchange}-{part.market}")


TARDIS = Format("tardis", TABLES, by_venue=True, together=False, path=path, write=write)
