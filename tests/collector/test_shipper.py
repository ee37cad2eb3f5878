"""The shipper against a real QuestDB, with a proxy in between that answers badly."""

from __future__ import annotations

import base64
import json
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.database.endpoint import Endpoint
from collector.deadletters import DeadLetters
from collector.encode import RowEncoder
from collector.metrics import Metrics
from collector.rows import Trade
from collector.segment import SEGMENT_HEADER, encode_record, segment_header
from collector.settings import Duration, JournalConfig
from collector.shipper import Shipper
from collector.sink import QuestDBSink, RefusedError, UnavailableError, classify
from collector.store import Cursor, JournalStore
from tests.conftest import query, wait_rows
from tests.faulty_proxy import Fault, FaultyProxy
from tests.processes import wait_until

T0 = 1_700_000_000_000_000


class Rig:
    """A journal with `count` trades in records of ten, and a shipper."""

    def __init__(self, folder: Path, url: str) -> None:
        self.metrics = Metrics()
        self.folder = folder
        self.store = JournalStore(folder)
        self.store.begin_segment(SEGMENT_HEADER)
        self.config = JournalConfig(path=str(folder), retain=Duration(0))
        self.dead = DeadLetters(folder / "dead-letters", self.metrics)
        self.shipper = Shipper(self.config, self.store, QuestDBSink(url), self.dead, self.metrics)

    def write(self, first: int, last: int) -> None:
        for start in range(first, last, 10):
            encoder = RowEncoder()
            for n in range(start, min(start + 10, last)):
                encoder.add(Trade(T0 + n, T0, "bybit", "linear", "SHIP", "buy", 1.0 + n, 1.0, f"id{n}"))
            self.store.append(encode_record(*encoder.take(), T0))

    def write_raw(self, rows: list[bytes]) -> None:
        ends, total = array("I"), 0
        for row in rows:
            total += len(row)
            ends.append(total)
        self.store.append(encode_record(b"".join(rows), ends, T0))


def finish(shipper: Shipper) -> None:
    """Wait until all is acknowledged, and stop."""
    deadline = time.monotonic() + 30
    while not shipper.drained():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert shipper.stop(5) is True


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("collector.shipper.RETRY_FIRST", 0.001)
    monkeypatch.setattr("collector.shipper.RETRY_CAP", 0.01)
    yield


def stored(database: Endpoint) -> list[str]:
    rows = query(database, "SELECT trade_id FROM trades WHERE symbol = 'SHIP' ORDER BY ts")
    return [row[0] for row in rows]


def test_everything_arrives_in_spite_of_every_kind_of_bad_answer(
    tmp_path: Path, database: Endpoint, no_waiting: None
) -> None:
    faults: list[Fault] = [503, 429, "reset", 500, "lost-answer", 408, 502, 404, 403, "lost-answer"]
    proxy = FaultyProxy(database.http_url, lambda n: faults[n] if n < len(faults) else None)
    rig = Rig(tmp_path, proxy.url)
    rig.write(0, 1000)
    rig.shipper.start()
    finish(rig.shipper)
    wait_rows(database, "trades", 1000)
    assert stored(database) == [f"id{n}" for n in range(1000)]
    assert rig.metrics.post_failures == len(faults)
    assert rig.metrics.posted_rows == 1000
    proxy.close()
    rig.store.close()


