"""The exchange simulator: a venue-neutral market model behind a venue's real wire protocol."""

from __future__ import annotations

from importlib import import_module

from collector.exchanges import EXCHANGES
from collector.simulator.wire import Wire

SIMULATORS: dict[str, Wire] = {name: import_module(f"collector.simulator.{name}").WIRE for name in EXCHANGES}
"""Exchange → its wire module, the one of the same name."""
