"""How instruments and metrics are written."""

from __future__ import annotations

from analyzer.passes.groups import Instrument


def title(name: Instrument) -> str:
    """ "SYMBOL (exchange market)", without what could steer a terminal or hide in a page."""
    exchange, market, symbol = (clean(part) for part in name)
    return f"{symbol} ({exchange} {market})"


def clean(text: str | None) -> str:
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text or "")


def percent(share: float) -> str:
    """With its sign and two decimals."""
    return f"{share:+.2%}".replace("-", "−")


def words(metric: str) -> str:
    return clean(metric).replace("_", " ")
