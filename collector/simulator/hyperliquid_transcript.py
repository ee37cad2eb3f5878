"""What recorded Hyperliquid messages say, told for the ledger: plain dictionaries, and nothing shared with the collector."""

from __future__ import annotations

import json
from typing import Any

from collector.simulator import ledger


class HyperliquidTranscript:
    def __init__(self, market: str) -> None:
        self._market = market

    def entries(self, text: str) -> list[str]:
        message: dict[str, Any] = json.loads(text)
        data = message["data"]
        if message["channel"] == "trades":
            return [
                ledger.trade(
                    *(self._market, t["coin"], t["time"], t["time"], str(t["tid"])),
                    {"B": "buy", "A": "sell"}[t["side"]],
                    t["px"],
                    t["sz"],
                )
                for t in data
            ]
        where = self._market, data["coin"]
        if message["channel"] == "l2Book":
            bids, asks = data["levels"]
            best = [f"{side[0]['px']},{side[0]['sz']}" if side else "" for side in (bids, asks)]
            return [ledger.book(*where, data["time"], data["time"], 0, len(bids), 1, best[0], best[1])]
        return []  # a context has no time
