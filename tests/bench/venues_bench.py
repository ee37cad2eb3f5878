"""Every venue's messages, without socket, journal and database: decode, book, encode, in messages per CPU second."""

from __future__ import annotations

import time
from itertools import islice
from typing import Any

from collector.encode import RowEncoder
from collector.exchanges import EXCHANGES
from collector.exchanges.base import Fetch, Item, Resynced, Send
from collector.rows import Row
from tests.fuzz.venues import START_MS, Setup, Venue, symbols_of

MESSAGES = 20_000
WARM = 2_000
FULL = 1 << 20
"""Bytes of encoded rows that are thrown away at once."""


def run() -> dict[str, Any]:
    figures: dict[str, Any] = {}
    slowest: dict[str, float] = {}
    for name, exchange in sorted(EXCHANGES.items()):
        for market in sorted(exchange.markets):
            for channel in ("trades", "orderbook"):
                rate = measure(name, market, channel)
                figures[f"{name} {market} {channel}"] = round(rate)
                slowest[channel] = min(slowest.get(channel, rate), rate)
    return {
        "slowest_trades": round(slowest["trades"]),
        "slowest_books": round(slowest["orderbook"]),
    } | figures


def measure(name: str, market: str, channel: str) -> float:
    """Books: 50 levels, stored every 100 ms."""
    setup = Setup(name, market, symbols_of(name, market), 0.1, 50, channels=[channel])
    venue = Venue(setup, seed=3)
    decoder, encoder = setup.decoder(), RowEncoder()
    recv_us = START_MS * 1000

    def handle(items: list[Item]) -> None:
        """As the recorder does; what the venue must be asked, it is asked."""
        for item in items:
            if isinstance(item, Send):
                for text in venue.answer(item.text):
                    handle(list(decoder.decode(text, recv_us)))
            elif isinstance(item, Fetch):
                handle(list(decoder.answer(item.tag, venue.rest(item.request), recv_us)))
            elif not isinstance(item, Resynced) and isinstance(item, Row) and encoder.add(item) > FULL:
                encoder.take()

    for request in decoder.subscribe():
        for text in venue.answer(request):
            handle(list(decoder.decode(text, recv_us)))
    stream = venue.messages()
    for text in islice(stream, WARM):
        handle(list(decoder.decode(text, venue.now_ms * 1000)))
    prepared = [(text, venue.now_ms * 1000) for text in islice(stream, MESSAGES)]
    add, decode = encoder.add, decoder.decode
    began = time.process_time()
    for text, recv_us in prepared:
        for item in decode(text, recv_us):
            if isinstance(item, Row) and add(item) > FULL:
                encoder.take()
    return len(prepared) / (time.process_time() - began)
