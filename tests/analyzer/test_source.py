"""Reading through the real server's export, and through servers that fail in the middle of it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from analyzer.config import Endpoint as Address
from analyzer.source import Source, SourceError, render
from analyzer.windows import Window, aligned, ending, microseconds, parse_time
from collector.database.endpoint import Endpoint
from tests.analyzer.fixtures import store, trade

HOUR = Window(datetime(2026, 3, 2, 23, 30, tzinfo=UTC), datetime(2026, 3, 3, 0, 30, tzinfo=UTC))


def source(endpoint: Endpoint) -> Source:
    return Source(Address(endpoint.http_url, endpoint.pg, endpoint.user, endpoint.password))


def test_short_texts_over_partitions_arrive_whole(database: Endpoint) -> None:
    rows = [
        trade(f"2026-03-0{day}T{hour:02}:45:00Z", "BTCUSDT", "buy", hour, 1.0, f"{hour}")
        for day, hour in ((2, 22), (2, 23), (3, 0), (3, 1))
    ]
    rows.append(trade("2026-03-03T00:15:00Z", "BTCUSDT", "sell", 2.0, 1.0, "x" * 30))
    store(database, rows)
    reader = source(database)
    sql = "SELECT ts, symbol, price, trade_id::string trade_id FROM trades WHERE {where} ORDER BY ts"
    table = reader.fetch(render(sql, HOUR))
    assert table.column("trade_id").to_pylist() == ["23", "x" * 30]
    assert table.column("price").to_pylist() == [23.0, 2.0]
    assert table.column("ts").to_pylist() == [
        datetime(2026, 3, 2, 23, 45, tzinfo=UTC),
        datetime(2026, 3, 3, 0, 15, tzinfo=UTC),
    ]
    assert reader.rows_read == 2
    reader.close()


def test_a_window_without_rows_has_the_columns(database: Endpoint) -> None:
    table = source(database).fetch(render("SELECT ts, symbol, price FROM trades WHERE {where}", HOUR))
    assert (table.num_rows, table.column_names) == (0, ["ts", "symbol", "price"])


def test_more_readers_than_the_server_exports_at_once_wait_for_their_turn(database: Endpoint) -> None:
    def read(number: int) -> int:
        reader = source(database)
        table = reader.fetch(f"SELECT x, x::string s FROM long_sequence({200_000 + number})")
        reader.close()
        return int(table.num_rows)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, range(8))) == [200_000 + number for number in range(8)]


@pytest.mark.parametrize("sql", ["SELECT nothing FROM trades", "SELECT * FROM no_such_table", "SELEC"])
def test_a_refused_query_says_what_and_why(database: Endpoint, sql: str) -> None:
    with pytest.raises(SourceError) as caught:
        source(database).fetch(sql)
    assert sql in str(caught.value)
    assert database.http_url in str(caught.value)
    assert "HTTP 400" in str(caught.value)


@contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """An HTTP server that gives these bytes and hangs up; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.wfile.write(answer)
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nPAR1\r\n",  # cut between chunks
        b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\nPAR1",  # cut in the body
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\nPAR1\x00\x00\x00\x01PAR1",  # whole, and no Parquet
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\noops",
    ],
    ids=["nothing", "chunks", "body", "empty", "garbage", "proxy"],
)
def test_a_server_that_fails_while_it_answers(answer: bytes) -> None:
    with answering(answer) as url, pytest.raises(SourceError) as caught:
        Source(Address(url, "")).fetch("SELECT 1")
    assert url in str(caught.value)
    assert "SELECT 1" in str(caught.value)


def test_windows_end_where_they_are_told_to() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for text in ("2026-03-01T12:00", "2026-03-01T12:00:00Z", "2026-03-01T14:00:00+02:00"):
        assert parse_time(text) == noon
    window = ending(parse_time("2026-03-01T14:00:00+02:00"), timedelta(minutes=15))
    assert (window.start, window.end, window.seconds) == (noon - timedelta(minutes=15), noon, 900)
    assert window.end_us == microseconds(noon) == 1_772_366_400_000_000
    late = noon + timedelta(minutes=3, microseconds=-1)
    assert aligned(late, timedelta(minutes=1)) == noon + timedelta(minutes=2)
    assert aligned(noon, timedelta(minutes=1)) == noon
    with pytest.raises(ValueError, match="1970"):
        ending(datetime(1970, 1, 1, 0, 1, tzinfo=UTC), timedelta(minutes=2))
