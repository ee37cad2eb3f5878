"""Topics with a state, for all venues: trades that may be silent for long, order books that are whole or not, and tickers
merged from several sources."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from collector.books import SampledBook
from collector.config import FeedConfig
from collector.exchanges.base import Bad, Broken, Item, Resynced
from collector.exchanges.topic import Topic
from collector.rows import Ticker

Level = tuple[float, float]
"""(price, size in the venue's unit)"""


class TradeTopic(Topic):
    """Trades: symbols that nobody trades are asked for ever more rarely."""

    def __init__(self, feed: FeedConfig, channel: str, symbol: str, name: str) -> None:
        super().__init__(feed, channel, symbol, name)
        self.patience = self._first_patience = round(feed.trades_silence * 1e6)
        self._given_up_ts = -1

    def silent(self, recv_us: int) -> bool:
        if self.last_ts != self._given_up_ts:
            self.patience = self._first_patience
        if not super().silent(recv_us):
            return False
        self._given_up_ts, self.patience = self.last_ts, 2 * self.patience
        return True


class BookTopic(Topic):
    """An order book. A subclass reads messages, checks the venue's sequence rule, and calls `restart`, `apply`,
    `show` or `invalidate`."""

    whole_after_message = False

    def __init__(
        self,
        feed: FeedConfig,
        symbol: str,
        name: str,
        limit: int,
        *,
        quoted: bool = False,
        contract_size: float = 1.0,
    ) -> None:
        """`limit`: levels a side that the venue sends, which are kept. `quoted`, `contract_size`: of its sizes, as in
        SampledBook."""
        super().__init__(feed, "orderbook", symbol, name)
        self.book = SampledBook(
            self.where,
            limit,
            feed.book_depth,
            round(feed.book_interval * 1e6),
            quoted,
            contract_size,
        )
        self.valid = False
        self.seq = 0
        """Of the last message that was applied, where the venue numbers them."""

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        super().subscribed(recv_us, out)
        self.waiting_since = recv_us

    def restart(
        self, ts: int, recv_us: int, seq: int, bids: Iterable[Level], asks: Iterable[Level], out: list[Item]
    ) -> None:
        """A snapshot (`ts` µs): the book is whole from here on. If it was, what lies between was not seen."""
        self.waiting_since = 0
        if self.valid and seq != self.seq:
            self.book.release(out)
            out.append(Broken(self.channel, self.symbol, self.last_ts, "snapshot_jump"))
            self.valid = False
        else:
            self.book.before(ts, out)
        self.book.bids.replace(bids)
        self.book.asks.replace(asks)
        if not self.valid:
            self.valid, self.broken = True, False
            out.append(Resynced(self.channel, self.symbol, ts))
        self.stands(ts, recv_us, seq, out)

    def show(
        self, ts: int, recv_us: int, seq: int, bids: Iterable[Level], asks: Iterable[Level], out: list[Item]
    ) -> None:
        """One of a series of whole books, none of which needs another."""
        self.valid, self.seq = self.valid and not self.broken, seq
        self.restart(ts, recv_us, seq, bids, asks, out)

    def apply(
        self, ts: int, recv_us: int, seq: int, bids: Iterable[Level], asks: Iterable[Level], out: list[Item]
    ) -> None:
        """The next changes of a whole book: absolute sizes, 0 deletes."""
        self.book.before(ts, out)
        self.book.bids.update(bids)
        self.book.asks.update(asks)
        self.stands(ts, recv_us, seq, out)

    def stands(self, ts: int, recv_us: int, seq: int, out: list[Item]) -> None:
        """To be called when an update is worked in."""
        self.seq, self.last_ts = seq, ts
        self.book.after(ts, recv_us, seq, out)

    def invalidate(self, cause: str, missing: int | None, recv_us: int, out: list[Item]) -> None:
        """The book is wrong until the next snapshot, which is asked for."""
        self.book.release(out)
        self.valid, self.broken, self.resync, self.waiting_since = False, True, True, recv_us
        out.append(Broken(self.channel, self.symbol, self.last_ts or recv_us, cause, missing))

    def fail(self, reason: str, recv_us: int, out: list[Item]) -> None:
        out.append(Bad(f"{self.name}: {reason}"))
        if self.valid:
            self.invalidate("malformed_message", None, recv_us, out)

    def flush(self, recv_us: int, out: list[Item]) -> None:
        self.book.flush(recv_us, out)

    def drain(self, out: list[Item]) -> None:
        self.book.release(out)


class TickerTopic(Topic):
    """The merged state of an instrument: a row for each message, with what is known by then. A subclass calls `merge`."""

    def __init__(self, feed: FeedConfig, symbol: str, name: str) -> None:
        super().__init__(feed, "tickers", symbol, name)
        self._state: dict[str, Any] = {}

    def reset(self) -> None:
        """What was told is of no use any more."""
        self._state = {}

    def merge(self, ts: int, recv_us: int, changes: dict[str, Any], out: list[Item]) -> None:
        """`changes`: fields of `Ticker`. `ts` in µs."""
        self._state.update(changes)
        self.last_ts = max(self.last_ts, ts)
        out.append(Ticker(ts, recv_us, *self.where, **self._state))
