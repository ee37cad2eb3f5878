"""The audit's memory plot: its line, and the limit where that is within reach."""

from __future__ import annotations

import pytest

from analyzer.audit.figures import figures_of
from analyzer.audit.page import page
from analyzer.audit.sections import Section
from analyzer.audit.settings import AuditConfig
from tests.analyzer.audits import samples
from tests.analyzer.test_audit_verdicts import facts


@pytest.mark.parametrize(
    ("rss_mb", "told", "drawn"),
    [
        (85.0, "At most 85 MB, 0.9% of the limit of 10,000 MB", False),
        (2_499.9, "At most 2,500 MB, 25.0% of the limit of 10,000 MB", False),
        (2_500.0, "At most 2,500 MB, 25.0% of the limit of 10,000 MB", True),
    ],
)
def test_the_limit_is_a_line_once_it_is_within_reach(rss_mb: float, told: str, drawn: bool) -> None:
    runs = figures_of(facts(list(samples("h:1", 0, 12, every_s=600, base_mb=rss_mb))), AuditConfig()).runs
    document = page("", "", [Section("Memory", plot="memory")], runs, 10_000.0)
    figure = document.rpartition("<script")[2]  # after the library
    assert told in figure
    assert ("limit 10,000 MB" in figure) is drawn
