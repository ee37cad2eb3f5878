"""Raw capture: the frames themselves, both directions, and REST's answers, beside the recording and never in its way.

The event loop puts references into a bounded queue; a thread makes lines of them, compresses and writes. Where the queue
is full, or the disk does not take a write, what comes is counted and left out, and that is told: by a line in the capture
itself, a log and a `feed_events` row. Lines are those of `replay.recording`:

    {"t":"header","exchange","ts"}             a process begins: earlier connections are gone
    {"t":"connect","conn","market","url","ts"} once more at the head of each file while it is open; "close" at its end
    {"t":"recv" | "send","conn","ts","data"}   "recv_b64" for bytes that are no text
    {"t":"http","market","url","body","ts","data"}
    {"t":"lost","messages","ts"}               as many are missing here
"""

from __future__ import annotations

import base64
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import structlog

from collector import bounds
from collector.capture_files import CaptureFiles
from collector.exchanges.base import Request
from collector.settings import FeedConfig

log = structlog.get_logger()

MOST_QUEUED = bounds.CAPTURE_QUEUE.limit
OVERHEAD = 200
"""Bytes of a message in the queue, besides its own."""
FRAME_BYTES = 1 << 20
FRAME_SECONDS = 1.0
LOOK_SECONDS = 0.1
LARGEST_FILE = 256 << 20
MOST_KEPT = 64
"""Answers that each file begins with."""
MOST_NEWS = 100
JOIN_SECONDS = 30.0

WITHOUT_DATA = frozenset({"header", "file", "connect", "close", "lost"})

encoded = msgspec.json.encode
Item = tuple[int, str, str, str | bytes]
"""(µs, kind, the members that name it: JSON without braces, data)"""


class Capture:
    """Of one exchange into one folder. Every method but the thread's own is called in the event loop."""

    def __init__(self, folder: Path, exchange: str, quota: int, most_queued: int = MOST_QUEUED) -> None:
        self.folder, self.exchange, self.quota = folder, exchange, quota
        largest = min(LARGEST_FILE, quota // 4)
        self._files = CaptureFiles(folder, exchange, largest, quota)
        self._most_queued = most_queued
        self._queue: deque[Item] = deque()
        self._put = self._taken = 0
        """Bytes, ever; each is written by one thread only."""
        self._lost = 0
        self._open: dict[str, str] = {}
        """Connection → members of its line, of those that are open by what was written. The thread's, as what follows."""
        self._unwritten = 0
        self._kept: dict[str, Item] = {}
        self._numbers = 0
        self.news: deque[tuple[str, str]] = deque(maxlen=MOST_NEWS)
        """(event, detail) for `feed_events`."""
        self._failing = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"capture-{exchange}", daemon=True)
        self._add(now_us(), "header", f'"exchange":{encoded(exchange).decode()}', "")
        self._thread.start()

    # The event loop's side

    def connection(self, market: str, url: str) -> CapturedConnection:
        self._numbers += 1
        return CapturedConnection(self, f"{market}-{now_us()}-{self._numbers}", market, url)

    def answered(self, market: str, url: str, request: Request, body: bytes) -> None:
        """What REST said."""
        self._add(now_us(), "http", asked(market, url, request), body)

    def keep(self, market: str, url: str, request: Request, body: bytes) -> None:
        """Every file is to begin with this answer of REST, as rows can't be made without it."""
        members = asked(market, url, request)
        if members in self._kept or len(self._kept) < MOST_KEPT:
            self._kept = {
                **self._kept,
                members: (now_us(), "http", members, body),
            }  # the thread reads the old one

    def _add(self, at_us: int, kind: str, members: str, data: str | bytes) -> None:
        size = len(data) + OVERHEAD
        if self._put - self._taken + size > self._most_queued:
            self._lost += 1
            return
        if self._lost:
            lost, self._lost = self._lost, 0
            self._put += OVERHEAD
            self._queue.append((at_us, "lost", f'"messages":{lost}', ""))
            self._tell("capture_lost", f"{lost} messages: the writer is behind")
        self._put += size
        self._queue.append((at_us, kind, members, data))

    def _tell(self, event: str, detail: str) -> None:
        log.warning(event.replace("_", " "), folder=str(self.folder), exchange=self.exchange, cause=detail)
        self.news.append((event, detail))

    @property
    def queued(self) -> int:
        """Bytes that wait for the thread."""
        return self._put - self._taken

    def take_news(self) -> Iterator[tuple[str, str]]:
        while self.news:
            yield self.news.popleft()

    def close(self) -> None:
        """Write what waits. Blocks for as long as that takes, JOIN_SECONDS at most."""
        self._stopping.set()
        self._thread.join(JOIN_SECONDS)

    # The thread's side

    def _run(self) -> None:
        batch: list[Item] = []
        size, due = 0, 0.0
        while True:
            stopping = self._stopping.wait(LOOK_SECONDS)
            while self._queue:
                item = self._queue.popleft()
                held = len(item[3]) + OVERHEAD
                self._taken += held
                size += held
                batch.append(item)
                if size >= FRAME_BYTES:
                    self._write(batch)
                    size, due = 0, time.monotonic() + FRAME_SECONDS
            if batch and (stopping or time.monotonic() >= due):
                self._write(batch)
                size, due = 0, time.monotonic() + FRAME_SECONDS
            if stopping:
                self._files.close()
                return

    def _write(self, batch: list[Item]) -> None:
        """All of the batch, or nothing of it."""
        at_us = batch[-1][0]
        # What a file begins with, so that it can be read without those before it.
        head: list[Item] = [(at_us, "file", f'"exchange":{encoded(self.exchange).decode()}', "")]
        head += [(at_us, "connect", members, "") for members in self._open.values()]
        if self._unwritten:
            head.append((at_us, "lost", f'"messages":{self._unwritten}', ""))
        head.extend(self._kept.values())
        try:
            deleted = self._files.write(joined(batch), at_us, lambda: joined(head))
        except OSError as error:
            self._unwritten += len(batch)
            if not self._failing:
                self._tell("capture_failing", f"{error.strerror or error}: what comes is not kept")
            self._failing = True
        else:
            if self._failing:
                self._tell("capture_recovered", f"{self._unwritten} messages are not in it")
            self._failing, self._unwritten = False, 0
            for path in deleted:
                self._tell("capture_deleted", f"{path.name}: the quota is used up")
        for _, kind, members, _ in batch:
            if kind == "connect":
                self._open[members.partition(",")[0]] = members
            elif kind == "close":
                self._open.pop(members, None)
        batch.clear()


