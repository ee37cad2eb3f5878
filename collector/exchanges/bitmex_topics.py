"""BitMEX's tables: from a message of each kind to rows. Sources and doubts are told in `bitmex.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from collector.exchanges.base import Instrument, Item
from collector.exchanges.isotime import iso_us
from collector.exchanges.states import BookTopic, TickerTopic, TradeTopic
from collector.exchanges.topic import INFINITY, Price, Size, Topic, UpdateId, base_units, figure
from collector.rows import Liquidation, Trade
from collector.settings import FeedConfig

SIDES = {"Buy": "buy", "Sell": "sell"}
SHALLOW = 25
KEPT_LEVELS = 20_000
"""A side, of the full table."""
MOST_IDS = 4 * KEPT_LEVELS
TICKER_FIELDS = {
    "lastPrice": "last",
    "markPrice": "mark",
    "indicativeSettlePrice": "index",
    "fundingRate": "funding_rate",
    "openInterest": "open_interest",
    "bidPrice": "bid",
    "askPrice": "ask",
}


class TradeItem(msgspec.Struct, gc=False):
    symbol: str
    timestamp: str
    size: float
    price: float
    match_id: str = msgspec.field(name="trdMatchID")
    side: str | None = None


class TradeMessage(msgspec.Struct, gc=False):
    table: str
    action: str
    data: list[TradeItem]


class LevelItem(msgspec.Struct, gc=False):
    symbol: str
    id: UpdateId
    side: str
    size: Size = 0.0
    price: Price | None = None
    timestamp: str = ""


class BookMessage(msgspec.Struct, gc=False):
    table: str
    action: str
    data: list[LevelItem]


class LiquidationItem(msgspec.Struct, gc=False):
    symbol: str
    order_id: str = msgspec.field(name="orderID")
    side: str = ""
    price: float | None = None
    leaves: float | None = msgspec.field(name="leavesQty", default=None)


class LiquidationMessage(msgspec.Struct, gc=False):
    table: str
    action: str
    data: list[LiquidationItem]


class TickerMessage(msgspec.Struct, gc=False):
    table: str
    action: str
    data: list[dict[str, Any]]


class Table:
    """What the topics share: a message is for one symbol, and means nothing before the `partial`."""

    partial = False
    """Whether the table's present state has been sent."""
    name: str
    symbol: str

    def begins(self, message: Any) -> bool:
        """Whether the message counts. Raises ValueError for one of another table or symbol."""
        if message.table != self.name.partition(":")[0]:
            raise ValueError(f"table {message.table!r} in place of {self.name}")
        self.partial = self.partial or message.action == "partial"
        return self.partial

    def check_symbol(self, symbol: Any) -> None:
        """Raises ValueError."""
        if symbol != self.symbol:
            raise ValueError(f"{symbol!r} among the data of {self.name}")


class Trades(TradeTopic, Table):
    message = TradeMessage

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument) -> None:
        super().__init__(feed, "trades", symbol, f"trade:{symbol}")
        self._instrument = instrument

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        """The `partial` brings the newest trades once more: their ids are the same."""
        message: TradeMessage = self._decode(raw)
        if not self.begins(message):
            return 0
        exchange, market, symbol = self.where
        newest = 0
        for item in message.data:
            self.check_symbol(item.symbol)
            ts, price = iso_us(item.timestamp), item.price
            qty = base_units(item.size, price, self._instrument)
            if (
                not (0.0 < price < INFINITY and 0.0 < qty < INFINITY and item.match_id)
                or (item.side or "Buy") not in SIDES
            ):
                self.fail(f"trade {item.match_id!r} has an impossible side, price, size or id", recv_us, out)
                continue
            newest = max(newest, ts)
            side = SIDES[item.side] if item.side else None
            out.append(Trade(ts, recv_us, exchange, market, symbol, side, price, qty, item.match_id))
        self.last_ts = max(self.last_ts, newest)
        self.arrived(newest or recv_us, recv_us, out)
        return newest


class Liquidations(Topic, Table):
    """The table holds orders that are being worked: what is inserted is an event, updates and deletions are its execution.
    Nothing tells when, so that the time of receipt stands for it."""

    message, untimed = LiquidationMessage, True

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument) -> None:
        super().__init__(feed, "liquidations", symbol, f"liquidation:{symbol}")
        self._instrument = instrument
        self.patience = 0  # there may be none for days

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: LiquidationMessage = self._decode(raw)
        if not self.begins(message):
            return 0
        exchange, market, symbol = self.where
        for item in message.data if message.action in ("insert", "partial") else ():
            self.check_symbol(item.symbol)
            price = item.price or 0.0
            qty = base_units(item.leaves or 0.0, price, self._instrument)
            if (
                not (0.0 < price < INFINITY and 0.0 < qty < INFINITY and item.order_id)
                or item.side not in SIDES
            ):
                self.fail("a liquidation has an impossible side, price, size or id", recv_us, out)
                continue
            self.last_ts = recv_us
            side = SIDES[item.side]
            out.append(
                Liquidation(recv_us, recv_us, exchange, market, symbol, side, price, qty, item.order_id)
            )
        self.arrived(recv_us, recv_us, out)
        return 0


