"""OKX's channels: from a message of each kind to rows. Sources and doubts are told in `okx.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from collector.exchanges.base import Instrument, Item, Stream
from collector.exchanges.okx_book import OrderBook
from collector.exchanges.okx_rest import liquidation_content
from collector.exchanges.states import NumberedTrades, TickerTopic
from collector.exchanges.topic import (
    INFINITY,
    MAX_MS,
    Milliseconds,
    Topic,
    UpdateId,
    base_units,
    number,
    price,
)
from collector.rows import Liquidation, Trade
from collector.settings import FeedConfig

SIDES = frozenset({"buy", "sell"})


class TradeItem(msgspec.Struct, gc=False):
    instId: str  # noqa: N815 - the venue's name, here and below
    tradeId: UpdateId  # noqa: N815
    px: float
    sz: float
    side: str
    ts: Milliseconds
    count: UpdateId = 1


class TradeMessage(msgspec.Struct, gc=False):
    data: list[TradeItem]


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


class TickerArg(msgspec.Struct, gc=False):
    channel: str


class TickerMessage(msgspec.Struct, gc=False):
    arg: TickerArg
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
