"""What can't be stored is kept aside, with the reason: JSON lines in files of bounded size."""

from __future__ import annotations

import base64
import os
import threading
import time
from pathlib import Path

import msgspec
import structlog

from collector import bounds
from collector.metrics import Metrics

log = structlog.get_logger()

MAX_PAYLOAD = 256 << 10
"""Longer payloads are cut, and say so."""


class DeadLetter(msgspec.Struct, frozen=True):
    at: str
    """UTC, ISO 8601."""
    source: str
    reason: str
    bytes: int
    payload: str
    """base64 of the first 256 KiB."""


class DeadLetters:
    """Appends from any thread."""

    def __init__(self, folder: Path, metrics: Metrics) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder, self._metrics = folder, metrics
        self._lock = threading.Lock()
        metrics.fills[bounds.DEAD_LETTER_FILE.name] = self._largest

    def _largest(self) -> int:
        return max((path.stat().st_size for path in self._folder.glob("*.jsonl")), default=0)

    def add(self, kind: str, source: str, reason: str, payload: bytes) -> None:
        """`kind` names the file: "messages" (frames as received) or "rows" (line protocol)."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        letter = DeadLetter(
            now, source, reason, len(payload), base64.b64encode(payload[:MAX_PAYLOAD]).decode()
        )
        path = self._folder / f"{kind}.jsonl"
        with self._lock:
            self._metrics.dead_letters += 1
            try:
                if path.exists() and path.stat().st_size > bounds.DEAD_LETTER_FILE.limit:
                    path.replace(path.with_suffix(".jsonl.old"))
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
                with os.fdopen(descriptor, "ab") as file:
                    file.write(msgspec.json.encode(letter) + b"\n")
            except OSError as error:
                log.error(
                    "dead letter not kept", file=str(path), source=source, reason=reason, cause=str(error)
                )
