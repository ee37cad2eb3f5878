"""OKX, the server's side: requests and their answers, one an argument, and the REST pages. Its channels: `okx_topics`.

Sources: the documentation as others quote it, and recorded sessions. `trades-all` is on `/business`, all else on `/public`.
Books of the inverse market begin without a snapshot. REST trades start with the channel's first subscription.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from collector.simulator import ledger
from collector.simulator.listing import Listing
from collector.simulator.market import Market, SymbolMarket
from collector.simulator.okx_topics import (
    SPOT,
    TOPICS,
    BookTopic,
    LiquidationTopic,
    OkxTopic,
    TradeTopic,
    liquidations,
)
from collector.simulator.okx_transcript import OkxTranscript
from collector.simulator.wire import Message, Reply, Topic, encoded

MARKETS = ("linear", "inverse", "spot")
PATHS = {f"/{market}/ws/v5/{route}": market for market in MARKETS for route in ("public", "business")}
ARGS_CHARACTERS = 64 << 10
FORCED = "liquidation-orders:SWAP"
DOLLARS = 10.0
"""Of an inverse contract."""
PAGE = 100


def symbol_of(market: str, model_symbol: str) -> str:
    base = model_symbol.removesuffix("USDT")
    return {"linear": f"{base}-USDT-SWAP", "inverse": f"{base}-USD-SWAP", "spot": f"{base}-USDT"}[market]


class Session:
    def __init__(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> None:
        self._business = path.endswith("/business")
        self._conn_id, self._knows = conn_id, knows
        self._names: dict[str, int] = {}
        """Name → length of its argument."""

    def handle(self, text: str) -> Reply:
        if text == "ping":
            return Reply(["pong"])
        number: Any = None
        try:
            request = msgspec.json.decode(text)
            number, op, args = request.get("id"), request["op"], request["args"]
            names = [f"{arg['channel']}:{arg.get('instId') or arg['instType']}" for arg in args]
            if op not in ("subscribe", "unsubscribe"):
                raise TypeError(op)
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return Reply([self._error(number, "60012", f"Illegal request: {text}")])
        texts, changed = [], []
        for name, arg in zip(names, args, strict=True):
            error = self._refusal(name, arg) if op == "subscribe" else ""
            if error:
                texts.append(self._error(number, "60018", error))
                continue
            texts.append(encoded({"id": number, "event": op, "arg": arg, "connId": self._conn_id}))
            if (op == "subscribe") != (name in self._names):
                changed.append(name)
            if op == "subscribe":
                self._names[name] = len(encoded(arg))
            else:
                self._names.pop(name, None)
        if op == "subscribe":
            return Reply(texts, subscribed=changed)
        return Reply(texts, unsubscribed=changed)

    def _refusal(self, name: str, arg: dict[str, str]) -> str:
        if name in self._names:
            return ""
        if sum(self._names.values()) + len(encoded(arg)) > ARGS_CHARACTERS:
            return "the length of all arguments exceeds 64 KB"
        channel, _, what = name.partition(":")
        if (channel == "trades-all") == self._business and self._knows(name):
            return ""
        key = "instId" if "instId" in arg else "instType"
        return (
            f"Wrong URL or channel:{channel},{key}:{what} doesn't exist. Please use the correct URL, channel and parameters "
            "referring to API document."
        )

    def _error(self, number: Any, code: str, text: str) -> str:
        told = {} if number is None else {"id": number}
        return encoded(told | {"event": "error", "code": code, "msg": text, "connId": self._conn_id})

    def stamp(self, text: str) -> str:
        return text


class OkxExchange:
    def __init__(self, model: Market, started_ms: int) -> None:
        self._started_ms = started_ms
        self._listings = {
            market: {one.symbol: one for one in (listing(market, symbol) for symbol in model.symbols)}
            for market in MARKETS
        }
        self._trades: dict[str, TradeTopic] = {}
        self._books: dict[str, BookTopic] = {}
        self._forced: dict[str, LiquidationTopic] = {}

    def knows(self, market: str, topic: str) -> bool:
        return offered_symbol(market, topic) in self._listings[market] or (
            topic == FORCED and market != "spot"
        )

    def topic(self, market: str, name: str) -> OkxTopic | LiquidationTopic:
        listings = self._listings[market]
        if name == FORCED:
            first = liquidations(list(listings.values()), name, self._started_ms)
            one: Topic | None = first
            while isinstance(one, LiquidationTopic):
                self._forced[one.listing.symbol.removesuffix("-SWAP")] = one
                one = one.also
            return first
        symbol = offered_symbol(market, name)
        made = TOPICS[name.partition(":")[0]](listings[symbol], name, self._started_ms)
        if isinstance(made, TradeTopic):
            self._trades[symbol] = made
        elif isinstance(made, BookTopic):
            self._books[symbol] = made
        return made

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        kind, symbol = query.get("instType", ""), query.get("instId", "")
        listed = [
            one
            for market in MARKETS
            for one in self._listings[market].values()
            if kind == ("SPOT" if market == "spot" else "SWAP") and not one.model.delisted
        ]
        if path == "/api/v5/public/instruments":
            return answer(encoded([instrument(one) for one in listed]))
        if path == "/api/v5/market/tickers":
            return answer(encoded([ticker(one) for one in listed]))
        if path == "/api/v5/market/books" and symbol in self._books:
            book = self._books[symbol]
            entry = ledger.rest_book(*book.where, now_ms, book.seq)
            return answer(f"[{book.whole()}]", [entry])
        if path == "/api/v5/market/history-trades" and symbol in self._trades:
            return answer(encoded(self._history(symbol, query)))
        if path == "/api/v5/public/liquidation-orders" and query.get("state") == "filled":
            return answer(encoded(self._liquidated(query)))
        return 400, Message(encoded({"code": "51001", "msg": "Instrument ID does not exist", "data": []}), [])

    def _history(self, symbol: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Newest first, older than an id or a time."""
        key = "tradeId" if query.get("type", "1") == "1" else "ts"
        after = int(query.get("after", 2**63))
        older = [one for one in self._trades[symbol].recent if int(one[key]) < after]
        return older[: -min(int(query.get("limit", PAGE)), PAGE) - 1 : -1]

    def _liquidated(self, query: Mapping[str, str]) -> list[dict[str, Any]]:
        """Newest first, older than a time; none before the channel's first subscription."""
        topic = self._forced.get(query.get("uly", ""))
        after, most = int(query.get("after", 2**63)), min(int(query.get("limit", PAGE)), PAGE)
        details = [one for one in (topic.recent if topic else ()) if int(one["ts"]) < after][: -most - 1 : -1]
        if topic is None or not details:
            return []
        family = query["uly"]
        told = {"instFamily": family, "uly": family, "instType": "SWAP", "totalLoss": "0"}
        return [told | {"instId": topic.listing.symbol, "details": details}]


