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
    outcomes: list[Outcome] = []
    done: dict[str, Outcome] = {}
    coverage: dict[Instrument, dict[str, float]] = {}
    wanted = {"coverage", *names, *(need for name in names for need in ANALYSES[name].needs)}
    configured = ANALYSES | {CONFLUENCE.name: confluence(settings)}
    chosen = [analysis for analysis in configured.values() if analysis.name in wanted]
    queries = {
        analysis.name: {
            name: render(template, window, symbols, exchange) for name, template in analysis.queries.items()
        }
        for analysis in chosen
    }
    source = Source(endpoint)
    answers = Answers(source, [query for own in queries.values() for query in own.values()])
    try:
        for analysis in chosen:
            found = [done[need] for need in analysis.needs]
            outcome = _run_one(analysis, answers, queries[analysis.name], window, run_id, coverage, found)
            done[analysis.name] = outcome
            if analysis.name == "coverage":
                for signal in outcome.signals:
                    name = (signal.value.exchange, signal.value.market, signal.value.symbol)
                    coverage.setdefault(name, {})[signal.value.metric] = signal.value.value
            if analysis.name in names:
                outcomes.append(outcome)
    finally:
        answers.close()
        source.close()
    write(endpoint, window, [(outcome.run, outcome.signals) for outcome in outcomes])
    return outcomes


def _run_one(
    analysis: Analysis,
    answers: Answers,
    queries: Mapping[str, str],
    window: Window,
    run_id: str,
    coverage: dict[Instrument, dict[str, float]],
    needed: Sequence[Outcome],
) -> Outcome:
    started_us, took_ms, rows = time.time_ns() // 1000, 0.0, 0
    values: Sequence[Value] = ()
    status, error = "ok", ""
    try:
        tables: dict[str, pa.Table] = {}
        for name, query in queries.items():
            tables[name], query_ms = answers.take(query)
            took_ms += query_ms
            rows += tables[name].num_rows
        if analysis.needs:
            tables["signals"] = as_table(needed)
        began = time.monotonic()
        values = [value for value in analysis.compute(tables, window) if math.isfinite(value.value)]
        took_ms += (time.monotonic() - began) * 1e3
        status = "ok" if values else "empty"
    except SourceError as failure:
        status, error = "failed", str(failure)
    except Exception as failure:  # one analysis' mistake is not to cost the others
        status, error = "failed", f"{analysis.name}: {type(failure).__name__}: {failure}; report it"
    run = Run(
        run_id,
        analysis.name,
        started_us,
        round(took_ms, 3),
        rows,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        status,
        error,
    )
    signals = [Signal(value, _coverage(analysis, value, coverage)) for value in values]
    return Outcome(run, signals)


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
