"""Where a program's log goes, as it says itself, and the command that shows its end."""

from __future__ import annotations

import shlex

from analyzer.windows import moment

LINES = 40


def command(log: str, until_us: int, program: str = "") -> str:
    """Its last lines before `until_us`. `log`: journal:UNIT, file:PATH, terminal:DEVICE or "". Where nothing is kept, the
    `program` (its command) so that its words are."""
    kind, _, name = log.partition(":")
    if kind == "journal":
        unit = f" -u {name}".replace("-u --user ", "--user -u ") if name else ""
        return f'journalctl{unit} -n {LINES} --until "{moment(until_us):%Y-%m-%d %H:%M:%S} UTC"'
    if kind == "file":
        return f"tail -n {LINES} {shlex.quote(name)}"
    return f"{program} 2>> {program.split()[0]}.log" if program else ""


def words(log: str) -> str:
    """Where to look, in a sentence's end."""
    kind, _, name = log.partition(":")
    if kind == "terminal":
        return f"; it went to the terminal {name}, the command keeps it next time"
    if kind in ("journal", "file"):
        return ""
    return "; nothing tells where it went, the command keeps it next time"
