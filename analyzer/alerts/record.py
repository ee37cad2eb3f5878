"""`alerts` and `alert_deliveries`: the only memory of what fires and who was told, so that a restart repeats nothing."""

# ruff: noqa: S608 - every part of the queries is ours

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

import msgspec
from questdb import TimestampMicros

from analyzer.alerts.base import Key
from analyzer.config import Endpoint
from analyzer.signals import sending
from analyzer.source import Source

VISIBLE_SECONDS = 10.0
HISTORY_US = 7 * 86_400_000_000
"""How far back what was told is looked at."""
COLUMNS = "ts::long, rule, severity, state, exchange, market, symbol, value, message"


class Alert(msgspec.Struct, frozen=True):
    """A row of `alerts`; the collector writes such rows too."""

    ts: int
    rule: str
    severity: str
    state: str
    """firing or resolved"""
    exchange: str
    market: str
    symbol: str
    value: float | None
    message: str

    @property
    def key(self) -> Key:
        return self.rule, self.exchange, self.market, self.symbol


class Delivery(msgspec.Struct, frozen=True):
    """One message about an alert to one target."""

    ts: int
    alert_ts: int
    rule: str
    exchange: str
    market: str
    symbol: str
    state: str
    target: str
    outcome: str
    attempts: int
    error: str

    @property
    def key(self) -> Key:
        return self.rule, self.exchange, self.market, self.symbol


def latest(source: Source) -> dict[Key, Alert]:
    """The last row of each alert, however old. Raises SourceError."""
    found = source.rows(
        f"SELECT {COLUMNS} FROM alerts LATEST ON ts PARTITION BY rule, exchange, market, symbol"
    )
    return {alert.key: alert for alert in (Alert(*row) for row in found)}


def firings(source: Source) -> dict[Key, Alert]:
    """The last row of each alert in which it fired. Raises SourceError."""
    found = source.rows(
        f"SELECT {COLUMNS} FROM alerts WHERE state = 'firing' "
        "LATEST ON ts PARTITION BY rule, exchange, market, symbol"
    )
    return {alert.key: alert for alert in (Alert(*row) for row in found)}


def deliveries(source: Source, now: int) -> list[Delivery]:
    """In order of time. Raises SourceError."""
    found = source.rows(
        "SELECT ts::long, alert_ts::long, rule, exchange, market, symbol, state, target, outcome, attempts, "
        f"coalesce(error, '') FROM alert_deliveries WHERE ts > {now - HISTORY_US} ORDER BY ts"
    )
    return [Delivery(*row) for row in found]


def store(endpoint: Endpoint, source: Source, alerts: Sequence[Alert], told: Iterable[Delivery] = ()) -> None:
    """Store, and return when the alerts can be read. Raises WriteError, SourceError."""
    with sending(endpoint, "alerts", "wait for the next evaluation") as sender:
        for alert in alerts:
            sender.row(
                "alerts",
                symbols={
                    name: getattr(alert, name)
                    for name in ("rule", "severity", "state", "exchange", "market", "symbol")
                },
                columns={"value": alert.value, "message": alert.message},
                at=TimestampMicros(alert.ts),
            )
        for one in told:
            names = ("rule", "exchange", "market", "symbol", "state", "target", "outcome")
            sender.row(
                "alert_deliveries",
                symbols={name: getattr(one, name) for name in names},
                columns={
                    "alert_ts": TimestampMicros(one.alert_ts),
                    "attempts": one.attempts,
                    "error": one.error or None,
                },
                at=TimestampMicros(one.ts),
            )
    give_up = time.monotonic() + VISIBLE_SECONDS
    while time.monotonic() < give_up and not _visible(source):
        time.sleep(0.02)


def _visible(source: Source) -> bool:
    ((behind,),) = source.rows(
        "SELECT count() FROM wal_tables() WHERE name IN ('alerts', 'alert_deliveries') "
        "AND NOT suspended AND sequencerTxn > writerTxn"
    )
    return not behind
