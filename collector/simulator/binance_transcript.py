"""What recorded Binance messages say, told for the ledger: plain dictionaries, and nothing shared with the collector."""

from __future__ import annotations

import json
from typing import Any

from collector.simulator import ledger


class BinanceTranscript:
    """Trades of spot and USD-M; books can't be had again without their snapshots."""

    def __init__(self, market: str) -> None:
        self._market = market

    def entries(self, text: str) -> list[str]:
        message: dict[str, Any] = json.loads(text)
        event = message.get("data", message)
        kind = "trade" if self._market == "spot" else "aggTrade"
        if event["e"] != kind or self._market == "inverse":
            return []
        number = event["t" if kind == "trade" else "a"]
        side = "sell" if event["m"] else "buy"
        where = (self._market, event["s"], event["T"], event["E"])
        return [ledger.trade(*where, str(number), side, event["p"], event["q"])]
