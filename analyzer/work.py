"""An analysis on its way to its outcome: tables are taken, numbers computed; what goes wrong is told, not raised."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from analyzer.answers import Answers
from analyzer.passes.base import SIGNALS, Analysis, Value
from analyzer.passes.groups import Instrument
from analyzer.signals import Run, Signal
from analyzer.source import SourceError, render
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa


class Outcome(msgspec.Struct, frozen=True):
    """One analysis of a pass."""

    run: Run
    signals: list[Signal]


class Gathered:
    """An answer of which something small is kept, piece by piece, for the analyses that compare instruments."""

    def __init__(self, sql: str, small: Callable[[pa.Table, Window], Any]) -> None:
        self.rows = 0
        self.error: Exception | None = None
        """Of several the last."""
        self._sql, self._small = sql, small
        self._parts: list[Any] = []
        self._took_ms = 0.0

    def queries(self, window: Window, symbols: Sequence[str], exchange: str, piece: str) -> dict[str, str]:
        return {"gathered": render(self._sql, window, symbols, exchange, piece)}

    def step(self, answers: Answers, queries: Mapping[str, str], window: Window) -> None:
        try:
            for query in queries.values():
                table, query_ms = answers.take(query)
                began = time.monotonic()
                self._parts.append(self._small(table, window))
                self._took_ms += query_ms + (time.monotonic() - began) * 1e3
                self.rows += table.num_rows
        except Exception as failure:  # is that of every analysis that needs it
            self.error = failure

    def take(self) -> tuple[list[Any], float]:
        """The parts, and the milliseconds that they took, 0 when they were taken before. Raises `error`."""
        if self.error:
            raise self.error
        took_ms, self._took_ms = self._took_ms, 0.0
        return self._parts, took_ms


Shared = dict[tuple[str, Callable[["pa.Table", Window], Any]], Gathered]
"""What analyses have in common is gathered once."""


class Work:
    """In one step, or in one a piece of the window."""

    def __init__(self, analysis: Analysis, refusal: str, shared: Shared) -> None:
        """`refusal`: why instruments can't be compared in this window, or empty."""
        self.analysis = analysis
        self._error = f"{analysis.name}: {refusal}" if analysis.across and refusal else ""
        self._gathered: dict[str, Gathered] = {}
        if not self._error:
            for name, small in analysis.across.items():
                sql = analysis.queries[name]
                self._gathered[name] = shared.setdefault((sql, small), Gathered(sql, small))
        self._started_us, self._took_ms, self._rows = 0, 0.0, 0
        self._values: list[Value] = []

    @property
    def divides(self) -> bool:
        """It may be given some instruments at a time."""
        return not self.analysis.across and not self.analysis.needs

    def queries(self, window: Window, symbols: Sequence[str], exchange: str, piece: str) -> dict[str, str]:
        """Those that a step asks: not what is gathered."""
        return {
            name: render(sql, window, symbols, exchange, piece)
            for name, sql in self.analysis.queries.items()
            if name not in self.analysis.across and not self._error
        }

    def step(
        self, answers: Answers, queries: Mapping[str, str], window: Window, needed: Sequence[Outcome]
    ) -> None:
        """What goes wrong is the analysis' error; of several steps the last one's."""
        self._started_us = self._started_us or time.time_ns() // 1000
        if self._error and not queries:
            return
        try:
            tables: dict[str, Any] = {}
            for name, query in queries.items():
                tables[name], query_ms = answers.take(query)
                self._took_ms += query_ms
                self._rows += tables[name].num_rows
            for name, gathered in self._gathered.items():
                tables[name], gathered_ms = gathered.take()
                self._took_ms += gathered_ms
                self._rows += gathered.rows
            if self.analysis.needs:
                tables["signals"] = as_table(needed)
            began = time.monotonic()
            self._values += [v for v in self.analysis.compute(tables, window) if math.isfinite(v.value)]
            self._took_ms += (time.monotonic() - began) * 1e3
        except SourceError as failure:
            self._error = str(failure)
        except Exception as failure:  # one analysis' mistake is not to cost the others
            self._error = f"{self.analysis.name}: {type(failure).__name__}: {failure}; report it"

    def outcome(self, run_id: str, coverage: dict[Instrument, dict[str, float]]) -> Outcome:
        """After the last step. One that failed has no numbers: half of them would be taken for all."""
        values = [] if self._error else self._values
        run = Run(
            run_id,
            self.analysis.name,
            self._started_us,
            round(self._took_ms, 3),
            self._rows,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            "failed" if self._error else "ok" if values else "empty",
            self._error,
        )
        return Outcome(run, [Signal(value, _coverage(self.analysis, value, coverage)) for value in values])


def _coverage(analysis: Analysis, value: Value, coverage: dict[Instrument, dict[str, float]]) -> float | None:
    """The least covered channel that the number rests on; None where nothing was declared."""
    if analysis.needs:
        return value.coverage
    known = coverage.get((value.exchange, value.market, value.symbol), {})
    if not analysis.channels:
        return None  # coverage itself
    shares = [known[f"coverage_{channel}"] for channel in analysis.channels if f"coverage_{channel}" in known]
    return min(shares) if len(shares) == len(analysis.channels) else None


def as_table(outcomes: Sequence[Outcome]) -> pa.Table:
    """The table `signals` for an analysis that needs these."""
    import pyarrow as pa

    rows = [
        (v.exchange, v.market, v.symbol, outcome.run.analysis, v.metric, v.value, signal.coverage)
        for outcome in outcomes
        for signal in outcome.signals
        for v in (signal.value,)
    ]
    columns = zip(*rows, strict=True) if rows else ((),) * len(SIGNALS)
    kinds = (*(pa.string(),) * 5, pa.float64(), pa.float64())
    return pa.table(
        {name: pa.array(column, kind) for name, column, kind in zip(SIGNALS, columns, kinds, strict=True)}
    )
