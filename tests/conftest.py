"""A real QuestDB for the tests, never a mock: a server by URL, else a container, else the managed one.

The URL is EVENKEEL_TEST_QUESTDB (with EVENKEEL_TEST_QUESTDB_PG, its PGWire address, where that is not the default).
Each of pytest-xdist's workers has a server of its own, but for one by URL: the tests drop everything in it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from collector.database import launch, managed
from collector.database.endpoint import (
    PG_PASSWORD,
    PG_USER,
    Endpoint,
    connect,
    of_url,
    require_supported,
    wait_until_ready,
)
from collector.settings import QuestDBConfig
from tests.anew import MARKER, anew

IMAGE = "questdb/questdb:9.3.4"
ROWS_TIMEOUT = 180.0
WORKERS = 2
"""Most cases wait; each worker has a QuestDB beside it."""
# Tables are dropped all the time here, and a plan kept from before can crash the server: SIGSEGV in a parallel GROUP BY.
for switch in ("QDB_PG_SELECT_CACHE_ENABLED", "QDB_HTTP_QUERY_CACHE_ENABLED"):
    os.environ.setdefault(switch, "false")
# Servers of tests live for seconds, in which the optimizing compiler and parallel collectors cost more than they give.
os.environ.setdefault("JDK_JAVA_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
# By default a server's idle threads look for work ten thousand times before they sleep: half of what the tests cost.
for pool in ("SHARED", "HTTP", "PG", "WAL_APPLY", "MAT_VIEW_REFRESH", "VIEW_COMPILER", "EXPORT"):
    for threshold, times in (("YIELD", "5"), ("NAP", "10"), ("SLEEP", "200")):
        os.environ.setdefault(f"QDB_{pool}_WORKER_{threshold}_THRESHOLD", times)


# How long an example takes says how busy the machine is.
settings.register_profile("evenkeel", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("evenkeel")


@cache
def chosen_server() -> str:
    """ "url", "container" or "managed"."""
    if os.environ.get("EVENKEEL_TEST_QUESTDB"):
        return "url"
    docker = shutil.which("docker")
    if docker is not None:
        probe = subprocess.run([docker, "info"], capture_output=True, timeout=20, check=False)
        if probe.returncode == 0:
            return "container"
    return "managed"


def pytest_xdist_auto_num_workers() -> int:
    """What `-n auto` means."""
    return 0 if chosen_server() == "url" else WORKERS


def pytest_configure(config: pytest.Config) -> None:
    if chosen_server() == "url" and (config.getoption("numprocesses", 0) or 0) > 1:
        raise pytest.UsageError(
            "EVENKEEL_TEST_QUESTDB is one server, and the tests drop everything in it: use -n 0"
        )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each of several workers begins with its share of the tests that start processes, which take seconds, and ends with
    short ones: who has nothing left can't take over what another is about to begin, and waits for it.

    xdist hands out equal parts of the list, and lets who is through with its own take from the end of another's."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if workers == 1:
        return
    slow: list[pytest.Item] = []
    quick: list[pytest.Item] = []
    for item in items:
        (slow if starts_processes(item) else quick).append(item)
    total, ordered = len(items), []
    for number in range(workers):
        ordered += slow[number::workers]
        left = max(0, total * (number + 1) // workers - len(ordered))
        ordered += quick[:left]
        del quick[:left]
    items[:] = ordered


def starts_processes(item: pytest.Item) -> bool:
    """Whether it may use a collector or a simulator as a process of its own."""
    return hasattr(getattr(item, "module", None), "background") or "rig" in getattr(item, "fixturenames", ())


def pytest_report_header() -> str:
    what = {
        "url": f"at {os.environ.get('EVENKEEL_TEST_QUESTDB')} (EVENKEEL_TEST_QUESTDB)",
        "container": f"in a container ({IMAGE})",
        "managed": "managed, on free ports",
    }
    return f"QuestDB: {what[chosen_server()]}"


@pytest.fixture(scope="session")
def questdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """A QuestDB server, empty or with what earlier tests left."""
    with ExitStack() as stack:
        match chosen_server():
            case "url":
                endpoint = of_url(
                    QuestDBConfig(
                        url=os.environ["EVENKEEL_TEST_QUESTDB"],
                        pg=os.environ.get("EVENKEEL_TEST_QUESTDB_PG", ""),
                    )
                )
            case "container":
                endpoint = _container(stack)
            case _:
                config = QuestDBConfig(data=str(tmp_path_factory.mktemp("questdb")), http_port=0, pg_port=0)
                server = managed.start(config)
                stack.callback(managed.stop, config)
                endpoint = managed.endpoint_of(server, config)
        require_supported(endpoint)
        tables = {name for (name,) in query(endpoint, "SELECT table_name FROM tables()")}
        if tables and MARKER not in tables:
            pytest.exit(
                f"{endpoint.http_url} holds tables that are not of tests, and the tests drop everything: "
                "set EVENKEEL_TEST_QUESTDB to an empty server",
                returncode=2,
            )
        yield endpoint


def _container(stack: ExitStack) -> Endpoint:
    from testcontainers.core.container import DockerContainer

    container = DockerContainer(IMAGE).with_exposed_ports(9000, 8812)
    for key, value in launch.settings(QuestDBConfig(), 9000, 8812).items():
        container.with_env(key, value.replace("127.0.0.1:", "0.0.0.0:"))
    stack.enter_context(container)
    host = container.get_container_host_ip()
    pg = f"postgresql://{PG_USER}:{PG_PASSWORD}@{host}:{container.get_exposed_port(8812)}/qdb"
    endpoint = Endpoint(f"http://{host}:{container.get_exposed_port(9000)}", pg)
    wait_until_ready(endpoint, 60)
    return endpoint


@pytest.fixture
def database(questdb: Endpoint) -> Endpoint:
    """The server with the migrated tables, all empty."""
    anew(questdb)
    return questdb


def query(endpoint: Endpoint, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a statement, none for one without a result. Times are naive datetimes in UTC."""
    with connect(endpoint) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def wait_rows(endpoint: Endpoint, table: str, count: int) -> None:
    """Return when the table shows at least `count` rows; fail when it doesn't in three minutes."""
    deadline = time.monotonic() + ROWS_TIMEOUT
    with connect(endpoint) as connection:
        while True:
            row = connection.execute(f"SELECT count() FROM {table}").fetchone()
            found = row[0] if row else 0
            if found >= count:
                return
            if time.monotonic() > deadline:
                pytest.fail(f"{table} has {found} rows after {ROWS_TIMEOUT:g} s, expected {count}")
            time.sleep(0.02)
