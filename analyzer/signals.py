"""Writes `signals` and `analysis_runs`. The same window gives rows under the same keys: repeating it is harmless."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast
from urllib.parse import urlsplit

import msgspec
from questdb import Protocol, QuestDBError, Sender, TimestampMicros

from analyzer.config import Endpoint
from analyzer.passes.base import Value
from analyzer.windows import Window


class WriteError(Exception):
    """Results could not be stored."""


class Run(msgspec.Struct, frozen=True):
    """How one analysis went."""

    run_id: str
    analysis: str
    started_us: int
    took_ms: float
    """of its queries, each told with the analysis that used it first, and of its computation"""
    rows_read: int
    peak_rss: int
    """bytes, of the process so far"""
    status: str
    """ok, empty (nothing in the window) or failed"""
    error: str = ""


class Signal(msgspec.Struct, frozen=True):
    """A value with the share of its window that was really recorded; None where that is not known."""

    value: Value
    coverage: float | None


def write(endpoint: Endpoint, window: Window, runs: Sequence[tuple[Run, Sequence[Signal]]]) -> None:
    """Store all of it. Raises WriteError."""
    with sending(endpoint, "results", "repeat the pass with --as-of") as sender:
        for run, signals in runs:
            _add_run(sender, run, window)
            for signal in signals:
                _add_signal(sender, run, signal, window)


@contextmanager
def sending(endpoint: Endpoint, what: str, remedy: str) -> Iterator[Any]:
    """A sender whose rows are stored at the end. Raises WriteError."""
    parts = urlsplit(endpoint.http_url)
    secure = parts.scheme == "https"
    options: dict[str, Any] = (
        {"username": endpoint.user, "password": endpoint.password} if endpoint.user else {}
    )
    try:
        sender: Any = cast(
            Any,
            Sender(
                Protocol.Https if secure else Protocol.Http,
                parts.hostname or "",
                parts.port or (443 if secure else 80),
                protocol_version=2,
                auto_flush=False,
                **options,
            ),
        )
        with sender:
            yield sender
            sender.flush()
    except QuestDBError as error:
        raise WriteError(
            f"store {what} in QuestDB at {endpoint.http_url}: {error}; "
            f"check that it runs and that 'collector migrate' has been run, then {remedy}"
        ) from error


def _add_run(sender: Any, run: Run, window: Window) -> None:
    sender.row(
        "analysis_runs",
        symbols={"analysis": run.analysis, "status": run.status},
        columns={
            "run_id": run.run_id,
            "window_from": TimestampMicros(window.start_us),
            "window_to": TimestampMicros(window.end_us),
            "started": TimestampMicros(run.started_us),
            "took_ms": run.took_ms,
            "rows_read": run.rows_read,
            "peak_rss": run.peak_rss,
            "error": run.error or None,
        },
        at=TimestampMicros(run.started_us),
    )


def _add_signal(sender: Any, run: Run, signal: Signal, window: Window) -> None:
    value = signal.value
    sender.row(
        "signals",
        symbols={
            "exchange": value.exchange,
            "market": value.market,
            "symbol": value.symbol,
            "analysis": run.analysis,
            "metric": value.metric,
        },
        columns={
            "window_s": round(window.seconds),
            "value": value.value,
            "coverage": signal.coverage,
            "detail": value.detail or None,
        },
        at=TimestampMicros(window.end_us),
    )
