"""CPU that reading a message takes: our transport, websockets' recv and picows, into a callback that does nothing."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench import scratch, sides
from tests.bench.collector_bench import SYMBOLS
from tests.bench.transport_reader import TRANSPORTS

MESSAGES = 100_000
ROUNDS = 3


def run(folder: Path) -> dict[str, Any]:
    """Microseconds a message, the median of rounds in which the transports take turns. One simulator a reading."""
    figures: dict[str, Any] = {}
    transports = list(TRANSPORTS)
    environment = os.environ.copy()
    try:
        environment["PYTHONPATH"] = str(scratch.packages_folder("picows", "picows"))
    except scratch.LeftOutError as error:
        figures["picows_left_out"] = str(error)
        transports = [name for name in transports if not name.startswith("picows")]
    took: dict[str, list[float]] = {name: [] for name in transports}
    for number in range(ROUNDS):
        for name in transports:
            with sides.simulator(folder / f"{name}{number}", SYMBOLS.split(","), 0) as exchange:
                url = f"{exchange.ready['ws_url_base']}/v5/public/linear"
                command = [sys.executable, "-m", "tests.bench.transport_reader", name, url, str(MESSAGES)]
                answer = subprocess.run(
                    command, stdout=subprocess.PIPE, text=True, env=environment, timeout=120, check=True
                )
                took[name].append(json.loads(answer.stdout)["cpu_us"])
    for name, values in took.items():
        figures[f"{name}_us_per_message"] = round(statistics.median(values), 2)
        figures[f"{name}_us_min_max"] = f"{min(values):.2f} … {max(values):.2f}"
    return figures
