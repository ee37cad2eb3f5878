"""What recorded Kraken messages say, told for the ledger: plain dictionaries, and nothing shared with the collector."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from collector.simulator import ledger


class KrakenTranscript:
    """Trades."""

    def __init__(self, market: str) -> None:
        self._market = market

    def entries(self, text: str) -> list[str]:
        message: dict[str, Any] = json.loads(text, parse_float=str)
        if message["channel"] != "trade":
            return []
        entries = []
        for one in message["data"]:
            us = round(datetime.fromisoformat(one["timestamp"]).timestamp() * 1_000_000)
            ms = us // 1000
            where = (self._market, one["symbol"], ms, ms, str(one["trade_id"]))
            entry = ledger.trade(*where, one["side"], str(one["price"]), str(one["qty"]))
            entries.append(entry.replace(f'"ts":{ms}000', f'"ts":{us}'))  # simulated venues have no µs
        return entries
