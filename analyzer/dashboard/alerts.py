"""The alerts that fire, and those of the last days that are over."""

from __future__ import annotations

import msgspec

from analyzer.dashboard.reader import QueryError, Reader
from analyzer.dashboard.system import MIGRATE

MAX_ALERTS = 20


class Alert(msgspec.Struct):
    at_ms: int
    rule: str
    severity: str
    state: str
    """firing or resolved"""
    where: str
    message: str


class Alerts(msgspec.Struct):
    firing: list[Alert] = []
    resolved: list[Alert] = []
    empty: str = ""


def alerts(reader: Reader) -> Alerts:
    """The newest row of each rule and instrument within a week. Raises UnavailableError."""
    try:
        rows = reader.rows(
            "SELECT cast(ts AS LONG) / 1000, rule, severity, state, exchange, market, symbol, message FROM alerts "
            "WHERE ts > dateadd('d', -7, now()) LATEST ON ts PARTITION BY rule, exchange, market, symbol"
        )
    except QueryError as error:
        return Alerts(empty=f"{MIGRATE} ({error})")
    found = [
        Alert(
            at, rule, severity, state, " ".join(name for name in where if name and name != "*"), message or ""
        )
        for at, rule, severity, state, *where, message in sorted(rows, key=lambda row: -row[0])
    ]
    shown = Alerts(
        [one for one in found if one.state == "firing"][:MAX_ALERTS],
        [one for one in found if one.state != "firing"][:MAX_ALERTS],
    )
    if not found:
        shown.empty = "no alert in the last 7 days"
    return shown
