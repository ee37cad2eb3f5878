"""QuestDB killed and stopped under a recording collector: what the tables and the audit tell of it."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest

from collector.database import managed
from collector.database.endpoint import DatabaseError
from collector.demo import free_port
from collector.settings import QuestDBConfig
from tests.analyzer.fixtures import analyzer
from tests.conftest import query
from tests.processes import background, wait_until

MARGIN_US = 5_000_000


class Machine:
    """A managed QuestDB, and a configuration that records the simulator into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "evenkeel.toml"
        self.questdb = QuestDBConfig(data=str(folder / "questdb"), http_port=free_port(), pg_port=free_port())

    def configure(self, ws_url: str, rest_url: str) -> None:
        database = self.questdb
        self.file.write_text(
            f'[questdb]\ndata = "{database.data}"\nhttp_port = {database.http_port}\npg_port = {database.pg_port}\n'
            f'[journal]\npath = "{self.folder / "journal"}"\n[http]\nlisten = ""\n'
            '[[feeds]]\nexchange = "bybit"\nmarket = "linear"\nsymbols = ["BTCUSDT"]\nrepair = false\n'
            f'ws_url = "{ws_url}"\nrest_url = "{rest_url}"\n'
        )

    def pid(self) -> int:
        server = managed.status(self.questdb)
        assert server is not None
        return server.pid

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """[] while it is away, and before the tables are made."""
        server = managed.status(self.questdb)
        try:
            return query(managed.endpoint_of(server, self.questdb), sql) if server else []
        except (DatabaseError, psycopg.Error):
            return []

    def outages(self) -> list[dict[str, Any]]:
        """Those whose rows are all stored."""
        names = (
            "event::string, cause::string, pid, process::string, attempts, waiting_rows, detail, log, "
            "ts::long, until_ts::long, caught_up_ts::long, uptime_s"
        )
        keys = [name.partition(":")[0] for name in names.split(", ")]
        sql = f"SELECT {names} FROM process_events WHERE program = 'questdb' AND caught_up_ts != NULL ORDER BY ts"
        return [dict(zip(keys, row, strict=True)) for row in self.ask(sql)]

    def audit(self) -> dict[str, Any]:
        done = analyzer("audit", "--config", str(self.file), "--since", "1h", "--format", "json")
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    def received(self, since_us: int, until_us: int) -> tuple[int, int]:
        """Rows received in that time, and in a little more than that, with those of the collector itself."""
        market = ("trades", "orderbook", "tickers", "liquidations")
        own = ("collector_stats", "stream_stats", "process_events", "alerts", "feed_events")

        def count(tables: Sequence[str], column: str, margin_us: int) -> int:
            where = f"{column} >= {since_us - margin_us}::timestamp AND {column} <= {until_us + margin_us}::timestamp"
            return sum(self.ask(f"SELECT count() FROM {table} WHERE {where}")[0][0] for table in tables)

        return count(market, "recv_ts", -50_000), count(market, "recv_ts", MARGIN_US) + count(
            own, "ts", MARGIN_US
        )


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    machine = Machine(tmp_path)
    yield machine
    managed.stop(machine.questdb, lambda text: None)


def test_every_end_of_questdb_is_told_with_its_cause(machine: Machine) -> None:
    """Killed, stopped in order, and killed while no collector was there to see it."""
    folder, host = machine.folder, socket.gethostname()
    with background(folder / "simulate.log", "simulate", "--port", "0", "--rate", "500") as exchange:
        ready = exchange.line()
        machine.configure(ready["ws_urls"]["linear"], ready["rest_url"])
        run = ["run", "--config", str(machine.file)]

        def recorded() -> int:
            rows = machine.ask("SELECT count() FROM trades WHERE symbol = 'BTCUSDT'")
            return int(rows[0][0]) if rows else 0

        with background(folder / "1.log", *run) as recording:
            wait_until(lambda: recorded() > 100, what="trades")
            first = machine.pid()
            os.kill(first, signal.SIGKILL)
            wait_until(lambda: len(machine.outages()) == 1, what="the first end's row")
            second = machine.pid()
            managed.stop(machine.questdb, lambda text: None)
            managed.start(machine.questdb, lambda text: None)
            wait_until(lambda: len(machine.outages()) == 2, what="the second end's row")
            third = machine.pid()
            recording.end(signal.SIGKILL)
            os.kill(third, signal.SIGKILL)
        with background(folder / "2.log", *run):
            wait_until(lambda: len(machine.outages()) == 3, what="the third end's row")
            killed, stopped, unseen = machine.outages()
            starts = machine.ask(
                "SELECT cause::string, pid FROM process_events "
                "WHERE program = 'questdb' AND event = 'started' ORDER BY ts"
            )
            waited = {one["ts"]: machine.received(one["ts"], one["until_ts"]) for one in (killed, stopped)}
            last = machine.pid()
            document = machine.audit()
        exchange.end()
    assert [(one["event"], one["cause"], one["process"]) for one in (killed, stopped, unseen)] == [
        ("crashed", "killed", f"{host}:{first}"),
        ("stopped", "SIGTERM", f"{host}:{second}"),
        ("crashed", "killed", f"{host}:{third}"),
    ]
    assert starts == [("crashed", second), ("stopped", third), ("crashed", last)]
    assert (killed["detail"], stopped["detail"]) == (
        "by SIGKILL: by hand, or by the kernel for want of memory",
        "'collector db stop'",
    )
    assert "its log breaks off" in unseen["detail"]
    assert killed["attempts"] > 0
    assert stopped["attempts"] > 0
    assert unseen["attempts"] == 0
    for one in (killed, stopped):
        # What came while it was away waited; so did what was on its way, and the collector's own rows.
        during, around = waited[one["ts"]]
        assert during <= one["waiting_rows"] <= around
        assert one["ts"] < one["until_ts"] <= one["caught_up_ts"]
    told = document["questdb"]["outages"]
    assert [(one["process"], one["event"], one["waiting_rows"], one["lost"]) for one in told] == [
        (one["process"], one["event"], one["waiting_rows"], 0) for one in (killed, stopped, unseen)
    ]
    (finding,) = [one for one in document["thresholds"] if one["name"] == "questdb"]
    assert finding["verdict"] == "warning"
    assert "3 times, 2 of them killed or crashed" in finding["text"]
    assert "all of them are stored" in finding["text"]
    (restarts, questdb) = [one for one in document["next"] if one["area"] == "restarts"]
    assert restarts["command"] == f"tail -n 40 {folder / '1.log'}"
    assert questdb["command"].startswith(f"tail -n 40 {folder / 'questdb/log/server.log.1'}; dmesg")
