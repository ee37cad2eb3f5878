"""The only reader: SQL in, Arrow out, through QuestDB's Parquet export."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any

import httpx
import msgspec

from analyzer.cold import ColdPartitions
from analyzer.config import Endpoint
from analyzer.windows import Window

if TYPE_CHECKING:
    import pyarrow as pa

SPOOL_BYTES = 4 << 20
"""A larger answer is spilled to a file."""
TIMEOUT = 120.0
GROUP_ROWS = 5000
EXPORT = {"fmt": "parquet", "compression_codec": "UNCOMPRESSED", "row_group_size": str(GROUP_ROWS)}
"""Measured with 45,000 books: without compression less work at both ends; small groups are sent while the rest is read,
and take a third less memory here."""
GROUPS = 10
"""Row groups that are read at a time."""
REPEATED = ("exchange", "market", "symbol")
"""Columns whose texts are kept once for many rows: they would be a third of an answer."""
BUSY_SECONDS = 30.0
"""How long to ask again when the server exports as much at once as it allows (2 by default)."""


class SourceError(Exception):
    """A query could not be answered; the message holds operation, object, cause and next step."""


class ServerError(msgspec.Struct):
    error: str = ""


class Answer(msgspec.Struct):
    dataset: list[list[Any]] = []


class Source:
    """Reads from one server, and counts the rows."""

    def __init__(self, endpoint: Endpoint, timeout: float = TIMEOUT) -> None:
        self.rows_read = 0
        self._url = endpoint.http_url
        self._cold = ColdPartitions(self.rows)
        auth = (endpoint.user, endpoint.password) if endpoint.user else None
        self._client = httpx.Client(
            base_url=endpoint.http_url, auth=auth, timeout=httpx.Timeout(timeout, connect=5.0)
        )

    def fetch(self, sql: str) -> pa.Table:
        """The query's result. Raises SourceError.

        VARCHAR columns must be cast to `::string` in the query: the export loses them otherwise (9.3.4)."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._spilled(sql) as file, self._readable(sql):
            # Threads can abort at the interpreter's exit; `read_table` would import much more, pandas where it is.
            reader = pq.ParquetFile(file)
            groups = range(reader.num_row_groups)
            parts = [
                encoded(reader.read_row_groups(groups[first : first + GROUPS], use_threads=False))
                for first in groups[::GROUPS] or (0,)
            ]
            table = pa.concat_tables(parts)
        self.rows_read += table.num_rows
        return table

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """The same, one row group (`GROUP_ROWS` rows at most) in memory at a time. One empty batch tells the columns of an
        empty result. Raises SourceError."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with self._spilled(sql) as file:
            with self._readable(sql):
                reader = pq.ParquetFile(file)
            if not reader.metadata.num_rows:
                yield pa.RecordBatch.from_pylist([], schema=reader.schema_arrow)
            for group in range(reader.num_row_groups):
                with self._readable(sql):
                    found = reader.read_row_group(group, use_threads=False).combine_chunks().to_batches()
                for batch in found:
                    self.rows_read += batch.num_rows
                    yield batch

    @contextmanager
    def _spilled(self, sql: str) -> Iterator[IO[bytes]]:
        """The answer as a file that goes with its use: in memory up to SPOOL_BYTES, else on disk."""
        with tempfile.SpooledTemporaryFile(SPOOL_BYTES) as file:
            self._download(sql, file)
            file.seek(0)
            yield file

    def _download(self, sql: str, file: IO[bytes]) -> None:
        if refusal := self._cold.refusal(sql):
            raise SourceError(f"read from QuestDB at {self._url}: {_short(sql)}: {refusal}")
        give_up = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                with self._client.stream("GET", "/exp", params={**EXPORT, "query": sql}) as response:
                    if response.status_code in (429, 503) and time.monotonic() < give_up:
                        time.sleep(0.1)
                        continue
                    if response.status_code != 200:
                        response.read()
                        raise self._refused(sql, response)
                    for chunk in response.iter_raw():
                        file.write(chunk)
                    return
            except httpx.HTTPError as error:
                raise SourceError(
                    f"read from QuestDB at {self._url}: {_short(sql)}: {type(error).__name__}: {error}; "
                    "check that it runs ('collector db status') and questdb.url"
                ) from error
            except OSError as error:
                raise SourceError(
                    f"keep an answer of QuestDB at {self._url}: {_short(sql)}: {error}; "
                    "free space in the folder for temporary files, or name another one with TMPDIR"
                ) from error

    @contextmanager
    def _readable(self, sql: str) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowInvalid, OSError) as error:
            raise SourceError(
                f"read from QuestDB at {self._url}: {_short(sql)}: the answer is no Parquet ({error}); "
                "run it again, and look at the server's log"
            ) from error

    def rows(self, sql: str) -> list[list[Any]]:
        """A small result in JSON's types, without pyarrow: times must be selected as `::long`. Raises SourceError."""
        try:
            response = self._client.get("/exec", params={"query": sql})
            if response.status_code != 200:
                raise self._refused(sql, response)
            return msgspec.json.decode(response.content, type=Answer).dataset
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise SourceError(
                f"read from QuestDB at {self._url}: {_short(sql)}: {type(error).__name__}: {error}; "
                "check that it runs ('collector db status') and questdb.url"
            ) from error

    def _refused(self, sql: str, response: httpx.Response) -> SourceError:
        try:
            cause = msgspec.json.decode(response.content, type=ServerError).error
        except msgspec.DecodeError:
            cause = response.text[:200]
        remedy = "set EVENKEEL_QUESTDB_USER and EVENKEEL_QUESTDB_PASSWORD_FILE"
        if response.status_code not in (401, 403):
            remedy = "bring the tables up to date with 'collector migrate'"
        return SourceError(
            f"query QuestDB at {self._url}: {_short(sql)}: HTTP {response.status_code} {cause}; {remedy}"
        )

    def close(self) -> None:
        self._client.close()


def encoded(table: pa.Table) -> pa.Table:
    """With dictionaries in place of texts that return."""
    for number, name in enumerate(table.column_names):
        if name in REPEATED:
            table = table.set_column(number, name, table.column(name).dictionary_encode())
    return table


def render(
    template: str, window: Window, symbols: Sequence[str] = (), exchange: str = "", piece: str = ""
) -> str:
    """Fill in the placeholders of an analysis' query (see passes.base); `piece`: a further condition (see pieces)."""
    instruments = ""
    if symbols:
        instruments += f" AND symbol IN ({', '.join(quoted(symbol) for symbol in symbols)})"
    if exchange:
        instruments += f" AND exchange = {quoted(exchange)}"
    instruments += piece
    start, end = timestamp(window.start), timestamp(window.end)
    where = f"ts >= {start} AND ts < {end}{instruments}"
    length = str(window.end_us - window.start_us)
    return template.format(where=where, instruments=instruments, start=start, end=end, length=length)


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def timestamp(at: datetime) -> str:
    """A time as it stands in SQL."""
    return f"'{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z'"


def _short(sql: str) -> str:
    return sql if len(sql) < 100 else f"{sql[:97]}…"
