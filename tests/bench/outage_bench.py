"""Trades lost while QuestDB answers 503 to every write: ours and cryptofeed's, on one market, behind one proxy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from collector.database.endpoint import Endpoint
from collector.demo import end
from collector.simulator.ledger import Entry, read_ledger
from tests.bench import cryptofeed_bench, sides
from tests.bench.scratch import LeftOutError
from tests.conftest import query
from tests.faulty_proxy import FaultyProxy

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
RATE = 3500.0
"""Messages/s of the market, of which about 1,600 trades."""
BEFORE_S, OUTAGE_S, AFTER_S = 6.0, 25.0, 10.0
STABLE_S = 12.0
"""No row more for so long, which is longer than cryptofeed's longest pause: what is not stored now never will be."""
CRYPTOFEED: dict[str, dict[str, Any]] = {
    "cryptofeed": {},
    "cryptofeed_tuned": {"queue": {"max_depth": 1_000_000}, "attempts": 1000},
}
"""As it comes, and told to try a thousand times and to queue a million rows in memory."""


class Account(msgspec.Struct, frozen=True):
    """What became of the trades of one market."""

    sent: int
    stored: int
    """Distinct, of those that were sent."""
    rows: int
    """In the table, repetitions included."""

    @property
    def lost(self) -> int:
        return self.sent - self.stored


def account(sent: Collection[str], rows: Iterable[str]) -> Account:
    """By trade id."""
    ids = list(rows)
    return Account(len(sent), len(set(sent) & set(ids)), len(ids))


def sent_to_all(entries: Iterable[Entry], receivers: int) -> list[str]:
    """Ids of the trades from the first on that this many sockets were sent. A socket that is lost later loses trades."""
    ids: list[str] = []
    for entry in entries:
        if entry.k == "t" and (ids or entry.n == receivers):
            ids.append(entry.id)
    return ids


def run(endpoint: Endpoint, folder: Path) -> dict[str, Any]:
    """All programs at once. Without cryptofeed where that can't be had."""
    healed_at = [0.0]
    proxy = FaultyProxy(endpoint.http_url, lambda _: 503 if time.monotonic() < healed_at[0] else None)
    ledger = folder / "ledger.jsonl"
    figures: dict[str, Any] = {}
    try:
        python = cryptofeed_bench.interpreter()
    except LeftOutError as error:
        python = None
        figures["cryptofeed_left_out"] = str(error)
    tables = {"ours": ("trades", "trade_id")}
    with contextlib.ExitStack() as stack:
        stack.callback(proxy.close)
        exchange = stack.enter_context(
            sides.simulator(folder, SYMBOLS, RATE, "--ledger", str(ledger), "--duration", "5m")
        )
        ours = sides.evenkeel(
            folder / "ours", endpoint, exchange, http_url=proxy.url, symbols=SYMBOLS, channels=["trades"]
        )
        running: dict[str, sides.Side] = {"ours": stack.enter_context(ours)}
        for name, options in CRYPTOFEED.items() if python else ():
            assert python is not None
            cryptofeed_bench.create_tables(endpoint, name)
            theirs = sides.cryptofeed(
                folder / name, python, proxy.url, exchange, symbols=SYMBOLS, trades_key=name, **options
            )
            running[name] = stack.enter_context(theirs)
            tables[name] = (f"{name}-BYBIT", "id")
        deadline = time.monotonic() + 30
        while not all(side.received() for side in running.values()):
            for side in running.values():
                side.check()
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all of {', '.join(running)} got messages; the logs are in {folder}")
            time.sleep(0.1)
        time.sleep(BEFORE_S)
        healed_at[0] = time.monotonic() + OUTAGE_S
        time.sleep(OUTAGE_S + AFTER_S)
        peaks = {name: sides.peak_rss(side.child.pid) / 1e6 for name, side in running.items()}
        end(exchange.child, "simulate")
        _settle(endpoint, [table for table, _ in tables.values()], list(running.values()))
    sent = sent_to_all(read_ledger(ledger)[1], len(running))
    figures |= {
        "outage_s": OUTAGE_S,
        "trades_sent": len(sent),
        "trades_per_second": round(len(sent) / (BEFORE_S + OUTAGE_S + AFTER_S)),
    }
    for name, (table, column) in tables.items():
        rows = query(endpoint, f"SELECT {column} FROM '{table}'")
        result = account(sent, (row[0] for row in rows))
        figures[f"{name}_lost"] = result.lost
        figures[f"{name}_repeated"] = result.rows - len({row[0] for row in rows})
        figures[f"{name}_peak_rss_mb"] = round(peaks[name], 1)
    return figures


def _settle(endpoint: Endpoint, tables: list[str], programs: list[sides.Side]) -> None:
    """Return when nothing waits and no table has grown for STABLE_S."""
    seen: tuple[int, ...] = ()
    since = time.monotonic()
    deadline = since + sides.PATIENCE_S
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = cryptofeed_bench.stored(endpoint, *tables)
        if now != seen or any(side.waiting() for side in programs):
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > STABLE_S:
            return
