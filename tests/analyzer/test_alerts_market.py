"""Alerts on the market: thresholds, and the currency that each amount is in."""

from __future__ import annotations

from analyzer.alerts.settings import AlertsConfig
from collector.database.endpoint import Endpoint
from collector.rows import ListedInstrument, Row, Trade
from tests.analyzer.audits import END, START
from tests.analyzer.firing import S, fires, firings, liquidation
from tests.analyzer.fixtures import VENUE, store
from tests.conftest import query, wait_rows


def listed(symbol: str, quote: str) -> ListedInstrument:
    base = symbol.removesuffix(quote)
    name = f"{base}-{quote}-PERP"
    return ListedInstrument(
        START, START, *VENUE, symbol, name, base, quote, "linear", "trading", 1.0, False, None, None
    )


def told(database: Endpoint, rule: str) -> dict[str, tuple[float, str]]:
    """Symbol, or what stands in its place → value and message."""
    return {one.symbol: (one.value, one.message) for one in firings(database, rule)}


def test_amounts_have_the_unit_of_their_quote_and_no_two_currencies_are_summed(database: Endpoint) -> None:
    """Dollars: 1,200,000 + 900,000 = 2,100,000. Euros: 1,500,000, below 2,000,000; yen: 220,068,659. Of what no venue lists:
    400,000."""
    store(
        database,
        [
            *(listed(f"BTC{quote}", quote) for quote in ("USDT", "USDC", "EUR", "JPY")),
            liquidation("BTCUSDT", 10, 1_200_000),
            liquidation("BTCUSDC", 20, 900_000),
            liquidation("BTCEUR", 30, 1_500_000),
            liquidation("BTCJPY", 40, 220_068_659),
            liquidation("ODD", 50, 400_000),
            Trade(END - S, END - S, *VENUE, "BTCEUR", "buy", 100.0, 10_000.0, "1"),
        ],
    )
    on = "on bybit linear"
    assert told(database, "liquidations_all") == {
        "*": (2_100_000.0, "$2,100,000 liquidated in all of USD, USDT and USDC within 10m"),
        "JPY": (220_068_659.0, "220,068,659 JPY liquidated in all of JPY within 10m"),
    }
    sums = told(database, "liquidations_symbol")
    assert {symbol: message for symbol, (_, message) in sums.items()} == {
        "BTCUSDT": f"$1,200,000 liquidated in BTCUSDT {on} within 10m",
        "BTCUSDC": f"$900,000 liquidated in BTCUSDC {on} within 10m",
        "BTCEUR": f"1,500,000 EUR liquidated in BTCEUR {on} within 10m",
        "BTCJPY": f"220,068,659 JPY liquidated in BTCJPY {on} within 10m",
    }
    assert told(database, "liquidation")["ODD"] == (
        400_000.0,
        f"liquidation of 400,000 quote units in ODD {on}",
    )
    assert told(database, "whale") == {"BTCEUR": (1e6, f"trade of 1,000,000 EUR in BTCEUR {on}")}


def test_rules_on_the_market(database: Endpoint) -> None:
    rows: list[Row] = [
        liquidation("BTCUSDT", 10, 250_000),
        liquidation("BTCUSDT", 20, 249_999),
        liquidation("ETHUSDT", 30, 249_999.99),
        liquidation("ETHUSDT", 601, 900_000),  # before the window
        liquidation("SOLUSDT", 40, 200_000),
        liquidation("SOLUSDT", 50, 200_000),
        liquidation("SOLUSDT", 60, 100_000),
        Trade(END - S, END - S, *VENUE, "BTCUSDT", "buy", 100.0, 10_000.0, "1"),
        Trade(END - S, END - S, *VENUE, "ETHUSDT", "buy", 100.0, 9_999.0, "2"),
    ]
    store(database, [*rows, *(listed(symbol, "USDT") for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"))])
    assert fires(database, "liquidation") == [("BTCUSDT", 250_000.0)]
    assert fires(database, "liquidations_symbol") == [("SOLUSDT", 500_000.0)]
    assert fires(database, "liquidations_all") == []
    assert fires(database, "liquidations_all", config=AlertsConfig(liquidations_all=1_249_998.0)) == [
        ("*", 1_249_998.99)
    ]
    assert fires(database, "whale") == [("BTCUSDT", 1_000_000.0)]
    assert fires(database, "stale_market") == []
    assert fires(database, "stale_market", END + 120 * S) == [("*", 121.0)]
    for symbol, score in (("A", 70.0), ("B", 69.9), ("C", 35.0), ("D", 35.1)):
        query(
            database,
            "INSERT INTO signals (ts, exchange, market, symbol, window_s, analysis, metric, value) "
            f"VALUES ({END - S}, 'e', 'm', '{symbol}', 900, 'confluence', 'score', {score})",
        )
    wait_rows(database, "signals", 4)
    assert fires(database, "score_long") == [("A", 70.0)]
    assert fires(database, "score_short") == [("C", 35.0)]
