"""A rig for each case, and the report."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults import rig as rigs

OUT = Path(os.environ.get("EVENKEEL_FAULTS_REPORT", "var/faults/faults.md"))
"""Written by the long form, and by the short one where the variable is set."""
_results: list[tuple[str, str, str, float]] = []


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def rig(tmp_path: Path, stack: ExitStack) -> rigs.Rig:
    return rigs.Rig(tmp_path, stack)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if isinstance(item, pytest.Function) and (report.when == "call" or report.outcome == "skipped"):
        expected = " ".join((item.function.__doc__ or "").split())
        _results.append((item.name, expected, report.outcome, report.duration))
    return report


def pytest_sessionfinish() -> None:
    if not _results or not (rigs.LONG or "EVENKEEL_FAULTS_REPORT" in os.environ):
        return
    OUT.parent.mkdir(parents=True, exist_ok=True)
    lines = ["| Case | Expected | Result | Sent | Missing, all declared | s |", "|---|---|---|---|---|---|"]
    for name, expected, outcome, duration in _results:
        totals = rigs.REPORT.get(name, {})
        sent, missing = (f"{totals[key]:,}" if key in totals else "" for key in ("sent", "missing"))
        case = name.removeprefix("test_").replace("_", " ")
        lines.append(f"| {case} | {expected} | {outcome} | {sent} | {missing} | {duration:.0f} |")
    OUT.write_text("\n".join(lines) + "\n", encoding="utf-8")
