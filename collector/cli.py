"""`collector`: one click command a module."""

from __future__ import annotations

import click

from collector import __version__
from collector.lazy import Command, LazyGroup

COMMANDS = {
    "run": Command("collector.run", "Record until stopped."),
    "check": Command("collector.check", "Say what is wrong with the configuration and all that it names."),
    "migrate": Command("collector.database.cli", "Bring the tables in sql/ up to date, once and in order."),
    "db": Command("collector.database.cli", "The managed local QuestDB."),
    "simulate": Command(
        "collector.simulator.cli", "A simulated exchange that speaks the real wire protocol."
    ),
    "capture": Command(
        "collector.capture_cli", "Keep the frames themselves, as received and sent, without a database."
    ),
    "replay": Command(
        "collector.replay.cli",
        "Serve recordings (files, or the folder of a capture) over the wire protocol that they were recorded from.",
    ),
    "verify": Command("collector.verify", "Compare a ledger of what was sent with what is stored."),
    "exchanges": Command(
        "collector.exchanges_cli",
        "Venues, their channels, how a missing message is noticed, and how far REST can repair it.",
    ),
    "symbols": Command(
        "collector.exchanges_cli",
        "The symbols of a venue, or what SELECTORS (names, '*USDT', 'top:20') mean, busiest first.",
    ),
    "repair": Command("collector.repair_cli", "Fetch missing trades and liquidations from the venues' REST."),
    "dead-letter": Command(
        "collector.deadletter_cli", "What could not be stored and was put aside: list it, send rows again."
    ),
    "memory": Command("collector.memory_cli", "Where the memory of the running collector is."),
    "demo": Command(
        "collector.demo_cli",
        "Record simulated exchanges into a real QuestDB, verify every row, and analyse it.",
    ),
}


@click.group(cls=LazyGroup, table=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="collector")
def main() -> None:
    """Record crypto market data from exchange WebSockets into QuestDB."""
