"""What recorded Bybit v5 messages say, told for the ledger: plain dictionaries, and nothing shared with the collector."""

from __future__ import annotations

import json
from typing import Any

from collector.simulator import ledger
from collector.simulator.bybit_topics import TICKER_FIELDS

SIDES = {"Buy": "buy", "Sell": "sell"}
FORCED = {"Buy": "sell", "Sell": "buy"}
"""A liquidation's `S` is the position's side."""


class RecordedBook:
    def __init__(self, quoted: bool) -> None:
        self._quoted = quoted
        self.u = -1
        """Of the last message; -1: none of the book is known."""
        self.sides: dict[str, dict[float, str]] = {"b": {}, "a": {}}
        """price → "price,size" as written"""

    def apply(self, data: dict[str, Any]) -> None:
        for name, levels in self.sides.items():
            for price, size in data[name]:
                if float(size):
                    levels[float(price)] = f"{price},{in_base(size, price) if self._quoted else size}"
                else:
                    levels.pop(float(price), None)

    def best(self) -> tuple[str, str]:
        """ "price,size" of the best bid and ask, "" for an empty side."""
        bids, asks = self.sides["b"], self.sides["a"]
        return bids[max(bids)] if bids else "", asks[min(asks)] if asks else ""


def in_base(size: str, price: str) -> str:
    return repr(float(size) / float(price))


class BybitTranscript:
    def __init__(self, market: str) -> None:
        self._market = market
        self._quoted = market == "inverse"
        self._books: dict[str, RecordedBook] = {}
        self._tickers: dict[str, dict[str, str]] = {}

    def entries(self, text: str) -> list[str]:
        message = json.loads(text)
        prefix, _, symbol = message["topic"].rpartition(".")
        where, ts, data = (self._market, symbol), message["ts"], message["data"]
        if prefix == "publicTrade":
            return [
                ledger.trade(*where, t["T"], ts, t["i"], SIDES[t["S"]], t["p"], self._qty(t)) for t in data
            ]
        if prefix == "allLiquidation":
            return [
                ledger.liquidation(*where, t["T"], ts, FORCED[t["S"]], t["p"], self._qty(t)) for t in data
            ]
        if prefix == "tickers":
            return self._ticker(symbol, message)
        if prefix.startswith("orderbook."):
            return self._book(symbol, int(prefix.removeprefix("orderbook.")), message)
        return []

    def _qty(self, item: dict[str, Any]) -> str:
        return in_base(item["v"], item["p"]) if self._quoted else item["v"]

    def _ticker(self, symbol: str, message: dict[str, Any]) -> list[str]:
        if message["type"] == "snapshot":
            self._tickers[symbol] = {}
        elif symbol not in self._tickers:
            return []  # a change of a state that nobody was told
        state = self._tickers[symbol]
        state.update(message["data"])
        values = {name: state[field] for name, field in TICKER_FIELDS if field in state}
        return [ledger.ticker(self._market, symbol, message["ts"], values)]

    def _book(self, symbol: str, depth: int, message: dict[str, Any]) -> list[str]:
        book = self._books.setdefault(message["topic"], RecordedBook(self._quoted))
        data = message["data"]
        u, snapshot = int(data["u"]), message["type"] == "snapshot" or data["u"] == 1
        if not snapshot and book.u < 0:
            return []
        repeated = snapshot and u == book.u != 1
        if snapshot:
            book.sides = {"b": {}, "a": {}}
        book.apply(data)
        book.u = u
        ts = message.get("cts") or message["ts"]
        bid, ask = book.best()
        return [
            ledger.book(
                self._market, symbol, ts, message["ts"], u, depth, int(snapshot), bid, ask, int(repeated)
            )
        ]
