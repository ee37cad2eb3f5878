"""The exchange simulator: a venue-neutral market model behind a venue's real wire protocol."""

from __future__ import annotations

from collector.simulator.bybit import BybitWire
from collector.simulator.wire import Wire

SIMULATORS: dict[str, Wire] = {"bybit": BybitWire()}
"""Exchange → its wire module."""
