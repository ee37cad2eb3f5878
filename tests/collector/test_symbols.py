"""What selectors mean, by hand."""

from __future__ import annotations

import pytest

from collector.exchanges.base import Instrument
from collector.symbols import SelectorError, is_dynamic, select, top_of

LISTING = {
    name: Instrument(symbol=name, base=name[:3], quote=name[3:], kind="perpetual", status=status)
    for name, status in {
        "BTCUSDT": "trading",
        "ETHUSDT": "trading",
        "SOLUSDT": "trading",
        "BTCUSDC": "trading",
        "XRPUSDT": "PreLaunch",
    }.items()
}
TURNOVER = {"BTCUSDT": 50.0, "ETHUSDT": 80.0, "SOLUSDT": 50.0, "BTCUSDC": 60.0, "XRPUSDT": 999.0}


@pytest.mark.parametrize(
    ("selectors", "symbols"),
    [
        (["SOLUSDT", "BTCUSDT"], ["SOLUSDT", "BTCUSDT"]),
        (["XRPUSDT"], ["XRPUSDT"]),  # named, so it is wanted although it is not traded yet
        (["GONEUSDT", "BTCUSDT"], ["BTCUSDT"]),
        (["*USDT"], ["BTCUSDT", "ETHUSDT", "SOLUSDT"]),
        (["BTC*", "BTCUSDT"], ["BTCUSDC", "BTCUSDT"]),
        (["top:2"], ["ETHUSDT", "BTCUSDC"]),
        (["top:2:*USDT"], ["ETHUSDT", "BTCUSDT"]),  # the tie goes by name
        (["top:99"], ["ETHUSDT", "BTCUSDC", "BTCUSDT", "SOLUSDT"]),
        (["SOLUSDT", "top:1"], ["SOLUSDT", "ETHUSDT"]),
        (["?TCUSDT"], ["BTCUSDT"]),
        (["btc*"], []),
    ],
)
def test_select(selectors: list[str], symbols: list[str]) -> None:
    assert select(selectors, LISTING, TURNOVER) == symbols


def test_without_a_listing_names_stand_for_themselves() -> None:
    assert select(["AUSDT", "B*", "top:3"], {}, {}) == ["AUSDT"]


@pytest.mark.parametrize("selector", ["top:", "top:0", "top:x", "top:2001", "top:-1", "top:١"])
def test_impossible_tops_are_refused(selector: str) -> None:
    with pytest.raises(SelectorError, match="top:20"):
        top_of(selector)


def test_names_of_the_venues_are_no_patterns() -> None:
    names = (
        "BTCUSDT",
        "BTC-USDT-SWAP",
        "BTC/USD",
        "@142",
        "dex:COIN",
        "kPEPE",
        "BTC-27MAR26",
        "1000SATSUSDT",
    )
    assert not any(map(is_dynamic, names))
