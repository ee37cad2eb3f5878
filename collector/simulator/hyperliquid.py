"""Hyperliquid, the server's side: requests and their answers, and REST by POST. Its topics: `hyperliquid_topics`.

Sources: the venue's pages as others quote them, and its Python SDK. The first text of a connection, which is not JSON,
comes before the first answer. REST trades start with the topic's first subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from collector.simulator.hyperliquid_topics import TOPICS, HyperliquidTopic, TradeTopic, turnover
from collector.simulator.hyperliquid_transcript import HyperliquidTranscript
from collector.simulator.listing import Listing
from collector.simulator.market import Market, SymbolMarket
from collector.simulator.wire import Message, Reply, encoded

PATHS = {"/linear/ws": "linear", "/spot/ws": "spot"}
MOST_SUBSCRIPTIONS = 1000
CHANNELS = {"l2Book": "l2Book", "activeAssetCtx": "activeAssetCtx", "activeSpotAssetCtx": "activeAssetCtx"}
"""Of data that names its coin → type of the subscription."""


def symbol_of(market: str, model_symbol: str) -> str:
    base = model_symbol.removesuffix("USDT")
    return f"{base}/USDC" if market == "spot" else base


class Session:
    """The requests of one connection, and the topics that it has."""

    def __init__(self, knows: Callable[[str], bool]) -> None:
        self._knows = knows
        self._names: set[str] = set()
        self._greeting = ["Websocket connection established."]

    def handle(self, text: str) -> Reply:
        greeting, self._greeting = self._greeting, []
        reply = self._reply(text)
        return msgspec.structs.replace(reply, texts=greeting + reply.texts)

    def _reply(self, text: str) -> Reply:
        try:
            request = msgspec.json.decode(text)
            method = request["method"]
            if method == "ping":
                return Reply([encoded({"channel": "pong"})])
            if method not in ("subscribe", "unsubscribe"):
                raise TypeError(method)
            asked = request["subscription"]
            name = f"{asked['type']}:{asked['coin']}"
        except (msgspec.DecodeError, KeyError, TypeError):
            return refusal(f"Error parsing JSON into valid websocket request: {text}")
        quoted = encoded({"type": asked["type"], "coin": asked["coin"]})
        if method == "unsubscribe":
            if name not in self._names:
                return refusal(f"Already unsubscribed: {quoted}")
            self._names.remove(name)
            return Reply([answer(method, asked)], unsubscribed=[name])
        if name in self._names:
            return refusal(f"Already subscribed: {quoted}")
        if len(self._names) >= MOST_SUBSCRIPTIONS:
            return refusal(f"Cannot subscribe to more than {MOST_SUBSCRIPTIONS} channels: {quoted}")
        if not self._knows(name):
            return refusal(f"Invalid subscription {quoted}")
        self._names.add(name)
        return Reply([answer(method, asked)], subscribed=[name])

    def stamp(self, text: str) -> str:
        return text


def refusal(reason: str) -> Reply:
    return Reply([encoded({"channel": "error", "data": reason})])


def answer(method: str, asked: dict[str, Any]) -> str:
    return encoded({"channel": "subscriptionResponse", "data": {"method": method, "subscription": asked}})


class HyperliquidExchange:
    def __init__(self, model: Market, started_ms: int) -> None:
        self._started_ms = started_ms
        self._listings = {
            market: {one.symbol: one for one in (listing(market, symbol) for symbol in model.symbols)}
            for market in PATHS.values()
        }
        self._trades: dict[str, TradeTopic] = {}

    def knows(self, market: str, topic: str) -> bool:
        kind, _, coin = topic.partition(":")
        return kind in TOPICS and coin in self._listings[market]

    def topic(self, market: str, name: str) -> HyperliquidTopic:
        kind, _, coin = name.partition(":")
        topic = TOPICS[kind](self._listings[market][coin], name, self._started_ms)
        if isinstance(topic, TradeTopic):
            self._trades[coin] = topic
        return topic

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        status, text = self._rest(path, query)
        return status, Message(text, [])

    def _rest(self, path: str, query: Mapping[str, str]) -> tuple[int, str]:
        kind = query.get("type")
        if path != "/info":
            return 404, "not found"
        if kind == "metaAndAssetCtxs":
            return 200, encoded(perpetuals(list(self._listings["linear"].values())))
        if kind == "spotMetaAndAssetCtxs":
            return 200, encoded(pairs(list(self._listings["spot"].values())))
        if kind == "recentTrades" and any(query.get("coin") in one for one in self._listings.values()):
            topic = self._trades.get(query["coin"])
            newest_first = reversed(topic.recent) if topic is not None else ()
            return 200, f"[{','.join(newest_first)}]"
        return 422, "Failed to deserialize the JSON body into the target type"


def listing(market: str, model: SymbolMarket) -> Listing:
    return Listing(market, symbol_of(market, model.instrument.symbol), model)


def perpetuals(listings: list[Listing]) -> list[Any]:
    """The answer to `metaAndAssetCtxs`."""
    universe = [
        {"name": one.symbol, "szDecimals": one.model.instrument.lot_decimals, "maxLeverage": 50}
        | ({"isDelisted": True} if one.model.delisted else {})
        for one in listings
    ]
    return [{"universe": universe, "marginTables": []}, [context(one) for one in listings]]


def pairs(listings: list[Listing]) -> list[Any]:
    """The answer to `spotMetaAndAssetCtxs`: tokens, and pairs of their numbers."""
    tokens: list[dict[str, Any]] = [{"name": "USDC", "szDecimals": 8, "weiDecimals": 8, "index": 0}]
    universe = []
    for number, one in enumerate(listings, 1):
        item = one.model.instrument
        tokens.append({"name": item.base, "szDecimals": item.lot_decimals, "weiDecimals": 8, "index": number})
        if not one.model.delisted:
            universe.append({"name": one.symbol, "tokens": [number, 0], "index": number - 1})
    return [{"tokens": tokens, "universe": universe}, [context(one) for one in listings]]


def context(one: Listing) -> dict[str, str]:
    last = one.price[one.model.last]
    told = {"coin": one.symbol} if one.market == "spot" else {}
    return told | {"markPx": last, "midPx": last, "prevDayPx": last, "dayNtlVlm": f"{turnover(one):.4f}"}


class HyperliquidWire:
    name = "hyperliquid"
    paths: Mapping[str, str] = PATHS
    bases: Mapping[str, str] = {market: path for path, market in PATHS.items()}
    rest_by_post = True
    stamped = False

    def symbol(self, market: str, model_symbol: str) -> str:
        return symbol_of(market, model_symbol)

    def offers(self, market: str, topic: str) -> str:
        kind, _, coin = topic.partition(":")
        return coin if kind in TOPICS else ""

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        channel, data = message.get("channel"), message.get("data")
        if channel == "trades" and data:
            return f"trades:{data[0]['coin']}", max(trade["time"] for trade in data)
        if channel in CHANNELS and isinstance(data, dict):
            return f"{CHANNELS[channel]}:{data['coin']}", data.get("time", 0)
        return "", 0

    def transcript(self, market: str) -> HyperliquidTranscript:
        return HyperliquidTranscript(market)

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        if path != "/info" or query.get("type") not in ("metaAndAssetCtxs", "spotMetaAndAssetCtxs"):
            return 404, "not recorded"
        spot = query["type"] == "spotMetaAndAssetCtxs"
        names = sorted(symbols.get("spot" if spot else "linear", ()))
        item: dict[str, Any] = {"tokens": [1, 0]} if spot else {"szDecimals": 0}
        tokens = [{"name": name, "szDecimals": 0, "index": index} for index, name in enumerate(("USDC", "?"))]
        universe = [{"name": name} | item for name in names]
        return 200, encoded([{"universe": universe, "tokens": tokens}, [{"coin": name} for name in names]])

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        return Session(knows)

    def exchange(self, model: Market, started_ms: int) -> HyperliquidExchange:
        return HyperliquidExchange(model, started_ms)


WIRE = HyperliquidWire()
