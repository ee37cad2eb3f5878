"""Loaded by the collector's interpreter in the cases of test_host.py: bends its clock and its name service."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

sys.modules["uvloop"] = None  # type: ignore[assignment]  # asyncio's own loop resolves names by the function bent here
_folder = Path(os.environ["EVENKEEL_FAULTS_HOST"])
_time_ns, _time, _getaddrinfo = time.time_ns, time.time, socket.getaddrinfo


def _offset() -> int:
    try:
        return int((_folder / "clock_offset_s").read_text() or 0)
    except (OSError, ValueError):
        return 0


def _resolve(*args: Any, **kwargs: Any) -> Any:
    if args[0] in ("localhost", b"localhost") and (_folder / "no_dns").exists():
        with (_folder / "asked").open("a") as asked:
            asked.write("x")
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    return _getaddrinfo(*args, **kwargs)


time.time_ns = lambda: _time_ns() + _offset() * 10**9
time.time = lambda: _time() + _offset()
socket.getaddrinfo = _resolve
