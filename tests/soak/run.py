"""One soak: exchange, database and collector as processes, the database killed again and again, everything sampled."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
import msgspec
import psutil

from collector.database import managed
from collector.database.endpoint import connect, resolve
from collector.demo import Exchange, end, feed_table, free_port, process
from collector.errors import OperatorError
from collector.settings import QuestDBConfig
from tests.soak.sampler import Sample, Sampler

SETTLE_SECONDS = 60.0
"""How long the journal may take to empty after the last message."""
CAUGHT_UP_S = 1.0
"""Lag below which an outage counts as caught up."""


class Plan(msgspec.Struct, frozen=True):
    duration: float
    rate: float
    kill_every: float
    """Seconds; 0: never."""
    down: float
    symbols: list[str]


class Outage(msgspec.Struct):
    """Times in seconds since the first sample."""

    killed: float
    started: float = 0.0
    """When the new server answered."""
    caught_up: float = 0.0
    """When the lag was below a second again; 0: not before the end."""
    catch_up_rows_per_s: float = 0.0
    """Acknowledged between the first answer to a post and `caught_up`, what is sent again included."""
    live_rows_per_s: float = 0.0
    """Written to the journal in the half minute before."""
    most_pending_bytes: int = 0


class Outcome(msgspec.Struct):
    samples: list[Sample]
    outages: list[Outage]
    exit_code: int
    drain_s: float
    sent: int
    wall_s: float
    """From the first to the last message."""
    unanswered: int
    verify: dict[str, int]
    stats: dict[str, float]
    """Of `collector_stats`: what the collector said of itself."""


class Database:
    """The managed server, on ports that stay, killed at intervals by a thread."""

    def __init__(self, folder: Path) -> None:
        self.config = QuestDBConfig(data=str(folder), http_port=free_port(), pg_port=free_port())
        self.endpoint = resolve(self.config)
        self.outages: list[Outage] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None

    def torment(self, plan: Plan, sampler: Sampler) -> None:
        self._thread = threading.Thread(target=self._run, args=(plan, sampler), name="outages", daemon=True)
        self._thread.start()

    def _run(self, plan: Plan, sampler: Sampler) -> None:
        due = time.monotonic() + plan.kill_every
        # The last outage leaves time to be caught up before the market ends.
        last = time.monotonic() + plan.duration - 2 * plan.down
        try:
            while due < last and not self._stop.wait(max(0.0, due - time.monotonic())):
                self._interrupt(plan.down, sampler)
                # A server that was slow to start is given the time all the same.
                due = max(due, time.monotonic() - plan.down) + plan.kill_every
        except Exception as error:
            self.failure = error

    def _interrupt(self, down: float, sampler: Sampler) -> None:
        server = managed.status(self.config)
        assert server is not None and sampler.latest is not None
        sampler.database_up = False
        outage = Outage(killed=sampler.latest.t)
        self.outages.append(outage)
        os.kill(server.pid, signal.SIGKILL)
        self._stop.wait(down)
        managed.start(self.config, lambda text: None)
        sampler.database_up = True
        outage.started = sampler.latest.t

    def settle(self) -> None:
        """No further outage; returns when the one under way is over."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self.failure is not None:
            raise OperatorError(f"soak: restarting QuestDB failed: {self.failure}")

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        managed.stop(self.config, lambda text: None)


def soak(plan: Plan, folder: Path) -> Outcome:
    """Run it. Raises OperatorError when a part of it can't be started or ends early."""
    database = Database(folder / "questdb")
    try:
        return _record(plan, folder, database)
    finally:
        database.close()


def _record(plan: Plan, folder: Path, database: Database) -> Outcome:
    ledger, log = folder / "ledger.jsonl", folder / "collector.log"
    simulate = ["collector", "simulate", "--port", "0", "--symbols", ",".join(plan.symbols)]
    simulate += ["--rate", f"{plan.rate:g}", "--messages", str(int(plan.rate * plan.duration))]
    simulate += ["--ledger", str(ledger)]
    with contextlib.ExitStack() as stack:
        child = stack.enter_context(process(*simulate, log=folder / "exchange.log", stdout=subprocess.PIPE))
        exchange = Exchange("bybit", child, folder / "exchange.log")
        port = free_port()
        config = folder / "evenkeel.toml"
        config.write_text(
            f'[questdb]\nurl = "{database.endpoint.http_url}"\npg = "{database.endpoint.pg}"\n'
            f'[journal]\npath = "{folder / "journal"}"\n[http]\nlisten = "127.0.0.1:{port}"\n'
            + feed_table("bybit", "linear", exchange.ready, plan.symbols)
        )
        run = stack.enter_context(process("collector", "run", "--config", str(config), log=log))
        sampler = Sampler(run.pid, port)
        sampler.start()
        stack.callback(sampler.stop)
        _watch(plan, run, exchange, sampler, database, log)
        database.settle()
        _await_empty_journal(sampler)
        before = time.monotonic()
        sampler.stop()
        code = end(run, "run")
        drained = time.monotonic() - before
        if psutil.pid_exists(child.pid):
            end(child, "simulate")
        samples = sampler.samples
        for outage in database.outages:
            measure(outage, samples)
        busy = [one for one in samples if one.messages and one.messages < samples[-1].messages]
        return Outcome(
            samples=samples,
            outages=database.outages,
            exit_code=code,
            drain_s=drained,
            sent=samples[-1].messages,
            wall_s=busy[-1].t - busy[0].t if len(busy) > 1 else 0.0,
            unanswered=sampler.unanswered,
            verify=_verify(ledger, config),
            stats=_own_stats(database),
        )