class OrderBook(BookTopic, Table):
    """Levels have ids, and changes may leave out the price of an id that is known. A change of a level that is not there
    means that something was missed: the table has no sequence."""

    message = BookMessage

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument) -> None:
        table, limit = (
            ("orderBookL2_25", SHALLOW) if feed.book_depth <= SHALLOW else ("orderBookL2", KEPT_LEVELS)
        )
        super().__init__(
            feed,
            symbol,
            f"{table}:{symbol}",
            limit,
            quoted=instrument.inverse,
            contract_size=instrument.contract_size,
        )
        self._prices: dict[tuple[str, int], float] = {}
        """(side, id) of every level that is there → price."""

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: BookMessage = self._decode(raw)
        if not self.begins(message):
            return 0
        ts = 0
        for item in message.data:
            self.check_symbol(item.symbol)
            if item.side not in SIDES:
                raise ValueError(f"side {item.side!r}")
            if item.timestamp:
                ts = max(ts, iso_us(item.timestamp))
        self.last_recv = recv_us
        told, ts = ts, max(ts, self.last_ts) or recv_us  # older messages have no times
        if message.action == "partial":
            self._take_partial(message.data, ts, recv_us, out)
        elif self.valid:
            self._take_changes(message, ts, recv_us, out)
        return told

    def _take_partial(self, items: list[LevelItem], ts: int, recv_us: int, out: list[Item]) -> None:
        levels: dict[str, list[tuple[float, float]]] = {"Buy": [], "Sell": []}
        self._prices.clear()
        for item in items:
            if item.price is None:
                raise ValueError("a level of the partial has no price")
            self._prices[item.side, item.id] = item.price
            levels[item.side].append((item.price, item.size))
        self.restart(ts, recv_us, 0, levels["Buy"], levels["Sell"], out)

    def _take_changes(self, message: BookMessage, ts: int, recv_us: int, out: list[Item]) -> None:
        prices = self._prices
        levels: dict[str, dict[float, float]] = {"Buy": {}, "Sell": {}}
        for item in message.data:
            key = item.side, item.id
            known = prices.get(key)
            if message.action == "insert":
                if item.price is None or not item.size:
                    raise ValueError("an inserted level has no price or size")
                prices[key] = price = item.price
            elif known is None:
                self.invalidate("unknown_level", None, recv_us, out)
                return
            else:
                price = known
            if message.action == "delete":
                del prices[key]
            elif message.action not in ("insert", "update"):
                raise ValueError(f"action {message.action!r} is not known")
            levels[item.side][price] = 0.0 if message.action == "delete" else item.size
        if len(prices) > MOST_IDS:
            self.invalidate("too_many_levels", None, recv_us, out)
            return
        self.apply(ts, recv_us, 0, levels["Buy"].items(), levels["Sell"].items(), out)


class Tickers(TickerTopic, Table):
    message = TickerMessage
    whole_after_message = False

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument) -> None:
        super().__init__(feed, symbol, f"instrument:{symbol}")
        # Open interest of inverse contracts stays as the venue counts it: in quote units.
        self._unit = 1.0 if instrument.inverse else instrument.contract_size

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: TickerMessage = self._decode(raw)
        if not self.begins(message):
            return 0
        newest = 0
        for item in message.data:
            self.check_symbol(item.get("symbol"))
            ts = iso_us(item["timestamp"]) if "timestamp" in item else self.last_ts or recv_us
            newest = max(newest, ts)
            changes = {
                ours: self._value(ours, item[theirs])
                for theirs, ours in TICKER_FIELDS.items()
                if theirs in item
            }
            if "fundingTimestamp" in item:
                at = item["fundingTimestamp"]
                changes["next_funding_ts"] = iso_us(at) if at else None
            if changes or message.action == "partial":
                self.merge(ts, recv_us, changes, out)
        if message.action == "partial":
            self.whole_after_message = True
        self.arrived(newest or recv_us, recv_us, out)
        return newest

    def _value(self, name: str, value: Any) -> Any:
        if value is None:
            return None
        told = figure(name, value)
        return told * self._unit if name == "open_interest" else told

    def fail(self, reason: str, recv_us: int, out: list[Item]) -> None:
        """What an unreadable delta changed is not known, so a new partial is asked for."""
        super().fail(reason, recv_us, out)
        self.partial = self.whole_after_message = False
        self.reset()
        self.resync = True


TOPICS: dict[str, Callable[[FeedConfig, str, Instrument], Topic]] = {
    "trades": Trades,
    "orderbook": OrderBook,
    "liquidations": Liquidations,
    "tickers": Tickers,
}
