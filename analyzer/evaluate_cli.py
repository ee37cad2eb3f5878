"""`analyzer evaluate`: what past signals were worth."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
import msgspec

from analyzer.config import endpoint, load
from analyzer.options import (
    as_of_option,
    config_option,
    exchange_option,
    format_option,
    reports_errors,
    split,
    symbols_option,
)
from analyzer.quantities import duration
from analyzer.windows import ending, parse_time

if TYPE_CHECKING:
    from analyzer.evaluation.evaluate import Evaluation, Question
    from analyzer.evaluation.statistics import Estimate

MOST_HORIZONS = 20
SHORTEST_S = 2


@click.command()
@config_option
@click.option("--since", default="30d", show_default=True, help="how far back signals are looked at")
@as_of_option
@click.option("--analysis", default="", help="only these, with commas between [default: confluence]")
@click.option("--metric", default="", help="only these, with commas between [default: score]")
@click.option("--horizons", default="1m,5m,15m,1h", show_default=True, help="how long after the entry")
@click.option("--window", help='only signals of windows of this length, for example "15m" [default: any]')
@click.option("--timely", is_flag=True, help="without signals of late passes (catch-up, --as-of)")
@symbols_option
@exchange_option
@format_option
@reports_errors
def evaluate(
    file: str | None,
    since: str,
    as_of: str | None,
    analysis: str,
    metric: str,
    horizons: str,
    window: str | None,
    timely: bool,
    symbols: str,
    exchange: str,
    form: str,
) -> None:
    """Past signals against the prices that followed: hit rate, mean return, information coefficient.

    Each with an interval of 95 %, and the number of trials: of enough metrics and horizons some look good by chance."""
    config = load(file)
    from analyzer.evaluation.evaluate import Question, run
    from analyzer.source import Source

    question = Question(
        span=ending(_end(as_of), duration(since)),
        metrics=chosen(split(analysis), split(metric)),
        horizons_s=[_horizon(text) for text in _few(split(horizons))],
        settle=duration(config.analyzer.settle),
        window_s=round(duration(window).total_seconds()) if window else 0,
        symbols=split(symbols),
        exchange=exchange,
        timely=timely,
    )
    source = Source(endpoint(config.questdb))
    try:
        found = run(source, question, config.confluence)
    finally:
        source.close()
    click.echo(as_json(found, question)) if form == "json" else print_table(found, question)


def _end(as_of: str | None) -> datetime:
    try:
        return parse_time(as_of) if as_of else datetime.now(UTC)
    except ValueError as error:
        raise ValueError(f'--as-of: {error}; write for example "2026-11-23T12:00:00Z"') from error


def _few(horizons: list[str]) -> list[str]:
    if not horizons or len(horizons) > MOST_HORIZONS or len(set(horizons)) < len(horizons):
        raise ValueError(f"--horizons: name 1 to {MOST_HORIZONS}, each once, with commas between")
    return horizons


def _horizon(text: str) -> int:
    seconds = duration(text).total_seconds()
    if seconds < SHORTEST_S or seconds != int(seconds):
        raise ValueError(
            f'--horizons: "{text}" must be whole seconds, {SHORTEST_S} at least: prices are by the second'
        )
    return int(seconds)


def chosen(analyses: list[str], metrics: list[str]) -> list[tuple[str, str]]:
    """(analysis, metric): of the analyses named, the metrics named. Raises ValueError."""
    from analyzer.passes import ANALYSES

    if not analyses and not metrics:
        return [("confluence", "score")]
    for name in analyses:
        if name not in ANALYSES:
            raise ValueError(f'--analysis: "{name}" is unknown; there are {", ".join(ANALYSES)}')
    pairs = [(a, m.name) for a in analyses or ANALYSES for m in ANALYSES[a].metrics]
    for name in metrics:
        if name not in {metric for _, metric in pairs}:
            raise ValueError(
                f"--metric: \"{name}\" is none of these analyses' metrics; 'analyzer metrics' lists them"
            )
    return [pair for pair in pairs if not metrics or pair[1] in metrics]


def as_json(found: Evaluation, question: Question) -> str:
    document = {
        "from": question.span.start,
        "to": question.span.end,
        "status": found.status,
        "signals": found.signals,
        "late": found.late,
        "instruments": found.instruments,
        "trials": found.trials,
        "settle_s": question.settle.total_seconds(),
        "results": [
            {
                "analysis": row.analysis,
                "metric": row.metric,
                "window_s": row.window_s,
                "horizon_s": row.horizon_s,
                "ic_p_adjusted": adjusted(row.result.ic, found.trials),
                **msgspec.structs.asdict(row.result),
            }
            for row in found.rows
        ],
    }
    return msgspec.json.format(msgspec.json.encode(document)).decode()


def adjusted(ic: Estimate | None, trials: int) -> float | None:
    """p of the correlation times the number of trials (Bonferroni), 1 at most."""
    return None if ic is None or ic.p is None else min(1.0, ic.p * trials)


def print_table(found: Evaluation, question: Question) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    span = f"{question.span.start:%Y-%m-%d %H:%M:%S} – {question.span.end:%Y-%m-%d %H:%M:%S} UTC"
    if not found.signals:
        console.print(f"no signals of these metrics in {span}; 'analyzer schedule' and 'run-once' store them")
        return
    table = Table(
        "metric\nanalysis, window", title=f"Signals against what followed, {span}", title_justify="left"
    )
    for head in ("after\n", "signals\ndirected", "hit rate\n%", "mean\nbps", "IC\n", "p × trials\n"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in found.rows:
        one = row.result
        p = adjusted(one.ic, found.trials)
        table.add_row(
            f"{row.metric}\n{row.analysis}, {_length(row.window_s)}",
            _length(row.horizon_s),
            f"{one.signals:,}\n{one.directed:,}",
            _shown(one.hit_rate, 100, ".1f"),
            _shown(one.mean_return_bps, 1, ".2f"),
            _shown(one.ic, 1, ".3f"),
            "–" if p is None else f"{p:.3f}",
        )
    console.print(table)
    left_out = ", left out" if question.timely else ""
    console.print(
        f"{found.signals:,} signals of {found.instruments} instruments, {found.late:,} of them from passes that came late"
        f"{left_out}. {found.trials} trials: by chance alone one in twenty looks significant, so p is multiplied by "
        "their number; earlier evaluations count too."
    )
    console.print(
        f"Entry: the first price {question.settle.total_seconds():g} s or more after the window. Below each number its "
        "95 % interval, by block bootstrap over blocks of window + horizon; – with fewer than ten. No fees, no spread."
    )
    if found.status == "unpriced":
        console.print("No signal has a return yet: no trades followed, or the horizons have not passed.")


def _length(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _shown(one: Estimate | None, times: float, form: str) -> str:
    if one is None:
        return "–"
    interval = "–"
    if one.low is not None and one.high is not None:
        interval = f"{one.low * times:{form}} … {one.high * times:{form}}"
    return f"{one.value * times:{form}}\n{interval}"
