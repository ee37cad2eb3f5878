"""The rules on the market: forced orders, large trades, scores.

Thresholds are in the instrument's quote currency, and so are the messages: dollars for USD, USDT and USDC, which are taken
as one dollar each, the currency's own units for any other, "quote units" where the venue's list does not have the
instrument. Sums over several instruments are of one currency each: nothing here knows a rate between two.
"""

# ruff: noqa: S608 - every part of the queries is ours: numbers, names of tables, and quoted symbols

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from analyzer.alerts.base import HOUR_US, Evaluate, Firing
from analyzer.source import Source, quoted

if TYPE_CHECKING:
    from analyzer.alerts.settings import AlertsConfig

DOLLAR = "$"
DOLLARS = frozenset({"USD", "USDT", "USDC"})
UNLISTED = "unlisted"
Name = tuple[str, str, str]
"""exchange, market, symbol"""


def currencies(source: Source, names: Iterable[Name]) -> dict[Name, str]:
    """What each instrument is quoted in, DOLLAR for what is a dollar; without those that no venue has listed."""
    symbols = ", ".join(sorted({quoted(symbol) for _, _, symbol in names}))
    if not symbols:
        return {}
    found = source.rows(
        f"SELECT exchange, market, symbol, quote FROM instruments WHERE symbol IN ({symbols}) "
        "LATEST ON ts PARTITION BY exchange, market, symbol"
    )
    return {
        (exchange, market, symbol): DOLLAR if quote.upper() in DOLLARS else quote
        for exchange, market, symbol, quote in found
        if quote
    }


def amount(value: float, currency: str | None) -> str:
    """$250,000; 250,000 EUR; 250,000 quote units. Of less than ten, as of bitcoins, with two digits behind the point."""
    text = f"{value:,.0f}" if value >= 10 else f"{value:,.2f}"
    return f"{DOLLAR}{text}" if currency == DOLLAR else f"{text} {currency or 'quote units'}"


def largest(table: str, limit: str, what: str) -> Evaluate:
    def evaluate(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
        least = getattr(config, limit)
        found = source.rows(
            f"SELECT exchange, market, symbol, max(price * qty), count() FROM {table} "
            f"WHERE ts > {now - config.us('market_window')} AND ts <= {now} AND price * qty >= {least}"
        )
        known = currencies(source, ((row[0], row[1], row[2]) for row in found))
        for exchange, market, symbol, most, count in found:
            more = f" (largest of {count})" if count > 1 else ""
            of = amount(most, known.get((exchange, market, symbol)))
            text = f"{what} of {of} in {symbol} on {exchange} {market}{more}"
            yield Firing(exchange, market, symbol, most, text)

    return evaluate


def liquidations_symbol(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    found = {
        name: total for name, total in _liquidated(source, config, now) if total >= config.liquidations_symbol
    }
    known = currencies(source, found)
    for name, total in found.items():
        exchange, market, symbol = name
        of = amount(total, known.get(name))
        text = f"{of} liquidated in {symbol} on {exchange} {market} within {config.market_window}"
        yield Firing(*name, total, text)


def liquidations_all(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
    """One sum a currency, each against the threshold: "*" is the dollars, others stand under their name."""
    found = _liquidated(source, config, now)
    known = currencies(source, (name for name, _ in found))
    sums: dict[str, float] = defaultdict(float)
    for name, total in found:
        sums[known.get(name, UNLISTED)] += total
    for currency, total in sorted(sums.items()):
        if total >= config.liquidations_all:
            of = amount(total, None if currency == UNLISTED else currency)
            whose = {
                DOLLAR: "all of USD, USDT and USDC",
                UNLISTED: "all that no venue lists, of any currency",
            }
            text = f"{of} liquidated in {whose.get(currency, f'all of {currency}')} within {config.market_window}"
            yield Firing("*", "*", "*" if currency == DOLLAR else currency, total, text)


def _liquidated(source: Source, config: AlertsConfig, now: int) -> list[tuple[Name, float]]:
    """By instrument."""
    rows = source.rows(
        "SELECT exchange, market, symbol, sum(price * qty) FROM liquidations "
        f"WHERE ts > {now - config.us('market_window')} AND ts <= {now}"
    )
    return [((exchange, market, symbol), total) for exchange, market, symbol, total in rows if total]


def score(long: bool) -> Evaluate:
    def evaluate(source: Source, config: AlertsConfig, now: int) -> Iterator[Firing]:
        for exchange, market, symbol, value in source.rows(
            "SELECT exchange, market, symbol, value FROM signals WHERE analysis = 'confluence' AND metric = 'score' "
            f"AND ts > {now - HOUR_US} AND ts <= {now} LATEST ON ts PARTITION BY exchange, market, symbol"
        ):
            if value is not None and (value >= config.score_long if long else value <= config.score_short):
                text = f"{symbol} on {exchange} {market}: score {value:.0f}, {'long' if long else 'short'}"
                yield Firing(exchange, market, symbol, value, text)

    return evaluate
