"""What recorded Coinbase messages say, told for the ledger: plain dictionaries, and nothing shared with the collector."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from collector.simulator import ledger


class CoinbaseTranscript:
    """Trades."""

    def __init__(self, market: str) -> None:
        self._market = market

    def entries(self, text: str) -> list[str]:
        message: dict[str, Any] = json.loads(text)
        if message["channel"] != "market_trades":
            return []
        entries = []
        for one in (one for event in message["events"] for one in event["trades"]):
            us = round(datetime.fromisoformat(one["time"]).timestamp() * 1_000_000)
            ms = us // 1000
            where = (self._market, one["product_id"], ms, ms, one["trade_id"])
            entry = ledger.trade(*where, one["side"].lower(), one["price"], one["size"])
            entries.append(entry.replace(f'"ts":{ms}000', f'"ts":{us}'))  # simulated venues have no µs
        return entries
