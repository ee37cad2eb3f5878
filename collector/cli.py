"""`collector`: one click command a module, imported only when it is called, so that `run` stays lean."""

from __future__ import annotations

import importlib

import click

from collector import __version__

COMMANDS = {
    "run": "collector.run",
    "check": "collector.check",
    "migrate": "collector.database.cli",
    "db": "collector.database.cli",
    "simulate": "collector.simulator.cli",
    "capture": "collector.capture_cli",
    "replay": "collector.replay.cli",
    "verify": "collector.verify",
    "exchanges": "collector.exchanges_cli",
    "symbols": "collector.exchanges_cli",
    "repair": "collector.repair_cli",
    "dead-letter": "collector.deadletter_cli",
    "memory": "collector.memory_cli",
    "demo": "collector.demo",
}
"""Command → the module that holds a click command of that name."""


class LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="collector")
def main() -> None:
    """Record crypto market data from exchange WebSockets into QuestDB."""
