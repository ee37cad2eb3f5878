"""Event arrays for hftbacktest 2 (`hftbacktest.types.event_dtype`): `EXCHANGE-MARKET/2026-11-23/SYMBOL.npz`, array `data`.

Trades become TRADE_EVENTs with the taker's side. Of the books, the first of a file, and each after a hole of 5 s, clears the
depth (DEPTH_CLEAR_EVENT of both sides) and gives all its levels (DEPTH_SNAPSHOT_EVENT); the others give what changed
(DEPTH_EVENT, quantity 0 for a level that is gone), so that after each book the depth is the recorded one. Among events of
one moment trades come first, as the package asks for, and levels that go before those that come.

Times are ns. Where clocks say that something was received before it happened, all local times of the file are later by the
largest such difference, as the package's `correct_local_timestamp` does. Events are in the order of both times: one that
arrived out of order is there twice, for the exchange and for the receiver, as its `correct_event_order` does. What has
no price or no size is left out. A day that was recorded by `book_interval` has the books of its intervals' ends only.
"""

from __future__ import annotations

import heapq
import shutil
import tempfile
import zipfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePath
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from analyzer.exports.base import Format, Part, Reader
from analyzer.exports.files import safe
from analyzer.exports.levels import levels

if TYPE_CHECKING:
    import pyarrow as pa

DEPTH, TRADE, CLEAR, SNAPSHOT = 1, 2, 3, 4
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
DTYPE = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ]
)
HOLE_US = 5_000_000
WRITTEN_AT_ONCE = 50_000

Event = tuple[int, float, float]
"""kind and side, price, quantity"""
Group = tuple[int, int, list[Event]]
"""exchange's time and that of receipt, µs; the events of one message or book"""


def path(part: Part) -> PurePath:
    return PurePath(safe(f"{part.exchange}-{part.market}"), str(part.day), f"{safe(part.symbol)}.npz")


def write(file: Path, part: Part, read: Reader) -> None:
    ahead = [read.number(table, "max(ts::long - recv_ts::long)") or 0 for table in part.counts]
    late = max(0, *ahead)
    streams = []
    if "trades" in part.counts:
        streams.append(trades(read("trades")))
    if "orderbook" in part.counts:
        streams.append(books(read("orderbook")))
    groups = heapq.merge(*streams, key=lambda group: group[0])  # of equal times the first stream's come first
    with tempfile.TemporaryFile() as raw:
        count = _spill(raw, in_both_orders((exch, local + late, events) for exch, local, events in groups))
        raw.seek(0)
        _npz(file, raw, count)


def trades(batches: Iterable[pa.RecordBatch]) -> Iterator[Group]:
    sides = {"buy": BUY, "sell": SELL}
    for batch in batches:
        exch, local = _times(batch)
        price, qty = (batch[name].to_numpy(zero_copy_only=False) for name in ("price", "qty"))
        good = np.isfinite(price) & np.isfinite(qty) & (price > 0) & (qty > 0)
        taken = batch["side"].to_pylist()
        for n in np.flatnonzero(good).tolist():
            yield (
                int(exch[n]),
                int(local[n]),
                [(TRADE | sides.get(taken[n], 0), float(price[n]), float(qty[n]))],
            )


def books(batches: Iterable[pa.RecordBatch]) -> Iterator[Group]:
    before: tuple[dict[float, float], dict[float, float]] = ({}, {})
    last: int | None = None
    for batch in batches:
        exch, local = _times(batch)
        sides = [levels(batch[name]) for name in ("bids", "asks")]
        flat = [(s.prices.tolist(), s.sizes.tolist(), s.start.tolist(), s.count.tolist()) for s in sides]
        for n, (at, received) in enumerate(zip(exch.tolist(), local.tolist(), strict=True)):
            bids, asks = (
                {
                    price: size
                    for price, size in zip(p[s[n] : s[n] + c[n]], q[s[n] : s[n] + c[n]], strict=True)
                    if 0 < price < float("inf") and 0 < size < float("inf")
                }
                for p, q, s, c in flat
            )
            if last is None or at - last >= HOLE_US:
                events: list[Event] = [(CLEAR, 0.0, 0.0)]
                events += _levels(SNAPSHOT | BUY, bids) + _levels(SNAPSHOT | SELL, asks)
            else:
                events = _gone(BUY, before[0], bids) + _gone(SELL, before[1], asks)
                events += _changed(BUY, before[0], bids) + _changed(SELL, before[1], asks)
            before, last = (bids, asks), at
            if events:
                yield at, received, events


