"""What the process keeps in memory: objects by type, allocations by line of code, how full each bounded buffer is.

It is found out in a forked child, whose memory is the parent's at that moment: to walk all objects or traces would hold the
interpreter's lock, and with it the event loop, for as long as that takes. The loop waits for the fork alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import select
import signal
import sys
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import psutil

from collector import bounds
from collector.errors import OperatorError
from collector.host import pss_bytes, swap_bytes
from collector.metrics import Metrics

MOST_ROWS = 2000
MOST_FRAMES = 16
CHILD_SECONDS = 100.0
LOCKED_TRIES = 2
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class Kind(msgspec.Struct):
    """Objects of one type, of those that the garbage collector tracks and that came since the start."""

    type: str
    count: int
    size: int
    """bytes, without what they refer to"""


class Line(msgspec.Struct):
    """What was allocated there since tracing began, and is not freed."""

    where: str
    """file:line, the innermost first where several frames are kept"""
    count: int
    size: int
    """bytes"""


class Buffer(msgspec.Struct):
    """See bounds.py."""

    name: str
    size: int
    """bytes in it now, of the fullest where there are several"""
    limit: int
    when_full: str


class Report(msgspec.Struct):
    """Of one moment. Sizes in bytes."""

    at_us: int
    pid: int
    rss: int
    pss: int | None
    swap: int
    kinds: list[Kind]
    """Largest first."""
    lines: list[Line]
    """Largest first; none while nothing is traced."""
    buffers: list[Buffer]
    traced: int | None = None
    """What all traced allocations hold; None: nothing is traced."""
    tracing_since_us: int | None = None
    tracing_costs: int = 0
    """Memory that the tracing itself takes."""
    stalled_ms: float = 0.0
    """How long the process stood still for this: the fork."""
    took_ms: float = 0.0


class Walked(msgspec.Struct):
    """The child's part."""

    kinds: list[Kind]
    lines: list[Line]


def take(metrics: Metrics, limit: int, tracing_since_us: int | None) -> Report:
    """Raises OperatorError when the child does not answer."""
    began = time.perf_counter()
    data, stalled = _in_child(lambda: msgspec.json.encode(_walk(limit)))
    walked = msgspec.json.decode(data, type=Walked)
    tracing = tracemalloc.is_tracing()
    return Report(
        at_us=time.time_ns() // 1000,
        pid=os.getpid(),
        rss=psutil.Process().memory_info().rss,
        pss=pss_bytes(),
        swap=swap_bytes(),
        kinds=walked.kinds,
        lines=walked.lines,
        buffers=[
            Buffer(bound.name, int(metrics.fills.get(bound.name, lambda: 0)()), bound.limit, bound.when_full)
            for bound in bounds.BOUNDS
        ],
        traced=tracemalloc.get_traced_memory()[0] if tracing else None,
        tracing_since_us=tracing_since_us if tracing else None,
        tracing_costs=tracemalloc.get_tracemalloc_memory() if tracing else 0,
        stalled_ms=stalled * 1e3,
        took_ms=(time.perf_counter() - began) * 1e3,
    )


def _walk(limit: int) -> Walked:
    lines = _lines(limit)
    return Walked(_kinds(limit), lines)


def _kinds(limit: int) -> list[Kind]:
    counts: Counter[type] = Counter()
    sizes: Counter[type] = Counter()
    for one in gc.get_objects():
        kind = type(one)
        counts[kind] += 1
        with contextlib.suppress(Exception):  # __sizeof__ may be anything
            sizes[kind] += sys.getsizeof(one)
    rows = [
        Kind(f"{kind.__module__}.{kind.__qualname__}", count, sizes[kind]) for kind, count in counts.items()
    ]
    return sorted(rows, key=lambda row: -row.size)[:limit]


def _lines(limit: int) -> list[Line]:
    if not tracemalloc.is_tracing():
        return []
    snapshot = tracemalloc.take_snapshot()
    tracemalloc.stop()  # in the child: the rest is several times as fast
    by = "lineno" if snapshot.traceback_limit == 1 else "traceback"
    return [
        Line(
            " < ".join(f"{_short(frame.filename)}:{frame.lineno}" for frame in reversed(row.traceback)),
            row.count,
            row.size,
        )
        for row in snapshot.statistics(by)[:limit]
    ]


def _short(file: str) -> str:
    """From the package on."""
    parts = Path(file).parts
    for mark in ("site-packages", "evenkeel", f"python{sys.version_info[0]}.{sys.version_info[1]}"):
        if mark in parts:
            return "/".join(parts[len(parts) - parts[::-1].index(mark) :])
    return "/".join(parts[-2:])


def _in_child(work: Callable[[], bytes]) -> tuple[bytes, float]:
    """What `work` returns in a copy of this process, and the seconds for which this one stood still."""
    for _ in range(LOCKED_TRIES):
        reading, writing = os.pipe()
        began = time.perf_counter()
        child = os.fork()
        if child == 0:
            _be_child(work, writing)
        stalled = time.perf_counter() - began
        os.close(writing)
        try:
            data = _read(reading)
        finally:
            os.close(reading)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        if data:
            return data, stalled
    # A lock that another thread held at the fork stays locked in the child.
    raise OperatorError("looking at the memory failed: the copied process did not answer; try again")


def _be_child(work: Callable[[], bytes], writing: int) -> None:
    """Never returns."""
    try:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent's sockets, and the journal's lock, must end with the parent.
        os.closerange(3, writing)
        os.closerange(writing + 1, 1 << 16)
        gc.disable()
        os.nice(10)
        data = work()
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(0)


def _read(reading: int) -> bytes:
    """To its end, but for no longer than CHILD_SECONDS; b"" then."""
    pieces: list[bytes] = []
    deadline = time.monotonic() + CHILD_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        piece = os.read(reading, 1 << 20)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
    return b""
