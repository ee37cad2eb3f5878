"""Commands as they can be pasted where the audit was run: programs as they are called there, with the same configuration."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from analyzer.audit.finding import Step

DEFAULT_FILE = "evenkeel.toml"
CALL = re.compile(r"(?:^|(?<=; )|(?<=& ))(collector|analyzer)((?: [\w.-]+(?=\s|;|$))+)")
"""A call of ours with its arguments, up to what the shell takes for itself."""


def pasted(steps: Sequence[Step], called: str, file: str | None) -> list[Step]:
    """`called`: the analyzer's own sys.argv[0]; `file`: its --config."""
    return [msgspec.structs.replace(step, command=command(step.command, called, file)) for step in steps]


def command(text: str, called: str, file: str | None) -> str:
    more = f" --config {shlex.quote(file)}" if file else ""
    whole = CALL.sub(lambda found: f"{program(found[1], called)}{found[2]}{more}", text)
    return whole.replace(f" {DEFAULT_FILE}", f" {shlex.quote(file)}") if file else whole


def program(name: str, called: str) -> str:
    """Its name where that finds it; else it is beside the analyzer that runs, or a module of the same Python."""
    if Path(called).name == "__main__.py":
        return f"{shlex.quote(sys.executable)} -m {name}"
    beside = Path(called).with_name(name)
    if "/" not in called or not beside.is_file():
        return name
    found = shutil.which(name)
    if found and Path(found).samefile(beside):
        return name
    return shlex.quote(str(beside) if "/" in str(beside) else f"./{beside}")
