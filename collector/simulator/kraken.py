"""Kraken v2, the server's side: requests and their answers, one a symbol, and the REST pages. Its channels: `kraken_topics`.

Sources: docs.kraken.com, and messages that others recorded. REST trades start with the channel's first subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from collector.simulator.kraken_topics import TOPICS, KrakenTopic, TradeTopic
from collector.simulator.kraken_transcript import KrakenTranscript
from collector.simulator.listing import Listing
from collector.simulator.market import Market
from collector.simulator.wire import Message, Reply, encoded

PATHS = {"/v2": "spot"}
PAGE = 1000


def symbol_of(model_symbol: str) -> str:
    return f"{model_symbol.removesuffix('USDT')}/USD"


class Session:
    def __init__(self, knows: Callable[[str], bool]) -> None:
        self._knows = knows
        self._names: dict[str, str] = {}
        """Channel and symbol → topic."""

    def handle(self, text: str) -> Reply:
        try:
            request = msgspec.json.decode(text)
            method, number = request["method"], request.get("req_id")
            if method == "ping":
                return Reply([encoded({"method": "pong", "req_id": number})])
            params = request["params"]
            channel, symbols = params["channel"], params["symbol"]
            depth = params.get("depth", 10)
            if method not in ("subscribe", "unsubscribe"):
                raise TypeError(method)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return Reply([encoded({"error": "Malformed request", "success": False, "method": "unknown"})])
        texts, changed = [], []
        for symbol in symbols:
            name = f"book-{depth}:{symbol}" if channel == "book" else f"{channel}:{symbol}"
            key = f"{channel}:{symbol}"
            told: dict[str, Any] = {"method": method, "req_id": number}
            error = self._refusal(method, key, name, symbol)
            if error:
                texts.append(encoded(told | {"error": error, "success": False, "symbol": symbol}))
                continue
            result = {"channel": channel, "symbol": symbol} | ({"depth": depth} if channel == "book" else {})
            texts.append(encoded(told | {"result": result, "success": True}))
            if method == "subscribe":
                self._names[key] = name
                changed.append(name)
            else:
                changed.append(self._names.pop(key))
        if method == "subscribe":
            return Reply(texts, subscribed=changed)
        return Reply(texts, unsubscribed=changed)

    def _refusal(self, method: str, key: str, name: str, symbol: str) -> str:
        if method == "unsubscribe":
            return "" if key in self._names else "Subscription Not Found"
        if key in self._names:
            return "Already subscribed"
        return "" if self._knows(name) else f"Currency pair not supported {symbol}"

    def stamp(self, text: str) -> str:
        return text


class KrakenExchange:
    def __init__(self, model: Market, started_ms: int) -> None:
        self._started_ms = started_ms
        listings = [Listing("spot", symbol_of(one.instrument.symbol), one) for one in model.symbols]
        self._listings = {one.symbol: one for one in listings}
        self._trades: dict[str, TradeTopic] = {}

    def knows(self, market: str, topic: str) -> bool:
        channel, _, symbol = topic.partition(":")
        return channel in TOPICS and symbol in self._listings

    def topic(self, market: str, name: str) -> KrakenTopic:
        channel, _, symbol = name.partition(":")
        made = TOPICS[channel](self._listings[symbol], name, self._started_ms)
        if isinstance(made, TradeTopic):
            self._trades[pair_of(symbol)] = made
        return made

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        listed = [one for one in self._listings.values() if not one.model.delisted]
        if path == "/0/public/AssetPairs":
            return answer({pair_of(one.symbol): pair(one) for one in listed})
        if path == "/0/public/Ticker":
            return answer({pair_of(one.symbol): ticker(one) for one in listed})
        if path == "/0/public/Trades":
            return answer(self._recent(query.get("pair", ""), query))
        return 404, Message('{"error":["EGeneral:Unknown method"]}', [])

    def _recent(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        """Oldest first, younger than a time in ns."""
        topic = self._trades.get(name)
        since = int(query.get("since", "0"))
        younger = [one for one in (topic.recent if topic else ()) if one[0] * 1_000_000 > since]
        page = younger[: min(int(query.get("count", PAGE)), PAGE)]
        rows = [
            [
                price,
                qty,
                msgspec.Raw(f"{ms // 1000}.{ms % 1000:03d}0000".encode()),
                "b" if buys else "s",
                "l",
                "",
                number,
            ]
            for ms, price, qty, buys, number in page
        ]
        return {name: rows, "last": str(page[-1][0] * 1_000_000 if page else since)}


def answer(result: Any) -> tuple[int, Message]:
    return 200, Message(encoded({"error": [], "result": result}), [])


def pair_of(symbol: str) -> str:
    return symbol.replace("/", "").replace("BTC", "XBT")


def pair(listing: Listing) -> dict[str, Any]:
    item = listing.model.instrument
    return {
        "altname": pair_of(listing.symbol),
        "wsname": listing.symbol.replace("BTC", "XBT"),
        "pair_decimals": item.price_decimals,
        "lot_decimals": item.lot_decimals,
        "tick_size": f"{10**-item.price_decimals:.{item.price_decimals}f}",
        "status": "online",
    }


def ticker(listing: Listing) -> dict[str, Any]:
    item = listing.model.instrument
    volume = 10_000 + listing.model.volume / 10.0**item.lot_decimals
    price = f"{item.price(item.first_tick):.8f}"
    return {"c": [price, "1"], "v": [f"{volume:.8f}", f"{volume:.8f}"]}


class KrakenWire:
    name = "kraken"
    paths: Mapping[str, str] = PATHS
    bases: Mapping[str, str] = {market: path for path, market in PATHS.items()}
    rest_by_post = stamped = False

    def symbol(self, market: str, model_symbol: str) -> str:
        return symbol_of(model_symbol)

    def offers(self, market: str, topic: str) -> str:
        channel, _, symbol = topic.partition(":")
        return symbol if channel in TOPICS else ""

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        channel, data = message.get("channel"), message.get("data")
        if channel not in ("trade", "book", "ticker") or not isinstance(data, list) or not data:
            return "", 0
        newest = data[-1]
        at = newest.get("timestamp")
        ms = round(msgspec.convert(at, datetime).timestamp() * 1000) if at else 1
        # A recording does not tell the depth in each message: the least one stands for it.
        return f"{'book-10' if channel == 'book' else channel}:{newest['symbol']}", ms

    def transcript(self, market: str) -> KrakenTranscript:
        return KrakenTranscript(market)

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        if path != "/0/public/AssetPairs":
            return 404, "not recorded"
        listed = {pair_of(name): {"wsname": name, "status": "online"} for name in sorted(symbols["spot"])}
        return 200, encoded({"error": [], "result": listed})

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        return Session(knows)

    def exchange(self, model: Market, started_ms: int) -> KrakenExchange:
        return KrakenExchange(model, started_ms)


WIRE = KrakenWire()
