"""What a pass lets go is the system's again: its memory is that of one piece of a window, not of all that came before."""

from __future__ import annotations

import contextlib
import ctypes
import os

M_ARENA_MAX, M_MMAP_THRESHOLD, M_TRIM_THRESHOLD = -8, -3, -1  # glibc's malloc.h
PARAMETERS = {M_ARENA_MAX: 1, M_MMAP_THRESHOLD: 1 << 20, M_TRIM_THRESHOLD: 1 << 20}


def bound_heap() -> None:
    """Before pyarrow is imported: its own allocator keeps a quarter more of a long window. Does nothing where the C library
    isn't glibc."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in PARAMETERS.items():
            mallopt(parameter, value)
