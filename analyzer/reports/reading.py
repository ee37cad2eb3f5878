"""What a report shows of its window, read from the server in steps: as many points as a screen has, however long it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from analyzer.passes import coverage
from analyzer.passes.base import TRADED, Value
from analyzer.passes.grid import NAMES_SQL, Name, listed, spelled
from analyzer.passes.groups import NULL, Instrument, by_instrument, microseconds
from analyzer.passes.recorded import QUERIES, Recorded, of_tables
from analyzer.reports.charted import chart
from analyzer.reports.model import SCORE, Gap, LargeTrade, Report, Signal, Total
from analyzer.reports.steps import milliseconds, only, rows_of, step_of
from analyzer.source import Source, render
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

CHARTED = 6
"""Instruments with charts of their own: a page is for reading."""
SPARKS = 32
RELATED = 16
"""Instruments whose returns are compared, at most."""
RETURNS = 720
EPPS_S = 5
"""Returns over shorter steps understate correlation (Epps 1979)."""
LISTED_GAPS = 2000
LARGEST_TRADES = 10
NEWEST_S = 3600
"""How far back from the window's end the newest signals are looked for."""
SIGNAL_ROWS = 20_000


def read(source: Source, window: Window, symbols: Sequence[str] = (), exchange: str = "") -> Report:
    """Raises SourceError."""

    def fetch(template: str) -> pa.Table:
        return source.fetch(render(template, window, symbols, exchange))

    recordings = {name: fetch(template) for name, template in QUERIES.items()}
    totals = _totals(fetch, window, coverage.compute(recordings, window))
    gaps = _gaps(fetch(_GAPS), window, of_tables(recordings, window.end_us))
    related = [total.name for total in totals if total.trades][:RELATED]
    returns_s = step_of(window.seconds, RETURNS, EPPS_S if window.seconds >= 120 else 1)
    names = listed(fetch(NAMES_SQL))
    return Report(
        window,
        totals,
        gaps[:LISTED_GAPS],
        len(gaps) > LISTED_GAPS,
        _largest(fetch(_LARGEST)),
        _signals(source, window, symbols, exchange),
        _scores(fetch(_SCORES.replace("[step]", str(step_of(window.seconds, RETURNS))))),
        related,
        _returns(source, window, related, returns_s),
        returns_s,
        [chart(source, window, name, holes(gaps, name)) for name in varied(related, names)[:CHARTED]],
    )


def varied(names: Sequence[Instrument], known: dict[Instrument, Name]) -> list[Instrument]:
    """In the same order, but one of each base coin first, then the second of each."""
    seen: Counter[str] = Counter()
    rank = {}
    for name in names:
        base = (known.get(name) or spelled(name)).base
        rank[name] = seen[base]
        seen[base] += 1
    return sorted(names, key=rank.__getitem__)


def holes(gaps: Sequence[Gap], name: Instrument) -> dict[str, list[tuple[int, int]]]:
    """When nobody recorded the instrument, by channel, each time once."""
    lost: dict[str, dict[tuple[int, int], None]] = defaultdict(dict)
    for gap in gaps:
        if gap.name == name:
            lost[gap.channel] |= dict.fromkeys(gap.lost)
    return {channel: list(parts) for channel, parts in lost.items()}


_TOTALS = (
    "SELECT exchange, market, symbol, first(price) open, max(price) high, min(price) low, last(price) close, "  # noqa: S608
    "sum(price * qty) notional, sum(CASE WHEN side = 'buy' THEN price * qty ELSE 0.0 END) bought, "
    "sum(CASE WHEN side = 'sell' THEN price * qty ELSE 0.0 END) sold, count() trades FROM trades WHERE {where} AND "
    + TRADED
)
_SPARKS = (
    "SELECT ts, exchange, market, symbol, last(price) close FROM trades WHERE {where} AND "  # noqa: S608
    + TRADED
    + " SAMPLE BY [step]s"
)
_FORCED = (
    "SELECT exchange, market, symbol, side, sum(price * qty) notional, count() orders FROM liquidations "  # noqa: S608
    "WHERE {where} AND side IN ('buy', 'sell') AND " + TRADED
)
_TICKERS = (
    "SELECT exchange, market, symbol, first_not_null(open_interest) first, last_not_null(open_interest) last, "
    "last_not_null(funding_rate) funding FROM tickers WHERE {where}"
)
_GAPS = (
    "SELECT exchange, market, symbol, channel, collector, from_ts, to_ts, cause, repaired FROM gaps "  # noqa: S608
    "WHERE ts < {end} AND from_ts < {end} AND (to_ts IS NULL OR to_ts > {start}){instruments} "
    f"ORDER BY from_ts LIMIT {LISTED_GAPS + 1}"
)
_LARGEST = (
    "SELECT ts, exchange, market, symbol, side, price, qty FROM trades WHERE {where} AND "  # noqa: S608
    + TRADED
    + f" ORDER BY price * qty DESC LIMIT {LARGEST_TRADES}"
)
_SIGNALS = (
    "SELECT ts, exchange, market, symbol, window_s, analysis, metric, value, coverage, "  # noqa: S608
    "detail::string detail FROM signals "
    "WHERE ts > {start} AND ts <= {end}{instruments} "
    "LATEST ON ts PARTITION BY exchange, market, symbol, window_s, analysis, metric "
    f"LIMIT {SIGNAL_ROWS}"
)
_SCORES = (
    "SELECT ts, exchange, market, symbol, last(value) value FROM signals WHERE ts > {start} AND ts <= {end}{instruments} "  # noqa: S608
    f"AND analysis = '{SCORE}' AND metric = 'score' SAMPLE BY [step]s"
)


