"""Bybit v5 public, the server's side: requests and their answers, and the REST pages. Its topics: `bybit_topics`.

Sources: bybit-exchange/docs v5 (`ws/connect`, `websocket/public/*`, `market/instrument`, `market/recent-trade`) and
recorded sessions. Linear and spot show the same prices; inverse trades the same coins in USD. REST recent trades start
with the topic's first subscription, so that the ledger holds every trade that anybody can learn of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from collector.simulator.bybit_topics import RECENT_TRADES, BybitTopic, TradeTopic, listing, make_topic
from collector.simulator.bybit_transcript import BybitTranscript
from collector.simulator.listing import Listing
from collector.simulator.market import Market
from collector.simulator.wire import Message, Reply, encoded

PATHS = {f"/v5/public/{market}": market for market in ("linear", "inverse", "spot")}
TOPIC = re.compile(r"(publicTrade|orderbook\.(?:1|50|200|1000)|allLiquidation|tickers)\.(\w+)")
SPOT_ARGS_PER_REQUEST = 10
ARGS_CHARACTERS = 21_000
"""Of all args on one connection."""


class Session:
    """The requests of one connection, and the topics that it has."""

    def __init__(self, market: str, conn_id: str, knows: Callable[[str], bool]) -> None:
        self._spot = market == "spot"
        self._conn_id = conn_id
        self._knows = knows
        self._topics: set[str] = set()

    def handle(self, text: str) -> Reply:
        try:
            request = msgspec.json.decode(text)
            op, args = request["op"], request.get("args", [])
            req_id = str(request.get("req_id", ""))
            if not isinstance(args, list) or not all(isinstance(arg, str) for arg in args):
                raise TypeError("args")
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return Reply([self._answer(False, "error:request must be JSON with op and args", "", "")])
        if op == "ping":
            return Reply([self._answer(True, "pong", "" if self._spot else req_id, "ping", not self._spot)])
        if op == "subscribe":
            error = self._refusal(args)
            if error:
                return Reply([self._answer(False, error, req_id, op)])
            self._topics.update(args)
            return Reply(
                [self._answer(True, op if self._spot else "", req_id, op, not self._spot)], subscribed=args
            )
        if op == "unsubscribe":
            gone = [arg for arg in dict.fromkeys(args) if arg in self._topics]
            self._topics.difference_update(gone)
            ack = self._answer(True, op if self._spot else "", req_id, op, not self._spot)
            return Reply([ack], unsubscribed=gone)
        return Reply([self._answer(False, f"error:unknown op,op:{op}", req_id, str(op))])

    def stamp(self, text: str) -> str:
        return text

    def _refusal(self, args: list[str]) -> str:
        """Why the whole batch is refused, else ""."""
        if not args:
            return "error:args is empty"
        if self._spot and len(args) > SPOT_ARGS_PER_REQUEST:
            return "args size >10"
        if sum(map(len, args)) + sum(map(len, self._topics)) > ARGS_CHARACTERS:
            return f"error:args length exceeds {ARGS_CHARACTERS} characters"
        seen = set(self._topics)
        for topic in args:
            if not self._knows(topic):
                return f"error:handler not found,topic:{topic}"
            if topic in seen:
                return f"error:already subscribed,topic:{topic}"
            seen.add(topic)
        return ""

    def _answer(self, success: bool, ret_msg: str, req_id: str, op: str, always_id: bool = False) -> str:
        answer: dict[str, Any] = {"success": success, "ret_msg": ret_msg, "conn_id": self._conn_id}
        if req_id or always_id:
            answer["req_id"] = req_id
        return encoded(answer | {"op": op})


class BybitExchange:
    """Bybit's three public markets over one market model."""

    def __init__(self, model: Market, started_ms: int) -> None:
        self._started_ms = started_ms
        self._listings: dict[str, dict[str, Listing]] = {}
        for market in PATHS.values():
            listings = [listing(market, symbol) for symbol in model.symbols]
            self._listings[market] = {one.symbol: one for one in listings}
        self._trades: dict[tuple[str, str], TradeTopic] = {}

    def knows(self, market: str, topic: str) -> bool:
        return offered_symbol(market, topic) in self._listings[market]

    def topic(self, market: str, name: str) -> BybitTopic:
        prefix, _, symbol = name.rpartition(".")
        topic = make_topic(self._listings[market][symbol], prefix, self._started_ms)
        if isinstance(topic, TradeTopic):
            self._trades[market, symbol] = topic
        return topic

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        status, text = self._rest(path, query, now_ms)
        return status, Message(text, [])

    def _rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, str]:
        if path == "/v5/market/time":
            return 200, rest_answer(
                {"timeSecond": str(now_ms // 1000), "timeNano": f"{now_ms}000000"}, now_ms
            )
        category = query.get("category", "")
        if path not in ("/v5/market/instruments-info", "/v5/market/recent-trade", "/v5/market/tickers"):
            return 404, "not found"
        symbol, limit = query.get("symbol", ""), query.get("limit", "0")
        if category not in self._listings or not limit.isdigit():
            return 200, rest_answer({}, now_ms, 10001, "params error: Category or limit is invalid")
        if symbol and symbol not in self._listings[category]:
            return 200, rest_answer({}, now_ms, 10001, "params error: Symbol Is Invalid")
        if path == "/v5/market/tickers":
            return 200, rest_answer({"category": category, "list": self._tickers(category)}, now_ms)
        if path == "/v5/market/recent-trade":
            result: dict[str, Any] = {
                "category": category,
                "list": self._recent(category, symbol, int(limit)),
            }
        else:
            result = self._instruments(category, symbol, int(limit), query.get("cursor", ""))
        return 200, rest_answer(result, now_ms)

    def _tickers(self, category: str) -> list[dict[str, Any]]:
        return [
            {
                "symbol": one.symbol,
                "lastPrice": one.price[one.model.last],
                "turnover24h": f"{turnover(one):.4f}",
            }
            for one in self._listings[category].values()
            if not one.model.delisted
        ]

    def _recent(self, category: str, symbol: str, limit: int) -> list[dict[str, Any]]:
        default, most = RECENT_TRADES[category]
        topic = self._trades.get((category, symbol))
        newest: Iterator[dict[str, Any]] = reversed(topic.recent) if topic else iter(())
        return [
            {
                "execId": trade["i"],
                "symbol": symbol,
                "price": trade["p"],
                "size": trade["v"],
                "side": trade["S"],
                "time": str(trade["T"]),
                "isBlockTrade": False,
                "isRPITrade": False,
                "seq": str(trade["seq"]),
            }
            for trade, _ in zip(newest, range(min(limit or default, most)), strict=False)
        ]

    def _instruments(self, category: str, symbol: str, limit: int, cursor: str) -> dict[str, Any]:
        every = [one for one in self._listings[category].values() if not one.model.delisted]
        if symbol:
            every = [self._listings[category][symbol]]
        start = int(cursor) if cursor.isdigit() else 0
        end = len(every) if category == "spot" else start + min(limit or 500, 1000)
        return {
            "category": category,
            "list": [instrument(one) for one in every[start:end]],
            "nextPageCursor": str(end) if end < len(every) else "",
        }


def turnover(listing: Listing) -> float:
    """Quote units. It differs by symbol from the first moment on, as on a market that is a day old."""
    item = listing.model.instrument
    return item.price(item.first_tick) * (10_000 + listing.model.volume / 10.0**item.lot_decimals)


def offered_symbol(market: str, topic: str) -> str:
    match = TOPIC.fullmatch(topic)
    return "" if match is None or (market == "spot" and match[1] == "allLiquidation") else match[2]


def instrument(listing: Listing) -> dict[str, Any]:
    item = listing.model.instrument
    return {
        "symbol": listing.symbol,
        "status": "Trading",
        **({} if listing.market == "spot" else {"contractType": f"{listing.market.title()}Perpetual"}),
        "baseCoin": item.base,
        "quoteCoin": "USD" if listing.market == "inverse" else "USDT",
        "priceFilter": {"tickSize": f"{10**-item.price_decimals:.{item.price_decimals}f}"},
        "lotSizeFilter": {"qtyStep": f"{10**-item.lot_decimals:.{item.lot_decimals}f}"},
    }


def rest_answer(result: dict[str, Any], now_ms: int, code: int = 0, text: str = "OK") -> str:
    answer = {"retCode": code, "retMsg": text, "result": result, "retExtInfo": {}, "time": now_ms}
    return encoded(answer)


class BybitWire:
    name = "bybit"
    paths: Mapping[str, str] = PATHS
    bases: Mapping[str, str] = {market: path for path, market in PATHS.items()}
    rest_by_post = stamped = False

    def symbol(self, market: str, model_symbol: str) -> str:
        base = model_symbol.removesuffix("USDT")
        return f"{base}USD" if market == "inverse" and base != model_symbol else model_symbol

    def offers(self, market: str, topic: str) -> str:
        return offered_symbol(market, topic)

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        topic, push = message.get("topic"), message.get("ts")
        if isinstance(topic, str) and isinstance(push, int) and "data" in message:
            return topic, push
        return "", 0

    def transcript(self, market: str) -> BybitTranscript:
        return BybitTranscript(market)

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        if path != "/v5/market/instruments-info":
            return 404, "not recorded"
        category = query.get("category", "")
        listed = [{"symbol": symbol, "status": "Trading"} for symbol in sorted(symbols.get(category, ()))]
        return 200, rest_answer({"category": category, "list": listed, "nextPageCursor": ""}, now_ms)

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        return Session(PATHS[path], conn_id, knows)

    def exchange(self, model: Market, started_ms: int) -> BybitExchange:
        return BybitExchange(model, started_ms)


WIRE = BybitWire()
