"""The analyses. Add one here, and nowhere else outside its own module."""

from __future__ import annotations

from analyzer.passes.absorption import ABSORPTION
from analyzer.passes.bars import BARS
from analyzer.passes.base import Analysis
from analyzer.passes.book import BOOK
from analyzer.passes.cascades import CASCADES
from analyzer.passes.confluence import CONFLUENCE
from analyzer.passes.coverage import COVERAGE
from analyzer.passes.cross import CROSS
from analyzer.passes.depth import DEPTH
from analyzer.passes.derivatives import DERIVATIVES
from analyzer.passes.divergence import DIVERGENCE
from analyzer.passes.flow import FLOW
from analyzer.passes.leadlag import LEADLAG
from analyzer.passes.liquidations import LIQUIDATIONS
from analyzer.passes.markout import MARKOUT
from analyzer.passes.profile import PROFILE
from analyzer.passes.quotes import QUOTES
from analyzer.passes.sizes import SIZES
from analyzer.passes.structure import STRUCTURE
from analyzer.passes.technical import TECHNICAL
from analyzer.passes.toxicity import TOXICITY
from analyzer.passes.venues import VENUES
from analyzer.passes.volume import VOLUME
from analyzer.passes.walls import WALLS
from analyzer.passes.whales import WHALES

ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (
        COVERAGE,
        BARS,
        FLOW,
        SIZES,
        WHALES,
        MARKOUT,
        TOXICITY,
        DIVERGENCE,
        PROFILE,
        VOLUME,
        BOOK,
        QUOTES,
        DEPTH,
        WALLS,
        ABSORPTION,
        LIQUIDATIONS,
        CASCADES,
        DERIVATIVES,
        STRUCTURE,
        TECHNICAL,
        CROSS,
        LEADLAG,
        VENUES,
        CONFLUENCE,
    )
}
"""In the order in which they run: the others' numbers carry the coverage that the first one found, and one that needs others
comes after them."""
