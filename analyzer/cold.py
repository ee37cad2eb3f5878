"""Partitions that were converted to Parquet are refused: the server's export gives NULL for computed columns of them,
without an error (9.3.4). What SQL computes on the server, over PGWire, is right."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

PARTITIONED = ("trades", "orderbook", "liquidations", "tickers")
"""Tables whose old partitions one may want to convert: views are small."""
NAMED = re.compile(r"\b(?:FROM|JOIN)\s+\(?\s*(\w+)", re.IGNORECASE)
TIME = re.compile(r"'(\d{4}-\d\d-\d\dT[\d:.]+)Z'")


class ColdPartitions:
    """Of one server, looked up once."""

    def __init__(self, ask: Callable[[str], list[list[Any]]]) -> None:
        """`ask`: a query's rows."""
        self._ask = ask
        self._names: dict[str, list[str]] | None = None
        """Table → its Parquet partitions, named after the hour or day that they hold."""

    def refusal(self, sql: str) -> str:
        """Why the export of this query would be wrong, and what to do; "" where it is right."""
        tables = sorted(set(NAMED.findall(sql)) & set(PARTITIONED))
        times = TIME.findall(sql)
        for table in tables:
            cold = self._of(table)
            if times:
                first, last = min(times), max(times)
                cold = [name for name in cold if first[: len(name)] <= name <= last[: len(name)]]
            if cold:
                return (
                    f"{len(cold)} of the partitions of {table} that it reads are Parquet, {cold[0]} the first, from which "
                    f"exports are wrong: bring them back with ALTER TABLE {table} CONVERT PARTITION TO NATIVE WHERE ts >= "
                    f"'{cold[0]}' AND ts <= '{cold[-1]}'"
                )
        return ""

    def _of(self, table: str) -> list[str]:
        if self._names is None:
            quoted = ", ".join(f"'{name}'" for name in PARTITIONED)
            there = self._ask(f"SELECT table_name FROM tables() WHERE table_name IN ({quoted})")  # noqa: S608
            parts = (
                f"SELECT '{name}' of_table, name FROM table_partitions('{name}') WHERE isParquet"  # noqa: S608
                for (name,) in there
            )
            self._names = {}
            for found, partition in sorted(self._ask(" UNION ALL ".join(parts))) if there else ():
                self._names.setdefault(found, []).append(partition)
        return self._names.get(table, [])
