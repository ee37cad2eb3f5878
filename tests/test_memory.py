"""`collector memory`: questions to running processes over their sockets."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from collector import bounds, control
from collector.control import ControlServer, ask
from collector.errors import OperatorError
from collector.memory import Kind, Line, Report
from collector.memory_cli import difference
from collector.metrics import Metrics
from tests.processes import CLEAN_ENVIRONMENT, background, collector, config_file, wait_until
from tests.test_service import NOWHERE

HOST = """
import sys
from pathlib import Path
from collector import logs
from collector.control import ControlServer
from collector.metrics import Metrics

logs.configure()

class Hoarded:
    pass

metrics = Metrics()
metrics.fills["batch"] = lambda: 1234
server = ControlServer(Path(sys.argv[1]), metrics)
hoard = []
for line in sys.stdin:
    hoard.extend(bytearray(1000) for _ in range(5000))  # the line of which the tests ask
    hoard.extend(Hoarded() for _ in range(700))
    print("grown", flush=True)
server.close()
"""


class Host:
    """A process of which it is known what it allocates."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=CLEAN_ENVIRONMENT,
            cwd=Path(__file__).parents[1],
        )
        wait_until((folder / control.NAME).exists, what="the socket")

    def grow(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "grown\n"

    def close(self) -> None:
        self.process.communicate(timeout=30)
        assert not (self.folder / control.NAME).exists()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    one = Host(tmp_path / "journal")
    yield one
    one.close()


def cli(folder: Path, *arguments: str) -> Any:
    """Its JSON."""
    config = folder.parent / "evenkeel.toml"
    config.write_text(f'[journal]\npath = "{folder}"\n')
    done = collector("memory", *arguments, "--config", str(config), "--format", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_growth_is_found_by_line_and_by_type(host: Host, tmp_path: Path) -> None:
    before = tmp_path / "before.json"
    first = cli(host.folder, "snapshot", "--output", str(before))
    assert first["pid"] == host.process.pid
    host.grow()
    grown = cli(host.folder, "compare", str(before), "--limit", "5")
    lines = {row["name"]: row for row in grown["lines"]}
    largest = grown["lines"][0]
    assert largest["name"].startswith("<string>:") or "/<string>:" in largest["name"]
    assert 5000 <= largest["count"] <= 10_100  # a bytearray and its buffer are one or two blocks
    assert 5_000_000 <= largest["size"] < 6_000_000
    assert 5_000_000 <= grown["traced"] < 7_000_000
    assert grown["rss"] > 4_000_000
    [hoarded] = [row for row in grown["kinds"] if row["name"] == "__main__.Hoarded"]
    assert hoarded["count"] == 700
    assert len(lines) <= 5
    ask(host.folder, do="stop")
    assert cli(host.folder, "top")["traced"] is None


def test_objects_and_buffers(host: Host) -> None:
    host.grow()
    report = cli(host.folder, "top", "--limit", "500")
    kinds = {row["type"]: row for row in report["kinds"]}
    assert kinds["__main__.Hoarded"]["count"] == 700
    assert kinds["__main__.Hoarded"]["size"] >= 700 * 32
    assert [(row["name"], row["limit"]) for row in report["buffers"]] == [
        (bound.name, bound.limit) for bound in bounds.BOUNDS
    ]
    assert {row["name"]: row["size"] for row in report["buffers"]}["batch"] == 1234
    status = Path(f"/proc/{report['pid']}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0]) * 1024
    assert report["rss"] == pytest.approx(resident, rel=0.2)
    assert report["lines"] == []
    assert report["stalled_ms"] <= report["took_ms"]


def test_tracing_ends_by_itself(host: Host) -> None:
    ask(host.folder, do="trace", seconds=1.0)
    host.grow()

    def traced() -> int | None:
        report = ask(host.folder, do="memory")
        assert report is not None
        return report.traced

    assert (traced() or 0) > 5_000_000
    wait_until(lambda: traced() is None, what="the end of tracing")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that other users come to; below pytest's own they don't."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_nobody_else_may_ask(open_folder: Path) -> None:
    host = Host(open_folder)
    path = host.folder / control.NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    if os.getuid() == 0:  # only root can become another user
        check_others(host.folder, path)
    host.close()


def test_an_answer_that_comes_before_the_question_is_heard(open_folder: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(open_folder / control.NAME))
        server.listen(1)

        def refuse() -> None:
            connection, _ = server.accept()
            connection.sendall(b'{"error":"user 7 may not ask"}\n')
            connection.close()
            closed.set()

        closed = threading.Event()
        refusing = threading.Thread(target=refuse)
        refusing.start()
        send = socket.socket.sendall

        def late(self: socket.socket, data: bytes) -> None:
            if data.startswith(b'{"do"'):
                assert closed.wait(10)
            send(self, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "sendall", late)
            with pytest.raises(OperatorError, match="user 7 may not ask"):
                ask(open_folder, do="memory")
        refusing.join()


def check_others(folder: Path, path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from collector.control import ask
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
try:
    ask(Path(sys.argv[1]), do="memory")
except Exception as error:
    print(error)
"""

    def as_nobody() -> str:
        command = [sys.executable, "-c", script, str(folder)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "not allowed" in as_nobody()
    path.chmod(0o666)  # were the file open to all, the kernel would still tell who asks
    assert "user 65534 may not ask" in as_nobody()


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        (b"nonsense\n", b"JSON is malformed"),
        (b'{"do": "fly"}\n', b'\\"fly\\" is not known; there are memory, trace, stop'),
        (b'{"do": "memory", "limit": 0}\n', b"limit must be between 1 and 2000"),
        (b'{"do": "trace", "frames": 99}\n', b"frames must be 1 to 16"),
        (b'{"do": "trace", "seconds": 1e9}\n', b"seconds 1 to 3600"),
        (b'{"do": "memory", "more": 1}\n', b"unknown field"),
        (b" " * 5000 + b"\n", b"longer than 4096 bytes"),
    ],
)
def test_bad_questions_are_answered(tmp_path: Path, request_line: bytes, answer: bytes) -> None:
    server = ControlServer(tmp_path, Metrics())
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / control.NAME))
            connection.sendall(request_line)
            assert answer in control.read_line(connection, 1 << 20)
    finally:
        server.close()


def test_a_path_that_is_too_long_for_an_address(tmp_path: Path) -> None:
    host = Host(tmp_path / ("deep" * 20) / ("deeper" * 20))
    assert len(str(host.folder)) > control.LONGEST_PATH
    report = ask(host.folder, do="memory")
    assert report is not None
    assert report.pid == host.process.pid
    host.close()


def test_nobody_answers(tmp_path: Path) -> None:
    config = tmp_path / "evenkeel.toml"
    config.write_text(f'[journal]\npath = "{tmp_path}"\n')
    done = collector("memory", "top", "--config", str(config))
    assert done.returncode == 1
    assert "no collector answers" in done.stderr
    with pytest.raises(OperatorError, match=r"control\.sock: no collector answers"):
        ask(tmp_path, do="memory")


def test_a_copy_that_hangs_is_given_up() -> None:
    script = """
import os, time
from collector import memory
memory.CHILD_SECONDS = 0.2
try:
    memory._in_child(lambda: time.sleep(60) or b"")
except memory.OperatorError as error:
    print(error)
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no child is left")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )
    assert "did not answer; try again" in done.stdout
    assert "no child is left" in done.stdout


def test_a_recording_goes_on_meanwhile(tmp_path: Path) -> None:
    """Three symbols: three books of two sides, known without looking."""
    simulate = ["simulate", "--port", "0", "--rate", "500"]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        config = config_file(tmp_path, NOWHERE, ready["ws_urls"]["linear"], ready["rest_url"])
        with background(tmp_path / "log", "run", "--config", str(config)) as recording:
            journal = tmp_path / "journal"
            wait_until(lambda: "connected" in (tmp_path / "log").read_text(), what="recording")
            time.sleep(1)
            table = collector("memory", "snapshot", "--config", str(config), "--frames", "4")
            assert table.returncode == 0, table.stderr
            assert "it stood still for" in table.stdout
            time.sleep(1)
            report = ask(journal, do="memory", limit=2000)
            assert report is not None
            print(f"stood still for {report.stalled_ms:.1f} ms, the answer took {report.took_ms:.0f} ms")
            counts = {row.type: row.count for row in report.kinds}
            assert counts["collector.books.Side"] == 6
            assert counts["collector.connection.Connection"] == 1
            assert any(" < " in row.where and "collector/" in row.where for row in report.lines)
            assert recording.end(signal.SIGTERM) == 0
        exchange.end()
    assert not (journal / control.NAME).exists()
    assert "disconnected" not in (tmp_path / "log").read_text()


def report(at_s: int, traced: int | None, lines: list[Line], kinds: list[Kind]) -> Report:
    since = None if traced is None else 7
    return Report(at_s * 10**6, 1, 1000 * at_s, None, 0, kinds, lines, [], traced, since)


def test_the_difference_of_two_reports() -> None:
    before = report(10, 500, [Line("a:1", 5, 100), Line("b:2", 1, 50), Line("c:3", 1, 9)], [Kind("T", 2, 20)])
    now = report(70, 900, [Line("a:1", 9, 180), Line("d:4", 3, 300), Line("c:3", 1, 9)], [Kind("T", 1, 10)])
    found = difference(before, now, 10)
    assert (found.seconds, found.rss, found.traced) == (60.0, 60_000, 400)
    assert [(row.name, row.count, row.size, row.now) for row in found.lines] == [
        ("d:4", 3, 300, 300),
        ("a:1", 4, 80, 180),
        ("b:2", -1, -50, 0),
    ]
    assert [(row.name, row.count, row.size, row.now) for row in found.kinds] == [("T", -1, -10, 10)]
    untraced = difference(report(10, None, [], []), now, 1)
    assert untraced.traced is None
    assert [row.name for row in untraced.lines] == ["d:4"]
