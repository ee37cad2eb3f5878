"""Topics with a state, for all venues: trades that may be silent for long, order books that are whole or not, and tickers
merged from several sources."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from collector.books import SampledBook
from collector.exchanges.base import UNREADABLE, Bad, Broken, Fetch, Item, Resynced
from collector.exchanges.topic import Topic
from collector.rows import Ticker
from collector.settings import FeedConfig

Level = tuple[float, float]
"""(price, size in the venue's unit)"""
TRUSTED = 20
"""Trades that follow by number for each that does not, before one that does not is taken for a loss."""
HELD = 300
"""Updates kept while a snapshot is on its way, half a minute or more: what is older the snapshot has."""
ASK_AGAIN_US = 5_000_000


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


class NumberedTrades(TradeTopic):
    """Trades whose ids rise by one, as far as one can see. A subclass calls `is_new` for each trade in turn."""

    def __init__(self, feed: FeedConfig, symbol: str, name: str) -> None:
        super().__init__(feed, "trades", symbol, name)
        self._last = self._following = self._jumps = 0

    def is_new(self, first: int, last: int, ts: int, recv_us: int, out: list[Item]) -> bool:
        """Whether the trade `last` (with those from `first` on in it; `ts` µs) is to be stored; False if it has been seen.
        A jump is declared when jumps are rare (`TRUSTED`): else the rule does not hold for this venue."""
        before, whole = self._last, not self.broken  # what a break has cost is declared already
        seen = before and last <= before and ts <= self.last_ts
        self.arrived(ts, recv_us, out)
        if seen:
            return False
        if before and whole:
            if last <= before:
                self._declare("exchange_restart", None, ts, out)
            elif first <= before + 1:
                self._following += 1
            else:
                self._jumps += 1
                if self._following >= TRUSTED * self._jumps:
                    self._declare("sequence_gap", first - before - 1, ts, out)
        self._last, self.last_ts = last, ts
        return True

    def _declare(self, cause: str, missing: int | None, ts: int, out: list[Item]) -> None:
        out.append(Broken("trades", self.symbol, self.last_ts, cause, missing))
        out.append(Resynced("trades", self.symbol, ts))


class BookTopic(Topic):
    """An order book. A subclass reads messages, checks the venue's sequence rule, and calls `restart` (or, where the
    rule is its own, `jump` and `replace`), `apply`, `show` or `invalidate`."""

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
        if self.valid and seq != self.seq:
            self.jump("snapshot_jump", None, out)
        self.replace(ts, recv_us, seq, bids, asks, out)

    def show(
        self, ts: int, recv_us: int, seq: int, bids: Iterable[Level], asks: Iterable[Level], out: list[Item]
    ) -> None:
        """One of a series of whole books, none of which needs another."""
        self.valid = self.valid and not self.broken
        self.replace(ts, recv_us, seq, bids, asks, out)

    def jump(self, cause: str, missing: int | None, out: list[Item]) -> None:
        """What lies between the whole book and the snapshot that replaces it was not seen."""
        self.book.discard()
        self.valid = False
        out.append(Broken(self.channel, self.symbol, self.last_ts, cause, missing))

    def replace(
        self, ts: int, recv_us: int, seq: int, bids: Iterable[Level], asks: Iterable[Level], out: list[Item]
    ) -> None:
        """The book is this one from here on."""
        self.waiting_since = 0
        self.book.before(ts, out)
        self.book.bids.replace(bids)
        self.book.asks.replace(asks)
        if not self.valid:
            self.valid, self.broken = True, False
            out.append(Resynced(self.channel, self.symbol, ts))
        self.stands(ts, recv_us, seq, out)

    def apply(
        self, ts: int, recv_us: int, seq: int, bids: Iterable[Level], asks: Iterable[Level], out: list[Item]
    ) -> None:
        """The next changes of a whole book: absolute sizes, 0 deletes."""
        self.seq, self.last_ts = seq, ts
        self.book.change(ts, recv_us, seq, bids, asks, out)

    def stands(self, ts: int, recv_us: int, seq: int, out: list[Item]) -> None:
        """To be called when an update is worked in."""
        self.seq, self.last_ts = seq, ts
        self.book.after(ts, recv_us, seq, out)

    def invalidate(self, cause: str, missing: int | None, recv_us: int, out: list[Item]) -> None:
        """The book is wrong until the next snapshot, which is asked for. What is held goes too, and lies in the hole: what
        was lost may have been of its moment, and then another connection's row is the right one."""
        self.book.discard()
        self.valid, self.broken, self.resync, self.waiting_since = False, True, True, recv_us
        out.append(Broken(self.channel, self.symbol, self.last_ts or recv_us, cause, missing))

    def fail(self, reason: str, recv_us: int, out: list[Item]) -> None:
        out.append(Bad(f"{self.name}: {reason}", channel=self.channel))
        if self.valid:
            self.invalidate("malformed_message", None, recv_us, out)

    def flush(self, recv_us: int, out: list[Item]) -> None:
        self.book.flush(recv_us, out)

    def drain(self, out: list[Item]) -> None:
        self.book.release(out)


class Update(NamedTuple):
    """Changes of a book, with the venue's numbers."""

    ts: int
    """µs"""
    first: int
    last: int
    before: int | None
    """The number of the update before it, where it tells."""
    bids: Iterable[Level]
    asks: Iterable[Level]


class Snapshot(NamedTuple):
    """A book as REST tells it."""

    last: int
    """The number of the newest update that it holds."""
    bids: Iterable[Level]
    asks: Iterable[Level]


class JoinedBook(BookTopic):
    """A book that begins with a snapshot by REST, to which the updates that were held meanwhile are joined. A subclass
    says how updates follow one another, and reads the snapshot."""

    fetch: Fetch

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.held: deque[Update] = deque(maxlen=HELD)
        self._snapshot: Snapshot | None = None
        self._asked = False
        self._ask_at = 0
        """Receive time (µs) at which to ask again; 0: never."""

    def follow(self, update: Update, recv_us: int, out: list[Item]) -> None:
        """The next update of a whole book."""
        raise NotImplementedError

    def is_held(self, update: Update, last: int) -> bool:
        """Whether the snapshot with the number `last` holds the update."""
        return update.last <= last

    def joins(self, update: Update, last: int) -> bool:
        """Whether nothing is missing between the snapshot with the number `last` and the update."""
        raise NotImplementedError

    def snapshot(self, body: bytes) -> Snapshot:
        """Raises what UNREADABLE lists."""
        raise NotImplementedError

    def ask(self, out: list[Item]) -> None:
        """For a snapshot, unless one is on its way."""
        self._snapshot, self._ask_at = None, 0
        if not self._asked:
            self._asked = True
            out.append(self.fetch)

    def hold(self, update: Update, recv_us: int, out: list[Item]) -> None:
        """An update that came before the book is whole."""
        if not self.broken:
            # What comes before the snapshot is not stored.
            self.broken = True
            out.append(Broken("orderbook", self.symbol, update.ts, "awaiting_snapshot"))
        self.held.append(update)
        self._join(recv_us, out)

    def _join(self, recv_us: int, out: list[Item]) -> None:
        """Once there is a snapshot and an update that follows it."""
        snapshot, held = self._snapshot, self.held
        if snapshot is None:
            return
        while held and self.is_held(held[0], snapshot.last):
            held.popleft()
        if not held:
            return
        if not self.joins(held[0], snapshot.last):
            self.ask(out)  # older than what is held
            return
        first = held.popleft()
        bids, asks = dict(snapshot.bids) | dict(first.bids), dict(snapshot.asks) | dict(first.asks)
        self._snapshot = None
        self.seq = first.last
        self.restart(first.ts, recv_us, first.last, bids.items(), asks.items(), out)
        while held and self.valid:
            self.follow(held.popleft(), recv_us, out)

    def answer(self, body: bytes, recv_us: int, out: list[Item]) -> None:
        self._asked = False
        if self.valid:
            return
        try:
            self._snapshot = self.snapshot(body)
        except UNREADABLE as error:
            reason = f"snapshot: {error}" if body else "snapshot refused"
            out.append(Bad(f"{self.name}: {reason}", channel=self.channel))
            self._ask_at = recv_us + ASK_AGAIN_US
            return
        self._join(recv_us, out)

    def invalidate(self, cause: str, missing: int | None, recv_us: int, out: list[Item]) -> None:
        super().invalidate(cause, missing, recv_us, out)
        self.held.clear()

    def flush(self, recv_us: int, out: list[Item]) -> None:
        super().flush(recv_us, out)
        if self._ask_at and recv_us >= self._ask_at:
            self.ask(out)


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
