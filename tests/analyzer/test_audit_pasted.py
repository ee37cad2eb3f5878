"""The commands of the audit's steps, as they can be pasted where it was run."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from analyzer.audit.pasted import command
from analyzer.audit.steps import NEXT
from analyzer.cli import main as analyzer_main
from collector.cli import main as collector_main

BOTH = "collector check && collector run"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with both programs in env/bin, of which PATH knows nothing; it is the working directory."""
    programs = tmp_path / "env" / "bin"
    programs.mkdir(parents=True)
    for name in ("analyzer", "collector"):
        (programs / name).write_text("#!/bin/sh\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", "/usr/bin")
    monkeypatch.chdir(tmp_path)
    return programs


def test_a_program_is_named_as_the_analyzer_was_called(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert command(BOTH, "env/bin/analyzer", None) == "env/bin/collector check && env/bin/collector run"
    assert command("analyzer alerts list", str(place / "analyzer"), None) == f"{place}/analyzer alerts list"
    module = f"{shlex.quote(sys.executable)} -m collector db status"
    assert command("collector db status", str(place / "__main__.py"), None) == module
    assert (
        command(BOTH, "elsewhere/analyzer", None) == BOTH
    )  # it has no neighbour: the name is all that is known
    monkeypatch.chdir(place)
    assert command("collector check", "./analyzer", None) == "./collector check"
    monkeypatch.setenv("PATH", str(place))
    assert command(BOTH, str(place / "analyzer"), None) == BOTH


def test_the_configuration_goes_with_every_call(place: Path) -> None:
    def told(text: str) -> str:
        return command(text, "analyzer", "my conf.toml")

    more = "--config 'my conf.toml'"
    assert told(BOTH) == f"collector check {more} && collector run {more}"
    assert told("collector run 2>> collector.log") == f"collector run {more} 2>> collector.log"
    assert told("collector db status; collector db start") == (
        f"collector db status {more}; collector db start {more}"
    )
    assert told("collector repair --since 12h --again") == f"collector repair --since 12h --again {more}"
    assert told("df -h; grep -A9 retention evenkeel.toml") == "df -h; grep -A9 retention 'my conf.toml'"
    for others in ("journalctl -u evenkeel-collector -n 40", "ALTER TABLE trades RESUME WAL", "free -m", ""):
        assert told(others) == others


def test_every_steps_call_is_found_and_takes_the_configuration() -> None:
    """Each is parsed with --help behind it: click refuses an option that it does not know before that."""
    groups = {"collector": collector_main, "analyzer": analyzer_main}
    parts = {part.strip() for _, text in NEXT.values() for part in re.split("&&|;", text)}
    calls = [part for part in parts if part.startswith(("collector ", "analyzer "))]
    assert len(calls) >= 10
    for call in calls:
        name, *arguments = shlex.split(command(call, "analyzer", "some.toml"))
        assert arguments[-2:] == ["--config", "some.toml"]
        done = CliRunner().invoke(groups[name], [*arguments, "--help"])
        assert (done.exit_code, done.stderr) == (0, ""), call
