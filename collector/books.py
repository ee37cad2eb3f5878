"""One symbol's order book, bounded: price levels of absolute size, as incremental feeds maintain them; and its sampling."""

from __future__ import annotations

import struct
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from collector.rows import BookSnapshot, Levels

INFINITY = float("inf")
FLOAT = np.dtype(np.float64)


class Side:
    """The levels of one side, sorted by price.

    Updates are collected, newest of each price, and worked in when the book is looked at: most are overtaken before that.
    A venue that leaves out deletions of levels beyond its depth needs `settle` after each message."""

    __slots__ = ("_bids", "_limit", "_pending", "_prices", "_shown", "_sizes", "_worst_shown")

    def __init__(self, sign: int, limit: int) -> None:
        """`sign`: +1 bids, -1 asks. `limit`: levels kept, the best."""
        self._bids = sign > 0
        self._limit = limit
        self._prices: list[float] = []
        self._sizes: dict[float, float] = {}
        self._pending: dict[float, float] = {}
        self._shown: tuple[int, Levels] | None = None
        """The depth asked for last and what was shown, while that stands."""
        self._worst_shown = 0.0

    def __len__(self) -> int:
        self.settle()
        return len(self._prices)

    def replace(self, levels: Iterable[tuple[float, float]]) -> None:
        self._pending.clear()
        self._sizes = {price: size for price, size in levels if size}
        self._prices = sorted(self._sizes)
        self._shown = None
        self._trim()

    def update(self, levels: Iterable[tuple[float, float]]) -> None:
        """Set absolute sizes; 0 deletes. Deleting an unknown level is normal on some venues and ignored."""
        self._pending.update(levels)
        if len(self._pending) > 2 * self._limit:
            self.settle()

    def settle(self) -> None:
        """Work in what was collected, and drop what exceeds the limit."""
        if self._pending:
            self.work_in(self._pending.items())
            self._pending.clear()

    def work_in(self, levels: Iterable[tuple[float, float]]) -> None:
        """As `update`, at once; nothing may be waiting."""
        sizes, prices, worst = self._sizes, self._prices, self._worst_shown
        # The prices whose change is seen in what was shown.
        low, high = (worst, INFINITY) if self._bids else (-INFINITY, worst)
        for price, size in levels:
            if size:
                if price not in sizes:
                    insort(prices, price)
                sizes[price] = size
            elif sizes.pop(price, None) is not None:
                del prices[bisect_left(prices, price)]
            if low <= price <= high:
                self._shown = None
        if len(prices) > self._limit:
            self._trim()

    def _trim(self) -> None:
        excess = len(self._prices) - self._limit
        if excess > 0:
            worst = slice(0, excess) if self._bids else slice(-excess, None)
            for price in self._prices[worst]:
                del self._sizes[price]
            del self._prices[worst]

    def top(self, depth: int) -> Levels:
        """float64, shape (2, levels): prices and sizes of the best `depth` levels, best first. Not to be written to."""
        if self._pending:
            self.settle()
        shown, sizes = self._shown, self._sizes
        if shown is not None and shown[0] == depth:
            return shown[1]
        best = self._prices[: -depth - 1 : -1] if self._bids else self._prices[:depth]
        count = len(best)
        # For a few levels half the time of numpy.array.
        levels: Levels = np.ndarray(
            (2, count), FLOAT, _packer(count)(*best, *[sizes[price] for price in best])
        )
        self._shown = (depth, levels)
        if count == depth:
            self._worst_shown = best[-1]
        else:
            self._worst_shown = -INFINITY if self._bids else INFINITY
        return levels

    def best(self) -> float | None:
        self.settle()
        if not self._prices:
            return None
        return self._prices[-1 if self._bids else 0]


@lru_cache(2048)
def _packer(levels: int) -> Callable[..., bytes]:
    """For a price and a size each."""
    return struct.Struct(f"={2 * levels}d").pack


