"""One symbol: price, CVD, book, depth, liquidations, scores."""

from __future__ import annotations

import itertools
from collections import defaultdict
from datetime import datetime
from typing import Any

import msgspec

from analyzer.dashboard.figures import (
    BUY,
    MAX_LINES,
    SELL,
    SERIES,
    Axis,
    Chart,
    Points,
    band,
    bars,
    filled,
    interrupted,
    line,
    over_price,
    over_time,
    rounded,
    si,
)
from analyzer.dashboard.ranges import Range
from analyzer.dashboard.reader import Instrument, Reader, Row, of_instrument
from analyzer.dashboard.system import NOT_RUNNING, bounds, guarded
from analyzer.passes.base import TRADED
from analyzer.passes.confluence import VERDICTS
from analyzer.passes.recorded import read
from analyzer.windows import Window, moment

MAX_BANDS = 100
SIDES = {"bid": BUY, "ask": SELL}
NO_PASSES = "is `analyzer schedule` running?"
PRICE, BASE, SIGNED_BASE = Axis("", ",", floor=False), Axis(""), Axis("", floor=False)
QUOTE, SCORE = Axis(""), Axis("", ".3~f", floor=False)
SPAN_MS = tuple[int, int]


class NoScore(msgspec.Struct):
    """Of the detail of `confluence`, what tells why there is no score."""

    why: str = ""


def charts(reader: Reader, name: Instrument, span: Range, now: datetime) -> dict[str, Chart]:
    """Raises UnavailableError."""
    of = _Symbol(reader, name, span, now)
    return {
        "price": guarded(of.price),
        "cvd": guarded(of.cvd),
        "book": guarded(of.book),
        "depth": guarded(of.depth),
        "liquidations": guarded(of.liquidations),
        "scores": guarded(of.scores),
    }


