"""`collector dead-letter`: look at what was put aside, and post refused rows again once their cause is mended."""

from __future__ import annotations

import base64
import fcntl
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from collector.config import load
from collector.database.endpoint import resolve
from collector.deadletters import DeadLetter
from collector.errors import FAILED, OperatorError, reports_errors
from collector.sink import QuestDBSink, RefusedError, Sink, UnavailableError

KINDS = ("rows", "messages", "damaged")
PREVIEW = 120
config_option = click.option(
    "--config", "file", type=click.Path(dir_okay=False), help="TOML file [default: evenkeel.toml]"
)


class Listed(msgspec.Struct, frozen=True):
    """One letter as `list --format json` shows it."""

    kind: str
    at: str
    source: str
    reason: str
    bytes: int
    payload: str
    """The beginning, as text; what is no UTF-8 is replaced."""


class Outcome(msgspec.Struct):
    """Of `resend`."""

    accepted: int = 0
    refused: int = 0
    unreadable: int = 0
    """Lines that are no letter, or whose payload was cut: they stay."""
    waiting: int = 0
    """Not tried, because QuestDB takes nothing."""
    cause: str = ""
    """Why it takes nothing."""

    @property
    def stayed(self) -> int:
        return self.refused + self.unreadable + self.waiting


def folder_of(file: str | None) -> Path:
    return Path(load(file).journal.path) / "dead-letters"


def lines_of(folder: Path, kind: str) -> Iterator[bytes]:
    """Every line of a kind, oldest file first."""
    for suffix in (".resending", ".old.taken", ".old", ".taken", ""):
        try:
            with (folder / f"{kind}.jsonl{suffix}").open("rb") as lines:
                yield from lines
        except FileNotFoundError:
            continue


def newest(folder: Path, kind: str, limit: int) -> deque[Listed]:
    found: deque[Listed] = deque(maxlen=limit or None)
    for line in lines_of(folder, kind):
        try:
            letter = msgspec.json.decode(line, type=DeadLetter)
            start = base64.b64decode(letter.payload[: PREVIEW * 4])
        except ValueError as error:
            found.append(Listed(kind, "", "", f"not a letter: {error}", len(line), ""))
        else:
            text = start.decode(errors="replace")
            found.append(Listed(kind, letter.at, letter.source, letter.reason, letter.bytes, text))
    return found


def printable(text: str) -> str:
    """What venues sent must not steer the terminal."""
    return escape("".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text))


@contextmanager
def taken(folder: Path) -> Iterator[Path]:
    """The rows that are there now, in a file of their own, so that a running collector's new ones are not touched.

    What a resend that was killed left behind comes first. Raises OperatorError when another resend is at work."""
    with (folder / "resend.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OperatorError(
                f"dead-letter resend: another one is at work in {folder}; wait for it"
            ) from error
        mine = folder / "rows.jsonl.resending"
        for name in ("rows.jsonl.old", "rows.jsonl"):
            aside = folder / f"{name}.taken"
            for source in (aside, folder / name):  # the first is there when a resend was killed right here
                if source.exists():
                    source.replace(aside)
                    _append(mine, aside)
                    aside.unlink()
        yield mine


def _append(path: Path, more: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as file, more.open("rb") as source:
        shutil.copyfileobj(source, file)
        file.flush()
        os.fsync(file.fileno())


def resend_rows(folder: Path, sink: Sink) -> Outcome:
    """Post each row by itself; those that are not accepted stay, with the newest reason. Raises OperatorError."""
    outcome = Outcome()
    with taken(folder) as mine:
        if not mine.exists():
            return outcome
        staying = folder / "rows.jsonl.staying"
        descriptor = os.open(staying, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with mine.open("rb") as lines, os.fdopen(descriptor, "wb") as kept:
            for line in lines:
                rest = _resend(line, sink, outcome)
                if rest:
                    kept.write(rest)
            kept.flush()
            os.fsync(kept.fileno())
        if outcome.stayed:
            staying.replace(mine)
            if (folder / "rows.jsonl").exists():
                return outcome  # new ones have come meanwhile: the next resend, and the list, read both files
            mine.replace(folder / "rows.jsonl")
        else:
            mine.unlink()
            staying.unlink()
    return outcome


def _resend(line: bytes, sink: Sink, outcome: Outcome) -> bytes:
    """What stays of one line."""
    try:
        letter = msgspec.json.decode(line, type=DeadLetter)
        payload = base64.b64decode(letter.payload, validate=True)
    except ValueError:
        outcome.unreadable += 1
        return line
    if len(payload) != letter.bytes:
        outcome.unreadable += 1
        return line
    if outcome.cause:
        outcome.waiting += 1
        return line
    try:
        sink.post([payload])
    except UnavailableError as error:
        outcome.cause = f"{error}" + (f"; {error.remedy}" if error.remedy else "")
        outcome.waiting += 1
        return line
    except RefusedError as error:
        outcome.refused += 1
        return msgspec.json.encode(msgspec.structs.replace(letter, reason=str(error))) + b"\n"
    outcome.accepted += 1
    return b""


@click.group("dead-letter")
def dead_letter() -> None:
    """What could not be stored and was put aside: list it, send rows again."""


@dead_letter.command("list")
@click.option("--kind", type=click.Choice(KINDS), help="these only [default: all]")
@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option(
    "--limit", type=click.IntRange(0), default=100, show_default=True, help="newest of each kind; 0: all"
)
@config_option
@reports_errors
def list_letters(kind: str | None, form: str, limit: int, file: str | None) -> None:
    """Show what was put aside: refused rows, unreadable messages, damaged parts of the journal."""
    folder = folder_of(file)
    found = [letter for one in ([kind] if kind else KINDS) for letter in newest(folder, one, limit)]
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    if not found:
        click.echo(f"no dead letters in {folder}")
        return
    table = Table("kind", "at", "source", "bytes", "reason", "begins with")
    table.columns[3].justify = "right"
    for letter in found:
        texts = (letter.source, letter.reason, letter.payload[:PREVIEW])
        source, reason, payload = (printable(text) for text in texts)
        table.add_row(letter.kind, letter.at, source, f"{letter.bytes:,}", reason, payload)
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@dead_letter.command()
@config_option
@reports_errors
def resend(file: str | None) -> None:
    """Post refused rows again, one by one. Exit 0 when all went, 1 when some stayed."""
    config = load(file)
    folder = folder_of(file)
    if not any(True for _ in lines_of(folder, "rows")):
        click.echo(f"no refused rows in {folder}")
        return
    endpoint = resolve(config.questdb)
    sink = QuestDBSink(endpoint.http_url, endpoint.user, endpoint.password)
    try:
        outcome = resend_rows(folder, sink)
    except OSError as error:
        raise OperatorError(
            f"dead-letter resend: {folder}: {error.strerror}; make it writable or free space, and repeat it"
        ) from error
    finally:
        sink.close()
    click.echo(
        f"accepted {outcome.accepted}, refused again {outcome.refused}, unreadable or cut {outcome.unreadable}, "
        f"not tried {outcome.waiting}"
    )
    if outcome.cause:
        click.echo(f"error: QuestDB takes no rows: {outcome.cause}", err=True)
    elif outcome.stayed:
        click.echo("'collector dead-letter list --kind rows' shows why", err=True)
    sys.exit(FAILED if outcome.stayed else 0)
