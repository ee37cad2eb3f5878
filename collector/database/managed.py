"""The managed QuestDB: one server in one folder, started detached, found again by its record, and ended; one at a time."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click

from collector.database import ending, launch, ports, runtime
from collector.database.endpoint import DatabaseError, Endpoint, pg_url
from collector.database.record import STATE_FILE, ManagedServer, process_of, recorded
from collector.database.runtime import Say
from collector.settings import QuestDBConfig

SUPERVISED_FILE = "evenkeel-server.supervised"
"""There while `run` is what keeps the server: others neither start it nor start it again."""
RUN_LOOK = 1.0
"""Seconds between looks whether the server still runs."""
LOCK_FILE = "evenkeel-server.lock"
STOP_TIMEOUT = 30.0


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
    server = recorded(data_dir(config))
    return server if server is not None and process_of(server, data_dir(config)) is not None else None


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
            launch.await_ready(server, folder)
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
        if process_of(server, folder) is None:
            with _locked(
                folder, say_on_stderr
            ):  # 'collector db stop' may be about to tell that it was the one
                if (folder / STATE_FILE).exists():
                    _note_end(folder, server, at_us=time.time_ns() // 1000)
                    (folder / STATE_FILE).unlink()
            raise launch.failed(folder, launch.last_lines(folder))
    _end(config, say_on_stderr, "'collector db run' was told to stop")


def _start_anew(config: QuestDBConfig, folder: Path, say: Say) -> ManagedServer:
    """Under the lock."""
    if (folder / STATE_FILE).exists():
        how = _note_end(folder, recorded(folder))
        say(f"the server before ended without 'collector db stop'{how}: {folder / STATE_FILE} removed")
        (folder / STATE_FILE).unlink()
    launch.require_space(folder)
    jar, java = runtime.questdb_jar(say), runtime.java()
    for attempt in (1, 2, 3):
        http_port, pg_port = (
            ports.choose(config.http_port, "http_port"),
            ports.choose(config.pg_port, "pg_port"),
        )
        say(f"starting QuestDB {runtime.VERSION} in {folder} (http://127.0.0.1:{http_port})")
        server = launch.spawn(config, folder, java, jar, http_port, pg_port)
        try:
            launch.await_ready(server, folder)
        except launch.DiedError as error:
            (folder / STATE_FILE).unlink(missing_ok=True)
            # A free port can be taken between its choice and its use.
            if 0 in (config.http_port, config.pg_port) and "could not bind" in str(error) and attempt < 3:
                continue
            raise launch.failed(folder, str(error)) from error
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
        server = recorded(folder)
        process = process_of(server, folder) if server is not None else None
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
