"""Binance's streams: from an event of each kind to rows. Sources and doubts are told in `binance.py`."""

from __future__ import annotations

from collections import deque
from typing import Any

import msgspec

from collector.exchanges.base import Broken, Fetch, Instrument, Item, Request, Resynced
from collector.exchanges.binance_rest import API
from collector.exchanges.states import TickerTopic, TradeTopic
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

POLL_US = 60_000_000
"""Between two looks at the open interest, which no stream brings."""
PAST_STATES = 256
"""Of a ticker, one a millisecond, kept while open interest is asked for: the answer tells of a time that may have passed."""
FORCED = {"BUY": "buy", "SELL": "sell"}


class AggTrade(msgspec.Struct, gc=False):
    s: str
    id: UpdateId = msgspec.field(name="a")
    p: float
    q: float
    T: Milliseconds
    m: bool


class SpotTrade(msgspec.Struct, gc=False):
    s: str
    id: UpdateId = msgspec.field(name="t")
    p: float
    q: float
    T: Milliseconds
    m: bool


class ForcedOrder(msgspec.Struct, gc=False):
    s: str
    side: str = msgspec.field(name="S")
    p: float
    q: float
    T: Milliseconds
    ap: float = 0.0
    z: float = 0.0


class ForceOrder(msgspec.Struct, gc=False):
    o: ForcedOrder


class TickerEvent(msgspec.Struct, gc=False):
    e: str
    pushed: Milliseconds = msgspec.field(name="E")
    s: str
    p: float | str | None = None
    c: float | str | None = None
    i: float | str | None = None
    r: float | str | None = None
    T: int | None = None
    b: float | str | None = None
    a: float | str | None = None


def stream(symbol: str, suffix: str) -> str:
    return f"{symbol.lower()}@{suffix}"


class Trades(TradeTopic):
    """Ids rise by one: of `trade` on spot, of `aggTrade` on futures."""

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument | None) -> None:
        spot = feed.market == "spot"
        self.message = SpotTrade if spot else AggTrade
        super().__init__(feed, "trades", symbol, stream(symbol, "trade" if spot else "aggTrade"))
        self._instrument, self._last = instrument, 0

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        trade: AggTrade = self._decode(raw)
        if trade.s != self.symbol:
            raise ValueError(f"symbol {trade.s!r}")
        qty, ts = base_units(trade.q, trade.p, self._instrument), trade.T * 1000
        if not (0.0 < trade.p < INFINITY and 0.0 < qty < INFINITY):
            raise ValueError(f"trade {trade.id} has an impossible price or size")
        self.arrived(ts, recv_us, out)
        last = self._last
        if last and trade.id != last + 1:
            if trade.id <= last:
                return ts  # once more
            out.append(Broken("trades", self.symbol, self.last_ts, "sequence_gap", trade.id - last - 1))
            out.append(Resynced("trades", self.symbol, ts))
        self._last, self.last_ts = trade.id, ts
        side = "sell" if trade.m else "buy"
        out.append(Trade(ts, recv_us, *self.where, side, trade.p, qty, str(trade.id)))
        return ts


class Liquidations(Topic):
    message = ForceOrder

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument | None) -> None:
        super().__init__(feed, "liquidations", symbol, stream(symbol, "forceOrder"))
        self._instrument = instrument
        self.patience = 0  # there may be none for days

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        order: ForcedOrder = self._decode(raw).o
        if order.s != self.symbol:
            raise ValueError(f"symbol {order.s!r}")
        # What was filled, and at what price, where the order tells.
        price, size, side = order.ap or order.p, order.z or order.q, FORCED.get(order.side)
        qty = base_units(size, price, self._instrument)
        if side is None or not (0.0 < price < INFINITY and 0.0 < qty < INFINITY):
            raise ValueError("a liquidation has an impossible side, price or size")
        ts = self.last_ts = order.T * 1000
        self.arrived(ts, recv_us, out)
        liq_id = f"{order.T}-{side}-{order.p!r}-{order.q!r}-{order.z!r}"
        out.append(Liquidation(ts, recv_us, *self.where, side, price, qty, liq_id))
        return ts


class Tickers(TickerTopic):
    """Merged from several streams and, on futures, the open interest by REST."""

    message = TickerEvent

    def __init__(self, feed: FeedConfig, symbol: str, instrument: Instrument | None) -> None:
        spot = feed.market == "spot"
        super().__init__(feed, symbol, stream(symbol, "ticker"))
        if not spot:
            self.names = (self.name, stream(symbol, "markPrice@1s"))
        self._fetch = Fetch(Request(f"{API[feed.market]}/openInterest?symbol={symbol}"), self.name)
        self._polls = not spot
        self._poll_at = 0
        """Receive time (µs) of the next look; 0: none is due before the answer."""
        self._asked_ts = 0
        """`last_ts` at the look that is not answered yet: its answer may tell of any time since; 0: none is out."""
        self._past: deque[tuple[int, dict[str, Any]]] | None = None
        """Event time and state, since that look."""
        # Open interest of inverse contracts is in quote units then, as their size is.
        self._unit = instrument.contract_size if instrument else 1.0

    def subscribed(self, recv_us: int, out: list[Item]) -> None:
        super().subscribed(recv_us, out)
        if self._polls:
            self._poll(out)

    def flush(self, recv_us: int, out: list[Item]) -> None:
        if self._poll_at and recv_us >= self._poll_at:
            self._poll(out)

    def known_until(self) -> int:
        return self._asked_ts or self.last_ts

    def _poll(self, out: list[Item]) -> None:
        self._poll_at, self._asked_ts = 0, self.last_ts
        self._past = deque([(self.last_ts, dict(self._state))], PAST_STATES)
        out.append(self._fetch)

    def read(self, raw: bytes, recv_us: int, out: list[Item]) -> int:
        event: TickerEvent = self._decode(raw)
        if event.s != self.symbol:
            raise ValueError(f"symbol {event.s!r}")
        ts = event.pushed * 1000
        if event.e == "24hrTicker":
            told = {"last": price(event.c)}
            if not self._polls:
                told |= {"bid": price(event.b), "ask": price(event.a)}
        elif event.e == "markPriceUpdate":
            told = {"mark": price(event.p), "index": price(event.i)}
            told["funding_rate"] = None if event.r in ("", None) else number(event.r)
            told["next_funding_ts"] = event.T * 1000 if event.T and 0 < event.T < MAX_MS else None
        else:
            raise ValueError(f"event {event.e!r}")
        self.arrived(ts, recv_us, out)
        self.merge(ts, recv_us, told, out)
        if self._past is not None:
            if self._past[-1][0] == ts:
                self._past.pop()
            self._past.append((ts, dict(self._state)))
        return ts

    def answer(self, body: bytes, recv_us: int, out: list[Item]) -> None:
        self._poll_at, self._asked_ts = recv_us + POLL_US, 0
        past, self._past = self._past, None
        if not body:
            return  # refused
        told: dict[str, Any] = msgspec.json.decode(body)
        amount, at = number(told["openInterest"]), int(told["time"])
        if amount < 0 or not 0 < at < MAX_MS:
            raise ValueError(f"open interest {body[:100]!r}")
        changes = {"open_interest": amount * self._unit}
        newest = self._state | changes
        # Events of later times may have come before it. An answer older than all known states stands beside the oldest.
        ts, self._state = next(
            (one for one in reversed(past or ()) if one[0] <= at * 1000), past[0] if past else (0, {})
        )
        self.merge(max(ts, at * 1000), recv_us, changes, out)
        self._state = newest
