"""Reads signals and prices, and evaluates every metric over every horizon.

One instrument and week after another: memory grows with the number of signals, by some 50 bytes each, not with prices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np

from analyzer.config import ConfluenceConfig
from analyzer.evaluation.prices import SECOND_US, WAIT_US, returns
from analyzer.evaluation.statistics import Result, evaluate
from analyzer.passes.components import COMPONENTS
from analyzer.passes.groups import Instrument, instruments, microseconds
from analyzer.source import Source, quoted, render
from analyzer.windows import Window

CHUNK = timedelta(days=7)
LATE_US = 60 * SECOND_US
"""A pass that started this much after its window was known was no pass at its time."""
Key = tuple[str, str, int]
"""analysis, metric, window in seconds"""


class Question(msgspec.Struct, frozen=True):
    span: Window
    """Signals at its start up to before its end; nothing later than its end is read."""
    metrics: Sequence[tuple[str, str]]
    """(analysis, metric)"""
    horizons_s: Sequence[int]
    settle: timedelta
    window_s: int = 0
    """Only signals of windows of this length; 0: of any."""
    symbols: Sequence[str] = ()
    exchange: str = ""
    timely: bool = False
    """Without the signals of passes that came late."""


class Row(msgspec.Struct, frozen=True):
    analysis: str
    metric: str
    window_s: int
    horizon_s: int
    result: Result


class Evaluation(msgspec.Struct, frozen=True):
    signals: int
    """All that were read."""
    late: int
    """Of these, from a pass that started a minute or more after it could: it may have read rows that came later."""
    instruments: int
    trials: int
    """Metrics × windows × horizons that were looked at."""
    rows: list[Row]

    @property
    def status(self) -> str:
        """empty (no signals), unpriced (none with a return), or ok."""
        if not self.signals:
            return "empty"
        return "ok" if any(row.result.signals for row in self.rows) else "unpriced"


class Sample(msgspec.Struct):
    """The signals of one key, piece by piece."""

    ts: list[Any] = msgspec.field(default_factory=list)
    value: list[Any] = msgspec.field(default_factory=list)
    returns: list[Any] = msgspec.field(default_factory=list)


def run(source: Source, question: Question, settings: ConfluenceConfig) -> Evaluation:
    """Raises SourceError."""
    samples: dict[Key, Sample] = {}
    late_runs = _late_runs(source, question)
    names = _instruments(source, question)
    signals = late = 0
    for name in names:
        for part in _weeks(question.span):
            table = source.fetch(_signals_sql(question, part, name))
            if not table.num_rows:
                continue
            known = microseconds(table, "ts")
            keys = list(
                zip(
                    table.column("analysis").to_pylist(),
                    table.column("metric").to_pylist(),
                    table.column("window_s").to_pylist(),
                    strict=True,
                )
            )
            overdue = np.fromiter(
                ((a, w, t) in late_runs for (a, _, w), t in zip(keys, known.tolist(), strict=True)),
                dtype=bool,
                count=len(keys),
            )
            signals += len(keys)
            late += int(np.sum(overdue))
            value = table.column("value").to_numpy(zero_copy_only=False)
            kept = np.isfinite(value) & ~(overdue & question.timely)
            followed = _followed(source, question, part, name, known)
            numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
            ids = np.fromiter((numbers[key] for key in keys), dtype=np.int64, count=len(keys))
            for key, number in numbers.items():
                own = kept & (ids == number)
                sample = samples.setdefault(key, Sample())
                sample.ts.append(known[own])
                sample.value.append(value[own])
                sample.returns.append(followed[own])
    rows = [row for key in sorted(samples) for row in _rows(key, samples.pop(key), question, settings)]
    return Evaluation(signals, late, len(names), len(rows), rows)


def _rows(key: Key, sample: Sample, question: Question, settings: ConfluenceConfig) -> list[Row]:
    ts, value, followed = (np.concatenate(series) for series in (sample.ts, sample.value, sample.returns))
    way = direction(key[0], key[1], value, settings)
    found = []
    for column, horizon in enumerate(question.horizons_s):
        good = np.isfinite(followed[:, column])
        block = round((key[2] + horizon + question.settle.total_seconds()) * SECOND_US)
        result = evaluate(ts[good], value[good], way[good], followed[good, column], block)
        found.append(Row(*key, horizon, result))
    return found


def direction(analysis: str, metric: str, value: Any, settings: ConfluenceConfig) -> Any:
    """1, 0 or −1 for each value: of the confluence score its verdict by today's bounds, of its components the side of 50,
    else the sign; 0 for a metric that has no negative values here, as it speaks of no direction."""
    if analysis == "confluence" and metric == "score":
        return (value >= settings.long).astype(np.int64) - (value <= settings.short)
    if analysis == "confluence" and metric in COMPONENTS:
        return np.sign(value - 50.0).astype(np.int64)
    signed = metric == "verdict" or bool(np.any(value < 0))
    return np.sign(value).astype(np.int64) * signed


def _weeks(span: Window) -> Iterator[Window]:
    start = span.start
    while start < span.end:
        yield Window(start, min(start + CHUNK, span.end))
        start += CHUNK


def _where(question: Question) -> str:
    pairs = " OR ".join(
        f"(analysis = {quoted(analysis)} AND metric = {quoted(metric)})"
        for analysis, metric in question.metrics
    )
    length = f" AND window_s = {question.window_s}" if question.window_s else ""
    return f"{{where}} AND exchange <> '*' AND ({pairs}){length}"


def _only(name: Instrument) -> str:
    exchange, market, symbol = (quoted(part) for part in name)
    return f"exchange = {exchange} AND market = {market} AND symbol = {symbol}"


def _instruments(source: Source, question: Question) -> list[Instrument]:
    sql = f"SELECT DISTINCT exchange, market, symbol FROM signals WHERE {_where(question)}"  # noqa: S608
    return sorted(instruments(source.fetch(_filled(sql, question.span, question))))


def _signals_sql(question: Question, part: Window, name: Instrument) -> str:
    sql = f"SELECT ts, analysis, metric, window_s, value FROM signals WHERE {_where(question)}"  # noqa: S608
    return f"{_filled(sql, part, question)} AND {_only(name)}"


def _filled(sql: str, part: Window, question: Question) -> str:
    return render(sql, part, question.symbols, question.exchange)


def _late_runs(source: Source, question: Question) -> set[tuple[str, int, int]]:
    """(analysis, window in seconds, its end in µs) of the passes whose numbers stand in `signals` and that came late."""
    names = ", ".join(quoted(name) for name in sorted({analysis for analysis, _ in question.metrics}))
    table = source.fetch(
        render(
            "SELECT analysis, window_from, window_to, max(started) started FROM analysis_runs "  # noqa: S608
            f"WHERE window_to >= {{start}} AND window_to < {{end}} AND status = 'ok' AND analysis IN ({names})",
            question.span,
        )
    )
    settle = question.settle // timedelta(microseconds=1)
    low, high = microseconds(table, "window_from"), microseconds(table, "window_to")
    late = microseconds(table, "started") > high + settle + LATE_US
    lengths = np.round((high - low) / SECOND_US).astype(np.int64)
    names_of = np.array(table.column("analysis").to_pylist(), dtype=object)
    return set(zip(names_of[late].tolist(), lengths[late].tolist(), high[late].tolist(), strict=True))


def _followed(source: Source, question: Question, part: Window, name: Instrument, ts: Any) -> Any:
    """Returns of signals at `ts`, signals × horizons."""
    settle = question.settle // timedelta(microseconds=1)
    horizons = [horizon * SECOND_US for horizon in question.horizons_s]
    reach = timedelta(microseconds=settle + WAIT_US + max(horizons))
    span = Window(part.start, min(part.end + reach, question.span.end))
    where = f"{render('{where}', span)} AND {_only(name)} AND open > 0 AND open < 1e300 AND close > 0 AND close < 1e300"
    table = source.fetch(f"SELECT ts, open, close FROM ohlcv_1s WHERE {where}")  # noqa: S608
    at = microseconds(table, "ts")
    order = np.argsort(at, kind="stable")
    bars = {"ts": at[order]} | {
        column: table.column(column).to_numpy(zero_copy_only=False)[order] for column in ("open", "close")
    }
    return returns(ts + settle, bars, horizons, question.span.end_us)
