"""The tests that keep the structure: walls between the packages, names where they belong, documents that match."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from analyzer.cli import main as analyzer_main
from collector.cli import main as collector_main
from collector.database.migrate import migrations
from collector.exchanges import EXCHANGES
from collector.lazy import LazyGroup
from collector.recorder import TABLE_OF
from collector.rows import Alert, CollectorStats, ListedInstrument, ProcessEvent, StreamStats

ROOT = Path(__file__).parents[1]
HEAVY = {"pyarrow", "pandas", "duckdb", "polars"}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("path", modules("collector"), ids=str)
def test_collector_stays_lean_and_on_its_side(path: Path) -> None:
    assert not imported(path) & (HEAVY | {"analyzer"})


@pytest.mark.parametrize("path", modules("analyzer"), ids=str)
def test_analyzer_stays_on_its_side(path: Path) -> None:
    assert "collector" not in imported(path)


def test_the_running_collector_has_loaded_nothing_heavy() -> None:
    code = "import collector.run, sys; print(' '.join({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not set(loaded.stdout.split()) & (HEAVY | {"analyzer", "jgo", "requests"})


def test_exchange_names_stay_in_their_own_modules() -> None:
    for path in modules("collector") + modules("analyzer"):
        relative = path.relative_to(ROOT)
        text = path.read_text().lower()
        for name in EXCHANGES:
            own = name in path.stem
            registry = path.name == "__init__.py" and path.parent.name in ("exchanges", "simulator")
            default = re.findall(rf"default[^\n]*{name}", text)  # the first venue may be a command's default
            if not own and not registry:
                assert text.count(name) == len(default), f"{relative} speaks of {name}"


def test_every_migration_has_a_number_of_its_own() -> None:
    numbers = [migration.version for migration in migrations()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_row_has_the_columns_of_its_table() -> None:
    text = "".join(path.read_text() for path in sorted((ROOT / "sql").glob("0*.sql")))
    tables = {
        name: set(re.findall(r"(\w+) (?:TIMESTAMP|SYMBOL|DOUBLE|VARCHAR|LONG|INT|BOOLEAN)", body))
        for name, body in re.findall(r"CREATE TABLE IF NOT EXISTS (\w+) \((.*?)\) TIMESTAMP", text, re.S)
    }
    for name, column in re.findall(r"ALTER TABLE (\w+) ADD COLUMN IF NOT EXISTS (\w+)", text):
        tables[name].add(column)
    for row, table in (
        TABLE_OF
        | {
            CollectorStats: "collector_stats",
            StreamStats: "stream_stats",
            ProcessEvent: "process_events",
            Alert: "alerts",
            ListedInstrument: "instruments",
        }
    ).items():
        fields = set(row.__struct_fields__)  # type: ignore[attr-defined]
        assert fields | ({"ts"} if table == "gaps" else set()) == tables[table], table


@pytest.mark.parametrize(("program", "group"), [("collector", collector_main), ("analyzer", analyzer_main)])
def test_every_command_is_documented_and_has_help_as_it_is_listed(program: str, group: LazyGroup) -> None:
    documents = (ROOT / "README.md").read_text() + "".join(
        p.read_text() for p in (ROOT / "docs").glob("*.md")
    )
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert command.help, f"{program} {name} has no help"
        assert command.get_short_help_str(1000) == group.table[name].about, (
            f"{program} {name} is listed otherwise"
        )
        assert f"{program} {name}" in documents, f"{program} {name} is in no document"


def test_no_path_of_a_machine_and_no_registry_in_tracked_files() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], capture_output=True, text=True, cwd=ROOT)
    if listed.returncode:
        pytest.skip("not a git checkout")
    registry = re.compile(
        "https?://[^ )\"']*("
        + "|".join(("py" + "pi", "python" + "hosted", "maven" + ".org", "npm" + "js"))
        + ")"
    )
    for name in filter(None, listed.stdout.split("\0")):
        text = (ROOT / name).read_text(errors="replace")
        assert not registry.search(text), name


def test_every_case_that_the_promise_names_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/promise.md").read_text()))
    cases = {
        name
        for path in (ROOT / "tests/faults").glob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    assert named == cases


def test_every_venue_has_its_four_files_and_its_units() -> None:
    """docs/add-an-exchange.md promises no more and no fewer."""
    units = (ROOT / "docs/units.md").read_text()
    for name in EXCHANGES:
        for file in (
            f"collector/exchanges/{name}.py",
            f"collector/simulator/{name}.py",
            f"tests/collector/test_{name}.py",
        ):
            assert (ROOT / file).exists(), file
        for market in EXCHANGES[name].markets:
            assert re.search(rf"^\| {name} [a-z, ]*\b{market}\b", units, re.M), (name, market)


@pytest.mark.parametrize("name", ["lazy.py", "logs.py", "notify.py"])
def test_both_programs_have_the_same(name: str) -> None:
    """Neither may import the other, so each has the file."""
    assert (ROOT / "collector" / name).read_text() == (ROOT / "analyzer" / name).read_text()
