"""Binance, the server's side: requests and their answers, and the REST pages. Its streams: `binance_topics`.

Sources: the documentation and recorded sessions. A stream that is asked of the wrong route is acknowledged and never sent.
An unknown stream refuses the whole request. REST trades start with the stream's first subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from collector.simulator import ledger
from collector.simulator.binance_topics import EVENTS, OFFERED, STREAMS, BinanceTopic, BookTopic, TradeTopic
from collector.simulator.binance_transcript import BinanceTranscript
from collector.simulator.listing import Listing
from collector.simulator.market import Market, SymbolMarket
from collector.simulator.wire import Message, Reply, encoded

PATHS = {
    "/linear/public/ws": "linear",
    "/linear/market/ws": "linear",
    "/inverse/ws": "inverse",
    "/spot/ws": "spot",
}
APIS = {"/fapi/v1": "linear", "/dapi/v1": "inverse", "/api/v3": "spot"}
MOST_STREAMS = 1024


def symbol_of(market: str, model_symbol: str) -> str:
    base = model_symbol.removesuffix("USDT")
    return f"{base}USD_PERP" if market == "inverse" else model_symbol


class Session:
    def __init__(self, path: str, knows: Callable[[str], bool]) -> None:
        self._path, self._knows = path, knows
        self._names: set[str] = set()

    def handle(self, text: str) -> Reply:
        number: Any = None
        try:
            request = msgspec.json.decode(text)
            number, method, names = request.get("id"), request["method"], list(map(str, request["params"]))
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return Reply([self._error(number, "Invalid request")])
        if method == "SUBSCRIBE":
            if len(self._names | set(names)) > MOST_STREAMS:
                return Reply([self._error(number, "too many streams")])
            unknown = [name for name in names if name not in self._names and not self._knows(name)]
            if unknown:
                return Reply([self._error(number, f"Invalid request: unknown stream {unknown[0]}")])
            new = [name for name in dict.fromkeys(names) if name not in self._names and self._routed(name)]
            self._names.update(names)
            return Reply([encoded({"result": None, "id": number})], subscribed=new)
        if method == "UNSUBSCRIBE":
            gone = [name for name in dict.fromkeys(names) if name in self._names and self._routed(name)]
            self._names.difference_update(names)
            return Reply([encoded({"result": None, "id": number})], unsubscribed=gone)
        return Reply([self._error(number, f"Invalid request: unknown variant {method}")])

    def _routed(self, name: str) -> bool:
        public = name.partition("@")[2].startswith("depth")
        return not self._path.startswith("/linear/") or ("/public/" in self._path) == public

    def _error(self, number: Any, text: str) -> str:
        if self._path.startswith("/spot"):
            return encoded({"code": 2, "msg": text, "id": number})
        return encoded({"error": {"code": 2, "msg": text}, "id": number})

    def stamp(self, text: str) -> str:
        return text


class BinanceExchange:
    def __init__(self, model: Market, started_ms: int) -> None:
        self._started_ms = started_ms
        self._listings = {
            market: {one.symbol: one for one in (listing(market, symbol) for symbol in model.symbols)}
            for market in OFFERED
        }
        self._topics: dict[tuple[str, str, str], BinanceTopic] = {}

    def knows(self, market: str, topic: str) -> bool:
        symbol, _, suffix = topic.partition("@")
        return suffix in OFFERED[market] and symbol.upper() in self._listings[market]

    def topic(self, market: str, name: str) -> BinanceTopic:
        symbol, _, suffix = name.partition("@")
        made = STREAMS[suffix](self._listings[market][symbol.upper()], name, self._started_ms)
        self._topics[market, symbol.upper(), suffix] = made
        return made

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        api, _, page = path.rpartition("/")
        if page == "24hr":
            api, page = api.removesuffix("/ticker"), "ticker/24hr"
        market = APIS.get(api, "")
        if not market:
            return 404, Message("not found", [])
        listings, symbol = self._listings[market], query.get("symbol", "")
        if page == "exchangeInfo":
            listed = [instrument(one) for one in listings.values() if not one.model.delisted]
            return 200, Message(encoded({"symbols": listed}), [])
        if page == "ticker/24hr":
            return 200, Message(
                encoded([turnover(one) for one in listings.values() if not one.model.delisted]), []
            )
        if symbol not in listings:
            return 400, Message(encoded({"code": -1121, "msg": "Invalid symbol."}), [])
        if page == "depth":
            return self._depth(market, symbol, int(query.get("limit", "100")), now_ms)
        if page == "openInterest" and market != "spot":
            one = listings[symbol]
            amount = one.lots(one.model.open_interest)
            value = amount if market == "linear" else repr(float(amount) * one.contract)
            entry = ledger.ticker(market, symbol, now_ms, {"open_interest": value})
            return 200, Message(encoded({"symbol": symbol, "openInterest": amount, "time": now_ms}), [entry])
        if page in ("aggTrades", "historicalTrades", "trades"):
            return 200, Message(encoded(self._trades(market, symbol, query)), [])
        return 404, Message("not found", [])

    def _depth(self, market: str, symbol: str, limit: int, now_ms: int) -> tuple[int, Message]:
        topic = self._topics.get((market, symbol, "depth@100ms"))
        if not isinstance(topic, BookTopic):
            return 400, Message(encoded({"code": -1, "msg": "nobody has subscribed"}), [])
        bids, asks = topic.levels(topic.model.bids, limit), topic.levels(topic.model.asks, limit)
        text = encoded({"lastUpdateId": topic.last, "E": now_ms, "bids": bids, "asks": asks})
        return 200, Message(text, [ledger.rest_book(market, symbol, now_ms, topic.last)])

    def _trades(self, market: str, symbol: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        topic = self._topics.get((market, symbol, "trade" if market == "spot" else "aggTrade"))
        recent = list(topic.recent) if isinstance(topic, TradeTopic) else []
        limit = min(int(query.get("limit", "500")), 1000)
        if "fromId" in query:
            chosen = [one for one in recent if one["id"] >= int(query["fromId"])][:limit]
        elif "startTime" in query:
            first, last = int(query["startTime"]), int(query["endTime"])
            chosen = [one for one in recent if first <= one["T"] <= last][:limit]
        else:
            chosen = recent[-limit:]
        if market == "spot":
            return [
                {
                    "id": one["id"],
                    "price": one["p"],
                    "qty": one["q"],
                    "time": one["T"],
                    "isBuyerMaker": one["m"],
                }
                for one in chosen
            ]
        return [
            {"a": one["id"], "p": one["p"], "q": one["q"], "T": one["T"], "m": one["m"]} for one in chosen
        ]


def listing(market: str, model: SymbolMarket) -> Listing:
    inverse = market == "inverse"
    contract = (100.0 if model.instrument.base == "BTC" else 10.0) if inverse else 0.0
    return Listing(
        market, symbol_of(market, model.instrument.symbol), model, contract=contract, inverse=inverse
    )


def instrument(listing: Listing) -> dict[str, Any]:
    item, market = listing.model.instrument, listing.market
    told: dict[str, Any] = {
        "symbol": listing.symbol,
        "baseAsset": item.base,
        "quoteAsset": "USD" if market == "inverse" else "USDT",
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": f"{10**-item.price_decimals:.{item.price_decimals}f}"},
            {
                "filterType": "LOT_SIZE",
                "stepSize": "1" if listing.contract else f"{10**-item.lot_decimals:.8f}",
            },
        ],
    }
    if market == "inverse":
        return told | {
            "contractStatus": "TRADING",
            "contractType": "PERPETUAL",
            "contractSize": int(listing.contract),
        }
    told |= {"status": "TRADING"}
    return told if market == "spot" else told | {"contractType": "PERPETUAL"}


def turnover(listing: Listing) -> dict[str, Any]:
    item = listing.model.instrument
    base = 10_000 + listing.model.volume / 10.0**item.lot_decimals
    price = item.price(item.first_tick)
    told = {"symbol": listing.symbol, "lastPrice": f"{price:.8f}"}
    if listing.market == "inverse":
        return told | {"baseVolume": f"{base:.8f}"}
    return told | {"quoteVolume": f"{base * price:.8f}"}


class BinanceWire:
    name = "binance"
    paths: Mapping[str, str] = PATHS
    bases: Mapping[str, str] = {market: f"/{market}" for market in OFFERED}
    rest_by_post = stamped = False

    def symbol(self, market: str, model_symbol: str) -> str:
        return symbol_of(market, model_symbol)

    def offers(self, market: str, topic: str) -> str:
        symbol, _, suffix = topic.partition("@")
        return symbol.upper() if suffix in OFFERED[market] else ""

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        event = message.get("data", message)
        if not isinstance(event, dict) or event.get("e") not in EVENTS:
            return "", 0
        told = event.get("o", {}) if event["e"] == "forceOrder" else event
        symbol, pushed = told.get("s"), event.get("E")
        if not isinstance(symbol, str) or not isinstance(pushed, int):
            return "", 0
        return f"{symbol.lower()}@{EVENTS[event['e']]}", pushed

    def transcript(self, market: str) -> BinanceTranscript:
        return BinanceTranscript(market)

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        market = APIS.get(path.rpartition("/")[0], "")
        if not path.endswith("/exchangeInfo") or not market:
            return 404, "not recorded"
        listed = [
            {"symbol": name, "status": "TRADING", "contractSize": 1}
            for name in sorted(symbols.get(market, ()))
        ]
        return 200, encoded({"symbols": listed})

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        return Session(path, knows)

    def exchange(self, model: Market, started_ms: int) -> BinanceExchange:
        return BinanceExchange(model, started_ms)


WIRE = BinanceWire()