def test_the_wait_for_the_next_attempt_ends_when_the_server_is_known_to_be_back(
    tmp_path: Path, database: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("collector.shipper.RETRY_FIRST", 3600.0)
    monkeypatch.setattr("collector.shipper.RETRY_CAP", 3600.0)
    proxy = FaultyProxy(database.http_url, lambda n: 503)
    rig = Rig(tmp_path, proxy.url)
    rig.write(0, 10)
    rig.shipper.start()
    wait_until(lambda: rig.metrics.post_failures == 1)
    proxy.fault = lambda n: None
    rig.shipper.attempt()
    finish(rig.shipper)
    wait_rows(database, "trades", 10)
    assert rig.metrics.post_failures == 1
    proxy.close()
    rig.store.close()


def test_the_cursor_waits_for_the_acknowledgement(
    tmp_path: Path, database: Endpoint, no_waiting: None
) -> None:
    proxy = FaultyProxy(database.http_url, lambda n: 503)
    rig = Rig(tmp_path, proxy.url)
    rig.write(0, 100)
    rig.shipper.start()
    while rig.metrics.post_failures < 5:
        time.sleep(0.01)
    assert "503" in rig.shipper.unavailable
    assert (rig.store.cursor.segment, rig.store.cursor.offset) == (0, 0)
    assert rig.shipper.stop(0.2) is False
    rig.store.close()
    # The next start sends what is left.
    store = JournalStore(tmp_path)
    proxy.fault = lambda n: None
    shipper = Shipper(rig.config, store, QuestDBSink(proxy.url), rig.dead, rig.metrics)
    store.begin_segment(SEGMENT_HEADER)
    shipper.start()
    finish(shipper)
    wait_rows(database, "trades", 100)
    assert stored(database) == [f"id{n}" for n in range(100)]
    proxy.close()
    store.close()


def test_a_server_started_anew_is_sent_again_what_is_still_here(tmp_path: Path, database: Endpoint) -> None:
    rig = Rig(tmp_path, database.http_url)
    rig.write(0, 50)
    rig.store.acknowledge(
        Cursor(1, rig.store.size(), "an earlier start")
    )  # acknowledged, and lost with that server
    rig.write(50, 60)
    rig.shipper.start()
    finish(rig.shipper)
    wait_rows(database, "trades", 60)
    assert stored(database) == [f"id{n}" for n in range(60)]
    rig.store.close()


def test_a_failed_post_makes_the_shipper_ask_at_once_who_the_server_is(
    tmp_path: Path, database: Endpoint, no_waiting: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not at the next regular look: the server may have been started anew between two posts."""
    monkeypatch.setattr("collector.shipper.LOOK_SECONDS", 3600.0)
    proxy = FaultyProxy(database.http_url, lambda n: "reset" if n == 1 else None)
    rig = Rig(tmp_path, proxy.url)
    asked: list[str] = []
    identity = rig.shipper._sink.identity

    def ask() -> str:
        asked.append(identity())
        return asked[-1]

    monkeypatch.setattr(rig.shipper._sink, "identity", ask)
    rig.write(0, 10)
    rig.shipper.start()
    finish_first = time.monotonic() + 30
    while rig.metrics.posts < 1:
        assert time.monotonic() < finish_first
        time.sleep(0.01)
    assert len(asked) == 1
    rig.write(10, 20)  # posted, reset, posted again
    while len(asked) < 2:
        assert time.monotonic() < finish_first
        time.sleep(0.01)
    finish(rig.shipper)
    assert rig.metrics.posted_rows == 20
    proxy.close()
    rig.store.close()


def test_a_refused_row_is_alone_in_the_dead_letters(tmp_path: Path, database: Endpoint) -> None:
    rig = Rig(tmp_path, database.http_url)
    rig.write(0, 25)
    bad = b'trades,exchange=bybit,market=linear,symbol=SHIP price="text" 1700000000000000t\n'
    good = b"trades,exchange=bybit,market=linear,symbol=SHIP price=1.5 1700000000500000t\n"
    rig.write_raw([good, bad, good.replace(b"5000", b"6000")])
    rig.write(25, 50)
    rig.shipper.start()
    finish(rig.shipper)
    wait_rows(database, "trades", 52)
    letters = [json.loads(line) for line in (tmp_path / "dead-letters/rows.jsonl").read_text().splitlines()]
    assert [base64.b64decode(letter["payload"]) for letter in letters] == [bad]
    assert "price" in letters[0]["reason"]
    assert len(stored(database)) == 52
    rig.store.close()


def test_damaged_bytes_are_put_aside_and_the_rest_is_sent(tmp_path: Path, database: Endpoint) -> None:
    rig = Rig(tmp_path, database.http_url)
    rig.write(0, 30)
    path = rig.store.path(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10  # within the second of three records
    path.write_bytes(data)
    rig.shipper.start()
    finish(rig.shipper)
    wait_rows(database, "trades", 20)
    assert stored(database) == [f"id{n}" for n in [*range(10), *range(20, 30)]]
    assert rig.metrics.damaged_bytes > 0
    assert (tmp_path / "dead-letters/damaged.jsonl").exists()
    rig.store.close()


class Told:
    """What the shipper says of damage."""

    def __init__(self) -> None:
        self.intervals: list[tuple[int, int]] = []

    def __call__(self, since: int, until: int) -> None:
        self.intervals.append((since, until))


def test_damage_in_the_first_record_since_a_start_is_declared(tmp_path: Path, database: Endpoint) -> None:
    rig, told = Rig(tmp_path, database.http_url), Told()
    rig.shipper._reader._on_damage = told
    rig.write(0, 20)
    rig.store.begin_segment(segment_header(T0 // 10**6 + 5))
    rig.write(20, 40)
    for segment in (1, 2):  # nothing is before the first; the newest row before the second is known
        path = rig.store.path(segment)
        data = bytearray(path.read_bytes())
        data[60] ^= 0x10
        path.write_bytes(data)
    rig.shipper.start()
    finish(rig.shipper)
    day = 86_400_000_000  # the first segment does not tell when it was begun
    assert told.intervals == [(T0 - day, T0), (T0, T0)]
    rig.store.close()


def test_damage_met_again_after_a_restart_of_the_server_keeps_its_bounds(
    tmp_path: Path, database: Endpoint
) -> None:
    rig, told = Rig(tmp_path, database.http_url), Told()
    rig.store.path(1).write_bytes(segment_header(T0 // 10**6 - 50))
    rig.store.begin_segment(SEGMENT_HEADER)
    rig.shipper._reader._on_damage = told
    rig.write(0, 30)
    path = rig.store.path(2)
    data = bytearray(path.read_bytes())
    data[60] ^= 0x10
    path.write_bytes(data)
    rig.store.acknowledge(Cursor(2, len(data), "another server"))
    rig.shipper._reader._recv_us = T0 + 10**9  # of what was read before the server was started anew
    rig.shipper.start()
    finish(rig.shipper)
    assert told.intervals == [(T0 - 50 * 10**6, T0)]
    wait_rows(database, "trades", 20)
    assert stored(database) == [f"id{n}" for n in range(10, 30)]
    rig.store.close()


@pytest.mark.parametrize("harm", ["gone", "short"])
def test_a_segment_that_is_gone_or_too_short_does_not_stop_shipping(
    tmp_path: Path, database: Endpoint, harm: str
) -> None:
    rig, told = Rig(tmp_path, database.http_url), Told()
    rig.shipper._reader._on_damage = told
    rig.write(0, 10)
    for first in (10, 20):
        rig.store.begin_segment(SEGMENT_HEADER)
        rig.write(first, first + 10)
    if harm == "gone":
        rig.store.path(2).unlink()
    else:
        rig.store.path(2).write_bytes(b"EVENKEEL")
        rig.store._sizes[2] = 8
    rig.shipper.start()
    finish(rig.shipper)
    wait_rows(database, "trades", 20)
    assert stored(database) == [f"id{n}" for n in [*range(10), *range(20, 30)]]
    assert told.intervals == [(T0, T0)]
    rig.store.close()


def test_acknowledged_segments_go(tmp_path: Path, database: Endpoint) -> None:
    rig = Rig(tmp_path, database.http_url)
    rig.write(0, 20)
    rig.store.begin_segment(SEGMENT_HEADER)
    rig.write(20, 40)
    rig.shipper.start()
    finish(rig.shipper)
    wait_rows(database, "trades", 40)
    rig.store.trim(0, 0)
    assert [path.name for path in tmp_path.glob("*.journal")] == [rig.store.path(2).name]
    rig.store.close()


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, b'{"message":"error in line 1: table: trades, column: price; cast error"}', RefusedError),
        (
            400,
            b'{"message":"table: x; table does not exist, creating new tables is disabled"}',
            UnavailableError,
        ),
        (400, b'{"message":"column: x does not exist, creating new columns is disabled"}', UnavailableError),
        (413, b"", RefusedError),
        (429, b"", UnavailableError),
        (401, b"", UnavailableError),
        (500, b"\xff", UnavailableError),
        (503, b"busy", UnavailableError),
    ],
)
def test_what_an_answer_means(status: int, body: bytes, kind: type[Exception]) -> None:
    error = classify(status, body, "7")
    assert type(error) is kind
    assert str(status) in str(error)
    if status == 429:
        assert isinstance(error, UnavailableError)
        assert error.retry_after == 7.0
