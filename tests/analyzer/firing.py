"""What a rule says of the tables."""

from __future__ import annotations

from analyzer.alerts.base import Firing
from analyzer.alerts.rules import RULES
from analyzer.alerts.settings import AlertsConfig
from analyzer.config import Endpoint as ReadEndpoint
from analyzer.source import Source
from collector.database.endpoint import Endpoint
from collector.rows import Liquidation
from tests.analyzer.audits import END
from tests.analyzer.fixtures import VENUE

S = 1_000_000
CONFIG = AlertsConfig()


def firings(database: Endpoint, rule: str, now: int = END, config: AlertsConfig = CONFIG) -> list[Firing]:
    source = Source(ReadEndpoint(database.http_url, database.pg))
    try:
        return list(RULES[rule].evaluate(source, config, now))
    finally:
        source.close()


def fires(
    database: Endpoint, rule: str, now: int = END, config: AlertsConfig = CONFIG
) -> list[tuple[str, float]]:
    """Symbol (or what stands in its place) and value."""
    return sorted((one.symbol, round(one.value, 3)) for one in firings(database, rule, now, config))


def liquidation(symbol: str, seconds: float, notional: float) -> Liquidation:
    ts = END - round(seconds * S)
    return Liquidation(ts, ts, *VENUE, symbol, "sell", 100.0, notional / 100, f"{symbol}{seconds}")
