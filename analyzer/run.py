"""One pass: every analysis over one window, each on its own, its result stored and shown."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from analyzer.answers import Answers
from analyzer.config import ConfluenceConfig, Endpoint
from analyzer.passes import ANALYSES
from analyzer.passes.confluence import CONFLUENCE, confluence
from analyzer.passes.groups import Instrument
from analyzer.pieces import divide
from analyzer.signals import write
from analyzer.source import Source
from analyzer.windows import Window
from analyzer.work import Gathered, Outcome, Shared, Work

DEFAULTS = ConfluenceConfig()


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
    shared: Shared = {}
    works = [Work(one, pieces.refusal(), shared) for one in configured.values() if one.name in wanted]
    plan: list[tuple[Work | Gathered, str]] = []
    for piece in pieces.conditions:
        plan += [(work, piece) for work in works if work.divides]
        plan += [(gathered, piece) for gathered in shared.values()]
    plan += [(work, "") for work in works if not work.divides]
    steps = [(work, work.queries(window, symbols, exchange, piece)) for work, piece in plan]
    last = {work: number for number, (work, _) in enumerate(plan)}
    answers = Answers(source, [query for _, own in steps for query in own.values()])
    try:
        for number, (work, queries) in enumerate(steps):
            if isinstance(work, Gathered):
                work.step(answers, queries, window)
                continue
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
