"""`collector dead-letter` against the real QuestDB: refused rows go again once their cause is gone, nothing else is lost."""

from __future__ import annotations

import base64
import fcntl
import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from collector.database.endpoint import Endpoint
from collector.deadletter_cli import newest, printable, resend_rows
from collector.deadletters import DeadLetters
from collector.errors import OperatorError
from collector.metrics import Metrics
from collector.sink import QuestDBSink, RefusedError
from tests.conftest import query, wait_rows
from tests.processes import collector, config_file

GOOD = b"trades,exchange=bybit,market=linear,symbol=DEAD price=%d.5 170000000000%d000t\n"
BAD = b'trades,exchange=bybit,market=linear,symbol=DEAD price="text" 1700000000000000t\n'


@pytest.fixture
def config(tmp_path: Path, database: Endpoint) -> Path:
    return config_file(tmp_path, database, "ws://127.0.0.1:9/")


@pytest.fixture
def dead(tmp_path: Path) -> DeadLetters:
    return DeadLetters(tmp_path / "journal/dead-letters", Metrics())


def prices(database: Endpoint) -> list[float]:
    return [row[0] for row in query(database, "SELECT price FROM trades WHERE symbol = 'DEAD' ORDER BY ts")]


def test_accepted_rows_leave_and_refused_ones_stay_with_their_new_error(
    tmp_path: Path, database: Endpoint, config: Path, dead: DeadLetters
) -> None:
    for payload in (GOOD % (1, 1), BAD, GOOD % (2, 2)):
        dead.add("rows", "questdb", "an old reason", payload)
    done = collector("dead-letter", "resend", "--config", str(config))
    assert done.returncode == 1, done.stderr
    assert "accepted 2, refused again 1" in done.stdout
    wait_rows(database, "trades", 2)
    assert prices(database) == [1.5, 2.5]
    folder = tmp_path / "journal/dead-letters"
    assert sorted(path.name for path in folder.iterdir()) == ["resend.lock", "rows.jsonl"]
    assert (folder / "rows.jsonl").stat().st_mode & 0o777 == 0o600
    (letter,) = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert base64.b64decode(letter["payload"]) == BAD
    assert "price" in letter["reason"]
    assert "an old reason" not in letter["reason"]


def test_when_all_went_nothing_stays(
    tmp_path: Path, database: Endpoint, config: Path, dead: DeadLetters
) -> None:
    """The rows were refused for a column of the wrong type; the column was mended meanwhile."""
    folder = tmp_path / "journal/dead-letters"
    dead.add("rows", "questdb", "x", GOOD % (1, 1))
    (folder / "rows.jsonl").rename(folder / "rows.jsonl.old")  # what the size limit does
    dead.add("rows", "questdb", "x", GOOD % (2, 2))
    done = collector("dead-letter", "resend", "--config", str(config))
    assert done.returncode == 0, done.stderr
    wait_rows(database, "trades", 2)
    assert prices(database) == [1.5, 2.5]
    assert [path.name for path in folder.iterdir()] == ["resend.lock"]
    again = collector("dead-letter", "resend", "--config", str(config))
    assert again.returncode == 0
    assert "no refused rows" in again.stdout


def test_a_server_that_is_down_costs_no_letter(tmp_path: Path, dead: DeadLetters) -> None:
    config = config_file(
        tmp_path, Endpoint("http://127.0.0.1:9", "postgresql://127.0.0.1:9/qdb"), "ws://[::1]:9/"
    )
    for n in (1, 2, 3):
        dead.add("rows", "questdb", "x", GOOD % (n, n))
    before = (tmp_path / "journal/dead-letters/rows.jsonl").read_bytes()
    done = collector("dead-letter", "resend", "--config", str(config))
    assert done.returncode == 1
    assert "not tried 3" in done.stdout
    assert "QuestDB takes no rows" in done.stderr
    assert (tmp_path / "journal/dead-letters/rows.jsonl").read_bytes() == before


def test_torn_lines_and_cut_payloads_stay_as_they_are(
    tmp_path: Path, database: Endpoint, dead: DeadLetters
) -> None:
    folder = tmp_path / "journal/dead-letters"
    dead.add("rows", "questdb", "x", b"trades " + b"x" * (300 << 10))
    with (folder / "rows.jsonl").open("ab") as file:
        file.write(b'{"at":"2026\n')
    before = (folder / "rows.jsonl").read_bytes()
    dead.add("rows", "questdb", "x", GOOD % (1, 1))
    sink = QuestDBSink(database.http_url)
    outcome = resend_rows(folder, sink)
    sink.close()
    assert (outcome.accepted, outcome.unreadable, outcome.refused) == (1, 2, 0)
    assert (folder / "rows.jsonl").read_bytes() == before


