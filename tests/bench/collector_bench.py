"""`collector run` as a whole process, fed by the simulator, into a real QuestDB: CPU per message and resident memory."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import psutil

from collector.database.endpoint import Endpoint
from collector.demo import Exchange, end, free_port, process

SYMBOLS = "BTCUSDT,ETHUSDT,SOLUSDT"
CONFIG = """[questdb]
url = "{url}"
pg = "{pg}"
[journal]
path = "{folder}/journal"
[[feeds]]
exchange = "bybit"
market = "linear"
symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
channels = ["trades", "orderbook", "liquidations"]
book_depth = 50
book_interval = "100ms"
ws_url = "{ws}/v5/public/linear"
rest_url = "{rest}"
[http]
listen = "127.0.0.1:{port}"
"""


def run(endpoint: Endpoint, folder: Path, messages: int) -> dict[str, Any]:
    """Record `messages` messages as fast as they come; figures of the collector's process.

    RSS is read after a tenth of the messages and at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    simulate = ["simulate", "--exchange", "bybit", "--port", "0", "--symbols", SYMBOLS, "--rate", "0"]
    simulate += ["--messages", str(messages)]
    with process("collector", *simulate, log=folder / "simulate.log", stdout=subprocess.PIPE) as exchange:
        market = Exchange("bybit", exchange, folder / "simulate.log")
        ready = market.ready
        port = free_port()
        config = folder / "evenkeel.toml"
        config.write_text(
            CONFIG.format(
                url=endpoint.http_url,
                pg=endpoint.pg,
                folder=folder,
                ws=ready["ws_url_base"],
                rest=ready["rest_url"],
                port=port,
            )
        )
        with process("collector", "run", "--config", str(config), log=folder / "collector.log") as collector:
            figures = _watch(psutil.Process(collector.pid), port, messages, market)
            before = time.monotonic()
            code = end(collector, "run")
            figures["drain_s"] = round(time.monotonic() - before, 1)
    figures["exit_code"] = code
    return figures


def _watch(process: psutil.Process, port: int, messages: int, market: Exchange) -> dict[str, Any]:
    early: dict[str, float] = {}
    last: dict[str, float] = {}
    peak = 0.0
    started = None
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
        while True:
            time.sleep(0.25)
            try:
                text = client.get("/metrics").text
            except httpx.HTTPError:
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    raise
                continue
            seen = float(_metric(text, "evenkeel_messages_total"))
            cpu = process.cpu_times()
            now = {"messages": seen, "cpu": cpu.user + cpu.system, "rss": process.memory_info().rss / 1e6}
            peak = max(peak, now["rss"])
            if seen and started is None:
                started = (time.monotonic(), now)
            if not early and seen >= messages / 10:
                early = now
            if market.stopped.is_set() and seen == (last["messages"] if last else 0):
                break  # the channels that are not subscribed are not sent, so fewer arrive than the market made
            last = now
            if sys.stderr.isatty():
                print(f"\r    {seen:,.0f} messages, RSS {now['rss']:.1f} MB", end="", file=sys.stderr)
    assert started is not None
    began, first = started
    wall = time.monotonic() - began
    done = now["messages"] - first["messages"]
    return {
        "messages": int(now["messages"]),
        "messages_per_cpu_second": round(done / (now["cpu"] - first["cpu"])),
        "messages_per_second": round(done / wall),
        "rss_mb_after_a_tenth": round(early["rss"], 1),
        "rss_mb_at_the_end": round(now["rss"], 1),
        "rss_mb_growth": round(now["rss"] - early["rss"], 1),
        "rss_mb_peak": round(peak, 1),
    }


def _metric(text: str, name: str) -> str:
    found = re.search(rf"^{name} (\S+)$", text, re.M)
    return found[1] if found else "0"
