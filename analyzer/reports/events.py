"""What the analyses say has happened, with the rows on which that rests."""

from __future__ import annotations

from typing import Any

import msgspec

from analyzer.passes import ANALYSES
from analyzer.passes.groups import Instrument
from analyzer.reports.model import Report
from analyzer.reports.names import clean, words
from analyzer.show import number

EVENTS = ("cascades", "whales", "walls", "absorption", "leadlag")
"""Analyses whose numbers count what happened, with the rows on which that rests."""
LEADERS = ("leader_lag_s", "venue_leader_lag_s")
SHOWN_EVENTS = 40


class Event(msgspec.Struct, frozen=True):
    """One number of an analysis of EVENTS, with its first row of evidence."""

    name: Instrument
    analysis: str
    metric: str
    definition: str
    value: float
    unit: str
    ts_us: int
    window_s: int
    evidence: list[tuple[str, str]]
    more: int
    """Rows of evidence beyond the first."""


def events(report: Report) -> list[Event]:
    """What the analyses of EVENTS found, the newest of each metric."""
    found = []
    for signal in report.signals:
        if (
            signal.analysis not in EVENTS
            or not signal.value
            or not signal.detail
            or signal.analysis not in ANALYSES
        ):
            continue
        metric = next((one for one in ANALYSES[signal.analysis].metrics if one.name == signal.metric), None)
        rows, more = evidence(signal.detail)
        if metric is not None and rows and (metric.unit == "count" or metric.name in LEADERS):
            first = [(words(key), value) for key, value in rows[0].items()]
            found.append(
                Event(
                    signal.name,
                    signal.analysis,
                    signal.metric,
                    metric.definition.partition(";")[0],
                    signal.value,
                    metric.unit,
                    signal.ts_us,
                    signal.window_s,
                    first,
                    len(rows) - 1 + more,
                )
            )
    found.sort(key=lambda one: (EVENTS.index(one.analysis), one.name, one.metric))
    return found[:SHOWN_EVENTS]


def evidence(detail: str) -> tuple[list[dict[str, str]], int]:
    """The rows of a signal's detail (see passes.evidence), flat and short, and how many were left out there."""
    try:
        document = msgspec.json.decode(detail)
        rows, more = document["rows"], int(document.get("more", 0))
        return [_flat(row) for row in rows if isinstance(row, dict)], more
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, AttributeError):
        return [], 0


def _flat(row: dict[str, Any]) -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in row.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            flat |= _flat(value[0])  # the first order of a wall
        elif isinstance(value, float | int) and not isinstance(value, bool):
            flat[key] = number(float(value))
        elif value is not None:
            flat[key] = (
                clean(str(value)).replace("T", " ").removesuffix("Z")
                if key in ("from", "to", "ts", "at")
                else clean(str(value))
            )
    return flat
