"""Where batches go: line protocol over HTTP to QuestDB. One function decides what every failure means."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shutil import disk_usage
from typing import NamedTuple, Protocol

import httpx
import msgspec

from collector import __version__


class UnavailableError(Exception):
    """Not now: the batch is to be kept and posted again. `remedy` is the operator's next step, "" where waiting cures it;
    `away`: the server could not be reached, or something before it says so."""

    def __init__(self, cause: str, remedy: str = "", retry_after: float = 0.0, away: bool = False) -> None:
        super().__init__(cause)
        self.remedy, self.retry_after, self.away = remedy, retry_after, away


class RefusedError(Exception):
    """Never as it is: something in the batch can't be stored."""


class Wal(NamedTuple):
    """The server's write-ahead logs."""

    lag: int
    """Transactions accepted and not yet applied, of the worst table."""
    suspended: int
    """Tables that accept rows which stay invisible."""


class Sink(Protocol):
    def post(self, pieces: Sequence[bytes]) -> None:
        """Store all rows or none. Raises UnavailableError or RefusedError."""

    def identity(self) -> str:
        """Changes when the server was started anew. Raises UnavailableError."""

    def ailment(self) -> tuple[str, str]:
        """What keeps acknowledged rows from becoming visible, and the remedy; ("", "") when nothing does.

        Raises UnavailableError."""

    def close(self) -> None: ...


class QueryAnswer(msgspec.Struct):
    dataset: list[list[object]]


class ServerError(msgspec.Struct):
    message: str = ""
    line: int | None = None


WAL_TABLES = "SELECT name, suspended, sequencerTxn - writerTxn FROM wal_tables()"
SCHEMA_FAULTS = (
    "table does not exist",
    "column does not exist",
    "creating new",
    "auto-create",
    "auto create",
)
"""In a refusal: the schema is behind, not the row wrong. Rows wait for the migration."""
NOBODY_BEHIND = (502, 503, 504)
"""What a proxy answers for a server that it can't reach."""


class QuestDBSink:
    """POST /write. Acknowledged means in the server's write-ahead log."""

    def __init__(
        self,
        url: str,
        user: str = "",
        password: str = "",
        timeout: float = 30.0,
        disk: Path | None = None,
        min_free: int = 0,
    ) -> None:
        """`disk`: a folder on the server's disk, if that is this machine's. Less than `min_free` bytes on it is an ailment:
        a full disk can crash a server that has acknowledged until then."""
        self._disk, self._min_free = disk, min_free
        self.wal: Wal | None = None
        """What `ailment` saw; None: it could not look."""
        self._client = httpx.Client(
            base_url=url,
            auth=(user, password) if user else None,
            timeout=httpx.Timeout(timeout, connect=5.0),
            headers={"User-Agent": f"evenkeel/{__version__}"},
            limits=httpx.Limits(max_connections=1),
        )

    def move(self, url: str) -> None:
        """Post to another address from now on."""
        self._client.base_url = httpx.URL(url)

    def post(self, pieces: Sequence[bytes]) -> None:
        # As an iterator, used up when sent: a response keeps its request, in a cycle that only the collector of cycles ends.
        length = str(sum(len(piece) for piece in pieces))
        try:
            response = self._client.post("/write", content=iter(pieces), headers={"Content-Length": length})
        except httpx.TransportError as error:
            raise UnavailableError(f"{type(error).__name__}: {error}", away=True) from error
        if not response.is_success:
            raise classify(response.status_code, response.content, response.headers.get("Retry-After", ""))

    def identity(self) -> str:
        return "".join(
            str(value) for row in self._query("SELECT pg_postmaster_start_time()") for value in row
        )

    def ailment(self) -> tuple[str, str]:
        self.wal = None
        if self._disk is not None:
            try:
                free = disk_usage(self._disk).free
            except OSError as error:
                return (
                    f"the disk of {self._disk} can't be looked at: {error.strerror}",
                    "correct questdb.disk",
                )
            if free < self._min_free:
                return (
                    f"the disk of {self._disk} has {free >> 20} MiB left (rows would be accepted and could be lost)",
                    "free space on it, or set questdb.min_free lower",
                )
        tables = msgspec.convert(self._query(WAL_TABLES), list[tuple[str, bool, int | None]])
        suspended = [name for name, held, _ in tables if held]
        self.wal = Wal(max((lag or 0 for _, _, lag in tables), default=0), len(suspended))
        if not suspended:
            return "", ""
        remedy = "; ".join(f"ALTER TABLE {name} RESUME WAL" for name in suspended)
        return (
            f"suspended: {', '.join(suspended)} (rows are accepted and stay invisible)",
            f"mend the cause (disk full?), then: {remedy}",
        )

    def _query(self, sql: str) -> list[list[object]]:
        try:
            response = self._client.get("/exec", params={"query": sql})
            response.raise_for_status()
            return msgspec.json.decode(response.content, type=QueryAnswer).dataset
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
            away = isinstance(error, httpx.TransportError) or status in NOBODY_BEHIND
            raise UnavailableError(f"{sql}: {type(error).__name__}: {error}", away=away) from error

    def close(self) -> None:
        self._client.close()


def classify(status: int, body: bytes, retry_after: str) -> UnavailableError | RefusedError:
    """What an answer other than success means."""
    try:
        message = msgspec.json.decode(body, type=ServerError).message
    except msgspec.DecodeError:
        message = body[:200].decode(errors="replace")
    cause = f"HTTP {status}: {message.strip() or 'no message'}"
    if status in (400, 413):
        if any(fault in message.lower() for fault in SCHEMA_FAULTS):
            return UnavailableError(cause, "run 'collector migrate'")
        return RefusedError(cause)
    if status in (401, 403):
        return UnavailableError(cause, "set EVENKEEL_QUESTDB_USER and EVENKEEL_QUESTDB_PASSWORD_FILE")
    if status == 404:
        return UnavailableError(cause, "check questdb.url: QuestDB 9.0 or newer answers on /write")
    wait = float(retry_after) if retry_after.isdigit() else 0.0
    return UnavailableError(cause, "", wait, away=status in NOBODY_BEHIND)
