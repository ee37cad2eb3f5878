"""What recorded Deribit messages say, told for the ledger: plain dictionaries, and nothing shared with the collector."""

from __future__ import annotations

import json
from typing import Any

from collector.simulator import ledger

OTHER = {"buy": "sell", "sell": "buy"}


class DeribitTranscript:
    """Trades and liquidations; of books and tickers a recording tells no more than the collector stores."""

    def __init__(self, market: str) -> None:
        self._market, self._quoted = market, market == "inverse"

    def entries(self, text: str) -> list[str]:
        params: dict[str, Any] = json.loads(text)["params"]
        if not params["channel"].startswith("trades."):
            return []
        entries = []
        for item in params["data"]:
            price, amount, ts = item["price"], float(item["amount"]), item["timestamp"]
            where = (self._market, item["instrument_name"], ts, ts)
            qty = repr(amount / price if self._quoted else amount)
            entries.append(ledger.trade(*where, item["trade_id"], item["direction"], repr(price), qty))
            for who in item.get("liquidation", ""):
                side = item["direction"] if who == "T" else OTHER[item["direction"]]
                entries.append(ledger.liquidation(*where, side, repr(price), qty))
        return entries