def _watch(
    plan: Plan,
    run: subprocess.Popen[str],
    exchange: Exchange,
    sampler: Sampler,
    database: Database,
    log: Path,
) -> None:
    """Show progress until the exchange has sent all."""
    every = 1.0 if sys.stderr.isatty() else 15.0
    shown = 0.0
    tormented = False
    while not exchange.stopped.wait(0.2):
        if run.poll() is not None:
            raise OperatorError(f"soak: the collector ended early (exit {run.returncode}); its log is {log}")
        if database.failure is not None:
            raise OperatorError(f"soak: restarting QuestDB failed: {database.failure}")
        now = sampler.latest
        if now is None or not now.messages:
            continue
        if not tormented and plan.kill_every:
            tormented = True
            database.torment(plan, sampler)
        if now.t - shown >= every:
            shown = now.t
            state = "" if now.database_up else "   QuestDB is down"
            text = (
                f"{now.t:6.0f} s  {now.messages:12,} messages  RSS {now.rss / 1e6:6.1f} MB  "
                f"pending {now.pending_bytes / 1e6:8.1f} MB  lag {now.lag_s:6.1f} s{state}"
            )
            click.echo(f"\r{text:110}" if sys.stderr.isatty() else text, err=True, nl=not sys.stderr.isatty())
    if sys.stderr.isatty():
        click.echo(err=True)


def _await_empty_journal(sampler: Sampler) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    seen = -1
    while time.monotonic() < deadline:
        time.sleep(2)  # two samples
        now = sampler.latest
        assert now is not None
        if now.messages == seen and now.lag_s < CAUGHT_UP_S:
            return
        seen = now.messages


def measure(outage: Outage, samples: list[Sample]) -> None:
    """How fast the outage was caught up with. The clock starts with the last sample before a post was answered."""
    after = [one for one in samples if one.t >= outage.killed]
    down = [one for one in after if one.t <= (outage.started or math.inf)]
    before = [one for one in samples if outage.killed - 30 <= one.t <= outage.killed]
    if len(before) > 1:
        outage.live_rows_per_s = (before[-1].rows - before[0].rows) / (before[-1].t - before[0].t)
    outage.most_pending_bytes = max((one.pending_bytes for one in after[: len(down) + 30]), default=0)
    if not outage.started or not down:
        return
    stalled = down[-1].posted_rows
    waiting = [one for one in after if one.t >= outage.started - 1 and one.posted_rows <= stalled]
    first = waiting[-1] if waiting else down[-1]
    for one in after:
        if one.t > first.t and one.lag_s < CAUGHT_UP_S and one.posted_rows > first.posted_rows:
            seconds = one.t - first.t
            outage.caught_up = one.t
            outage.catch_up_rows_per_s = (one.posted_rows - first.posted_rows) / seconds
            return


def _verify(ledger: Path, config: Path) -> dict[str, int]:
    """The totals of `collector verify`; `verified` is 1 when it was content."""
    command = [sys.executable, "-m", "collector", "verify", "--ledger", str(ledger), "--config", str(config)]
    done = subprocess.run([*command, "--format", "json"], capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError as error:
        raise OperatorError(f"soak: verify failed: {done.stderr.strip()[-1000:]}") from error
    totals: dict[str, int] = answer["totals"]
    return totals | {"verified": int(answer["verified"])}


def _own_stats(database: Database) -> dict[str, float]:
    with connect(database.endpoint) as connection:
        row: tuple[Any, ...] | None = connection.execute(
            "SELECT count(), max(rss), max(swap), max(cpu), max(threads), max(fds), max(journal_bytes), max(lag_ms), "
            "max(loop_lag_ms) FROM collector_stats"
        ).fetchone()
    names = [
        "rows",
        "rss_max",
        "swap_max",
        "cpu_s",
        "threads_max",
        "fds_max",
        "journal_bytes_max",
        "lag_ms_max",
    ]
    names.append("loop_lag_ms_max")
    assert row is not None
    return {name: float(value or 0) for name, value in zip(names, row, strict=True)}