class _Symbol:
    """The charts of one instrument over one span."""

    def __init__(self, reader: Reader, name: Instrument, span: Range, now: datetime) -> None:
        self.reader, self.span, self.bounds = reader, span, bounds(span, now)
        self.name, self.title = name, " ".join(name)
        self.where = f"{of_instrument(name)} AND {span.since(now)}"
        self.instrument = of_instrument(name)
        self.no_trades = f"no trades of {self.title} in the last {span.words}; {NOT_RUNNING}"
        self._bars: list[Row] | None = None
        self._gaps: list[SPAN_MS] | None = None

    def bars(self) -> list[Row]:
        """(ms, close, volume, buys), all in the server's bars."""
        if self._bars is None:
            self._bars = self.reader.rows(
                "SELECT cast(ts AS LONG) / 1000, close, volume, buys FROM (SELECT ts, last(close) close, "  # noqa: S608
                f"sum(volume) volume, sum(buy_volume) buys FROM {self.span.bars} WHERE {self.where} "
                f"SAMPLE BY {self.span.step_s}s) ORDER BY 1"
            )
        return self._bars

    def price(self) -> Chart:
        points = [(row[0], row[1]) for row in self.bars() if row[1] is not None]
        if not points:
            return Chart(empty=self.no_trades)
        first, last = points[0][1], points[-1][1]
        low, high = min(price for _, price in points), max(price for _, price in points)
        change = round(last / first - 1, 4) + 0.0  # no negative zero
        caption = f"last {number(last)} ({change:+.2%}), {number(low)} to {number(high)}{self.noted()}"
        traces = [line("price", self.broken(points), SERIES[0], PRICE)]
        return Chart(caption, figure=over_time(traces, PRICE, self.bounds, shapes=self.shaded()))

    def broken(self, points: Points) -> Points:
        """A line through bars, not drawn over what nobody recorded."""
        return interrupted(points, self.span.step_s * 1000, self.holes())

    def shaded(self) -> list[dict[str, Any]]:
        return [band(start, end, "var(--bad)") for start, end in self.holes()[-MAX_BANDS:]]

    def noted(self) -> str:
        count = len(self.holes())
        newest = f", the newest {MAX_BANDS} of them" if count > MAX_BANDS else ""
        return f", {count} gap{'s' if count > 1 else ''} in its trades (shaded{newest})" if count else ""

    def holes(self) -> list[SPAN_MS]:
        """Declared gaps of the trades as intervals within the span, in order: what REST repaired is left out, and what
        another collector has."""
        if self._gaps is None:
            self._gaps = self._lost()
        return self._gaps

    def _lost(self) -> list[SPAN_MS]:
        exchange, _, symbol = self.name
        start, end = (1000 * bound for bound in self.bounds)
        recorded = read(self.reader.rows, Window(moment(start), moment(end)), [symbol], exchange)
        holes = sorted(set(recorded.holes((self.name, "trades"))))
        return [
            (max(low, start) // 1000, min(high, end) // 1000)
            for low, high in holes
            if low < end and high >= start
        ]

    def cvd(self) -> Chart:
        rows = self.bars()
        if not rows:
            return Chart(empty=self.no_trades)
        # A trade without a side is in the volume only; the bars do not tell it from a sale.
        steps = [2 * (buys or 0.0) - (volume or 0.0) for _, _, volume, buys in rows]
        points = list(zip((row[0] for row in rows), itertools.accumulate(steps), strict=True))
        drawn = filled("CVD", self.broken(points), SERIES[3], "var(--fill-4)", SIGNED_BASE)
        volume = sum(row[2] or 0.0 for row in rows)
        caption = f"{signed(points[-1][1])} base units since the range began, of {si(volume, '')} traded{self.noted()}"
        layout: dict[str, Any] = {"shapes": self.shaded(), "showlegend": False}
        return Chart(caption, figure=over_time(drawn, SIGNED_BASE, self.bounds, **layout))

    def book(self) -> Chart:
        """The newest snapshot, sizes added up from the touch outwards."""
        rows = self.reader.rows(
            f"SELECT cast(ts AS LONG) / 1000, bids, asks FROM orderbook WHERE {self.instrument} "  # noqa: S608
            "AND ts > dateadd('m', -15, now()) LIMIT -1"
        )
        sides = [_levels(side) for side in rows[0][1:]] if rows else []
        if not rows or not any(sides):
            return Chart(empty=f"no order book of {self.title} in the last 15 minutes; {NOT_RUNNING}")
        bids, asks = sides
        traces = [
            line(name, points, color, BASE, fill="tozeroy", fillcolor=fill, line={"shape": shape})
            for name, points, color, fill, shape in (
                ("bids", bids[::-1] + _foot(bids), BUY, "var(--buy-fill)", "vh"),
                ("asks", _foot(asks) + asks, SELL, "var(--sell-fill)", "hv"),
            )
        ]
        prices = [price for side in sides for price, _ in side]
        caption = f"{len(bids)} bids with {si(bids[-1][1] if bids else 0, '')}, "
        caption += f"{len(asks)} asks with {si(asks[-1][1] if asks else 0, '')} base units"
        if bids and asks:
            bid, ask = bids[0][0], asks[0][0]
            caption += f"; spread {(ask - bid) / (ask + bid) * 2e4:.3g} bps"
        return Chart(caption, figure=over_price(traces, BASE, (min(prices), max(prices))))

    def depth(self) -> Chart:
        """What the analysis `depth` found within 10 bps of the mid, or in all levels where the book ends before."""
        near, whole = ({side: f"depth_{side}{of}_notional" for side in SIDES} for of in ("_10bps", ""))
        found = self._signals("depth", (*near.values(), *whole.values()))
        if not found:
            return Chart(empty=f"no depth was computed in the last {self.span.words}; {NO_PASSES}")
        reached = any(metric in found for metric in near.values())
        series = {
            side: found[metric] for side, metric in (near if reached else whole).items() if metric in found
        }
        traces = [line(f"{side}s", points, SIDES[side], QUOTE) for side, points in series.items()]
        sums = ", ".join(f"{si(points[-1][1], '')} {side}s" for side, points in series.items())
        where = "within 10 bps of mid" if reached else "in all recorded levels, which end before 10 bps"
        return Chart(f"{sums} in quote units {where}", figure=over_time(traces, QUOTE, self.bounds))

    def liquidations(self) -> Chart:
        rows = self.reader.rows(
            "SELECT cast(ts AS LONG) / 1000, side, notional, largest, n FROM (SELECT ts, side, "  # noqa: S608
            "sum(price * qty) notional, max(price * qty) largest, count() n FROM liquidations "
            f"WHERE {self.where} AND {TRADED} SAMPLE BY {self.span.bar_s}s) ORDER BY 1"
        )
        if not rows:
            return Chart(empty=f"no liquidation of {self.title} in the last {self.span.words}")
        width = self.span.bar_s * 1000
        sides: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
        for at, side, notional, _, _ in rows:
            sides[side].append((at, notional if side == "buy" else -notional))
        traces = [
            bars(label, sides[side], color, SIGNED_BASE, width)
            for side, label, color in (("buy", "shorts closed", BUY), ("sell", "longs closed", SELL))
            if sides[side]
        ]
        total, largest = sum(row[2] for row in rows), max(row[3] for row in rows)
        caption = f"{sum(row[4] for row in rows):,} orders, {si(total, '')} in quote units, the largest {si(largest, '')}"
        return Chart(caption, figure=over_time(traces, SIGNED_BASE, self.bounds, barmode="relative"))

    def scores(self) -> Chart:
        """What the analysis `confluence` found: its score of 0 to 100 (50: neither way), and that of each component."""
        found = self._signals("confluence")
        verdicts, _ = found.pop("verdict", []), found.pop("weight", [])
        score = found.pop("score", [])
        if not score:
            return Chart(empty=self._no_score())
        traces = [
            line(part, found[part], SERIES[1 + i % (len(SERIES) - 1)], SCORE, line={"width": 1}, opacity=0.7)
            for i, part in enumerate(sorted(found)[:MAX_LINES])
        ]
        traces.append(line("score", score, SERIES[0], SCORE, line={"width": 2.5}))
        verdict = VERDICTS.get(round(verdicts[-1][1] or 0.0), "") if verdicts else ""
        caption = f"last {score[-1][1]:.0f} of 100" + (f", {verdict}" if verdict else "")
        figure = over_time(traces, SCORE, self.bounds)
        figure["layout"]["yaxis"] |= {"range": [0, 100], "dtick": 25}
        return Chart(caption, figure=figure)

    def _no_score(self) -> str:
        rows = self.reader.rows(
            f"SELECT detail FROM signals WHERE {self.where} AND analysis = 'confluence' "  # noqa: S608
            "AND metric = 'weight' LIMIT -1"
        )
        try:
            why = msgspec.json.decode(rows[0][0] or b"", type=NoScore).why if rows else ""
        except msgspec.DecodeError:
            why = ""
        last = f"the last {self.span.words}"
        return f"no score in {last}: {why}" if why else f"no score was computed in {last}; {NO_PASSES}"

    def _signals(
        self, analysis: str, metrics: tuple[str, ...] = ()
    ) -> dict[str, list[tuple[float, float | None]]]:
        """Metric → points, of the shortest window where there are passes of several."""
        only = f" AND metric IN ({', '.join(repr(metric) for metric in metrics)})" if metrics else ""
        rows = self.reader.rows(
            "SELECT cast(ts AS LONG) / 1000, window_s, metric, value FROM (SELECT ts, window_s, metric, "  # noqa: S608
            f"last(value) value FROM signals WHERE {self.where} AND analysis = '{analysis}'{only} "
            f"SAMPLE BY {max(self.span.step_s, 10)}s) ORDER BY 1"
        )
        shortest = min((row[1] for row in rows), default=0)
        found: dict[str, list[tuple[float, float | None]]] = defaultdict(list)
        for at, window_s, metric, value in rows:
            if window_s == shortest:
                found[metric].append((at, value))
        return found


def _levels(side: Any) -> list[tuple[float, float]]:
    """[prices, sizes] → (price, sizes added up to there), the best first."""
    if not side or len(side) < 2:
        return []
    prices, sizes = side
    return list(zip(prices, (rounded(s) or 0.0 for s in itertools.accumulate(sizes)), strict=True))


def _foot(levels: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Where the curve stands up from 0: at the touch."""
    return [(levels[0][0], 0.0)] if levels else []


def number(value: float) -> str:
    """A price as people write it."""
    return f"{value:,.2f}" if abs(value) >= 1000 else f"{value:.6g}"


def signed(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{si(abs(value), '')}"


def symbols(reader: Reader) -> list[Instrument]:
    """What is recorded, the largest turnover of the last day first, then what was subscribed within a week.

    Raises UnavailableError, QueryError."""
    traded = reader.rows(
        "SELECT exchange, market, symbol, sum(notional) notional FROM ohlcv_1m "
        "WHERE ts > dateadd('h', -24, now()) ORDER BY notional DESC"
    )
    subscribed = reader.rows(
        "SELECT DISTINCT exchange, market, symbol FROM feed_events WHERE event = 'subscribed' "
        "AND ts > dateadd('d', -7, now()) ORDER BY 1, 2, 3"
    )
    names = dict.fromkeys((exchange, market, symbol) for exchange, market, symbol, *_ in traded + subscribed)
    return [name for name in names if all(name)]
