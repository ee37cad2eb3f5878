"""The simulated exchange's own book: more levels than any topic shows, and the part of it that a topic of depth N shows."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator

TOPIC_LEVELS = 1000
"""The deepest topic that a venue may offer; a side never holds fewer levels."""
SPARE_LEVELS = 100


class Side:
    """One side in ticks. Keys are `tick * sign`, so that the best level has the greatest key on both sides."""

    __slots__ = ("deepen", "keys", "sign", "sizes", "touched")

    def __init__(self, sign: int, best: int, deepen: Iterator[tuple[int, int]]) -> None:
        """`sign`: +1 bids, -1 asks. `best`: tick. `deepen`: endless (ticks to the next deeper level, its size)."""
        self.sign = sign
        self.deepen = deepen
        self.keys: list[int] = [best * sign]
        """Ascending; the best level is last."""
        self.sizes: dict[int, int] = {best * sign: next(deepen)[1]}
        """key → size, an index into the instrument's size table."""
        self.touched: dict[int, bool] = {}
        """What the update at hand has touched: key → whether the level was there before."""
        self.restock()

    @property
    def best(self) -> int:
        """Tick of the best level."""
        return self.keys[-1] * self.sign

    def set(self, key: int, size: int) -> None:
        there = key in self.sizes
        self.touched.setdefault(key, there)
        self.sizes[key] = size
        if not there:
            insort(self.keys, key)

    def delete(self, key: int) -> None:
        self.touched.setdefault(key, True)
        del self.sizes[key]
        del self.keys[bisect_left(self.keys, key)]

    def retreat(self, key: int) -> None:
        """Delete every level better than `key`."""
        keys, sizes, touched = self.keys, self.sizes, self.touched
        while keys and keys[-1] > key:
            gone = keys.pop()
            del sizes[gone]
            touched.setdefault(gone, True)

    def restock(self) -> None:
        """Keep the number of levels between TOPIC_LEVELS and that plus twice SPARE_LEVELS."""
        keys, sizes = self.keys, self.sizes
        if len(keys) < TOPIC_LEVELS:
            deeper: list[int] = []
            key = keys[0]
            while len(deeper) + len(keys) < TOPIC_LEVELS + SPARE_LEVELS:
                distance, size = next(self.deepen)
                key -= distance
                deeper.append(key)
                sizes[key] = size
            keys[:0] = reversed(deeper)
        elif len(keys) > TOPIC_LEVELS + 2 * SPARE_LEVELS:
            for key in keys[:SPARE_LEVELS]:
                del sizes[key]
            del keys[:SPARE_LEVELS]


class Window:
    """What a subscriber of the best `depth` levels of one side has been told."""

    __slots__ = ("bound", "depth")

    def __init__(self, side: Side, depth: int) -> None:
        self.depth = depth
        self.bound = side.keys[-depth]
        """Key of the deepest level shown."""

    def changes(self, side: Side) -> list[tuple[int, int]]:
        """The (key, size) pairs that bring a subscriber up to date after one update; size -1 deletes.

        A level that an update pushes out of the depth is deleted, one that it lets in is sent, so that a subscriber
        who applies every pair holds exactly `depth` levels.
        """
        keys, sizes, touched = side.keys, side.sizes, side.touched
        old, index = self.bound, len(keys) - self.depth
        new = self.bound = keys[index]
        pairs: list[tuple[int, int]] = []
        for key, was_there in touched.items():
            if key >= new and key in sizes:
                pairs.append((key, sizes[key]))
            elif key >= old and was_there:
                pairs.append((key, -1))
        if new < old:
            while index < len(keys) and keys[index] < old:
                key = keys[index]
                if key not in touched:
                    pairs.append((key, sizes[key]))
                index += 1
        elif new > old:
            index -= 1
            while index >= 0 and keys[index] >= old:
                if keys[index] not in touched:
                    pairs.append((keys[index], -1))
                index -= 1
        return pairs
