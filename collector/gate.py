"""A venue's limits, kept by all connections to it together: how often they open, and how long they stay away when told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import structlog
from aiolimiter import AsyncLimiter

from collector.exchanges.base import Limits

log = structlog.get_logger()

LONGEST_BAN = 86_400.0


class Gate:
    """One a host: `connect` before every connection, `request` before every request."""

    def __init__(self, host: str, limits: Limits) -> None:
        self._host, self._limits = host, limits
        self._connects = AsyncLimiter(limits.connects, limits.connects_per)
        self._requests = AsyncLimiter(limits.requests, limits.requests_per)
        self._closed_until = 0.0

    async def connect(self) -> None:
        """Return when another connection may be opened."""
        await self._open()
        await self._connects.acquire()

    async def request(self, weight: int) -> None:
        """Return when another request may be made."""
        await self._open()
        await self._requests.acquire(weight)

    async def _open(self) -> None:
        while self.banned():  # noqa: ASYNC110 - may have been prolonged meanwhile
            await asyncio.sleep(self.banned())

    def banned(self) -> float:
        """Seconds for which the venue wants to see nothing of us."""
        return max(0.0, self._closed_until - time.monotonic())

    def refused(self, status: int, headers: Mapping[str, str]) -> float:
        """The venue has answered with an HTTP error: how long everybody stays away (s); 0: it is no ban."""
        if status < 400:
            return 0.0
        seconds = retry_after(headers.get("Retry-After", "")) or dict(self._limits.bans).get(status, 0.0)
        if seconds:
            seconds = min(seconds, LONGEST_BAN)
            self._closed_until = max(self._closed_until, time.monotonic() + seconds)
            log.error(
                "the venue sends us away, nothing is asked of it meanwhile",
                host=self._host,
                status=status,
                seconds=round(seconds),
                remedy="none needed; if it repeats, use fewer symbols an address, or another region's address (ws_url)",
            )
        return seconds


class Gates:
    """The gates of one process, by host."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}

    def of(self, url: str, limits: Limits) -> Gate:
        host = urlsplit(url).netloc or url
        return self._gates.setdefault(host, Gate(host, limits))


def retry_after(text: str) -> float:
    """Seconds of a Retry-After header: a number or an HTTP date; 0 where it is neither."""
    text = text.strip()
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
