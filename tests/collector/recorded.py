"""Recorded sessions through an adapter alone, for the tests of the venues."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector.exchanges import EXCHANGES
from collector.exchanges.base import Decoder, Instrument
from collector.settings import Duration, FeedConfig

RECORDINGS = Path(__file__).parents[3] / "shared/recordings"


def frames(name: str) -> Iterator[tuple[str, int, str]]:
    """(kind, µs, text) of each line of a recording with kinds; skips the test where it is absent."""
    file = RECORDINGS / name
    if not file.exists():
        pytest.skip("the recordings are not here")
    with gzip.open(file, "rt") as lines:
        for line in filter(str.strip, lines):
            item = json.loads(line)
            if isinstance(item.get("data"), str):
                yield item["t"], round(item["ts"] * 1e6), item["data"]


def decoder(
    exchange: str, market: str, symbols: list[str], channels: list[str], depth: int = 1000
) -> Decoder:
    """Every update is a row."""
    feed = FeedConfig(
        exchange=exchange,
        market=market,
        symbols=symbols,
        channels=channels,
        book_depth=depth,
        book_interval=Duration(0),
    )
    instruments = {
        symbol: Instrument(symbol=symbol, base="", quote="", kind="future", inverse=market == "inverse")
        for symbol in symbols
    }
    (streams,) = EXCHANGES[exchange].plan(feed)
    made = EXCHANGES[exchange].decoder(feed, streams, instruments)
    made.subscribe()
    return made


def taken(made: Decoder, messages: list[str]) -> list[Any]:
    return [
        item for number, text in enumerate(messages) for item in made.decode(text.encode(), 10**15 + number)
    ]
