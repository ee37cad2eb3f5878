"""What is declared missing of one stream, by all collectors together.

Each collector declares what it has missed itself. With several of them, which write to one database, a hole is what none
of them has: one has declared it, and every other has declared it too or was not recording then. Bounds are closed, µs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

FOR_EVER = 1 << 62

Interval = tuple[int, int]


def union(intervals: Iterable[Interval]) -> list[Interval]:
    """In order, none of which meets another."""
    merged: list[Interval] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], high)
        else:
            merged.append((low, high))
    return merged


def intersection(one: Sequence[Interval], other: Sequence[Interval]) -> list[Interval]:
    """Of two unions."""
    common: list[Interval] = []
    i = j = 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low <= high:
            common.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return common


def declared(holes: Mapping[str, Sequence[Interval]], recording: Mapping[str, Interval]) -> list[Interval]:
    """`holes` by collector. `recording`: when each of them was, from its first subscription to its last sign of life."""
    together = union(hole for own in holes.values() for hole in own)
    for name, (first, last) in recording.items():
        absent = [(-FOR_EVER, first), (last, FOR_EVER)]
        together = intersection(together, union([*holes.get(name, ()), *absent]))
    return together
