"""What recorded OKX messages say, told for the ledger: plain dictionaries, and nothing shared with the collector."""

from __future__ import annotations

import json
from typing import Any

from collector.simulator import ledger


class OkxTranscript:
    """Trades of spot; what contracts are worth a recording does not tell."""

    def __init__(self, market: str) -> None:
        self._market = market

    def entries(self, text: str) -> list[str]:
        message: dict[str, Any] = json.loads(text)
        if self._market != "spot" or not message["arg"]["channel"].startswith("trades"):
            return []
        return [
            ledger.trade(
                self._market,
                one["instId"],
                one["ts"],
                one["ts"],
                one["tradeId"],
                one["side"],
                one["px"],
                one["sz"],
            )
            for one in message["data"]
        ]
