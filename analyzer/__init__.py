"""Windows of SQL/Arrow to numbers: `signals`, reports, alerts. Keeps nothing between passes.

For notebooks: `from analyzer import load, batches, query` (see `analyzer.loading` and docs/data.md).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyzer.loading import batches as batches
    from analyzer.loading import load as load
    from analyzer.loading import query as query

__version__ = "0.1.0"
NOTEBOOK = ("batches", "load", "query")


def __getattr__(name: str) -> Any:
    """Only who asks for them pays for importing what they need."""
    if name in NOTEBOOK:
        from analyzer import loading

        return getattr(loading, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
