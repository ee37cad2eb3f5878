"""OKX's channels: from a message of each kind to rows. Sources and doubts are told in `okx.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from collector.config import FeedConfig
from collector.exchanges.base import Fetch, Instrument, Item, Notice, Request, Stream
from collector.exchanges.okx_checksum import TextBook
from collector.exchanges.okx_rest import liquidation_content
from collector.exchanges.states import JoinedBook, Level, NumberedTrades, Snapshot, TickerTopic, Update
from collector.exchanges.topic import (
    INFINITY,
    MAX_MS,
    Milliseconds,
    Price,
    Size,
    Topic,
    UpdateId,
    base_units,
    number,
)
from collector.rows import Liquidation, Trade

BOOK_LEVELS = 400
SIDES = frozenset({"buy", "sell"})
TICKER_CHANNELS = frozenset({"tickers", "mark-price", "index-tickers", "open-interest", "funding-rate"})


class Arg(msgspec.Struct, gc=False):
    channel: str
    instId: str = ""  # noqa: N815 - the venue's name, here and below
    instType: str = ""  # noqa: N815


class TradeItem(msgspec.Struct, gc=False):
    instId: str  # noqa: N815
    tradeId: UpdateId  # noqa: N815
    px: float
    sz: float
    side: str
    ts: Milliseconds
    count: UpdateId = 1


class TradeMessage(msgspec.Struct, gc=False):
    data: list[TradeItem]


class BookLevel(msgspec.Struct, array_like=True, gc=False):
    price: Price
    size: Size


class BookData(msgspec.Struct, gc=False):
    bids: list[BookLevel]
    asks: list[BookLevel]
    ts: Milliseconds
    checksum: int = 0
    seqId: UpdateId | None = None  # noqa: N815
    prevSeqId: int | None = None  # noqa: N815


class BookMessage(msgspec.Struct, gc=False):
    arg: Arg
    action: Literal["snapshot", "update"]
    data: tuple[BookData]


class BookAnswer(msgspec.Struct, gc=False):
    data: tuple[BookData]


class ForcedOrder(msgspec.Struct, gc=False):
    side: str
    bkPx: float  # noqa: N815
    sz: float
    ts: Milliseconds


class ForcedOrders(msgspec.Struct, gc=False):
    instId: str  # noqa: N815
    details: list[ForcedOrder]


class LiquidationMessage(msgspec.Struct, gc=False):
    data: list[ForcedOrders]


class TickerMessage(msgspec.Struct, gc=False):
    arg: Arg
    data: list[dict[str, Any]]


def inst_type(symbol: str) -> str:
    """ "BTC-USDT" → SPOT, "BTC-USDT-SWAP" → SWAP, "BTC-USDT-271231" → FUTURES."""
    parts = symbol.split("-")
    return "SPOT" if len(parts) < 3 else "SWAP" if parts[-1] == "SWAP" else "FUTURES"


class Trades(NumberedTrades):
    """One fill a message (`trades-all`), or those of one order together (`trades`, which a recording may have)."""

    message = TradeMessage

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument | None) -> None:
        super().__init__(feed, symbol, f"trades-all:{symbol}")
        self._instrument = instrument

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        pushed = 0
        for item in self._decode(raw).data:
            pushed = item.ts * 1000
            self._take(item, recv_us, out)
        return pushed

    def _take(self, item: TradeItem, recv_us: int, out: list[Item]) -> None:
        qty, ts = base_units(item.sz, item.px, self._instrument), item.ts * 1000
        if (
            item.instId != self.symbol
            or item.side not in SIDES
            or not (0.0 < item.px < INFINITY and 0.0 < qty < INFINITY)
        ):
            raise ValueError(f"trade {item.tradeId} has an impossible instrument, side, price or size")
        if self.is_new(item.tradeId - item.count + 1, item.tradeId, ts, recv_us, out):
            out.append(Trade(ts, recv_us, *self.where, item.side, item.px, qty, str(item.tradeId)))


class Liquidations(Topic):
    """All symbols of one `instType` come together."""

    message = LiquidationMessage

    def __init__(
        self, feed: FeedConfig, kind: str, symbols: Sequence[str], instruments: Mapping[str, Instrument]
    ) -> None:
        super().__init__(feed, "liquidations", kind, f"liquidation-orders:{kind}")
        self.streams = tuple(("liquidations", symbol) for symbol in symbols)
        self._instruments = {symbol: instruments.get(symbol) for symbol in symbols}
        self._market = (feed.exchange, feed.market)
        self.patience = 0  # there may be none for days

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        rows: list[Item] = []
        newest = 0
        seen: dict[str, int] = {}
        for orders in self._decode(raw).data:
            symbol = orders.instId
            for one in orders.details if symbol in self._instruments else ():
                qty = base_units(one.sz, one.bkPx, self._instruments[symbol])
                if one.side not in SIDES or not (0.0 < one.bkPx < INFINITY and 0.0 < qty < INFINITY):
                    raise ValueError(f"a liquidation of {symbol} has an impossible side, price or size")
                content = liquidation_content(one.ts, one.side, one.bkPx, one.sz)
                seen[symbol + content] = ordinal = seen.get(symbol + content, -1) + 1
                ts, liq_id = one.ts * 1000, f"{content}-{ordinal}"
                rows.append(Liquidation(ts, recv_us, *self._market, symbol, one.side, one.bkPx, qty, liq_id))
                newest = max(newest, ts)
        self.arrived(newest or recv_us, recv_us, out)
        self.last_ts = max(self.last_ts, newest)
        out += rows
        return newest


class OrderBook(JoinedBook):
    """A snapshot, by the socket or by REST, then updates, each of which names the one before it."""

    message = BookMessage

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument | None) -> None:
        super().__init__(
            feed,
            symbol,
            f"books:{symbol}",
            BOOK_LEVELS,
            quoted=instrument is not None and instrument.inverse,
            contract_size=instrument.contract_size if instrument is not None else 1.0,
        )
        self.fetch = Fetch(Request(f"/api/v5/market/books?instId={symbol}&sz={BOOK_LEVELS}"), self.name)
        self._begins = True
        """Whether the next message is the first one of a subscription."""
        self._joining = False
        """Whether it was an update, so that REST has the snapshot."""
        self._text = TextBook()
        self._decode_answer = msgspec.json.Decoder(BookAnswer, strict=False).decode

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        super().subscribed(recv_us, out)
        self._begins = not self.valid and not self._joining
        if not self._begins:
            self.waiting_since = 0

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: BookMessage = self._decode(raw)
        (data,) = message.data
        if message.arg.instId != self.symbol:
            raise ValueError(f"instrument {message.arg.instId!r}")
        ts, before = data.ts * 1000, data.prevSeqId
        last = data.seqId if data.seqId is not None else self.seq
        if data.seqId is None or (before is None and message.action == "update"):
            before = self.seq  # an old recording, which has only checksums
        update = Update(ts, last, last, before, levels(data.bids), levels(data.asks))
        self.arrived(ts, recv_us, out)
        if message.action == "snapshot":
            self._text.begin()
            self._begins = self._joining = False
            self.held.clear()
            if self.valid and before == self.seq:
                self.seq = last  # nothing lies between
            self.restart(ts, recv_us, last, update.bids, update.asks, out)
        elif self.valid:
            self.follow(update, recv_us, out)
        elif self._begins or self._joining:
            if self._begins:
                # The venue has announced to send snapshots no more: then REST has them.
                self._begins, self._joining, self.waiting_since = False, True, 0
                self.ask(out)
            self.hold(update, recv_us, out)
        if not data.checksum:
            self._text.followed = False
        elif self.valid and self._text.checksum(raw) not in (None, data.checksum):
            self.invalidate("checksum", None, recv_us, out)
        return ts

    def follow(self, update: Update, recv_us: int, out: list[Item]) -> None:
        if update.before == update.last == self.seq and not (update.bids or update.asks):
            return  # nothing has changed for a minute
        if update.before == self.seq and update.last >= self.seq:
            self.apply(update.ts, recv_us, update.last, update.bids, update.asks, out)
        elif update.before == self.seq:
            # Numbers begin anew after maintenance. Whether the book goes on is not certain: a new one is.
            self.invalidate("exchange_restart", None, recv_us, out)
        elif update.last <= self.seq and update.ts <= self.last_ts:
            detail = f"seqId {update.last} after {self.seq}"
            out.append(Notice("stale_update", detail, self.channel, self.symbol))
        else:
            # Numbers count the changes of the whole book, so that how many messages are missing can't be told.
            cause = "sequence_gap" if update.last > self.seq else "exchange_restart"
            self.invalidate(cause, None, recv_us, out)

    def joins(self, update: Update, last: int) -> bool:
        return update.before is not None and update.before <= last < update.last

    def snapshot(self, body: bytes) -> Snapshot:
        (data,) = self._decode_answer(body).data
        if data.seqId is None:
            raise ValueError("a snapshot without seqId")
        return Snapshot(data.seqId, levels(data.bids), levels(data.asks))

    def invalidate(self, cause: str, missing: int | None, recv_us: int, out: list[Item]) -> None:
        super().invalidate(cause, missing, recv_us, out)
        self._joining = self._text.followed = False


def levels(changes: list[BookLevel]) -> list[Level]:
    return [(level.price, level.size) for level in changes]


class Tickers(TickerTopic):
    """Merged from a channel for each part of the state."""

    message = TickerMessage

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument | None) -> None:
        super().__init__(feed, symbol, f"tickers:{symbol}")
        kind = inst_type(symbol)
        self._index = "-".join(symbol.split("-")[:2])
        if kind != "SPOT":
            self.names = (
                self.name,
                f"mark-price:{symbol}",
                f"index-tickers:{self._index}",
                f"open-interest:{symbol}",
                *((f"funding-rate:{symbol}",) if kind == "SWAP" else ()),
            )
        # Open interest of inverse contracts is in quote units then, as their size is.
        self._unit = instrument.contract_size if instrument is not None else 1.0
        self._tellers: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
            "tickers": lambda d: {
                "last": price(d["last"]),
                "bid": price(d["bidPx"]),
                "ask": price(d["askPx"]),
            },
            "mark-price": lambda d: {"mark": price(d["markPx"])},
            "index-tickers": lambda d: {"index": price(d["idxPx"])},
            "open-interest": lambda d: {"open_interest": self._interest(d["oi"])},
            "funding-rate": funding,
        }

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        message: TickerMessage = self._decode(raw)
        channel, wanted = message.arg.channel, self.symbol
        if channel == "index-tickers":
            wanted = self._index
        pushed = 0
        for data in message.data:
            try:
                if data["instId"] != wanted:
                    raise ValueError(f"instrument {data['instId']!r}")
                told, at = self._tellers[channel](data), number(data["ts"])
            except KeyError as error:
                raise ValueError(f"{channel}: no {error}") from error
            if not 1 <= at < MAX_MS:
                raise ValueError(f"ts {data['ts']!r}")
            pushed = int(at) * 1000
            self.arrived(pushed, recv_us, out)
            self.merge(pushed, recv_us, told, out)
        return pushed

    def _interest(self, text: Any) -> float:
        amount = number(text)
        if amount < 0:
            raise ValueError(f"open interest {text!r}")
        return amount * self._unit


def price(text: Any) -> float | None:
    """None where there is none. Raises ValueError or TypeError."""
    if text in ("", None):
        return None
    value = number(text)
    if value < 0.0:
        raise ValueError(f"price {text!r}")
    return value or None


def funding(data: dict[str, Any]) -> dict[str, Any]:
    """Raises KeyError, ValueError or TypeError."""
    at = number(data["fundingTime"]) if data.get("fundingTime") else 0.0
    rate = number(data["fundingRate"]) if data["fundingRate"] != "" else None
    return {"funding_rate": rate, "next_funding_ts": int(at) * 1000 if 1 <= at < MAX_MS else None}


def topics(feed: FeedConfig, streams: Sequence[Stream], instruments: Mapping[str, Instrument]) -> list[Topic]:
    """One a stream, but one for the liquidations of all symbols of a kind."""
    made: list[Topic] = []
    forced: dict[str, list[str]] = {}
    kinds: dict[str, Callable[[FeedConfig, str, Instrument | None], Topic]] = {
        "trades": Trades,
        "orderbook": OrderBook,
        "tickers": Tickers,
    }
    for channel, symbol in streams:
        if channel == "liquidations":
            forced.setdefault(inst_type(symbol), []).append(symbol)
        else:
            made.append(kinds[channel](feed, symbol, instruments.get(symbol)))
    return made + [Liquidations(feed, kind, symbols, instruments) for kind, symbols in forced.items()]
