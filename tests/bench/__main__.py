"""`make bench`: the figures, printed and written as JSON. Nothing here passes or fails by time."""

from __future__ import annotations

import json
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from collector.config import QuestDBConfig, RetentionConfig
from collector.database import managed
from collector.database.endpoint import resolve
from collector.database.migrate import migrate
from tests.bench import collector_bench, floor_bench

PARTS = ("floor", "collector", "analyzer")
GOALS = {
    "collector": {"messages_per_cpu_second": "≥ 120,000", "rss_mb_growth": "≤ 5", "rss_mb_peak": "< 100"},
    "analyzer": {"median_s": "< 2"},
}


def measure(part: str, folder: Path, messages: int) -> dict[str, Any]:
    if part == "floor":
        return floor_bench.run(folder / part, min(messages, 500_000))
    config = QuestDBConfig(data=str(folder / part / "questdb"), http_port=0, pg_port=0)
    endpoint = resolve(config)
    try:
        migrate(endpoint, RetentionConfig())
        if part == "collector":
            return collector_bench.run(endpoint, folder / part, messages)
        from tests.analyzer import bench_run_once

        figures: dict[str, Any] = bench_run_once.run(endpoint)
        return figures
    finally:
        managed.stop(config)


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="these parts [default: all]")
@click.option("--messages", default=10_000_000, show_default=True, help="for the collector")
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench.json"), show_default=True)
def main(only: tuple[str, ...], messages: int, out: Path) -> None:
    """Measure, print, and write JSON."""
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    results: dict[str, Any] = {"machine": machine}
    folder = Path(tempfile.mkdtemp(prefix="evenkeel-bench-"))
    try:
        for part in only or PARTS:
            click.echo(f"==> {part}", err=True)
            results[part] = measure(part, folder, messages)
            for name, value in results[part].items():
                goal = GOALS.get(part, {}).get(name)
                shown = f"{value:,}" if isinstance(value, int | float) else value
                click.echo(f"{part:10} {name:28} {shown:>14}" + (f"   goal {goal}" if goal else ""))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    out.write_text(json.dumps(results, indent=2) + "\n")
    click.echo(f"written: {out}")


main()
