"""BitMEX, the server's side: requests and their answers, and the REST pages. Its tables: `bitmex_topics`.

Sources: recorded sessions, and the venue's pages as others quote them. Inverse contracts are of 1 USD, linear ones of a
millionth of the coin. REST trades start with the table's first subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from collector.simulator.bitmex_topics import TOPICS, BitmexTopic, TradeTopic, iso
from collector.simulator.bitmex_transcript import BitmexTranscript
from collector.simulator.listing import Listing
from collector.simulator.market import Market, SymbolMarket
from collector.simulator.wire import Message, Reply, encoded

PATHS = {"/inverse/realtime": "inverse", "/linear/realtime": "linear"}
CONTRACTS = {"inverse": 1.0, "linear": 1e-6}
NAMES = {"BTC": "XBT"}


def symbol_of(market: str, model_symbol: str) -> str:
    base = model_symbol.removesuffix("USDT")
    return f"{NAMES.get(base, base)}{'USD' if market == 'inverse' else 'USDT'}"


class Session:
    """The requests of one connection, and the tables that it has."""

    def __init__(self, knows: Callable[[str], bool]) -> None:
        self._knows = knows
        self._names: set[str] = set()

    def handle(self, text: str) -> Reply:
        if text == "ping":
            return Reply(["pong"])
        try:
            request = msgspec.json.decode(text)
            op, args = request["op"], request["args"]
            args = args if isinstance(args, list) else [args]
            if op not in ("subscribe", "unsubscribe") or not all(isinstance(arg, str) for arg in args):
                raise TypeError(op)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError) as error:
            return Reply([encoded({"status": 400, "error": f"Malformed request: {error}", "meta": {}})])
        texts, done = [], []
        for name in args:
            if op == "subscribe" and name in self._names:
                refusal = f"You are already subscribed to this topic: {name}"
            elif op == "subscribe" and not self._knows(name):
                refusal = f"Unknown or expired symbol: {name}"
            elif op == "unsubscribe" and name not in self._names:
                refusal = f"You are not subscribed to {name}"
            else:
                (self._names.add if op == "subscribe" else self._names.remove)(name)
                done.append(name)
                texts.append(encoded({"success": True, op: name, "request": request}))
                continue
            texts.append(encoded({"status": 400, "error": refusal, "meta": {}, "request": request}))
        if op == "subscribe":
            return Reply(texts, subscribed=done)
        return Reply(texts, unsubscribed=done)

    def stamp(self, text: str) -> str:
        return text


class BitmexExchange:
    def __init__(self, model: Market, started_ms: int) -> None:
        self._started_ms = started_ms
        self._listings = {
            market: {one.symbol: one for one in (listing(market, symbol) for symbol in model.symbols)}
            for market in CONTRACTS
        }
        self._trades: dict[str, TradeTopic] = {}

    def knows(self, market: str, topic: str) -> bool:
        table, _, symbol = topic.partition(":")
        return table in TOPICS and symbol in self._listings[market]

    def topic(self, market: str, name: str) -> BitmexTopic:
        table, _, symbol = name.partition(":")
        topic = TOPICS[table](self._listings[market][symbol], name, self._started_ms)
        if isinstance(topic, TradeTopic):
            self._trades[symbol] = topic
        return topic

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        if path == "/api/v1/instrument/active":
            listed = [one for market in self._listings.values() for one in market.values()]
            return 200, Message(encoded([instrument(one) for one in listed if not one.model.delisted]), [])
        if path != "/api/v1/trade":
            return 404, Message(encoded({"error": {"message": "Not Found", "name": "HTTPError"}}), [])
        topic = self._trades.get(query.get("symbol", ""))
        first, last = query.get("startTime", ""), query.get("endTime", "~")
        start, count = int(query.get("start", "0")), min(int(query.get("count", "100")), 1000)
        texts = [
            trade["text"] for trade in (topic.recent if topic else ()) if first <= iso(trade["ms"]) <= last
        ]
        return 200, Message(f"[{','.join(texts[start : start + count])}]", [])


def listing(market: str, model: SymbolMarket) -> Listing:
    inverse = market == "inverse"
    symbol = symbol_of(market, model.instrument.symbol)
    return Listing(market, symbol, model, contract=CONTRACTS[market], inverse=inverse)


def instrument(listing: Listing) -> dict[str, Any]:
    item, inverse = listing.model.instrument, listing.inverse
    first = item.price(item.first_tick)
    return {
        "symbol": listing.symbol,
        "state": "Open",
        "typ": "FFWCSX",
        "underlying": NAMES.get(item.base, item.base),
        "quoteCurrency": "USD" if inverse else "USDT",
        "isInverse": inverse,
        "isQuanto": False,
        "multiplier": -100_000_000 if inverse else 1,
        "underlyingToPositionMultiplier": None if inverse else 1_000_000,
        "tickSize": 10**-item.price_decimals,
        "lotSize": 1,
        "foreignNotional24h": round(first * (10_000 + listing.model.volume / 10.0**item.lot_decimals)),
    }


class BitmexWire:
    name = "bitmex"
    paths: Mapping[str, str] = PATHS
    bases: Mapping[str, str] = {market: path for path, market in PATHS.items()}
    rest_by_post = stamped = False

    def symbol(self, market: str, model_symbol: str) -> str:
        return symbol_of(market, model_symbol)

    def offers(self, market: str, topic: str) -> str:
        table, _, symbol = topic.partition(":")
        return symbol if table in TOPICS else ""

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        table, data = message.get("table"), message.get("data")
        if table not in TOPICS or not isinstance(data, list):
            return "", 0
        symbol = data[0]["symbol"] if data else message.get("filter", {}).get("symbol", "")
        return f"{table}:{symbol}", 0

    def transcript(self, market: str) -> BitmexTranscript:
        return BitmexTranscript(market)

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        """Contracts of one unit: a recording without the list does not tell their size."""
        if path != "/api/v1/instrument/active":
            return 404, "not recorded"
        return 200, encoded(
            [
                {
                    "symbol": symbol,
                    "state": "Open",
                    "typ": "FFWCSX",
                    "isInverse": market == "inverse",
                    "multiplier": -100_000_000,
                    "underlyingToPositionMultiplier": 1,
                }
                for market, names in symbols.items()
                for symbol in sorted(names)
            ]
        )

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        return Session(knows)

    def exchange(self, model: Market, started_ms: int) -> BitmexExchange:
        return BitmexExchange(model, started_ms)


WIRE = BitmexWire()
