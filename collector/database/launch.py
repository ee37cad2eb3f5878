"""A server's process from nothing to its first answer: settings, command, environment, and why it did not come up."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path

from collector.database import ending, runtime
from collector.database.endpoint import PG_PASSWORD, PG_USER, DatabaseError, answers
from collector.database.record import MAIN_CLASS, ManagedServer, process_of, write_record
from collector.settings import QuestDBConfig

MIN_FREE = 1 << 30
START_TIMEOUT = 120.0
LOG_LINES = 12


class DiedError(Exception):
    """The server ended before it was ready."""


def require_space(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < MIN_FREE:
        raise DatabaseError(
            "start QuestDB",
            str(folder),
            f"only {free >> 20} MiB are free on its disk, and a full disk can crash the server",
            f"free at least {MIN_FREE >> 20} MiB or point questdb.data to another disk",
        )


def settings(config: QuestDBConfig, http_port: int, pg_port: int) -> dict[str, str]:
    """The server's settings as environment; they go before the folder's conf/server.conf."""
    chosen = {
        "QDB_HTTP_BIND_TO": f"127.0.0.1:{http_port}",
        "QDB_PG_NET_BIND_TO": f"127.0.0.1:{pg_port}",
        "QDB_HTTP_MIN_ENABLED": "false",
        "QDB_LINE_TCP_ENABLED": "false",  # asks for no password
        "QDB_LINE_AUTO_CREATE_NEW_TABLES": "false",
        "QDB_LINE_AUTO_CREATE_NEW_COLUMNS": "false",
        "QDB_TELEMETRY_ENABLED": "false",
        # For small machines: a tenth of the disk that small tables take by default.
        "QDB_CAIRO_WRITER_DATA_APPEND_PAGE_SIZE": "1M",
        "QDB_CAIRO_WRITER_DATA_INDEX_VALUE_APPEND_PAGE_SIZE": "256K",
        "QDB_CAIRO_O3_COLUMN_MEMORY_SIZE": "256K",
        # INFO is several lines for every query.
        "QDB_LOG_WRITERS": "stdout",
        "QDB_LOG_W_STDOUT_LEVEL": "ADVISORY,CRITICAL,ERROR",
        "QDB_PG_USER": config.user or PG_USER,
        "QDB_PG_PASSWORD": config.password or PG_PASSWORD,
    }
    if config.user:
        chosen |= {"QDB_HTTP_USER": config.user, "QDB_HTTP_PASSWORD": config.password}
    if config.reader:
        chosen |= {
            "QDB_PG_READONLY_USER_ENABLED": "true",
            "QDB_PG_READONLY_USER": config.reader,
            "QDB_PG_READONLY_PASSWORD": config.reader_password,
        }
    return chosen


def spawn(
    config: QuestDBConfig, folder: Path, java: Path, jar: Path, http_port: int, pg_port: int
) -> ManagedServer:
    log = _log_file(folder)
    log.parent.mkdir(exist_ok=True)
    if log.exists():
        log.replace(folder / ending.LAST_LOG)
    command = [str(java), f"-Xmx{config.memory}", "-p", str(jar), "-m", MAIN_CLASS, "-d", str(folder), "-n"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**os.environ, **settings(config, http_port, pg_port)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # It is meant to outlive this object, which would otherwise warn when collected.
    process.returncode = 0
    user = f"{config.user}@" if config.user else f"{PG_USER}:{PG_PASSWORD}@"
    server = ManagedServer(
        pid=process.pid,
        http=f"http://127.0.0.1:{http_port}",
        pg=f"postgresql://{user}127.0.0.1:{pg_port}/qdb",
        version=runtime.VERSION,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    write_record(server, folder)
    return server


def await_ready(server: ManagedServer, folder: Path) -> None:
    """Raises DiedError, DatabaseError."""
    deadline = time.monotonic() + START_TIMEOUT
    while not answers(server.http):
        process = process_of(server, folder)
        if process is None:
            raise DiedError(last_lines(folder))
        if time.monotonic() >= deadline:
            raise DatabaseError(
                "start QuestDB",
                f"pid {server.pid} in {folder}",
                f"it runs, but does not answer at {server.http} after {START_TIMEOUT:g} s",
                f"look at {_log_file(folder)}; 'collector db stop' ends it",
            )
        time.sleep(0.05)


def _log_file(folder: Path) -> Path:
    return folder / ending.LOG


def last_lines(folder: Path) -> str:
    """What the server said last, but for what it always says."""
    lines = _log_file(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    told = [
        line for line in lines if line.strip() and not line.startswith(("WARNING:", "    Using env", "\tat "))
    ]
    return "\n".join(f"    {line}" for line in told[-LOG_LINES:])


def failed(folder: Path, lines: str) -> DatabaseError:
    """Of `last_lines`."""
    if "could not bind" in lines:
        remedy = "set questdb.http_port and questdb.pg_port to ports that are free, or to 0"
    elif "lock" in lines.lower():
        remedy = f"another server seems to use {folder}: stop it, or change questdb.data"
    else:
        remedy = f"the whole log is {_log_file(folder)}"
    return DatabaseError(
        "start QuestDB", str(folder), f"the server ended at once. Its last lines:\n{lines}\n", remedy
    )
