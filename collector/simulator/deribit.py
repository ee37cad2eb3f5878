"""Deribit, the server's side: JSON-RPC requests and their answers, and the REST pages. Its channels: `deribit_topics`.

Sources: docs.deribit.com and recorded sessions. Inverse amounts are USD. REST trades start with the channel's first
subscription. The heartbeat is acknowledged and never asks for a test: a session that sends none is not cut here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from collector.simulator.deribit_topics import TOPICS, DeribitTopic, TradeTopic
from collector.simulator.deribit_transcript import DeribitTranscript
from collector.simulator.listing import Listing
from collector.simulator.market import Market, SymbolMarket
from collector.simulator.wire import Message, Reply, encoded

PATHS = {f"/{market}/ws/api/v2": market for market in ("linear", "inverse", "spot")}
MOST_CHANNELS = 500
MAX_NUMBER = 2**63
TRADES = {
    "/api/v2/public/get_last_trades_by_instrument_and_time": ("ms", "start_timestamp", "end_timestamp"),
    "/api/v2/public/get_last_trades_by_instrument": ("seq", "start_seq", "end_seq"),
}
"""Path → member of `TradeTopic.recent`, and the parameters that bound it."""
KINDS = {"linear": "future", "inverse": "future", "spot": "spot"}


def symbol_of(market: str, model_symbol: str) -> str:
    base = model_symbol.removesuffix("USDT")
    return {"linear": f"{base}_USDC-PERPETUAL", "inverse": f"{base}-PERPETUAL", "spot": f"{base}_USDC"}[
        market
    ]


def answer(number: Any, result: Any) -> str:
    return encoded({"jsonrpc": "2.0", "id": number, "result": result, "usIn": 1, "usOut": 2, "usDiff": 1})


def refusal(number: Any, code: int, text: str) -> str:
    return encoded({"jsonrpc": "2.0", "id": number, "error": {"code": code, "message": text}})


class Session:
    def __init__(self, knows: Callable[[str], bool]) -> None:
        self._knows = knows
        self._names: set[str] = set()

    def handle(self, text: str) -> Reply:
        number: Any = None
        try:
            request = msgspec.json.decode(text)
            number = request.get("id")
            method, params = request["method"], request["params"]
            channels = [str(channel) for channel in params.get("channels", [])]
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return Reply([refusal(number, -32600, "Invalid Request")])
        if method == "public/set_heartbeat":
            return Reply([answer(number, "ok")])
        if method == "public/test":
            return Reply([answer(number, {"version": "1.2.26"})])
        if method == "public/subscribe":
            if len(self._names) + len(channels) > MOST_CHANNELS:
                return Reply([refusal(number, -32602, "Invalid params")])
            granted = [name for name in channels if name in self._names or self._knows(name)]
            new = [name for name in granted if name not in self._names]
            self._names.update(new)
            return Reply([answer(number, granted)], subscribed=new)
        if method == "public/unsubscribe":
            gone = [name for name in channels if name in self._names]
            self._names.difference_update(gone)
            return Reply([answer(number, channels)], unsubscribed=gone)
        return Reply([refusal(number, -32601, "Method not found")])

    def stamp(self, text: str) -> str:
        return text


class DeribitExchange:
    def __init__(self, model: Market, started_ms: int) -> None:
        self._started_ms = started_ms
        self._listings = {
            market: {one.symbol: one for one in (listing(market, symbol) for symbol in model.symbols)}
            for market in PATHS.values()
        }
        self._trades: dict[str, TradeTopic] = {}

    def knows(self, market: str, topic: str) -> bool:
        channel, symbol = split(topic)
        return channel in TOPICS and symbol in self._listings[market]

    def topic(self, market: str, name: str) -> DeribitTopic:
        channel, symbol = split(name)
        topic = TOPICS[channel](self._listings[market][symbol], name, self._started_ms)
        if isinstance(topic, TradeTopic):
            self._trades[symbol] = topic
        return topic

    def rest(self, path: str, query: Mapping[str, str], now_ms: int) -> tuple[int, Message]:
        if path == "/api/v2/public/get_instruments":
            return self._answer([instrument(one) for one in self._listed(query.get("kind", ""))])
        if path == "/api/v2/public/get_book_summary_by_currency":
            return self._answer([summary(one) for one in self._listed(query.get("kind", ""))])
        if path in TRADES:
            return self._trades_of(path, query)
        return 404, Message(refusal(None, -32601, "Method not found"), [])

    def _trades_of(self, path: str, query: Mapping[str, str]) -> tuple[int, Message]:
        """By number or by time, both bounds included."""
        key, start, end = TRADES[path]
        topic = self._trades.get(query.get("instrument_name", ""))
        try:
            first, last = int(query.get(start, "0")), int(query.get(end, MAX_NUMBER))
            count = min(int(query.get("count", "10")), 1000)
        except ValueError:
            return 400, Message(refusal(None, -32602, "Invalid params"), [])
        texts = [trade["text"] for trade in (topic.recent if topic else ()) if first <= trade[key] <= last]
        if query.get("sorting") == "desc":
            texts.reverse()
        more = "true" if len(texts) > count else "false"
        trades = ",".join(texts[:count])
        return 200, Message(f'{{"jsonrpc":"2.0","result":{{"trades":[{trades}],"has_more":{more}}}}}', [])

    def _listed(self, kind: str) -> list[Listing]:
        return [
            one
            for market, listings in self._listings.items()
            for one in listings.values()
            if kind in ("", KINDS[market]) and not one.model.delisted
        ]

    def _answer(self, result: Any) -> tuple[int, Message]:
        return 200, Message(encoded({"jsonrpc": "2.0", "result": result}), [])


def split(topic: str) -> tuple[str, str]:
    """Channel and instrument."""
    channel, _, rest = topic.partition(".")
    symbol, _, interval = rest.rpartition(".")
    return (channel, symbol) if interval in ("100ms", "agg2") else ("", "")


def listing(market: str, model: SymbolMarket) -> Listing:
    inverse = market == "inverse"
    symbol = symbol_of(market, model.instrument.symbol)
    return Listing(market, symbol, model, contract=float(inverse), inverse=inverse)


def instrument(listing: Listing) -> dict[str, Any]:
    item, inverse = listing.model.instrument, listing.inverse
    told = {
        "instrument_name": listing.symbol,
        "kind": KINDS[listing.market],
        "base_currency": item.base,
        "quote_currency": "USD" if inverse else "USDC",
        "is_active": True,
        "tick_size": 10**-item.price_decimals,
        "min_trade_amount": 1 if inverse else 10**-item.lot_decimals,
        "contract_size": 1,
    }
    if listing.market != "spot":
        told |= {"settlement_period": "perpetual", "instrument_type": "reversed" if inverse else "linear"}
    return told


def summary(listing: Listing) -> dict[str, Any]:
    item = listing.model.instrument
    traded = item.price(item.first_tick) * (10_000 + listing.model.volume / 10.0**item.lot_decimals)
    return {"instrument_name": listing.symbol, "volume_usd": round(traded, 2)}


class DeribitWire:
    name = "deribit"
    paths: Mapping[str, str] = PATHS
    bases: Mapping[str, str] = {market: path for path, market in PATHS.items()}
    rest_by_post = stamped = False

    def symbol(self, market: str, model_symbol: str) -> str:
        return symbol_of(market, model_symbol)

    def offers(self, market: str, topic: str) -> str:
        channel, symbol = split(topic)
        return symbol if channel in TOPICS else ""

    def identify(self, message: Mapping[str, Any]) -> tuple[str, int]:
        if message.get("method") != "subscription":
            return "", 0
        params = message["params"]
        data = params["data"]
        newest = data[-1] if isinstance(data, list) and data else data
        channel, symbol = split(params["channel"].replace(".raw", ".100ms"))
        # Another interval of the same channel stands for ours.
        return (f"{channel}.{symbol}.100ms", int(newest["timestamp"])) if channel in TOPICS else ("", 0)

    def transcript(self, market: str) -> DeribitTranscript:
        return DeribitTranscript(market)

    def recorded_rest(
        self, path: str, query: Mapping[str, str], symbols: Mapping[str, set[str]], now_ms: int
    ) -> tuple[int, str]:
        if path != "/api/v2/public/get_instruments":
            return 404, "not recorded"
        listed = [
            {
                "instrument_name": name,
                "kind": KINDS[market],
                "instrument_type": "linear" if market == "linear" else "reversed",
            }
            for market, names in symbols.items()
            for name in sorted(names)
        ]
        return 200, encoded({"jsonrpc": "2.0", "result": listed})

    def session(self, path: str, conn_id: str, knows: Callable[[str], bool]) -> Session:
        return Session(knows)

    def exchange(self, model: Market, started_ms: int) -> DeribitExchange:
        return DeribitExchange(model, started_ms)


WIRE = DeribitWire()
