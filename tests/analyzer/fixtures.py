"""Rows put into the tables, the analyzer run as a process, and its answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from analyzer.cli import main
from analyzer.windows import microseconds
from collector.database.endpoint import Endpoint
from collector.encode import RowEncoder
from collector.recorder import TABLE_OF
from collector.rows import Alert, CollectorStats, ListedInstrument, Row, Trade
from collector.sink import QuestDBSink
from tests.conftest import wait_rows
from tests.processes import CLEAN_ENVIRONMENT

VENUE = ("bybit", "linear")
TABLES: dict[type, str] = {
    **TABLE_OF,
    Alert: "alerts",
    CollectorStats: "collector_stats",
    ListedInstrument: "instruments",
}


def settings(folder: Path, endpoint: Endpoint, text: str = "") -> Path:
    path = folder / "evenkeel.toml"
    path.write_text(f'[questdb]\nurl = "{endpoint.http_url}"\npg = "{endpoint.pg}"\n{text}')
    return path


def analyzer(*arguments: str, timeout: float = 60, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "analyzer", *arguments],
        capture_output=True,
        text=True,
        timeout=timeout,
        env=CLEAN_ENVIRONMENT | environment,
        check=False,
    )


def invoked(*arguments: str, **environment: str | None) -> Result:
    """The same in this process, for what needs none of its own: `exit_code`, `stdout`, `stderr`."""
    unset: dict[str, str | None] = dict.fromkeys(os.environ.keys() - CLEAN_ENVIRONMENT.keys())
    done = CliRunner(env=unset | environment).invoke(main, arguments)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done


def run_once(config: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    """Exit code and the JSON document. A text that is not one document fails here."""
    done = analyzer("run-once", "--config", str(config), "--format", "json", *arguments)
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, document


def values(document: dict[str, Any], analysis: str, symbol: str) -> dict[str, float]:
    """Metric → value of one instrument."""
    (found,) = [one for one in document["analyses"] if one["name"] == analysis]
    return {row["metric"]: row["value"] for row in found["values"] if row["symbol"] == symbol}


def at(text: str) -> int:
    """Microseconds of an ISO 8601 time in UTC."""
    return microseconds(datetime.fromisoformat(text))


def trade(ts: str, symbol: str, side: str | None, price: float, qty: float, number: str) -> Trade:
    return Trade(at(ts), at(ts), *VENUE, symbol, side, price, qty, number)


def store(endpoint: Endpoint, rows: Sequence[Row]) -> None:
    """Write rows into empty tables, as the collector does, and wait until they can be read."""
    encoder = RowEncoder()
    for row in rows:
        encoder.add(row)
    sink = QuestDBSink(endpoint.http_url, endpoint.user, endpoint.password)
    sink.post([encoder.take()[0]])
    sink.close()
    for kind, count in Counter(type(row) for row in rows).items():
        wait_rows(endpoint, TABLES[kind], count)