def captures_of(feeds: Sequence[FeedConfig]) -> dict[tuple[str, str], Capture]:
    """One for each folder and exchange that feeds name: (folder, exchange) → its capture."""
    quotas: dict[tuple[str, str], int] = {}
    for feed in feeds:
        if feed.capture:
            key = feed.capture, feed.exchange
            quotas[key] = min(quotas.get(key, feed.capture_bytes), feed.capture_bytes)
    return {key: Capture(Path(key[0]), key[1], quota) for key, quota in quotas.items()}


class CapturedConnection:
    """One socket."""

    def __init__(self, capture: Capture, conn: str, market: str, url: str) -> None:
        self._capture = capture
        self._members = f'"conn":{encoded(conn).decode()}'
        told = f'{self._members},"market":"{market}","url":{encoded(url).decode()}'
        capture._add(now_us(), "connect", told, "")

    def received(self, raw: bytes) -> None:
        self._capture._add(now_us(), "recv", self._members, raw)

    def sent(self, frame: str) -> None:
        self._capture._add(now_us(), "send", self._members, frame)

    def closed(self) -> None:
        self._capture._add(now_us(), "close", self._members, "")


def now_us() -> int:
    return time.time_ns() // 1000


def asked(market: str, url: str, request: Request) -> str:
    """A request's members."""
    told = encoded(url + request.path).decode(), encoded(request.body).decode()
    return f'"market":"{market}","url":{told[0]},"body":{told[1]}'


def joined(items: Iterable[Item]) -> bytes:
    return b"".join(line(*item) for item in items)


def line(at_us: int, kind: str, members: str, data: str | bytes) -> bytes:
    if isinstance(data, bytes):
        try:
            text = data.decode()
        except UnicodeDecodeError:
            kind, text = f"{kind}_b64", base64.b64encode(data).decode()
    else:
        text = data
    told = f',"data":{encoded(text).decode()}' if kind not in WITHOUT_DATA else ""
    # µs survive a float of seconds for a hundred years; nanoseconds would not.
    return f'{{"t":"{kind}",{members},"ts":{at_us // 1_000_000}.{at_us % 1_000_000:06d}{told}}}\n'.encode()
