"""`make bench`: the figures, printed and written as JSON. Nothing here passes or fails by time."""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from collector.database import managed
from collector.database.endpoint import resolve
from collector.database.migrate import migrate
from collector.settings import QuestDBConfig, RetentionConfig
from tests.bench import (
    catch_up_bench,
    collector_bench,
    cryptofeed_bench,
    dashboard_bench,
    floor_bench,
    latency_bench,
    outage_bench,
    thousand_bench,
    transport_bench,
    venues_bench,
    window_bench,
)
from tests.bench.scratch import LeftOutError

PARTS = (
    "floor",
    "collector",
    "analyzer",
    "cryptofeed",
    "outage",
    "latency",
    "transport",
    "catch_up",
    "venues",
    "thousand",
    "dashboard",
    "window",
    "memory",
    "linear",
)
GOALS = {
    "collector": {"messages_per_cpu_second": "≥ 160,000", "rss_mb_growth": "≤ 5", "rss_mb_peak": "< 100"},
    "analyzer": {"median_s": "< 5", "peak_rss_mb": "< 300"},
    "cryptofeed": {"ratio": "≥ 6"},
    "outage": {"ours_lost": "0"},
    "latency": {"p99_ms": "≤ 500"},
    "venues": {"slowest_trades": "≥ 60,000", "slowest_books": "≥ 30,000"},
    "thousand": {"rss_mb_peak": "< 300"},
    "catch_up": {"times_the_live_rate": "≥ 10"},
    "window": {"ours_by_sql": "≤ 2", "pandas_by_ours": "≥ 10"},
    "memory": {
        "pass_rss_mb": "< 512",
        "stream_rss_mb": "< 512",
        "duckdb_rss_mb": "< 512",
        "analyses_rss_mb": "< 512",
    },
}
TRADES = {
    "window": (10_000_000,),
    "memory": (1_000_000, 10_000_000, 50_000_000),
    "linear": (1_000_000, 10_000_000, 100_000_000),
}
COMPARED_MESSAGES = 400_000
"""The most that the comparison with cryptofeed sends: 15 s of its CPU a round."""


def measure(part: str, folder: Path, messages: int, trades: int) -> dict[str, Any]:
    if part == "floor":
        return floor_bench.run(folder / part, min(messages, 500_000))
    if part == "venues":
        return venues_bench.run()
    if part == "transport":
        return transport_bench.run(folder / part)
    config = QuestDBConfig(data=str(folder / part / "questdb"), http_port=0, pg_port=0)
    endpoint = resolve(config)
    try:
        migrate(endpoint, RetentionConfig())
        if part == "window":
            return window_bench.speed(endpoint, trades)
        if part == "linear":
            return window_bench.linear(endpoint, trades)
        if part == "memory":
            return window_bench.memory(endpoint, trades)
        if part == "collector":
            return collector_bench.run(endpoint, folder / part, messages)
        if part == "cryptofeed":
            return cryptofeed_bench.run(endpoint, folder / part, min(messages, COMPARED_MESSAGES))
        if part == "outage":
            return outage_bench.run(endpoint, folder / part)
        if part == "latency":
            return latency_bench.run(endpoint, folder / part)
        if part == "thousand":
            return thousand_bench.run(endpoint, folder / part)
        if part == "dashboard":
            return dashboard_bench.run(endpoint, folder / part)
        if part == "catch_up":
            return catch_up_bench.run(endpoint, folder / part)
        from tests.analyzer import bench_run_once

        figures: dict[str, Any] = bench_run_once.run(endpoint)
        return figures
    finally:
        managed.stop(config)


def sizes(part: str, trades: tuple[int, ...]) -> tuple[int, ...]:
    """Numbers of trades, a run each; 0 for a part that has none."""
    return (trades or TRADES[part]) if part in TRADES else (0,)


def python_loop_ms() -> float:
    """CPU milliseconds of a million additions, the best of five: how fast this machine is just now."""
    best = math.inf
    for _ in range(5):
        began = time.process_time()
        total = 0
        for number in range(1_000_000):
            total += number
        best = min(best, time.process_time() - began)
    return best * 1e3


@click.command()
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="these parts [default: all]")
@click.option("--messages", default=10_000_000, show_default=True, help="for the collector")
@click.option(
    "--trades",
    multiple=True,
    type=int,
    help="for window [default: 10 million], memory [1, 10 and 50 million] and linear [1, 10 and 100 million]",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("bench.json"), show_default=True)
def main(only: tuple[str, ...], messages: int, trades: tuple[int, ...], out: Path) -> None:
    """Measure, print, and write JSON."""
    machine = {
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpus": os.cpu_count(),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    results: dict[str, Any] = {"machine": machine}
    runs = [(part, size) for part in only or PARTS for size in sizes(part, trades)]
    folder = Path(tempfile.mkdtemp(prefix="evenkeel-bench-"))
    try:
        for part, size in runs:
            click.echo(f"==> {part}", err=True)
            before, loop, began = os.getloadavg()[0], python_loop_ms(), time.monotonic()
            try:
                figures = measure(part, folder, messages, size)
            except LeftOutError as error:
                figures = {"left_out": str(error)}
            results[part if len(sizes(part, trades)) == 1 else f"{part} {size}"] = figures
            # What else the machine did shows in the load before; the part itself is in the load after.
            figures["load_before_after"] = f"{before:.2f} / {os.getloadavg()[0]:.2f}"
            figures["python_loop_ms"] = round(loop, 1)
            figures["took_s"] = round(time.monotonic() - began)
            for name, value in figures.items():
                goal = GOALS.get(part, {}).get(name)
                shown = f"{value:,}" if isinstance(value, int | float) else value
                click.echo(f"{part:10} {name:42} {shown:>14}" + (f"   goal {goal}" if goal else ""))
            shutil.rmtree(folder / part, ignore_errors=True)
    except Exception:
        click.echo(f"the logs are in {folder}", err=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
    out.write_text(json.dumps(results, indent=2) + "\n")
    click.echo(f"written: {out}")


main()
