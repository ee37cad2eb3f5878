"""The answers to a pass' queries: each asked once, two at a time, a little ahead of their use, and let go after the last."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import msgspec

from analyzer.source import Source

if TYPE_CHECKING:
    import pyarrow as pa

CONNECTIONS = 2
"""The server exports no more at once by default (`http.export.connection.limit`)."""
AHEAD = 4
"""Answers that are asked for or held before their first use: what bounds memory beside those that are used again."""
AHEAD_BYTES = 16 << 20
"""No more are asked for while those that are held before their first use are larger than this."""


class Answer(msgspec.Struct):
    table: pa.Table
    took_ms: float


class Answers:
    """Not for several threads."""

    def __init__(self, source: Source, queries: Sequence[str]) -> None:
        """`queries`: in the order in which they will be used, each as often as it will be."""
        self._source = source
        self._uses = Counter(queries)
        self._coming = list(dict.fromkeys(queries))[::-1]
        self._asked: dict[str, Future[Answer]] = {}
        self._unused: set[str] = set()
        self._pool = ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="query")

    def take(self, query: str) -> tuple[pa.Table, float]:
        """The result, and the milliseconds that it took, 0 when it was taken before. Raises SourceError."""
        while query not in self._asked:
            self._ask()
        first = query in self._unused
        self._unused.discard(query)
        while self._coming and len(self._unused) < AHEAD and self._held() < AHEAD_BYTES:
            self._ask()
        asked = self._asked[query]
        self._uses[query] -= 1
        if not self._uses[query]:
            del self._asked[query]
        answer = asked.result()
        return answer.table, answer.took_ms if first else 0.0

    def _held(self) -> int:
        """Bytes of the answers that are here and were not used yet."""
        here = (self._asked[query] for query in self._unused if self._asked[query].done())
        return sum(asked.result().table.nbytes for asked in here if not asked.exception())

    def _ask(self) -> None:
        query = self._coming.pop()
        self._unused.add(query)
        self._asked[query] = self._pool.submit(self._fetch, query)

    def _fetch(self, query: str) -> Answer:
        began = time.monotonic()
        table = self._source.fetch(query)
        return Answer(table, (time.monotonic() - began) * 1e3)

    def close(self) -> None:
        """Queries that nobody waits for any more aren't begun."""
        self._pool.shutdown(wait=True, cancel_futures=True)
