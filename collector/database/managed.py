"""The managed QuestDB: one server in one folder, started detached, found again by `evenkeel-server.json` in it.

That file is the contract by which the analyzer finds the server: `pid`; `http`, its URL; `pg`, a PostgreSQL URL without
secrets; `version`; `started`, ISO 8601 UTC. It exists from the start of the process on, so the server may not answer yet.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec
import psutil

from collector.database import ending, ports, runtime
from collector.database.endpoint import PG_PASSWORD, PG_USER, DatabaseError, Endpoint, answers, pg_url
from collector.database.runtime import Say
from collector.settings import QuestDBConfig

STATE_FILE = "evenkeel-server.json"
SUPERVISED_FILE = "evenkeel-server.supervised"
"""There while `run` is what keeps the server: others neither start it nor start it again."""
RUN_LOOK = 1.0
"""Seconds between looks whether the server still runs."""
LOCK_FILE = "evenkeel-server.lock"
MAIN_CLASS = "io.questdb/io.questdb.ServerMain"
MIN_FREE = 1 << 30
START_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
EXEC_LOOKS, EXEC_PAUSE = 500, 0.01
"""How often, and at what distance (s), a process without arguments is looked at again."""
LOG_LINES = 12


class ManagedServer(msgspec.Struct, frozen=True):
    """A managed server's process; see the module's head."""

    pid: int
    http: str
    pg: str
    version: str
    started: str


class _DiedError(Exception):
    """The server ended before it was ready."""


def say_on_stderr(text: str) -> None:
    click.echo(text, err=True)


def data_dir(config: QuestDBConfig) -> Path:
    return Path(config.data).absolute()


def endpoint_of(server: ManagedServer, config: QuestDBConfig) -> Endpoint:
    port = urlsplit(server.pg).port
    assert port is not None
    return Endpoint(server.http, pg_url("127.0.0.1", port, config), config.user, config.password)


def status(config: QuestDBConfig) -> ManagedServer | None:
    """The running server of that folder, ready or not; None when there is none."""
    server = _recorded(data_dir(config))
    return server if server is not None and _process(server, data_dir(config)) is not None else None


def crashed(config: QuestDBConfig) -> bool:
    """Whether the server of that folder ended without `stop`, and nobody else starts it again."""
    folder = data_dir(config)
    return (
        status(config) is None and (folder / STATE_FILE).exists() and not (folder / SUPERVISED_FILE).exists()
    )


def start(config: QuestDBConfig, say: Say = say_on_stderr) -> ManagedServer:
    """Start the server, or find the one that runs; it answers when this returns. Raises DatabaseError."""
    folder = data_dir(config)
    with _locked(folder, say):
        server = status(config)
        if server is not None:
            _await_ready(server, folder)
            return server
        if (folder / SUPERVISED_FILE).exists():
            raise DatabaseError(
                "start QuestDB",
                str(folder),
                "'collector db run' keeps it, and it does not run now",
                f"start that again (systemctl start evenkeel-questdb); without it remove {folder / SUPERVISED_FILE}",
            )
        return _start_anew(config, folder, say)


def run(config: QuestDBConfig, stop: threading.Event, on_ready: Callable[[ManagedServer], None]) -> None:
    """Keep a server in the foreground until `stop` is set, under a supervisor that starts it again: nobody else does from
    now on. Raises DatabaseError when one runs already, or when it ends by itself."""
    folder = data_dir(config)
    with _locked(folder, say_on_stderr):
        if (server := status(config)) is not None:
            raise DatabaseError(
                "run QuestDB",
                str(folder),
                f"one runs already, pid {server.pid}",
                "'collector db stop' ends it",
            )
        (folder / SUPERVISED_FILE).touch()
        server = _start_anew(config, folder, say_on_stderr)
    on_ready(server)
    while not stop.wait(RUN_LOOK):
        if _process(server, folder) is None:
            with _locked(
                folder, say_on_stderr
            ):  # 'collector db stop' may be about to tell that it was the one
                if (folder / STATE_FILE).exists():
                    _note_end(folder, server, at_us=time.time_ns() // 1000)
                    (folder / STATE_FILE).unlink()
            raise _failed(folder, _last_lines(folder))
    _end(config, say_on_stderr, "'collector db run' was told to stop")


def _start_anew(config: QuestDBConfig, folder: Path, say: Say) -> ManagedServer:
    """Under the lock."""
    if (folder / STATE_FILE).exists():
        how = _note_end(folder, _recorded(folder))
        say(f"the server before ended without 'collector db stop'{how}: {folder / STATE_FILE} removed")
        (folder / STATE_FILE).unlink()
    _require_space(folder)
    jar, java = runtime.questdb_jar(say), runtime.java()
    for attempt in (1, 2, 3):
        http_port, pg_port = (
            ports.choose(config.http_port, "http_port"),
            ports.choose(config.pg_port, "pg_port"),
        )
        say(f"starting QuestDB {runtime.VERSION} in {folder} (http://127.0.0.1:{http_port})")
        server = _spawn(config, folder, java, jar, http_port, pg_port)
        try:
            _await_ready(server, folder)
        except _DiedError as error:
            (folder / STATE_FILE).unlink(missing_ok=True)
            # A free port can be taken between its choice and its use.
            if 0 in (config.http_port, config.pg_port) and "could not bind" in str(error) and attempt < 3:
                continue
            raise _failed(folder, str(error)) from error
        return server
    raise AssertionError("unreachable")


def stop(config: QuestDBConfig, say: Say = say_on_stderr) -> bool:
    """End the server of that folder for good; False when none ran. Raises DatabaseError."""
    (data_dir(config) / SUPERVISED_FILE).unlink(missing_ok=True)
    return _end(config, say, "'collector db stop'")


def _end(config: QuestDBConfig, say: Say, asked: str) -> bool:
    """`asked`: in whose name."""
    folder = data_dir(config)
    if not (folder / STATE_FILE).exists():
        return False
    with _locked(folder, say):
        server = _recorded(folder)
        process = _process(server, folder) if server is not None else None
        if process is not None:
            process.terminate()
            if not ending.await_end(process, STOP_TIMEOUT):
                say(
                    f"QuestDB (pid {process.pid}) did not end within {STOP_TIMEOUT:g} s of SIGTERM: sending SIGKILL"
                )
                process.kill()
                ending.await_end(process, STOP_TIMEOUT)
                asked = f"{asked}; it had to be killed, after {STOP_TIMEOUT:g} s"
        if process is not None:
            _note_end(folder, server, asked, time.time_ns() // 1000)
        else:
            _note_end(folder, server)
        (folder / STATE_FILE).unlink(missing_ok=True)
    return process is not None


def _note_end(folder: Path, server: ManagedServer | None, asked: str = "", at_us: int | None = None) -> str:
    """As `ending.note`; the end in words."""
    if server is None:
        return ""
    ended = ending.note(folder, server.pid, server.version, server.started, asked, at_us)
    return f" ({ended.cause}: {ended.detail})"


def _recorded(folder: Path) -> ManagedServer | None:
    try:
        return msgspec.json.decode((folder / STATE_FILE).read_bytes(), type=ManagedServer)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def _process(server: ManagedServer, folder: Path) -> psutil.Process | None:
    """The process, when it still is the server of that folder: pids are used again."""
    try:
        process = psutil.Process(server.pid)
        for _ in range(EXEC_LOOKS):
            if process.status() == psutil.STATUS_ZOMBIE:
                return None
            if command := process.cmdline():
                break
            time.sleep(EXEC_PAUSE)  # the kernel is about to run it: it has no arguments yet
        else:
            return None
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None
    return process if MAIN_CLASS in command and str(folder) in command else None


@contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    """One start or stop at a time. The kernel drops the lock with its holder, so it can't be stale."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DatabaseError(
            "manage QuestDB",
            str(folder),
            error.strerror or str(error),
            "make it writable or change questdb.data",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another process is starting or stopping the server in {folder}: waiting for it")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _require_space(folder: Path) -> None:
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


def _spawn(
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
    temporary = folder / f"{STATE_FILE}.tmp"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(server)))
    temporary.replace(folder / STATE_FILE)
    return server


def _await_ready(server: ManagedServer, folder: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not answers(server.http):
        process = _process(server, folder)
        if process is None:
            raise _DiedError(_last_lines(folder))
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


def _last_lines(folder: Path) -> str:
    lines = _log_file(folder).read_text(encoding="utf-8", errors="replace").splitlines()
    told = [
        line for line in lines if line.strip() and not line.startswith(("WARNING:", "    Using env", "\tat "))
    ]
    return "\n".join(f"    {line}" for line in told[-LOG_LINES:])


def _failed(folder: Path, lines: str) -> DatabaseError:
    if "could not bind" in lines:
        remedy = "set questdb.http_port and questdb.pg_port to ports that are free, or to 0"
    elif "lock" in lines.lower():
        remedy = f"another server seems to use {folder}: stop it, or change questdb.data"
    else:
        remedy = f"the whole log is {_log_file(folder)}"
    return DatabaseError(
        "start QuestDB", str(folder), f"the server ended at once. Its last lines:\n{lines}\n", remedy
    )
