"""`make soak`: does memory grow? Prints and keeps the figures; exit 1 when a bound is broken or a message lost."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import click
import msgspec

from collector.errors import reports_errors
from collector.simulator.cli import DurationParam, SymbolsParam
from tests.soak.report import Limits, evaluate, markdown, plot
from tests.soak.run import Plan, soak


@click.command()
@click.option("--duration", type=DurationParam(), default="20m", show_default=True)
@click.option("--rate", type=click.FloatRange(1), default=10_000, show_default=True, help="messages/s")
@click.option(
    "--kill-every", type=DurationParam(), default="3m", show_default=True, help='kill -9 QuestDB; "0s": never'
)
@click.option("--down", type=DurationParam(), default="20s", show_default=True, help="length of each outage")
@click.option("--symbols", type=SymbolsParam(), default="BTCUSDT,ETHUSDT,SOLUSDT", show_default=True)
@click.option(
    "--max-growth", default=1.0, show_default=True, help="MB/h; fails when growth is certainly above"
)
@click.option("--max-rss", default=100.0, show_default=True, help="MB")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), default=Path("var/soak"), show_default=True
)
@click.option("--keep", is_flag=True, help="leave ledger, journal and logs where they are")
@reports_errors
def main(
    duration: float,
    rate: float,
    kill_every: float,
    down: float,
    symbols: list[str],
    max_growth: float,
    max_rss: float,
    out: Path,
    keep: bool,
) -> None:
    """Record a simulated exchange while QuestDB is killed again and again, and watch the collector's memory.

    Writes soak.md, soak.json and soak.png to --out.
    """
    if kill_every and kill_every < down + 10:
        raise click.BadParameter("must be 10 s longer than --down, to catch up", param_hint="--kill-every")
    if duration < 30:
        raise click.BadParameter("must be at least 30s, else there is no trend", param_hint="--duration")
    plan = Plan(float(duration), rate, float(kill_every), float(down), symbols)
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=out)).absolute()
    try:
        figures = evaluate(plan, Limits(max_growth, max_rss), soak(plan, folder))
    finally:
        if keep or sys.exc_info()[0] is not None:
            click.echo(f"logs, ledger, journal: {folder}", err=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    text = markdown(figures, "soak.png")
    (out / "soak.md").write_text(text, encoding="utf-8")
    (out / "soak.json").write_bytes(msgspec.json.format(msgspec.json.encode(figures), indent=1) + b"\n")
    plot(figures, out / "soak.png")
    click.echo(text)
    click.echo(f"written: {out}/soak.md, soak.json, soak.png")
    if figures.failures:
        sys.exit(1)


main()
