"""A thousand symbols in one collector process: resident memory once all books are whole, and after a while."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path
from typing import Any

import psutil

from collector.database.endpoint import Endpoint, connect
from collector.demo import Exchange, end, feed_table, process, write_config
from collector.simulator.market import generated_symbols
from collector.verify import wait_until_applied

SECONDS = 40.0
RATE = 5000


def run(endpoint: Endpoint, folder: Path) -> dict[str, Any]:
    """All channels of 1,000 symbols of the first venue, 5,000 messages/s, for 40 s."""
    folder.mkdir(parents=True, exist_ok=True)
    symbols = generated_symbols(1000)
    simulate = ["simulate", "--exchange", "bybit", "--port", "0", "--symbols", "1000", "--rate", str(RATE)]
    with process("collector", *simulate, log=folder / "simulate.log", stdout=subprocess.PIPE) as child:
        exchange = Exchange("bybit", child, folder / "simulate.log")
        config = write_config(folder, feed_table("bybit", "linear", exchange.ready, symbols), 0)
        text = config.read_text().replace(
            'url = "managed"', f'url = "{endpoint.http_url}"\npg = "{endpoint.pg}"'
        )
        config.write_text(text)
        with process("collector", "run", "--config", str(config), log=folder / "collector.log") as collector:
            watched, peak = psutil.Process(collector.pid), 0.0
            deadline = time.monotonic() + SECONDS
            while time.monotonic() < deadline:
                time.sleep(0.5)
                peak = max(peak, watched.memory_info().rss / 1e6)
            last = watched.memory_info().rss / 1e6
            code = end(collector, "run")
    with connect(endpoint) as connection:
        wait_until_applied(connection)
        books = connection.execute("SELECT count_distinct(symbol) FROM orderbook").fetchall()[0][0]
    return {
        "symbols_stored": books,
        "rss_mb_peak": round(peak, 1),
        "rss_mb_last": round(last, 1),
        "exit_code": code,
    }
