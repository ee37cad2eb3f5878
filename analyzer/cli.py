"""`analyzer`: one click command a module."""

from __future__ import annotations

import os

import click

from analyzer import __version__
from analyzer.lazy import Command, LazyGroup

COMMANDS = {
    "run-once": Command("analyzer.passes_cli", "One pass over every analysis."),
    "schedule": Command(
        "analyzer.schedule_cli", "Passes at their cadence, aligned to the clock, each in a fresh process."
    ),
    "jobs": Command(
        "analyzer.jobs_cli",
        "Every analysis of the schedule: cadence, last window and how it went, what was missed, what comes next.",
    ),
    "metrics": Command(
        "analyzer.passes_cli", "Every number that the analyses yield: name, unit, definition."
    ),
    "report": Command(
        "analyzer.report_cli", "A window as one HTML page, without assets from elsewhere, and as Markdown."
    ),
    "dashboard": Command(
        "analyzer.dashboard_cli", "A live page: how the recording goes, and the market of a chosen symbol."
    ),
    "evaluate": Command(
        "analyzer.evaluate_cli",
        "Past signals against the prices that followed: hit rate, mean return, information coefficient.",
    ),
    "alerts": Command(
        "analyzer.alerts_cli",
        "Rules on the tables: record what fires, and tell the targets in EVENKEEL_ALERTS_URLS.",
    ),
    "audit": Command(
        "analyzer.audit_cli",
        "What ran, what was lost, what grows, and what to do next: from the tables alone.",
    ),
    "sql": Command(
        "analyzer.sql_cli", "Queries for the console: what there is, their text, and their answers."
    ),
    "export": Command(
        "analyzer.export_cli",
        "Recorded rows as Parquet, hftbacktest's event arrays or Tardis's CSV: a file a day and symbol.",
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="analyzer")
def main() -> None:
    """Analyse windows of recorded market data."""
    # Before numpy is loaded. Its products are small here: a thread more only waits for the server's, and costs its share.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
