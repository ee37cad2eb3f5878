"""The bare floor for comparison: a socket read with websockets, typed decoding, line protocol, and nothing else."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.client import connect

from collector.demo import process
from collector.encode import RowEncoder
from collector.exchanges.bybit_topics import BookMessage, TradeMessage
from collector.rows import Trade
from tests.bench.collector_bench import SYMBOLS


def run(folder: Path, messages: int) -> dict[str, Any]:
    """Messages per CPU second of this process."""
    folder.mkdir(parents=True, exist_ok=True)
    simulate = ["simulate", "--exchange", "bybit", "--port", "0", "--symbols", SYMBOLS, "--rate", "0"]
    simulate += ["--messages", str(messages)]
    with process("collector", *simulate, log=folder / "simulate.log", stdout=subprocess.PIPE) as exchange:
        assert exchange.stdout is not None
        ready = json.loads(exchange.stdout.readline())
        count, cpu = asyncio.run(_read(f"{ready['ws_url_base']}/v5/public/linear", messages))
    return {"messages": count, "messages_per_cpu_second": round(count / cpu)}


async def _read(url: str, messages: int) -> tuple[int, float]:
    topics = [f"{kind}.{symbol}" for kind in ("publicTrade", "orderbook.50") for symbol in SYMBOLS.split(",")]
    trades = msgspec.json.Decoder(TradeMessage, strict=False)
    books = msgspec.json.Decoder(BookMessage, strict=False)
    encoder = RowEncoder()
    count = 0
    async with connect(url, compression=None, max_queue=1024) as socket:
        await socket.send(json.dumps({"op": "subscribe", "args": topics}))
        await socket.recv()
        started = time.process_time()
        try:
            async with asyncio.timeout(600) as limit:
                while True:
                    raw = await socket.recv(decode=False)
                    count += 1
                    if b"publicTrade" in raw[:40]:
                        message = trades.decode(raw)
                        for t in message.data:
                            row = Trade(
                                t.T * 1000, 0, "bybit", "linear", "BTCUSDT", t.S.lower(), t.p, t.v, t.i
                            )
                            if encoder.add(row) > 1 << 18:
                                encoder.take()
                    elif b"orderbook" in raw[:40]:
                        books.decode(raw)
                    if count % 1000 == 0:
                        # The market ends with the last message; a second of quiet is the end.
                        limit.reschedule(asyncio.get_running_loop().time() + 2)
        except TimeoutError:
            pass
        return count, time.process_time() - started
