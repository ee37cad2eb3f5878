"""What an analysis is: queries, and a pure function from their results to numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

Tables: TypeAlias = Mapping[str, Any]
"""Query name → its result, a pyarrow.Table, or what `Analysis.across` makes of it. Timestamps arrive as
timestamp[us, tz=UTC], symbols as dictionary or string."""

TRADED = "price > 0 AND price < 1e300 AND qty > 0 AND qty < 1e300"
"""SQL: the rows of `trades` and `liquidations` in which something changed hands. The others, with NULL or infinity,
are no trades: QuestDB's sums pass over NULL, and a size without its price would bias a vwap."""


SIGNALS = ("exchange", "market", "symbol", "analysis", "metric", "value", "coverage")
"""Columns of the table `signals` that an analysis with `needs` gets: a row a number, its coverage null where unknown."""


class Metric(msgspec.Struct, frozen=True):
    """One number that an analysis yields."""

    name: str
    unit: str
    definition: str


class Value(msgspec.Struct, frozen=True):
    """One number of one instrument. A number that has no meaning for the window is left out, never invented."""

    exchange: str
    """"*": over all venues."""
    market: str
    symbol: str
    metric: str
    value: float
    detail: str = ""
    """JSON, or empty."""
    coverage: float | None = None
    """Only of an analysis with `needs`, which knows what its number rests on; None where that isn't known."""


class Analysis(msgspec.Struct, frozen=True):
    """One analysis, registered by name in `analyzer.passes`."""

    name: str
    metrics: Sequence[Metric]
    channels: Sequence[str]
    """The recorded channels that its numbers rest on: their coverage is the numbers' coverage."""
    queries: Mapping[str, str]
    """Name → SQL. `{where}` stands for the window and the instruments: `ts >= … AND ts < … AND symbol IN (…)`;
    `{instruments}` for the instruments alone (with a leading AND, or empty); `{start}` and `{end}` for the bounds as
    quoted timestamps, `{length}` for their distance in µs. VARCHAR columns are cast to `::string`: QuestDB's Parquet
    export loses them otherwise."""
    compute: Callable[[Tables, Window], Sequence[Value]]
    """Pure. An empty result says that the window holds nothing to speak of."""
    needs: Sequence[str] = ()
    """Analyses of the same pass, run before this one, whose numbers `compute` finds in the table `signals` (see
    SIGNALS)."""
    across: Mapping[str, Callable[[pa.Table, Window], Any]] = {}
    """Only of one that compares instruments, and must see all of them at once: query name → what makes its answer small,
    some instruments at a time. `compute` is given the list of what these say, instead of the table."""
