"""A book of Kraken's as the venue spells it, for its checksum: CRC-32 of the digits of the best ten levels a side.

Source: docs.kraken.com, `book-checksum-v2`. Trailing zeros count, so the numbers' own text is needed."""

from __future__ import annotations

import json
import re
import zlib
from bisect import bisect_left, insort
from collections.abc import Iterable

CHECKED = 10
LEVEL = re.compile(rb'\{"price":([0-9.]+),"qty":([0-9.]+)\}')

Digits = tuple[bytes, bytes]
"""(price, size) as text."""


class DigitSide:
    def __init__(self, sign: int, depth: int) -> None:
        self._sign, self._depth = sign, depth
        self._keys: list[float] = []
        """Price × sign, ascending: the best is last."""
        self._digits: dict[float, bytes] = {}

    def clear(self) -> None:
        self._keys.clear()
        self._digits.clear()

    def update(self, levels: Iterable[Digits]) -> None:
        """Then what lies beyond the subscribed depth is dropped, of which the venue tells nothing."""
        keys, digits = self._keys, self._digits
        for price, size in levels:
            key = self._sign * float(price)
            if float(size):
                if key not in digits:
                    insort(keys, key)
                digits[key] = bare(price) + bare(size)
            elif digits.pop(key, None) is not None:
                del keys[bisect_left(keys, key)]
        excess = len(keys) - self._depth
        if excess > 0:
            for key in keys[:excess]:
                del digits[key]
            del keys[:excess]

    def best(self) -> list[bytes]:
        return [self._digits[key] for key in self._keys[: -CHECKED - 1 : -1]]


class DigitBook:
    def __init__(self, depth: int) -> None:
        self._bids, self._asks = DigitSide(1, depth), DigitSide(-1, depth)

    def clear(self) -> None:
        self._bids.clear()
        self._asks.clear()

    def checksum(self, raw: bytes, bids: int, asks: int) -> int:
        """Of the book after this message, which has so many bids and asks. Raises what UNREADABLE lists, or KeyError."""
        levels: list[Digits] = LEVEL.findall(raw)
        if len(levels) == bids + asks and b'"bids"' in raw and b'"asks"' in raw:
            first = bids if raw.find(b'"bids"') < raw.find(b'"asks"') else asks
            told = (levels[:first], levels[first:])
            sides = told if first == bids and raw.find(b'"bids"') < raw.find(b'"asks"') else told[::-1]
        else:
            sides = spelled(raw)
        self._bids.update(sides[0])
        self._asks.update(sides[1])
        return zlib.crc32(b"".join(self._asks.best() + self._bids.best()))


def spelled(raw: bytes) -> tuple[list[Digits], list[Digits]]:
    """Bids and asks of a message that is not written as usual."""
    (data,) = json.loads(raw, parse_float=str, parse_int=str)["data"]
    bids, asks = (
        [(str(level["price"]).encode(), str(level["qty"]).encode()) for level in data[side]]
        for side in ("bids", "asks")
    )
    return bids, asks


def bare(number: bytes) -> bytes:
    return number.replace(b".", b"").lstrip(b"0")