def _levels(kind: int, side: dict[float, float]) -> list[Event]:
    return [(kind, price, size) for price, size in side.items()]


def _gone(side: int, before: dict[float, float], now: dict[float, float]) -> list[Event]:
    return [(DEPTH | side, price, 0.0) for price in before if price not in now]


def _changed(side: int, before: dict[float, float], now: dict[float, float]) -> list[Event]:
    return [(DEPTH | side, price, size) for price, size in now.items() if before.get(price) != size]


def in_both_orders(groups: Iterable[Group]) -> Iterator[tuple[int, Group]]:
    """Flags and groups: `groups`, in the exchange's order, so that both orders hold, as `correct_event_order` makes them.

    Nothing that is still to come was received before it happened: what was received before the newest exchange time has
    its final place. So only what is under way is held, and what was fetched much later."""
    arriving: list[tuple[int, int, Group]] = []
    happened: deque[Group] = deque()
    received: deque[Group] = deque()

    def settled() -> Iterator[tuple[int, Group]]:
        while happened and received:
            first, arrived = happened[0], received[0]
            if first is arrived:
                yield EXCH | LOCAL, happened.popleft()
                received.popleft()
            elif first[:2] < arrived[:2]:
                yield EXCH, happened.popleft()
            else:
                yield LOCAL, received.popleft()

    for number, group in enumerate(groups):
        happened.append(group)
        heapq.heappush(arriving, (group[1], number, group))
        while arriving and arriving[0][0] < group[0]:
            received.append(heapq.heappop(arriving)[2])
        yield from settled()
    while arriving:
        received.append(heapq.heappop(arriving)[2])
    yield from settled()
    yield from ((EXCH, group) for group in happened)
    yield from ((LOCAL, group) for group in received)


def _times(batch: pa.RecordBatch) -> tuple[Any, Any]:
    """µs, int64; what has no time of receipt has that of the event."""
    import pyarrow as pa
    import pyarrow.compute as pc

    exch = batch["ts"].cast(pa.int64()).to_numpy(zero_copy_only=False)
    return exch, pc.coalesce(batch["recv_ts"], batch["ts"]).cast(pa.int64()).to_numpy(zero_copy_only=False)


def _spill(raw: IO[bytes], flagged: Iterable[tuple[int, Group]]) -> int:
    """The events to a file; how many they are."""
    count = 0
    held: list[tuple[int, int, int, float, float, int, int, float]] = []

    def flush() -> None:
        raw.write(np.array(held, dtype=DTYPE).tobytes())
        held.clear()

    for flags, (exch, local, events) in flagged:
        held.extend((kind | flags, exch * 1000, local * 1000, px, qty, 0, 0, 0.0) for kind, px, qty in events)
        count += len(events)
        if len(held) >= WRITTEN_AT_ONCE:
            flush()
    flush()
    return count


def _npz(file: Path, raw: IO[bytes], count: int) -> None:
    """As numpy.savez_compressed writes it, without the array in memory."""
    described = {
        "descr": np.lib.format.dtype_to_descr(DTYPE),  # type: ignore[no-untyped-call]
        "fortran_order": False,
        "shape": (count,),
    }
    with (
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("data.npy", "w", force_zip64=True) as out,
    ):
        np.lib.format.write_array_header_1_0(out, described)  # type: ignore[no-untyped-call]
        shutil.copyfileobj(raw, out, 1 << 20)


HFTBACKTEST = Format(
    "hftbacktest", ("trades", "orderbook"), by_venue=True, together=True, path=path, write=write
)
