"""The queries for the console: each says what it is for, and the tables as they are answer it."""

from __future__ import annotations

from pathlib import Path

import pytest

from collector.config import RetentionConfig
from collector.database.endpoint import Endpoint
from collector.database.migrate import migrate
from tests.conftest import empty, query

FILES = sorted((Path(__file__).parents[2] / "sql" / "queries").glob("*.sql"))


def test_there_are_queries() -> None:
    assert len(FILES) >= 12


@pytest.fixture(scope="module")
def prepared(questdb: Endpoint) -> Endpoint:
    empty(questdb)
    migrate(questdb, RetentionConfig())
    return questdb


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_query_runs_on_the_migrated_tables(prepared: Endpoint, file: Path) -> None:
    text = file.read_text()
    assert text.startswith("-- ")
    query(prepared, text)
