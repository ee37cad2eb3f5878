"""One message to one target, through apprise, which speaks to Discord, Slack, Telegram, e-mail, webhooks and a hundred more.

Apprise tells success or failure alone, so the servers' answers are looked at on their way: 429 and 5xx are tried anew,
after what Retry-After says, else after 1, 2, 4, … s; within bounds, so that an evaluation ends."""

from __future__ import annotations

import hashlib
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from typing import Any, cast

import msgspec

from analyzer import logs

ATTEMPTS = 4
WITHIN_SECONDS = 20.0
"""A longer Retry-After is kept by trying again at a later evaluation."""
FIRST_WAIT = 1.0
_one_at_a_time = threading.Lock()


class Target(msgspec.Struct, frozen=True):
    """Where messages go. Its address is a secret."""

    name: str
    """Scheme and a mark that stays the same for the same address."""
    url: str

    def __repr__(self) -> str:
        return f"Target({self.name!r})"


class Outcome(msgspec.Struct, frozen=True):
    delivered: bool
    attempts: int
    error: str = ""
    """Without any address."""
    wait_s: float = 0.0
    """The server wants to be left alone for so long."""


class Answer(msgspec.Struct):
    status: int = 0
    """0: none came."""
    retry_after: float | None = None
    error: str = ""


def targets_of(text: str) -> list[Target]:
    """Addresses with white space between, as apprise writes them. Raises ValueError, without naming the address."""
    import apprise

    found = []
    for number, url in enumerate(text.split(), 1):
        hide(url)
        if apprise.Apprise.instantiate(url) is None:
            raise ValueError(
                f"EVENKEEL_ALERTS_URLS: address {number} is none that apprise knows; "
                'write for example "discord://id/token" or "json://127.0.0.1:8080/path"'
            )
        mark = hashlib.sha256(url.encode()).hexdigest()[:6]
        found.append(Target(f"{url.partition('://')[0]}-{mark}", url))
    return found


def hide(url: str) -> None:
    """Keep it, and each long part of it, out of the logs."""
    rest = url.partition("://")[2]
    logs.hide(url, rest, *(part for part in re.split(r"[/?&=:@]", rest) if len(part) >= 12))


def deliver(
    target: Target, title: str, body: str, severity: str, sleep: Callable[[float], None] = time.sleep
) -> Outcome:
    """Send, and try again where that may help. It never raises."""
    import apprise

    kinds = {"critical": "failure", "warning": "warning", "resolved": "success"}
    give_up = time.monotonic() + WITHIN_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        with _observed() as answer:
            try:
                plugin: Any = apprise.Apprise.instantiate(target.url)
                done = bool(plugin.notify(body=body, title=title, notify_type=kinds.get(severity, "info")))
            except Exception as failure:  # of a plugin: one target must not cost the others
                done, answer.error = False, type(failure).__name__
        if done:
            return Outcome(True, attempt)
        error = f"HTTP {answer.status}" if answer.status else answer.error or "not taken"
        wait = answer.retry_after
        if 400 <= answer.status < 500 and answer.status not in (408, 429):
            return Outcome(False, attempt, error)
        if wait is None:
            wait = FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load
        if attempt == ATTEMPTS or time.monotonic() + wait > give_up:
            break
        sleep(wait)
    return Outcome(False, attempt, error, answer.retry_after or 0.0)


@contextmanager
def _observed() -> Iterator[Answer]:
    """The last answer to what is sent by requests, the library of apprise's plugins; it is used by nothing else here."""
    import requests

    answer, sessions = Answer(), cast(Any, requests.Session)
    send = sessions.send

    def observing(session: Any, request: Any, **options: Any) -> Any:
        try:
            response = send(session, request, **options)
        except requests.RequestException as error:
            answer.status, answer.retry_after, answer.error = 0, None, type(error).__name__
            raise
        answer.status, answer.retry_after = (
            response.status_code,
            _seconds(response.headers.get("Retry-After")),
        )
        return response

    with _one_at_a_time:
        sessions.send = observing
        try:
            yield answer
        finally:
            sessions.send = send


def _seconds(text: str | None) -> float | None:
    """Of Retry-After: seconds or a date."""
    if not text:
        return None
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
