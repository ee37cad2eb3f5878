"""`analyzer audit`: the state of the system by itself, with an exit code for cron and CI."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import msgspec

from analyzer.config import Config, ConfigError, UnreachableError, endpoint, load
from analyzer.options import config_option
from analyzer.quantities import duration
from analyzer.windows import Window, ending, parse_time

EXIT_CODES = {"ok": 0, "warning": 1, "critical": 2}
MISCONFIGURED = 3
LIVE = timedelta(minutes=5)
"""A window that ends no longer ago than this ends now."""


@click.command()
@config_option
@click.option("--since", default="12h", show_default=True, help="length of the window that is audited")
@click.option("--as-of", help="its end, ISO 8601 UTC [default: now]")
@click.option("--format", "form", type=click.Choice(["md", "html", "json"]), default="md", show_default=True)
@click.option(
    "--output", type=click.Path(dir_okay=False, writable=True), help="file [default: standard output]"
)
def audit(file: str | None, since: str, as_of: str | None, form: str, output: str | None) -> None:
    """What ran, what was lost, what grows, and what to do next: from the tables alone.

    Exit 0: all in order. 1: a warning. 2: critical, also when there is no sign of life or no database.
    3: the configuration, --since or --as-of can't be used. (2 is the shell's usual code for wrong options, too: these
    print usage and no audit.)
    """
    try:
        config = load(file)
        window = _window(since, as_of)
    except (ConfigError, ValueError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(MISCONFIGURED)
    text, verdict, trouble = _audit(config, window, form, file)
    if trouble and (output or form != "md"):  # what is read here does not say it itself
        click.echo(f"error: {trouble}", err=True)
    if output:
        with open(output, "w", encoding="utf-8") as target:  # noqa: PTH123 - a name as given
            target.write(f"{text}\n")
    else:
        click.echo(text)
    sys.exit(EXIT_CODES[verdict])


def _window(since: str, as_of: str | None) -> Window:
    try:
        end = parse_time(as_of) if as_of else datetime.now(UTC)
    except ValueError as error:
        raise ValueError(f'--as-of: {error}; write for example "2026-11-23T12:00:00Z"') from error
    try:
        return ending(end, duration(since))
    except ValueError as error:
        raise ValueError(f"--since: {error}") from error


def _audit(config: Config, window: Window, form: str, file: str | None) -> tuple[str, str, str]:
    """The text, the verdict, and why the tables can't be read, else ""."""
    from analyzer.audit.document import document_of
    from analyzer.audit.facts import read
    from analyzer.audit.figures import figures_of
    from analyzer.audit.finding import worst
    from analyzer.audit.pasted import pasted
    from analyzer.audit.steps import steps_of
    from analyzer.audit.verdicts import judge
    from analyzer.source import Source, SourceError

    try:
        source = Source(endpoint(config.questdb))
        try:
            silence_s = config.audit.pair("silence")[1]
            facts = read(source, window, datetime.now(UTC) - window.end < LIVE, silence_s)
        finally:
            source.close()
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(MISCONFIGURED)
    except (SourceError, UnreachableError) as error:
        return _unreadable(window, str(error), form, file), "critical", str(error)
    figures = figures_of(facts, config.audit)
    findings = judge(figures, config.audit)
    steps = pasted(steps_of(findings, figures), sys.argv[0], file)
    verdict = worst([finding.verdict for finding in findings])
    if form == "json":
        return _json(document_of(figures, findings, steps)), verdict, ""
    from analyzer.audit.sections import heading, sections_of

    title, span = heading(figures, findings)
    sections = sections_of(figures, findings, steps)
    if form == "md":
        from analyzer.audit.markdown import markdown

        return markdown(title, span, sections), verdict, ""
    from analyzer.audit.page import page

    run = figures.representative
    limit = run.limit_mb if run and run.limit_mb else config.audit.pair("memory")[1] / 1e6
    return page(title, span, sections, figures.runs, limit), verdict, ""


def _unreadable(window: Window, cause: str, form: str, file: str | None) -> str:
    from analyzer.audit.document import unreadable
    from analyzer.audit.markdown import markdown
    from analyzer.audit.page import page
    from analyzer.audit.pasted import pasted
    from analyzer.audit.sections import Section

    document = unreadable(window, cause)
    document["next"] = pasted(document["next"], sys.argv[0], file)
    if form == "json":
        return _json(document)
    steps = [f"{step.text}: {step.command}" for step in document["next"]]
    sections = [Section("What to do next", steps)]
    if form == "md":
        return markdown("Audit: CRITICAL", cause, sections)
    return page("Audit: CRITICAL", cause, sections, [], 0.0)


def _json(document: dict[str, Any]) -> str:
    return msgspec.json.format(msgspec.json.encode(document)).decode()
