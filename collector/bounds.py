"""Every buffer of the process, its bound, and what happens when it is full. `/metrics` tells limit and fill of each."""

from __future__ import annotations

from typing import NamedTuple


class Bound(NamedTuple):
    name: str
    limit: int
    """bytes"""
    when_full: str


MESSAGE = Bound(
    "message", 16 << 20, "a larger one, decompressed or not, ends the connection; declared as a gap"
)
BATCH = Bound("batch", 256 << 10, "handed to the journal's writer, also every 20 ms")
JOURNAL_QUEUE = Bound("journal_queue", 32 << 20, "sockets are not read until half of it is on disk")
POST = Bound("post", 2 << 20, "the next post takes what follows; one record is always taken whole")
RECORD = Bound("record", 16 << 20, "a longer one on disk is taken for damage")
REST_ANSWER = Bound("rest_answer", 32 << 20, "the answer is refused while it is read")
DEAD_LETTER_FILE = Bound("dead_letter_file", 64 << 20, "renamed to .old, which replaces the one before")
CAPTURE_QUEUE = Bound("capture_queue", 64 << 20, "what comes is left out of the capture, counted and told")

BOUNDS = (MESSAGE, BATCH, JOURNAL_QUEUE, POST, RECORD, REST_ANSWER, DEAD_LETTER_FILE, CAPTURE_QUEUE)
"""Beside these: books (the topic's depth a side), and the journal on disk (`journal.max_bytes`)."""
