"""Loaded by the collector's interpreter in a case of test_service.py: writes to the journal hang while `hang` exists in a
folder, and fail while `full` does."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

_folder = Path(os.environ["EVENKEEL_STALL"])
_pwrite = os.pwrite


def _write(file: int, data: Any, offset: int, /) -> int:
    if (_folder / "full").exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    while (_folder / "hang").exists():
        time.sleep(0.05)
    return _pwrite(file, data, offset)


os.pwrite = _write