class Book:
    """Bids and asks, at most `limit` levels a side (the venue's depth of that topic)."""

    __slots__ = ("asks", "bids")

    def __init__(self, limit: int) -> None:
        self.bids = Side(1, limit)
        self.asks = Side(-1, limit)

    def crossed(self) -> bool:
        bid, ask = self.bids.best(), self.asks.best()
        return bid is not None and ask is not None and bid >= ask


class SampledBook(Book):
    """A book that is stored once an interval of event time: its state after the interval's last update.

    So a stored row is the truth as of the interval's end, and a replay yields the same rows. With interval 0 every
    update is stored.
    """

    __slots__ = (
        "_bucket",
        "_contract",
        "_depth",
        "_early",
        "_held_recv",
        "_interval",
        "_quoted",
        "_seq",
        "_ts",
        "_where",
    )

    def __init__(
        self,
        where: tuple[str, str, str],
        limit: int,
        depth: int,
        interval_us: int,
        quoted: bool = False,
        contract_size: float = 1.0,
    ) -> None:
        """`where`: (exchange, market, symbol). `limit`: levels kept, `depth`: levels stored, a side. `quoted`: the venue
        gives sizes in quote units; base units are stored. `contract_size`: by what sizes are multiplied first."""
        super().__init__(limit)
        self._where, self._depth, self._interval, self._quoted = where, depth, interval_us, quoted
        self._contract = contract_size
        self._bucket = self._ts = self._seq = 0
        self._held_recv = 0  # receive time of the update whose state is not yet out; 0: none is held
        self._early = 0
        """Event time of a state that was let out before a newer update came: others of that time may follow."""

    def change(
        self,
        ts: int,
        recv_us: int,
        seq: int,
        bids: Iterable[tuple[float, float]],
        asks: Iterable[tuple[float, float]],
        out: list[Any],
    ) -> None:
        """An update (`ts` µs) of some levels."""
        self.before(ts, out)
        if self._interval:
            self.bids.update(bids)
            self.asks.update(asks)
        else:  # it is looked at after each update
            self.bids.work_in(bids)
            self.asks.work_in(asks)
        self.after(ts, recv_us, seq, out)

    def before(self, ts: int, out: list[Any]) -> None:
        """To be called with the time (µs) of an update before it is applied."""
        if self._held_recv and (ts // self._interval != self._bucket or (ts != self._ts == self._early)):
            self.release(out)

    def after(self, ts: int, recv_us: int, seq: int, out: list[Any]) -> None:
        """To be called after an update was applied."""
        self._ts, self._seq, self._held_recv = ts, seq, recv_us
        if self._interval:
            self._bucket = ts // self._interval
        else:
            self.release(out)

    def flush(self, recv_us: int, out: list[Any]) -> None:
        """Let out what nothing newer has pushed out for an interval."""
        if self._held_recv and recv_us - self._held_recv >= self._interval:
            self._early = self._ts
            self.release(out)

    def discard(self) -> None:
        """Forget what is held."""
        self._held_recv = 0

    def release(self, out: list[Any]) -> None:
        """Append what is held to `out`."""
        if self._held_recv:
            bids, asks = self.bids.top(self._depth), self.asks.top(self._depth)
            if self._quoted or self._contract != 1.0:
                bids = _in_base_units(bids, self._contract, self._quoted)
                asks = _in_base_units(asks, self._contract, self._quoted)
            out.append(BookSnapshot(self._ts, self._held_recv, *self._where, bids, asks, self._seq))
            self._held_recv = 0


def _in_base_units(levels: Levels, contract: float, quoted: bool) -> Levels:
    """Sizes times `contract`, divided by prices where `quoted`; a level for which that is no number of its own (0, infinite)
    is none."""
    with np.errstate(over="ignore", under="ignore"):
        sizes = levels[1] * contract
        if quoted:
            sizes /= levels[0]
    good = (sizes > 0) & np.isfinite(sizes)
    converted = np.stack((levels[0], sizes))
    return converted if good.all() else converted[:, good]