class Growing:
    """Refuses, while a collector that runs adds letters."""

    def __init__(self, dead: DeadLetters) -> None:
        self.dead = dead

    def post(self, pieces: Sequence[bytes]) -> None:
        self.dead.add("rows", "questdb", "new", b"new " + pieces[0])
        raise RefusedError("still")

    def identity(self) -> str:
        return ""

    def ailment(self) -> tuple[str, str]:
        return "", ""

    def close(self) -> None: ...


def test_letters_that_come_meanwhile_are_kept(tmp_path: Path, dead: DeadLetters) -> None:
    folder = tmp_path / "journal/dead-letters"
    dead.add("rows", "questdb", "x", b"one\n")
    assert resend_rows(folder, Growing(dead)).refused == 1
    assert [letter.payload for letter in newest(folder, "rows", 0)] == ["one\n", "new one\n"]
    assert resend_rows(folder, Growing(dead)).refused == 2
    assert [letter.payload for letter in newest(folder, "rows", 0)] == [
        "one\n",
        "new one\n",
        "new one\n",
        "new new one\n",
    ]


@pytest.mark.parametrize("left", ["rows.jsonl.resending", "rows.jsonl.taken", "rows.jsonl.old.taken"])
def test_what_a_killed_resend_left_is_taken_up(tmp_path: Path, dead: DeadLetters, left: str) -> None:
    folder = tmp_path / "journal/dead-letters"
    dead.add("rows", "questdb", "x", b"one\n")
    (folder / "rows.jsonl").rename(folder / left)
    (folder / "rows.jsonl.staying").write_bytes(b"half a li")
    dead.add("rows", "questdb", "x", b"two\n")
    assert sorted(letter.payload for letter in newest(folder, "rows", 0)) == ["one\n", "two\n"]

    class Taking(Growing):
        def post(self, pieces: Sequence[bytes]) -> None:
            posted.append(bytes(pieces[0]))

    posted: list[bytes] = []
    assert resend_rows(folder, Taking(dead)).accepted == 2
    assert sorted(posted) == [b"one\n", b"two\n"]
    assert [path.name for path in folder.iterdir()] == ["resend.lock"]


def test_one_resend_at_a_time(tmp_path: Path, dead: DeadLetters) -> None:
    folder = tmp_path / "journal/dead-letters"
    dead.add("rows", "questdb", "x", b"one\n")
    with (folder / "resend.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(OperatorError, match="another one"):
            resend_rows(folder, Growing(dead))
    assert len(newest(folder, "rows", 0)) == 1


def test_list_shows_every_kind_and_steers_no_terminal(tmp_path: Path, dead: DeadLetters) -> None:
    config = config_file(tmp_path, Endpoint("http://127.0.0.1:9", ""), "ws://127.0.0.1:9/")
    dead.add("messages", "bybit/linear", "expected `float`", b'{"a":"\x1b[31m"}\xff')
    dead.add("damaged", "1.journal@16", "checksum or framing is wrong", b"\x00\x01")
    for n in range(3):
        dead.add("rows", "questdb", "[bold]refused[/bold]", b"row %d" % n)
    shown = collector("dead-letter", "list", "--config", str(config))
    assert shown.returncode == 0, shown.stderr
    assert "\x1b" not in shown.stdout
    assert "[bold]refused[/bold]" in shown.stdout
    assert "1.journal@16" in shown.stdout
    command = ["dead-letter", "list", "--config", str(config), "--format", "json"]
    letters = json.loads(collector(*command).stdout)
    assert [letter["kind"] for letter in letters] == ["rows"] * 3 + ["messages", "damaged"]
    assert letters[3]["payload"] == '{"a":"\x1b[31m"}\N{REPLACEMENT CHARACTER}'
    two = json.loads(collector(*command, "--kind", "rows", "--limit", "2").stdout)
    assert [letter["payload"] for letter in two] == ["row 1", "row 2"]
    assert collector("dead-letter", "list", "--kind", "nonsense").returncode == 2
    assert printable("a\nb\x1b") == "a\\x0ab\\x1b"
