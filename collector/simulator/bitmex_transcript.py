"""What recorded BitMEX messages say, told for the ledger: plain dictionaries, and nothing shared with the collector.
Contracts are taken as of one unit."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from collector.simulator import ledger


def ms(text: str) -> int:
    return round(datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000)


class BitmexTranscript:
    """Trades alone: books and tickers of the recordings have no times."""

    def __init__(self, market: str) -> None:
        self._inverse = market == "inverse"
        self._market = market

    def entries(self, text: str) -> list[str]:
        message: dict[str, Any] = json.loads(text)
        if message["table"] != "trade":
            return []
        return [
            ledger.trade(
                self._market,
                item["symbol"],
                ms(item["timestamp"]),
                ms(item["timestamp"]),
                item["trdMatchID"],
                item.get("side", "").lower(),
                repr(item["price"]),
                repr(float(item["size"]) / item["price"] if self._inverse else float(item["size"])),
            )
            for item in message["data"]
        ]
