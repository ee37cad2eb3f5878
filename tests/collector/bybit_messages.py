"""Bybit messages written for the tests, in the venue's documented form."""

from __future__ import annotations

import json
from typing import Any

from collector.exchanges.bybit import BybitDecoder
from collector.settings import Duration, FeedConfig


def feed(**changes: Any) -> FeedConfig:
    settings: dict[str, Any] = {
        "exchange": "bybit",
        "market": "linear",
        "symbols": ["BTCUSDT"],
        "book_depth": 50,
        "book_interval": Duration(0.0),
    }
    return FeedConfig(**(settings | changes))


def decoder(**changes: Any) -> BybitDecoder:
    settings = feed(**changes)
    streams = [(channel, symbol) for channel in settings.channels for symbol in settings.symbols]
    return BybitDecoder(settings, streams)


def message(**fields: Any) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def book(
    kind: str,
    u: int,
    bids: list[list[str]],
    asks: list[list[str]],
    ts: int = 1_700_000_000_000,
    depth: int = 50,
) -> bytes:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": u, "seq": u * 7}
    return message(topic=f"orderbook.{depth}.BTCUSDT", type=kind, ts=ts + 2, data=data, cts=ts)


def trade(trade_id: str = "t1", ts: int = 1_700_000_000_000, **changes: Any) -> bytes:
    item = {
        "T": ts,
        "s": "BTCUSDT",
        "S": "Buy",
        "v": "0.5",
        "p": "100.5",
        "L": "PlusTick",
        "i": trade_id,
        "BT": False,
    }
    return message(topic="publicTrade.BTCUSDT", type="snapshot", ts=ts + 3, data=[item | changes])
