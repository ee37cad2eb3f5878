"""`analyzer jobs`: what the schedule does, did last, and does next."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from analyzer.config import AnalyzerConfig, endpoint, load
from analyzer.options import config_option, format_option, reports_errors
from analyzer.quantities import duration

if TYPE_CHECKING:
    from analyzer.jobs import Job
    from analyzer.source import Source


@click.command("jobs")
@config_option
@format_option
@reports_errors
def jobs(file: str | None, form: str) -> None:
    """Every analysis of the schedule: cadence, last window and how it went, what was missed, what comes next."""
    config = load(file)
    from analyzer.jobs import jobs_of
    from analyzer.passes import ANALYSES
    from analyzer.source import Source

    source = Source(endpoint(config.questdb))
    try:
        groups = jobs_of(config.analyzer, list(ANALYSES))
        rows = [row for job in groups for row in _rows(source, job, config.analyzer)]
    finally:
        source.close()
    if form == "json":
        import msgspec

        click.echo(msgspec.json.format(msgspec.json.encode({"jobs": rows})).decode())
    else:
        _print(rows)


def _rows(source: Source, job: Job, settings: AnalyzerConfig) -> list[dict[str, Any]]:
    from analyzer.jobs import history, last_runs, missed

    now, settle = datetime.now(UTC), duration(settings.settle)
    limit = duration(settings.catch_up)
    before = job.latest(now, settle) - job.every  # the newest is due, not missed
    past, last = history(source, job, now, limit), last_runs(source, job, now)
    found = []
    for name in job.analyses:
        run = last.get(name, {})
        lacking = missed(job, past[name], before, limit)
        found.append(
            {
                "analysis": name,
                "every_s": job.every.total_seconds(),
                "window_s": job.length.total_seconds(),
                "last_window": {"from": run["window_from"], "to": run["window_to"]} if run else None,
                "last_status": run.get("status"),
                "last_started": run.get("started"),
                "took_ms": run.get("took_ms"),
                "rows_read": run.get("rows_read"),
                "error": run.get("error") or "",
                "missed": len(lacking.ends),
                "next_due": job.next_due(now, settle),
            }
        )
    return found


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("analysis", "every", "window", "last window (UTC)", "status", "took", "missed", "next due")
    for row in rows:
        last = row["last_window"]
        failed = row["last_status"] == "failed"
        table.add_row(
            row["analysis"],
            f"{row['every_s']:g} s",
            f"{row['window_s']:g} s",
            f"{last['from']:%m-%d %H:%M:%S} – {last['to']:%H:%M:%S}" if last else "–",
            Text(row["last_status"] or "never run", style="bold red" if failed else ""),
            "–" if row["took_ms"] is None else f"{row['took_ms']:,.0f} ms",
            f"{row['missed']:,}",
            f"{row['next_due']:%H:%M:%S}",
        )
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    for row in rows:
        if row["error"]:
            console.print(f"{row['analysis']}: {row['error']}", markup=False, highlight=False)
