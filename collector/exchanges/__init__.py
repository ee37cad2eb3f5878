"""The venues. Add one here, and nowhere else outside its own module."""

from __future__ import annotations

from collector.exchanges.base import Exchange
from collector.exchanges.binance import Binance
from collector.exchanges.bitmex import Bitmex
from collector.exchanges.bybit import Bybit
from collector.exchanges.coinbase import Coinbase
from collector.exchanges.deribit import Deribit
from collector.exchanges.hyperliquid import Hyperliquid
from collector.exchanges.kraken import Kraken
from collector.exchanges.okx import Okx

EXCHANGES: dict[str, Exchange] = {
    "binance": Binance(),
    "bitmex": Bitmex(),
    "bybit": Bybit(),
    "coinbase": Coinbase(),
    "deribit": Deribit(),
    "hyperliquid": Hyperliquid(),
    "kraken": Kraken(),
    "okx": Okx(),
}
