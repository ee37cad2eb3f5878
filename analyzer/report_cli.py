"""`analyzer report`: a window as a page to read and as Markdown."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from analyzer.config import endpoint, load
from analyzer.options import (
    as_of_option,
    config_option,
    exchange_option,
    reports_errors,
    split,
    symbols_option,
    window_of,
)

FOLDER = Path("var/reports")


@click.command()
@config_option
@click.option("--window", default="4h", show_default=True, help='length, for example "24h"')
@as_of_option
@symbols_option
@exchange_option
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help=f"folder for the files [default: {FOLDER}]",
)
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True)
@reports_errors
def report(
    file: str | None, window: str, as_of: str | None, symbols: str, exchange: str, out: Path | None, form: str
) -> None:
    """A window as one HTML page, without assets from elsewhere, and as Markdown. Prints what stands out.

    It reads recorded rows and the newest signals, and computes no analysis: a window without passes has no scores."""
    config = load(file)
    span = window_of(config, window, as_of)
    from analyzer.reports.findings import findings, recorded
    from analyzer.reports.markdown import markdown
    from analyzer.reports.page import page
    from analyzer.reports.reading import read
    from analyzer.source import Source

    source = Source(endpoint(config.questdb))
    try:
        found = read(source, span, split(symbols), exchange)
    finally:
        source.close()
    folder = out or FOLDER
    stem = f"report-{span.end:%Y%m%dT%H%M%SZ}-{window.replace(' ', '')}"
    paths = {"html": folder / f"{stem}.html", "markdown": folder / f"{stem}.md"}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        paths["html"].write_text(page(found), encoding="utf-8")
        paths["markdown"].write_text(markdown(found), encoding="utf-8")
    except OSError as error:
        raise ValueError(
            f"write the report to {folder}: {error.strerror}; name another folder with --out"
        ) from error
    share, text = recorded(found)
    if form == "json":
        document = {
            "window": {"from": span.start, "to": span.end, "seconds": span.seconds},
            "files": {kind: str(path) for kind, path in paths.items()},
            "recorded": share,
            "findings": findings(found),
        }
        click.echo(msgspec.json.format(msgspec.json.encode(document)).decode())
        return
    click.echo(text)
    for one in findings(found):
        click.echo(f"- {one.text}")
    for path in paths.values():
        click.echo(str(path))
