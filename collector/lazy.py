"""A group of commands whose modules are imported only when they are called, not for the list of them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Command(NamedTuple):
    """Of a click command: the module that holds it under its name, and its help's first sentence."""

    module: str
    about: str


class LazyGroup(click.Group):
    def __init__(self, *args: Any, table: Mapping[str, Command], **options: Any) -> None:
        """`table`: by name, in the order of the list."""
        super().__init__(*args, **options)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.table:
            return None
        module = importlib.import_module(self.table[cmd_name].module)
        command = getattr(module, cmd_name.replace("-", "_"))
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.about) for name, command in self.table.items()])
