"""One symbol's order book, bounded: price levels of absolute size, as incremental feeds maintain them; and its sampling."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any

import numpy as np

from collector.rows import BookSnapshot, Levels


class Side:
    """The levels of one side. Prices are kept sorted, best last, so that changes at the top move little memory.

    Updates are collected, newest of each price, and worked in when the book is looked at: most are overtaken before that.
    A venue that leaves out deletions of levels beyond its depth needs `settle` after each message."""

    __slots__ = ("_limit", "_pending", "_prices", "_sign", "_sizes")

    def __init__(self, sign: int, limit: int) -> None:
        self._sign = sign  # +1 bids, -1 asks: keys are price × sign, ascending
        self._limit = limit
        self._prices: list[float] = []
        self._sizes: dict[float, float] = {}
        self._pending: dict[float, float] = {}

    def __len__(self) -> int:
        self.settle()
        return len(self._prices)

    def replace(self, levels: Iterable[tuple[float, float]]) -> None:
        sign = self._sign
        self._pending.clear()
        self._sizes = {price * sign: size for price, size in levels if size}
        self._prices = sorted(self._sizes)
        self._trim()

    def update(self, levels: Iterable[tuple[float, float]]) -> None:
        """Set absolute sizes; 0 deletes. Deleting an unknown level is normal on some venues and ignored."""
        self._pending.update(levels)
        if len(self._pending) > 2 * self._limit:
            self.settle()

    def settle(self) -> None:
        """Work in what was collected, and drop what exceeds the limit."""
        if not self._pending:
            return
        sizes, prices, sign = self._sizes, self._prices, self._sign
        for price, size in self._pending.items():
            key = price * sign
            if size:
                if key not in sizes:
                    insort(prices, key)
                sizes[key] = size
            elif sizes.pop(key, None) is not None:
                del prices[bisect_left(prices, key)]
        self._pending.clear()
        if len(prices) > self._limit:
            self._trim()

    def _trim(self) -> None:
        excess = len(self._prices) - self._limit
        if excess > 0:
            for key in self._prices[:excess]:
                del self._sizes[key]
            del self._prices[:excess]

    def top(self, depth: int) -> Levels:
        """float64, shape (2, levels): prices and sizes of the best `depth` levels, best first."""
        self.settle()
        best = self._prices[: -depth - 1 : -1]
        sizes = self._sizes
        out = np.array((best, [sizes[key] for key in best]), dtype=np.float64)
        if self._sign < 0:
            np.negative(out[0], out=out[0])
        return out

    def best(self) -> float | None:
        self.settle()
        return self._prices[-1] * self._sign if self._prices else None


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

    def before(self, ts: int, out: list[Any]) -> None:
        """To be called with the time (µs) of an update before it is applied."""
        if self._held_recv and ts // self._interval != self._bucket:
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
            self.release(out)

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
        levels[1] *= contract
        if quoted:
            levels[1] /= levels[0]
    good = (levels[1] > 0) & np.isfinite(levels[1])
    return levels if good.all() else levels[:, good]
