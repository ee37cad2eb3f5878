"""One pass: every analysis over one window, each on its own, its result stored and shown."""

from __future__ import annotations

import math
import resource
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from analyzer.answers import Answers
from analyzer.config import ConfluenceConfig, Endpoint
from analyzer.passes import ANALYSES
from analyzer.passes.base import SIGNALS, Analysis, Value
from analyzer.passes.confluence import CONFLUENCE, confluence
from analyzer.passes.groups import Instrument
from analyzer.pieces import divide
from analyzer.signals import Run, Signal, write
from analyzer.source import Source, SourceError, render
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa


DEFAULTS = ConfluenceConfig()


class Outcome(msgspec.Struct, frozen=True):
    """One analysis of a pass."""

    run: Run
    signals: list[Signal]


class Work:
    """An analysis on its way to its outcome: in one step, or in one a piece of the window."""

    def __init__(self, analysis: Analysis, refusal: str) -> None:
        self.analysis = analysis
        self._error = f"{analysis.name}: {refusal}" if analysis.across and refusal else ""
        self._started_us, self._took_ms, self._rows = 0, 0.0, 0
        self._values: list[Value] = []

    @property
    def divides(self) -> bool:
        """It may be given some instruments at a time."""
        return not self.analysis.across and not self.analysis.needs

    def queries(self, window: Window, symbols: Sequence[str], exchange: str, piece: str) -> dict[str, str]:
        templates = {} if self._error else self.analysis.queries
        return {name: render(sql, window, symbols, exchange, piece) for name, sql in templates.items()}

    def step(
        self, answers: Answers, queries: Mapping[str, str], window: Window, needed: Sequence[Outcome]
    ) -> None:
        """What goes wrong is the analysis' error; of several steps the last one's."""
        self._started_us = self._started_us or time.time_ns() // 1000
        if self._error and not queries:
            return
        try:
            tables: dict[str, pa.Table] = {}
            for name, query in queries.items():
                tables[name], query_ms = answers.take(query)
                self._took_ms += query_ms
                self._rows += tables[name].num_rows
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


def run_pass(
    endpoint: Endpoint,
    window: Window,
    names: Sequence[str],
    symbols: Sequence[str] = (),
    exchange: str = "",
    settings: ConfluenceConfig = DEFAULTS,
) -> list[Outcome]:
    """Run the analyses and store what they find. One that fails is an outcome, and does not stop the others.

    Raises WriteError when nothing can be stored."""
    run_id = secrets.token_hex(8)
    done: dict[str, Outcome] = {}
    coverage: dict[Instrument, dict[str, float]] = {}
    wanted = {"coverage", *names, *(need for name in names for need in ANALYSES[name].needs)}
    configured = ANALYSES | {CONFLUENCE.name: confluence(settings)}
    source = Source(endpoint)
    pieces = divide(source, window, symbols, exchange)
    works = [Work(one, pieces.refusal()) for one in configured.values() if one.name in wanted]
    divided = [work for work in works if work.divides] if len(pieces.conditions) > 1 else []
    plan = [(work, piece) for piece in pieces.conditions for work in divided]
    plan += [(work, "") for work in works if work not in divided]
    steps = [(work, work.queries(window, symbols, exchange, piece)) for work, piece in plan]
    last = {work: number for number, (work, _) in enumerate(plan)}
    answers = Answers(source, [query for _, own in steps for query in own.values()])
    try:
        for number, (work, queries) in enumerate(steps):
            work.step(answers, queries, window, [done[need] for need in work.analysis.needs])
            if last[work] == number:
                outcome = done[work.analysis.name] = work.outcome(run_id, coverage)
                if work.analysis.name == "coverage":
                    for signal in outcome.signals:
                        name = (signal.value.exchange, signal.value.market, signal.value.symbol)
                        coverage.setdefault(name, {})[signal.value.metric] = signal.value.value
    finally:
        answers.close()
        source.close()
    outcomes = [done[work.analysis.name] for work in works if work.analysis.name in names]
    write(endpoint, window, [(outcome.run, outcome.signals) for outcome in outcomes])
    return outcomes


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
