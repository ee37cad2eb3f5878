"""Coinbase, the server's side: Advanced Trade's requests, whose answer is all that is subscribed, and Exchange's REST pages.
Its channels: `coinbase_topics`.

Sources: the documentation as others quote it. Heartbeats are acknowledged and not sent. REST trades start with the channel's
first subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from collector.simulator.coinbase_topics import TOPICS, CoinbaseTopic, TradeTopic
from collector.simulator.coinbase_transcript import CoinbaseTranscript
from collector.simulator.listing import Listing, iso
from collector.simulator.market import Market
from collector.simulator.wire import Message, Reply, encoded

PATHS = {"/ws": "spot"}
PAGE = 1000


def symbol_of(model_symbol: str) -> str:
    return f"{model_symbol.removesuffix('USDT')}-USD"


class Session:
    def __init__(self, knows: Callable[[str], bool]) -> None:
        self._knows = knows
        self._names: dict[str, None] = {}
        self._number = -1

    def handle(self, text: str) -> Reply:
        try:
            request = msgspec.json.decode(text)
            kind, channel, symbols = request["type"], request["channel"], request.get("product_ids", [])
            if kind not in ("subscribe", "unsubscribe"):
                raise TypeError(kind)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return Reply([encoded({"type": "error", "message": "malformed request"})])
        if channel == "heartbeats":
            return Reply([self._state()])
        names = [f"{channel}:{symbol}" for symbol in symbols]
        texts, changed = [], []
        for name in names:
            if kind == "unsubscribe":
                if name in self._names:
                    del self._names[name]
                    changed.append(name)
            elif name not in self._names and not self._knows(name):
                texts.append(
                    encoded({"type": "error", "message": f"invalid product id {name.partition(':')[2]}"})
                )
            elif name not in self._names:
                self._names[name] = None
                changed.append(name)
        texts.append(self._state())
        if kind == "subscribe":
            return Reply(texts, subscribed=changed)
        return Reply(texts, unsubscribed=changed)

    def _state(self) -> str:
        there: dict[str, list[str]] = {}
        for name in self._names:
            channel, _, symbol = name.partition(":")
            there.setdefault(channel, []).append(symbol)
        text = encoded(
            {
                "channel": "subscriptions",
                "client_id": "",
                "timestamp": "2026-01-01T00:00:00Z",
                "sequence_num": 0,
                "events": [{"subscriptions": there}],
            }
        )
        return self.stamp(text)

    def stamp(self, text: str) -> str:
        self._number += 1
        return text.replace('"sequence_num":0', f'"sequence_num":{self._number}', 1)


class CoinbaseExchange:
    def __init__(self, model: Market, started_ms: int) -> None:
        self._started_ms = started_ms
        listings = [Listing("spot", symbol_of(one.instrument.symbol), one) for one in model.symbols]
        self._listings = {one.symbol: one for one in listings}
        self._trades: dict[str, TradeTopic] = {}

    def knows(self, market: str, topic: str) -> bool:
        channel, _, symbol = topic.partition(":")
        return channel in TOPICS and symbol in self._listings

    def topic(self, market: str, name: str) -> CoinbaseTopic:
        channel, _, symbol = name.partition(":")
        made = TOPICS[channel](self._listings[symbol], name, self._started_ms)
        if isinstance(made, TradeTopic):
            self._trades[symbol] = made
        return made

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        listed = [one for one in self._listings.values() if not one.model.delisted]
        if path == "/products":
            return 200, Message(encoded([product(one) for one in listed]), [])
        if path == "/products/stats":
            return 200, Message(encoded({one.symbol: stats(one) for one in listed}), [])
        symbol = path.removeprefix("/products/").removesuffix("/trades")
        if path != f"/products/{symbol}/trades" or symbol not in self._listings:
            return 404, Message('{"message":"NotFound"}', [])
        return 200, Message(encoded(self._recent(symbol, query)), [])

    def _recent(self, symbol: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Newest first, older than an id. The side is the maker's."""
        topic = self._trades.get(symbol)
        after, most = int(query.get("after", 2**63)), min(int(query.get("limit", PAGE)), PAGE)
        older = [one for one in (topic.recent if topic else ()) if one[4] < after]
        return [
            {
                "trade_id": number,
                "side": "sell" if buys else "buy",
                "size": qty,
                "price": price,
                "time": iso(ms),
            }
            for ms, price, qty, buys, number in older[: -most - 1 : -1]
        ]


def product(listing: Listing) -> dict[str, Any]:
    item = listing.model.instrument
    return {
        "id": listing.symbol,
        "base_currency": item.base,
        "quote_currency": "USD",
        "quote_increment": f"{10**-item.price_decimals:.{item.price_decimals}f}",
        "base_increment": f"{10**-item.lot_decimals:.{item.lot_decimals}f}",
        "status": "online",
        "trading_disabled": False,
    }


def stats(listing: Listing) -> dict[str, Any]:
    item = listing.model.instrument
    volume = 10_000 + listing.model.volume / 10.0**item.lot_decimals
    price = item.price(item.first_tick)
    return {"stats_24hour": {"last": f"{price:.8f}", "volume": f"{volume:.8f}"}}


class CoinbaseWire:
    name = "coinbase"
    paths: Mapping[str, str] = PATHS
    bases: Mapping[str, str] = {market: path for path, market in PATHS.items()}
    rest_by_post = False
    stamped = True

    def symbol(self, market: str, model_symbol: str) -> str:
        return symbol_of(model_symbol)

    def offers(self, market: str, topic: str) -> str:
        channel, _, symbol = topic.partition(":")
        return symbol if channel in TOPICS else ""

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        channel = {"l2_data": "level2"}.get(str(message.get("channel")), str(message.get("channel")))
        events = message.get("events")
        if channel not in TOPICS or not isinstance(events, list) or not events:
            return "", 0
        event = events[0]
        items = event.get("trades") or event.get("tickers") or [event]
        ms = round(datetime.fromisoformat(message["timestamp"]).timestamp() * 1000)
        return f"{channel}:{items[0]['product_id']}", ms

    def transcript(self, market: str) -> CoinbaseTranscript:
        return CoinbaseTranscript(market)

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        if path != "/products":
            return 404, "not recorded"
        return 200, encoded([{"id": name, "status": "online"} for name in sorted(symbols["spot"])])

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        return Session(knows)

    def exchange(self, model: Market, started_ms: int) -> CoinbaseExchange:
        return CoinbaseExchange(model, started_ms)


WIRE = CoinbaseWire()
