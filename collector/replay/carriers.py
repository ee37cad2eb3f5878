"""Captured connections that carried the same topic beside each other: one of them is played, and another takes over where it
ends, at the very message."""

from __future__ import annotations

from collections import deque

MOST_APART = 256
"""Messages of a topic by which two connections may differ."""


class Carried:
    """One topic."""

    def __init__(self) -> None:
        self._owner = ""
        """The connection that is played; "": the next one that brings a message."""
        self._last = ""
        """The newest message that was played."""
        self._clock = self._last_at = 0
        """Messages so far, now and when `last` was played."""
        self._skipping = 0
        """So many messages of the owner are left out at most, until `last` comes."""
        self._others: dict[str, deque[str]] = {}
        """Connection → its newest messages."""
        self._since: dict[str, int] = {}
        """Connection → when its first message came."""

    def take(self, conn: str, text: str) -> list[str]:
        """A message; what is to be played now."""
        self._clock += 1
        if self._owner and conn != self._owner:
            self._since.setdefault(conn, self._clock)
            self._others.setdefault(conn, deque(maxlen=MOST_APART)).append(text)
            return []
        self._owner = conn
        if self._skipping:
            self._skipping = 0 if text == self._last else self._skipping - 1
            return []
        return self._played([text])

    def closed(self, conn: str) -> list[str]:
        """A connection ended; what is to be played now."""
        if conn != self._owner:
            self._forget(conn)
            return []
        self._owner, self._skipping, texts = "", 0, []
        for other, waiting in self._others.items():
            if self._last in waiting or self._since[other] > self._last_at:
                self._owner, texts = other, list(waiting)
                if self._last in texts:
                    del texts[: texts.index(self._last) + 1]
                break
        else:
            if self._others:  # behind: what it still brings has been played, up to `last`
                self._owner, self._skipping = next(iter(self._others)), MOST_APART
        self._forget(self._owner)
        return self._played(texts)

    def _played(self, texts: list[str]) -> list[str]:
        if texts:
            self._last, self._last_at = texts[-1], self._clock
        return texts

    def _forget(self, conn: str) -> None:
        self._others.pop(conn, None)
        self._since.pop(conn, None)