def answer(data: str, entries: list[str] | None = None) -> tuple[int, Message]:
    return 200, Message(f'{{"code":"0","msg":"","data":{data}}}', entries or [])


def offered_symbol(market: str, topic: str) -> str:
    """The symbol of a topic that the market has, else ""."""
    channel, _, name = topic.partition(":")
    if channel not in (SPOT if market == "spot" else TOPICS):
        return ""
    return f"{name}-SWAP" if channel == "index-tickers" else name


def listing(market: str, model: SymbolMarket) -> Listing:
    symbol, inverse = symbol_of(market, model.instrument.symbol), market == "inverse"
    contract = {"linear": 10.0**-model.instrument.lot_decimals, "inverse": DOLLARS, "spot": 0.0}[market]
    return Listing(market, symbol, model, contract=contract, inverse=inverse)


def instrument(listing: Listing) -> dict[str, str]:
    item, spot = listing.model.instrument, listing.market == "spot"
    told = {
        "instId": listing.symbol,
        "instType": "SPOT" if spot else "SWAP",
        "state": "live",
        "tickSz": f"{10**-item.price_decimals:.{item.price_decimals}f}",
        "lotSz": f"{10**-item.lot_decimals:.{item.lot_decimals}f}" if spot else "1",
    }
    if spot:
        return told
    value = repr(listing.contract)
    return told | {"ctType": listing.market, "ctVal": value, "ctMult": "1", "ctValCcy": item.base}


def ticker(listing: Listing) -> dict[str, str]:
    item = listing.model.instrument
    price = item.price(item.first_tick)
    coins = 10_000 + listing.model.volume / 10.0**item.lot_decimals
    volume = coins * price if listing.market == "spot" else coins
    return {"instId": listing.symbol, "last": f"{price:.8f}", "volCcy24h": f"{volume:.8f}"}


class OkxWire:
    name = "okx"
    paths: Mapping[str, str] = PATHS
    bases: Mapping[str, str] = {market: f"/{market}/ws/v5" for market in MARKETS}
    rest_by_post = stamped = False

    def symbol(self, market: str, model_symbol: str) -> str:
        return symbol_of(market, model_symbol)

    def offers(self, market: str, topic: str) -> str:
        return offered_symbol(market, topic)

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        arg, data = message.get("arg"), message.get("data")
        if not isinstance(arg, dict) or not isinstance(data, list) or not data:
            return "", 0
        channel = "trades-all" if arg.get("channel") == "trades" else str(arg.get("channel"))
        if channel == "liquidation-orders":
            return f"{channel}:{arg.get('instType')}", int(data[-1]["details"][-1]["ts"])
        return (f"{channel}:{arg.get('instId')}", int(data[-1]["ts"])) if channel in TOPICS else ("", 0)

    def transcript(self, market: str) -> OkxTranscript:
        return OkxTranscript(market)

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        if path != "/api/v5/public/instruments":
            return 404, "not recorded"
        kind = query.get("instType", "")
        listed = [
            {"instId": name, "instType": kind, "ctType": market, "ctVal": "1", "state": "live"}
            for market, names in symbols.items()
            for name in sorted(names)
            if kind == ("SPOT" if market == "spot" else "SWAP")
        ]
        return 200, encoded({"code": "0", "msg": "", "data": listed})

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        return Session(path, conn_id, knows)

    def exchange(self, model: Market, started_ms: int) -> OkxExchange:
        return OkxExchange(model, started_ms)


WIRE = OkxWire()
