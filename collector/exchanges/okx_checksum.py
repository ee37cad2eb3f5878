"""The checksum of OKX's books: CRC-32 of the best levels' own digits, as a signed number.

The venue sends 0 for every book since June 2026; older recordings have real ones."""

from __future__ import annotations

import zlib
from itertools import chain, zip_longest

import msgspec

LEVELS = 25
MOST_KEPT = 2000
"""Levels of one side, five times what the venue sends: beyond it the book can't be checked any more."""


class TextLevel(msgspec.Struct, array_like=True, gc=False):
    price: str
    size: str


class TextSides(msgspec.Struct, gc=False):
    bids: list[TextLevel]
    asks: list[TextLevel]


class TextMessage(msgspec.Struct, gc=False):
    data: list[TextSides]


class TextBook:
    """A book as the venue spells it."""

    def __init__(self) -> None:
        self._bids: dict[float, str] = {}
        self._asks: dict[float, str] = {}
        self._decode = msgspec.json.Decoder(TextMessage).decode
        self.followed = False
        """Whether every update since a snapshot has been worked in."""

    def begin(self) -> None:
        """A snapshot follows."""
        self._bids, self._asks, self.followed = {}, {}, True

    def checksum(self, raw: bytes) -> int | None:
        """Of the book after this message; None when it is not known. Raises what UNREADABLE lists."""
        if not self.followed:
            return None
        (sides,) = self._decode(raw).data
        for kept, changes in ((self._bids, sides.bids), (self._asks, sides.asks)):
            for level in changes:
                price = float(level.price)
                if float(level.size):
                    kept[price] = f"{level.price}:{level.size}"
                else:
                    kept.pop(price, None)
        if max(len(self._bids), len(self._asks)) > MOST_KEPT:
            self.followed = False
            return None
        bids = [self._bids[price] for price in sorted(self._bids, reverse=True)[:LEVELS]]
        asks = [self._asks[price] for price in sorted(self._asks)[:LEVELS]]
        text = ":".join(filter(None, chain.from_iterable(zip_longest(bids, asks))))
        value = zlib.crc32(text.encode())
        return value - (1 << 32) if value >= 1 << 31 else value
