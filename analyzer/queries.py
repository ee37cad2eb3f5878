"""The queries for the console (`sql/queries/`): what each answers, its settings, and its rows from the server.

A file is a comment that says what it answers, an optional line `DECLARE @name := value, …` with the settings that can be
changed, and one SELECT.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import Any

import msgspec

from analyzer.config import Endpoint
from analyzer.source import SourceError

DECLARED = re.compile(r"@(\w+) := ('(?:[^']|'')*'|-?\d+(?:\.\d+)?)")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
ROWS_AT_ONCE = 1000


class Query(msgspec.Struct, frozen=True):
    """One file."""

    name: str
    about: str
    """What it answers, without the comment's dashes."""
    settings: dict[str, str]
    """Name → what stands in the file, as SQL writes it."""
    text: str


def folder() -> Path:
    """`sql/queries/`: inside the package when installed, beside it in the repository."""
    package = Path(__file__).parent
    inside = package / "sql" / "queries"
    return inside if inside.is_dir() else package.parent / "sql" / "queries"


def queries() -> dict[str, Query]:
    """All of them by name, in alphabetical order."""
    return {path.stem: _read(path) for path in sorted(folder().glob("*.sql"))}


def named(name: str) -> Query:
    """Raises ValueError for an unknown name."""
    found = queries()
    if name not in found:
        near = [other for other in found if name.lower() in other or other in name.lower()]
        hint = f"did you mean {', '.join(near)}?" if near else "'analyzer sql list' shows them all"
        raise ValueError(f'there is no query "{name}"; {hint}')
    return found[name]


def _read(path: Path) -> Query:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    comment = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
    declared = [line for line in lines if line.startswith("DECLARE ")]
    settings = {match[1]: match[2] for line in declared for match in DECLARED.finditer(line)}
    return Query(path.stem, " ".join(comment), settings, text)


def with_settings(query: Query, changes: Mapping[str, str]) -> str:
    """The query's text with other values in its DECLARE line. Raises ValueError for an unknown name, or for a word where
    the file has a number."""
    for name, value in changes.items():
        if name not in query.settings:
            there = ", ".join(query.settings) or "none"
            raise ValueError(f'--set: {query.name} has no setting "{name}"; there are: {there}')
        if not query.settings[name].startswith("'") and not NUMBER.fullmatch(value):
            raise ValueError(f'--set: {name} of {query.name} is a number, not "{value}"')

    def changed(match: re.Match[str]) -> str:
        name, old = match.groups()
        if name not in changes:
            return match[0]
        new = "'" + changes[name].replace("'", "''") + "'" if old.startswith("'") else changes[name]
        return f"@{name} := {new}"

    return "\n".join(
        DECLARED.sub(changed, line) if line.startswith("DECLARE ") else line
        for line in query.text.splitlines()
    )


@contextmanager
def answer(endpoint: Endpoint, name: str, sql: str) -> Iterator[tuple[list[str], Iterator[tuple[Any, ...]]]]:
    """The columns, and the rows as they come: bounded memory, however many. Times are naive, in UTC. Raises SourceError."""
    import psycopg

    connection = None
    try:
        connection = psycopg.connect(endpoint.pg, autocommit=True, connect_timeout=10)
        cursor = connection.cursor()
        stream = cursor.stream(sql, size=ROWS_AT_ONCE)
        first = list(islice(stream, 1))  # only then are the columns known
        yield [column.name for column in cursor.description or ()], chain(first, stream)
    except psycopg.OperationalError as error:
        raise SourceError(
            f"query {name}: QuestDB at {endpoint.http_url}: {_line(error)}; "
            "check that it runs ('collector db status') and questdb.pg"
        ) from error
    except psycopg.Error as error:
        raise SourceError(
            f"query {name}: QuestDB at {endpoint.http_url}: {_line(error)}; "
            "bring the tables up to date with 'collector migrate'"
        ) from error
    finally:
        if connection is not None:
            connection.pgconn.finish()  # whoever stops early doesn't wait for the other rows, nor cancels: it takes seconds


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())
