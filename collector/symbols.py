"""Which symbols a feed means: names, patterns (`*USDT`) and the busiest (`top:20`, `top:20:*USDT`). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the configuration is checked with this module, and comes before everything
    from collector.exchanges.base import Instrument


class SelectorError(ValueError):
    """A selector that can't be."""


def is_dynamic(selector: str) -> bool:
    """Whether what it means depends on what the venue lists."""
    return selector.startswith("top:") or any(character in selector for character in "*?")


def top_of(selector: str) -> tuple[int, str]:
    """How many of "top:N" or "top:N:PATTERN", and of which. Raises SelectorError."""
    _, count, *pattern = selector.split(":", 2)
    if not (count.isascii() and count.isdigit() and 1 <= int(count) <= 2000):
        raise SelectorError(f'"{selector}": write "top:20", or "top:20:*USDT"; at most 2000')
    return int(count), pattern[0] if pattern else "*"


def needs_turnover(selectors: Iterable[str]) -> bool:
    return any(selector.startswith("top:") for selector in selectors)


def select(
    selectors: Sequence[str], listing: Mapping[str, Instrument], turnover: Mapping[str, float]
) -> list[str]:
    """The symbols, each once: names as they are (while they are listed, where a list is known), then what patterns and `top`
    mean of what is being traded. `listing` and `turnover` are by symbol."""
    trading = [item.symbol for item in listing.values() if item.status == "trading"]
    chosen: dict[str, None] = {}
    for selector in selectors:
        if selector.startswith("top:"):
            count, pattern = top_of(selector)
            fitting = [name for name in trading if name in turnover and fnmatchcase(name, pattern)]
            busiest = sorted(fitting, key=lambda name: (-turnover[name], name))[:count]
            chosen |= dict.fromkeys(busiest)
        elif is_dynamic(selector):
            chosen |= dict.fromkeys(sorted(name for name in trading if fnmatchcase(name, selector)))
        elif not listing or selector in listing:
            chosen[selector] = None
    return list(chosen)


def hint(symbol: str, known: Iterable[str]) -> str:
    near = sorted(name for name in known if name.lower() == symbol.lower() or symbol in name)[:3]
    return f"; did you mean {', '.join(near)}?" if near else "; use the exchange's own name"
