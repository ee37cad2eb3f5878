"""The rules: each asks the tables, and says what fires now. Registered by name in `RULES`."""

# ruff: noqa: S608 - every part of the queries is ours: numbers and names of tables

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from analyzer.alerts.base import HOUR_US, MINUTE_US, Firing, Rule
from analyzer.alerts.holes import gap_open, never_reached, redundancy
from analyzer.alerts.market import largest, liquidations_all, liquidations_symbol, score
from analyzer.collectors import process_names
from analyzer.quantities import size
from analyzer.source import Source

if TYPE_CHECKING:
    from analyzer.alerts.settings import AlertsConfig


def _growth(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    import numpy as np

    from analyzer.trend import trend

    over = config.us("growth_over")
    lines: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for process, collector, ts, rss in source.rows(
        f"SELECT process, collector, ts::long, rss FROM collector_stats WHERE ts > {now - over} AND ts <= {now} AND rss > 0"
    ):
        lines.setdefault((process, collector or ""), []).append((ts, rss))
    names = process_names(lines)
    for key, line in lines.items():
        if line[-1][0] - line[0][0] < over / 2 or now - line[-1][0] > MINUTE_US:
            continue
        hours = np.array([(ts - line[0][0]) / HOUR_US for ts, _ in line])
        slope = trend(hours, np.array([rss / 1e6 for _, rss in line]), fewest=2).slope
        if slope >= config.growth:
            text = f"{names[key]} grows by {slope:,.0f} MB an hour; next: collector memory top"
            yield Firing("*", "*", names[key], slope, text)


def _ship_lag(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    limit = config.us("ship_lag") / 1e3
    found = {
        (process, collector or ""): lag
        for process, collector, lag in source.rows(
            f"SELECT process, collector, lag_ms FROM collector_stats WHERE ts > {now - MINUTE_US} AND ts <= {now} "
            "LATEST ON ts PARTITION BY process, collector"
        )
    }
    names = process_names(found)
    for key, lag in found.items():
        if lag is not None and lag >= limit:
            text = (
                f"QuestDB is {lag / 1e3:,.0f} s behind the journal of {names[key]}; next: collector db status"
            )
            yield Firing("*", "*", names[key], lag / 1e3, text)


def _silence(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    for (last,) in source.rows(f"SELECT max(ts)::long FROM collector_stats WHERE ts <= {now}"):
        age = (now - last) / 1e6 if last else 0.0
        if age * 1e6 < config.us("silence"):
            continue
        yield Firing(
            "*", "*", "*", age, f"no sign of life of a collector for {age:,.0f} s; next: collector check"
        )


def _stale(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    newest: dict[tuple[str, str], int] = {}
    for table in ("trades", "orderbook", "tickers"):
        for exchange, market, last in source.rows(
            f"SELECT exchange, market, max(recv_ts)::long FROM {table} WHERE ts > {now - HOUR_US} AND ts <= {now}"
        ):
            newest[exchange, market] = max(last or 0, newest.get((exchange, market), 0))
    for (exchange, market), last in newest.items():
        if now - last >= config.us("stale"):
            age = (now - last) / 1e6
            text = f"{exchange} {market} has brought nothing for {age:,.0f} s; next: collector check"
            yield Firing(exchange, market, "*", age, text)


def _suspended(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    for name, reason in source.rows("SELECT name, errorMessage FROM wal_tables() WHERE suspended"):
        text = (
            f"table {name} is suspended ({reason or 'no reason given'}); next: ALTER TABLE {name} RESUME WAL"
        )
        yield Firing("*", "*", name, 1.0, text)


def _disk(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    for disk in ("journal", "server"):
        for (free,) in source.rows(
            f"SELECT min({disk}_disk_free) FROM collector_stats WHERE ts > {now - MINUTE_US} AND ts <= {now}"
        ):
            if free is not None and free < size(config.disk_free):
                text = f"{free / 1e9:,.1f} GB are free on the {disk}'s disk; next: df -h"
                yield Firing("*", "*", disk, free, text)


def _dead_letters(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    found = {
        (process, collector or ""): more
        for process, collector, more in source.rows(
            "SELECT process, collector, max(dead_letters) - min(dead_letters) FROM collector_stats "
            f"WHERE ts > {now - 10 * MINUTE_US} AND ts <= {now}"
        )
    }
    names = process_names(found)
    for key, more in found.items():
        if more:
            text = f"{names[key]} has put {more:,} rows or messages aside; next: collector dead-letter list"
            yield Firing("*", "*", names[key], more, text)


RULES: dict[str, Rule] = {
    "memory_growth": Rule("warning", _growth),
    "ship_lag": Rule("critical", _ship_lag),
    "silence": Rule("critical", _silence),
    "stale_market": Rule("critical", _stale),
    "gap_open": Rule("warning", gap_open),
    "redundancy": Rule("warning", redundancy),
    "never_reached": Rule("warning", never_reached),
    "table_suspended": Rule("critical", _suspended),
    "disk_free": Rule("critical", _disk),
    "dead_letters": Rule("warning", _dead_letters),
    "liquidation": Rule("warning", largest("liquidations", "liquidation", "liquidation"), market=True),
    "liquidations_symbol": Rule("warning", liquidations_symbol, market=True),
    "liquidations_all": Rule("critical", liquidations_all, market=True),
    "whale": Rule("warning", largest("trades", "whale", "trade"), market=True),
    "score_long": Rule("warning", score(long=True), market=True),
    "score_short": Rule("warning", score(long=False), market=True),
}
MARKET_RULES = frozenset(name for name, rule in RULES.items() if rule.market)
