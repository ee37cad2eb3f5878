"""Requests to one venue's REST, for as long as it takes, within its limits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import structlog

from collector import __version__, bounds
from collector.backoff import backoff
from collector.exchanges.base import Request
from collector.gate import Gate

log = structlog.get_logger()

TIMEOUT = 10.0
RETRY_FIRST, RETRY_CAP = 0.5, 60.0
MAX_BODY = bounds.REST_ANSWER.limit


class RequestRefusedError(Exception):
    """The venue will not answer this request, however often it is asked."""


class Rest:
    """One host's. Every request waits its turn at the gate."""

    def __init__(self, base_url: str, gate: Gate) -> None:
        self.base_url, self._gate = base_url, gate
        self._client: httpx.AsyncClient | None = None
        self.on_answer: Callable[[Request, bytes], None] | None = None
        """Called with every answer."""
        self.largest_answer = 0
        """bytes"""

    async def fetch(self, request: Request) -> bytes:
        """The body. Tries again for ever, except when the request itself is at fault: raises RequestRefusedError."""
        delays = backoff(RETRY_FIRST, RETRY_CAP)
        while True:
            try:
                return await self.fetch_once(request)
            except httpx.HTTPError as error:
                cause = f"{type(error).__name__}: {error}"
            log.warning(
                "REST did not answer, trying again", url=f"{self.base_url}{request.path}", cause=cause
            )
            await asyncio.sleep(next(delays))

    async def fetch_once(self, request: Request) -> bytes:
        """One attempt. Raises httpx.HTTPError (worth another) or RequestRefusedError (not)."""
        await self._gate.request(request.weight)
        if self._client is None:
            self._client = httpx.AsyncClient(
                base_url=self.base_url, timeout=TIMEOUT, headers={"User-Agent": f"evenkeel/{__version__}"}
            )
        async with self._client.stream(
            "POST" if request.body else "GET",
            request.path,
            content=request.body or None,
            headers={"Content-Type": "application/json"} if request.body else None,
        ) as response:
            if self._gate.refused(response.status_code, response.headers) or response.status_code >= 500:
                response.raise_for_status()
            if not response.is_success:
                raise RequestRefusedError(f"{request.path}: HTTP {response.status_code}")
            body = bytearray()
            async for piece in response.aiter_bytes():
                body += piece
                self.largest_answer = max(self.largest_answer, len(body))
                if len(body) > MAX_BODY:
                    raise RequestRefusedError(f"{request.path}: the answer is larger than {MAX_BODY} bytes")
            answer = bytes(body)
            if self.on_answer is not None:
                self.on_answer(request, answer)
            return answer

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()