def _totals(fetch: Any, window: Window, recorded: Sequence[Value]) -> list[Total]:
    """`recorded`: what the analysis `coverage` found."""
    found: dict[Instrument, Total] = {}

    def of(name: Instrument) -> Total:
        return found.setdefault(name, Total(name))

    for name, row in rows_of(fetch(_TOTALS)):
        total = of(name)
        for key in ("open", "high", "low", "close", "notional", "bought", "sold", "trades"):
            setattr(total, key, row[key])
    step = step_of(window.seconds, SPARKS)
    for name, series in by_instrument(fetch(_SPARKS.replace("[step]", str(step))), ("ts", "close")):
        of(name).spark = series["close"].tolist()
    for name, row in rows_of(fetch(_FORCED)):
        total = of(name)
        total.liquidations += row["orders"]
        if row["side"] == "sell":
            total.longs = row["notional"]
        else:
            total.shorts = row["notional"]
    for name, row in rows_of(fetch(_TICKERS)):
        total = of(name)
        if row["first"] and row["last"]:
            total.interest = row["first"], row["last"]
        total.funding = row["funding"]
    for value in recorded:
        if value.metric != "coverage":
            channel = value.metric.removeprefix("coverage_")
            of((value.exchange, value.market, value.symbol)).coverage[channel] = value.value
    return sorted(found.values(), key=lambda total: (-total.notional, total.name))


def _gaps(table: pa.Table, window: Window, recorded: Recorded) -> list[Gap]:
    starts, ends = microseconds(table, "from_ts").tolist(), microseconds(table, "to_ts").tolist()
    gaps = []
    for (name, row), start, end in zip(rows_of(table), starts, ends, strict=True):
        stream, repaired = (name, row["channel"] or ""), bool(row["repaired"])
        low, high = max(start, window.start_us), window.end_us if end == NULL else min(end, window.end_us)
        lost = () if repaired else tuple(recorded.lost(stream, row["collector"] or "", low, high))
        gaps.append(Gap(*stream, low, high, row["cause"] or "", repaired, lost))
    return gaps


def _largest(table: pa.Table) -> list[LargeTrade]:
    times = microseconds(table, "ts")
    trades = [
        LargeTrade(int(ts), name, row["side"] or "", row["price"], row["qty"])
        for (name, row), ts in zip(rows_of(table), times, strict=True)
    ]
    return sorted(trades, key=lambda one: (-one.price * one.qty, one.ts_us))  # the export may lose the order


def _signals(source: Source, window: Window, symbols: Sequence[str], exchange: str) -> list[Signal]:
    recent = window
    if window.seconds > NEWEST_S:
        recent = Window(window.end - timedelta(seconds=NEWEST_S), window.end)
    table = source.fetch(render(_SIGNALS, recent, symbols, exchange))
    times = microseconds(table, "ts")
    found = [
        Signal(
            int(ts),
            name,
            row["window_s"],
            row["analysis"],
            row["metric"],
            row["value"],
            row["coverage"],
            row["detail"] or "",
        )
        for (name, row), ts in zip(rows_of(table), times, strict=True)
        if row["value"] is not None
    ]
    return sorted(found, key=lambda one: (one.name, one.analysis, one.metric, one.window_s))


def _scores(table: pa.Table) -> dict[Instrument, list[tuple[int, float]]]:
    return {
        name: list(zip(milliseconds(rows["ts"]), rows["value"].tolist(), strict=True))
        for name, rows in by_instrument(table, ("ts", "value"))
    }


def _returns(source: Source, window: Window, names: Sequence[Instrument], step: int) -> Any:
    """Log returns of the last trade of each step; NaN over steps without one."""
    if len(names) < 2:
        return np.empty((0, len(names)))
    template = (
        f"SELECT ts, exchange, market, symbol, last(price) close FROM trades WHERE {{where}} AND {TRADED} "  # noqa: S608
        f"AND {only(names)} SAMPLE BY {step}s"
    )
    first = window.start_us // (step * 1_000_000)
    count = -(-window.end_us // (step * 1_000_000)) - first
    closes = np.full((count, len(names)), np.nan)
    for name, rows in by_instrument(source.fetch(render(template, window)), ("ts", "close")):
        at = rows["ts"].astype("datetime64[s]").astype(np.int64) // step - first
        closes[at, names.index(name)] = rows["close"]
    return np.diff(np.log(closes), axis=0)
