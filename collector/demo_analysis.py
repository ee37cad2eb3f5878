"""The demo's last step: one pass of the analyzer, its scores, and what was planted beside what was found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from collector.simulator.ledger import read_ledger

TOLD_BY = {
    "whale": ("whale_buy_count", "whale_sell_count"),
    "leadlag": ("leader_lag_s", "venue_leader_lag_s"),
    "spoof": ("spoof_bid", "spoof_ask", "layering_bid", "layering_ask"),
    "cascade": ("cascade_long", "cascade_short"),
}
"""Planted event → the analyzer's metrics that tell of it."""
Found = dict[str, list[str]]


def analyse(config: Path, seconds: int, as_of: datetime, ledgers: list[Path], console: Console) -> bool:
    """Run and show; whether it failed. The whole answer stays beside the configuration, in analysis.json."""
    command = ["run-once", "--config", str(config), "--window", f"{seconds}s", "--as-of", as_of.isoformat()]
    done = subprocess.run(
        [sys.executable, "-m", "analyzer", *command, "--format", "json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    file = config.with_name("analysis.json")
    file.write_text(done.stdout, encoding="utf-8")
    if not done.stdout:
        return True
    document: dict[str, Any] = json.loads(done.stdout)
    analyses = document["analyses"]
    numbers = sum(len(one["values"]) for one in analyses)
    console.print(f"    {len(analyses)} analyses, {numbers:,} numbers: {file}", highlight=False)
    _scores(next((one["values"] for one in analyses if one["name"] == "confluence"), []), console)
    _planted(analyses, ledgers, as_of - timedelta(seconds=seconds), console)
    return done.returncode != 0


def _scores(values: list[dict[str, Any]], console: Console) -> None:
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    for value in values:
        name = value["exchange"], value["market"], value["symbol"]
        rows.setdefault(name, {})[value["metric"]] = value["value"]
    parts = dict.fromkeys(
        metric for row in rows.values() for metric in row if metric not in ("score", "verdict", "weight")
    )
    table = Table(title="Scores, 0 to 100, and their parts", title_justify="left")
    for head in ("instrument", "score", *(part.replace("_", " ") for part in parts)):
        table.add_column(head, justify="left" if head == "instrument" else "right")
    for name, row in sorted(rows.items()):
        cells = [f"{row[part]:.0f}" if part in row else "–" for part in ("score", *parts)]
        table.add_row(" ".join(name), *cells)
    console.print(table)


def _planted(analyses: list[dict[str, Any]], ledgers: list[Path], since: datetime, console: Console) -> None:
    """What the simulators did on purpose since then, and which symbols the analyzer named for it."""
    table = Table("planted", "into", "at (UTC)", "found in", title="Planted and found", title_justify="left")
    found = _found(analyses)
    for ledger in ledgers:
        header, entries = read_ledger(ledger)
        seen: dict[tuple[str, str], list[str]] = {}
        forced = False
        for entry in entries:
            forced |= entry.k in ("l", "u")
            name, _, symbol = entry.id.partition(" ") if entry.k == "p" else ("", "", "")
            if name and entry.side == "begin":
                at = datetime.fromtimestamp(entry.ts / 1e6, UTC)
                when = seen.setdefault((name, symbol), [])
                if name == "leadlag":
                    when.append("all the time")
                elif at >= since:
                    when.append(f"{at:%H:%M:%S}")
        for (name, symbol), when in sorted(seen.items()):
            where = ", ".join(found.get(f"{header.exchange} {name}", [])) or "nothing"
            if name == "cascade" and not forced:
                where = "nothing: this venue tells of no liquidations"
            table.add_row(name, f"{header.exchange} {symbol}", ", ".join(when), where)
    console.print(table)


def _found(analyses: list[dict[str, Any]]) -> Found:
    """ "exchange event" → symbols, with the number found or the lead in seconds."""
    found: Found = {}
    for name, value in _told(analyses):
        told = f"{value['symbol']} ({value['value']:g}{' s' if name == 'leadlag' else ''})"
        symbols = found.setdefault(f"{value['exchange']} {name}", [])
        if told not in symbols:
            symbols.append(told)
    return found


def _told(analyses: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for analysis in analyses:
        for value in analysis["values"]:
            for name, metrics in TOLD_BY.items():
                if value["metric"] in metrics and value["value"]:
                    yield name, value
