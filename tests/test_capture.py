"""Raw capture: what is kept, what is cut, and that its replay gives the rows of the live run."""

from __future__ import annotations

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from collector.capture import Capture, captures_of
from collector.capture_files import CaptureFiles, whole_bytes
from collector.database.endpoint import Endpoint
from collector.demo import feed_table
from collector.errors import OperatorError
from collector.exchanges.base import Request
from collector.replay.carriers import Carried
from collector.replay.recording import Recording, chosen, lines
from collector.settings import FeedConfig, Size
from collector.simulator import SIMULATORS
from tests.anew import settle
from tests.conftest import query
from tests.processes import background, collector, disconnected, wait_until

DAY_US = 86_400_000_000
NOON_US = 1_786_320_000_000_000
QUOTA = 64 << 20


def told(folder: Path) -> list[dict[str, Any]]:
    """All lines, file by file."""
    return [item for path in chosen([folder], "") for _, item in lines(path)]


def trade(number: int, symbol: str = "BTCUSDT") -> bytes:
    item = {"T": 1000 + number, "s": symbol, "S": "Buy", "v": "1", "p": "100", "i": f"id-{number}"}
    message = {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": 1001 + number, "data": [item]}
    return json.dumps(message).encode()


def test_both_directions_answers_and_connections_are_kept(tmp_path: Path) -> None:
    before = time.time() - 1
    capture = Capture(tmp_path, "bybit", QUOTA)
    line = capture.connection("linear", "wss://exchange.example/v5/public/linear")
    line.sent('{"op":"subscribe"}')
    line.received(trade(1))
    line.received(b"\xff\xfe")
    capture.answered("linear", "https://exchange.example", Request("/v5/x?a=1", 1, '{"b":2}'), b"[]")
    line.closed()
    capture.close()
    items = told(tmp_path)
    assert [item["t"] for item in items] == [
        *("file", "header", "connect", "send", "recv", "recv_b64", "http", "close")
    ]
    assert all(before < item["ts"] < time.time() + 1 for item in items)
    assert items[3]["data"] == '{"op":"subscribe"}'
    assert items[4]["data"].encode() == trade(1)
    assert items[5]["data"] == "//4="
    assert (items[6]["url"], items[6]["body"], items[6]["data"]) == (
        *("https://exchange.example/v5/x?a=1", '{"b":2}', "[]"),
    )
    assert len({item["conn"] for item in items if "conn" in item}) == 1
    assert list(capture.take_news()) == []


def test_a_restart_goes_on_in_the_same_file(tmp_path: Path) -> None:
    for number in (1, 2):
        capture = Capture(tmp_path, "bybit", QUOTA)
        capture.connection("linear", "wss://exchange.example/").received(trade(number))
        capture.close()
    assert len({path.name[:14] for path in tmp_path.iterdir()}) == len(list(tmp_path.iterdir())) == 1
    kept = [item["data"].encode() for item in told(tmp_path) if item["t"] == "recv"]
    assert kept == [trade(1), trade(2)]


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_tail_costs_the_last_frame_alone(tmp_path: Path, cut: int) -> None:
    files = CaptureFiles(tmp_path, "bybit", 1 << 20, 1 << 30)
    for number in (1, 2, 3):
        files.write(b'{"t":"lost","messages":%d}\n' % number, NOON_US, lambda: b"")
    files.close()
    (path,) = files.paths()
    path.write_bytes(path.read_bytes()[:-cut])
    assert [item["messages"] for item in told(tmp_path)][:2] == [1, 2], "readable as it is"
    again = CaptureFiles(tmp_path, "bybit", 1 << 20, 1 << 30)
    again.write(b'{"t":"lost","messages":4}\n', NOON_US, lambda: b"")
    again.close()
    assert [item["messages"] for item in told(tmp_path)] == [1, 2, 4], "and after it was gone on with"
    assert whole_bytes(path) == path.stat().st_size


def test_files_rotate_by_size_and_day_and_each_can_be_read_alone(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path, "bybit", 200, 1 << 30)
    head = lambda: b'{"t":"connect","conn":"1"}\n'  # noqa: E731
    for at in (NOON_US, NOON_US, NOON_US, NOON_US + DAY_US, NOON_US):
        files.write(b'{"t":"lost","noise":"%s"}\n' % str(at * 7919).encode() * 40, at, head)
    files.close()
    names = [path.name for path in files.paths()]
    assert [name.split("-")[1] for name in names][-1] == "20260811"
    assert {name.split("-")[1] for name in names} == {"20260810", "20260811"}, (
        "a clock set back opens no older day"
    )
    for path in files.paths():
        assert next(item for _, item in lines(path)) == {"t": "connect", "conn": "1"}


def test_the_oldest_files_make_room(tmp_path: Path) -> None:
    files = CaptureFiles(tmp_path, "bybit", 1000, 4000)
    deleted: list[Path] = []
    for number in range(40):
        noise = bytes(33 + (number * 31 + k * k) % 90 for k in range(400)).replace(b"\\", b"/")
        deleted += files.write(noise + b"\n", NOON_US, lambda: b"")
        assert sum(path.stat().st_size for path in files.paths()) < 4000 + 500
    files.close()
    assert deleted == sorted(deleted)
    assert deleted[0].name == "bybit-20260810-001.jsonl.zst"
    assert not set(deleted) & set(files.paths())
    assert files.paths()


def test_a_full_queue_loses_frames_of_the_capture_and_says_so(tmp_path: Path) -> None:
    capture = Capture(tmp_path, "bybit", QUOTA, most_queued=3000)
    line = capture.connection("linear", "wss://exchange.example/")
    for number in range(100):  # the thread takes them every 100 ms
        line.received(trade(number))
    assert capture.queued <= 3000
    while capture.queued:
        time.sleep(0.01)
    line.received(trade(100))
    capture.close()
    items = told(tmp_path)
    kept = sum(item["t"] == "recv" for item in items)
    (lost,) = [item["messages"] for item in items if item["t"] == "lost"]
    assert 0 < lost < 100
    assert kept + lost == 101
    assert [event for event, _ in capture.take_news()] == ["capture_lost"]


def test_a_folder_that_takes_nothing_is_told_and_recovers(tmp_path: Path) -> None:
    blocked = tmp_path / "capture"
    blocked.write_text("a file, not a folder")
    capture = Capture(blocked, "bybit", QUOTA)
    line = capture.connection("linear", "wss://exchange.example/")
    line.received(trade(1))
    while not capture.news:
        time.sleep(0.01)
    blocked.unlink()
    line.received(trade(2))
    capture.close()
    assert [event for event, _ in capture.take_news()] == ["capture_failing", "capture_recovered"]
    items = told(blocked)
    # What was not written may be the connection's beginning: the file begins with it all the same.
    assert [item["t"] for item in items] == ["file", "connect", "lost", "recv"]
    assert items[2]["messages"] == 3
    assert items[3]["data"].encode() == trade(2)


def test_feeds_share_a_folder_and_the_smallest_quota(tmp_path: Path) -> None:
    feeds = [
        FeedConfig(
            exchange=exchange, market="linear", symbols=["A"], capture=folder, capture_bytes=Size(size)
        )
        for exchange, folder, size in (
            ("bybit", str(tmp_path), 1 << 30),
            ("bybit", str(tmp_path), 1 << 25),
            ("deribit", str(tmp_path), 1 << 30),
            ("bybit", "", 1 << 30),
        )
    ]
    captures = captures_of(feeds)
    for capture in captures.values():
        capture.close()
    assert set(captures) == {(str(tmp_path), "bybit"), (str(tmp_path), "deribit")}
    assert captures[str(tmp_path), "bybit"].quota == 1 << 25
    with pytest.raises(OperatorError, match="several exchanges"):
        chosen([tmp_path], "")
    assert [path.name[:5] for path in chosen([tmp_path], "bybit")] == ["bybit"]
    with pytest.raises(OperatorError, match="nothing is captured"):
        chosen([tmp_path], "bitmex")


def played(*steps: str) -> str:
    """Steps "CONNECTION MESSAGE", or "CONNECTION." where it ends."""
    topic, out = Carried(), []
    for step in steps:
        conn, _, text = step.partition(" ")
        out += topic.closed(conn.rstrip(".")) if conn.endswith(".") else topic.take(conn, text)
    return "".join(out)


@pytest.mark.parametrize(
    ("steps", "wanted"),
    [
        (["a 1", "a 2", "a.", "b S", "b 3"], "12S3"),  # a reconnect: the snapshot is needed
        (["a 1", "b 1", "a 2", "b 2", "a.", "b 3"], "123"),
        (["a 1", "b 1", "b 2", "b 3", "a.", "b 4"], "1234"),  # the second one is ahead
        (["a 1", "b 1", "a 2", "a 3", "a.", "b 2", "b 3", "b 4"], "1234"),  # and behind
        (["a 1", "a 2", "b S", "a.", "b 3"], "12S3"),  # fresh: it has brought nothing but its snapshot
        (["a 1", "b 1", "b.", "a 2"], "12"),
        (["a 1", "b 1", "a 2", "b 2", "c S", "a.", "b 3", "c 3", "b.", "c 4"], "1234"),
    ],
)
def test_of_connections_beside_each_other_one_is_played(steps: list[str], wanted: str) -> None:
    assert played(*steps) == wanted


def test_a_captured_message_that_cannot_be_read_is_no_hindrance(tmp_path: Path) -> None:
    capture = Capture(tmp_path, "bybit", QUOTA)
    line = capture.connection("linear", "ws://127.0.0.1:1/elsewhere")
    for raw in (trade(1), b"{", b'{"topic":"publicTrade.BTCUSDT","ts":1,"data":[{"T":1}]}', trade(2)):
        line.received(raw)
    capture.close()
    recording = Recording(chosen([tmp_path], ""), SIMULATORS["bybit"])
    texts = [message.text.encode() for message in recording.messages()]
    assert [trade(1), trade(2)] == [texts[0], texts[-1]]
    assert {message.market for message in recording.messages()} == {"linear"}


COLUMNS = {
    "trades": "ts, market, symbol, side, price, qty, trade_id",
    "orderbook": "ts, market, symbol, seq, bids::varchar, asks::varchar",
    "liquidations": "ts, market, symbol, side, price, qty, liq_id",
    "tickers": "ts, market, symbol, last, mark, index, funding_rate, next_funding_ts, open_interest, bid, ask",
}


def stored(database: Endpoint) -> dict[str, list[Any]]:
    """All rows of all tables, but for when they were received."""
    settle(database)
    return {
        table: sorted(query(database, f"SELECT {columns} FROM {table}"), key=repr)
        for table, columns in COLUMNS.items()
    }


def configuration(path: Path, database: Endpoint, venue: str, ready: dict[str, Any], extra: str) -> Path:
    symbols = ["BTCUSDT", "ETHUSDT"]
    tables = "".join(
        feed_table(venue, market, ready, symbols).replace("100ms", "0ms") + extra
        for market in ready["ws_urls"]
    )
    path.write_text(
        f'[questdb]\nurl = "{database.http_url}"\npg = "{database.pg}"\n'
        f'[journal]\npath = "{path.with_suffix("")}"\n[http]\nlisten = ""\n{tables}'
    )
    return path


def played_whole(log: Path) -> set[str]:
    """Markets of which a client has had everything, as `replay` tells."""
    told = re.findall(r"^(\w+): ([\d,]+) of ([\d,]+) messages$", log.read_text(), re.MULTILINE)
    return {market for market, sent, of in told if sent == of}


@pytest.mark.parametrize("venue", ["bybit", "deribit"])
def test_rows_of_a_replay_are_those_of_the_live_run(tmp_path: Path, database: Endpoint, venue: str) -> None:
    """Two markets or more in one capture, connections cut, and for Deribit sizes in contracts, which REST tells."""
    folder = tmp_path / "capture"
    simulate = ["simulate", "--exchange", venue, "--port", "0", "--rate", "600", "--messages", "4000"]
    with background(tmp_path / "simulate.log", *simulate, "--disconnect-every", "3s") as exchange:
        extra = f'capture = "{folder}"\nrepair = false\n'
        config = configuration(tmp_path / "live.toml", database, venue, exchange.line(), extra)
        with background(tmp_path / "live.log", "run", "--config", str(config)) as recording:
            assert exchange.line()["stopped"] is True
            time.sleep(0.5)
            assert recording.end(signal.SIGTERM) == 0
    live = stored(database)
    assert {table for table, rows in live.items() if len(rows) > 20} >= {"trades", "orderbook", "tickers"}
    for table in COLUMNS:
        query(database, f"TRUNCATE TABLE {table}")
    with background(tmp_path / "replay.log", "replay", str(folder), "--speed", "0") as replay:
        ready, log = replay.line(), tmp_path / "again.log"
        config = configuration(tmp_path / "again.toml", database, venue, ready, "repair = false\n")
        with background(log, "run", "--config", str(config)) as recording:
            wait_until(
                lambda: played_whole(replay.log) == set(ready["ws_urls"]), what="the end of the replay"
            )
            replay.end()
            feeds = {f"{venue}/{market}" for market in ready["ws_urls"]}
            wait_until(lambda: disconnected(log) == feeds, what="the end of the connections")
            assert recording.end(signal.SIGTERM) == 0
    again = stored(database)
    for table, rows in live.items():
        missing = [row for row in rows if row not in set(again[table])]
        assert again[table] == rows, (table, len(rows), len(again[table]), missing[:3])


def test_the_command_keeps_frames_without_a_database(tmp_path: Path) -> None:
    folder = tmp_path / "capture"
    simulate = ["simulate", "--exchange", "bybit", "--port", "0", "--rate", "2500", "--messages", "10000"]
    with background(tmp_path / "simulate.log", *simulate) as exchange:
        ready = exchange.line()
        options = ["--exchange", "bybit", "--market", "linear", "--symbols", "BTCUSDT", "--path", str(folder)]
        options += ["--ws-url", ready["ws_urls"]["linear"], "--rest-url", ready["rest_url"]]
        with background(tmp_path / "capture.log", "capture", *options) as capture:
            assert exchange.line()["stopped"] is True
            time.sleep(0.5)
            assert capture.end(signal.SIGTERM) == 0
    (file,) = chosen([folder], "")
    recording = Recording([file], SIMULATORS["bybit"])
    assert set(recording.topics["linear"]) == {
        *("publicTrade.BTCUSDT", "orderbook.50.BTCUSDT", "allLiquidation.BTCUSDT", "tickers.BTCUSDT")
    }
    assert [page.path for page in recording.pages] == ["/v5/market/instruments-info"]
    refused = collector("capture", "--exchange", "bybit")
    assert refused.returncode == 2
    assert "--symbols" in refused.stderr
