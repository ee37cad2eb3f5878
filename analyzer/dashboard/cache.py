"""One bounded cache between browsers and database: ten that show the same cost as much as one."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

T = TypeVar("T")


class _Entry(Generic[T]):
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.value: T | None = None
        self.until = 0.0


class Cache(Generic[T]):
    """At most `size` values, the least recently used goes. One thread computes a value; meanwhile others are given the old
    one, or wait where there is none."""

    def __init__(self, size: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._clock = size, clock
        self._entries: OrderedDict[Hashable, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, seconds: float, compute: Callable[[], T]) -> T:
        """The value of `key`, computed when it is older than `seconds`. What `compute` raises is raised, and not kept."""
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        value = entry.value
        if value is not None and (self._clock() < entry.until or entry.lock.locked()):
            return value
        with entry.lock:
            if entry.value is None or self._clock() >= entry.until:
                entry.value = compute()
                entry.until = self._clock() + seconds
            return entry.value

    def __len__(self) -> int:
        return len(self._entries)
