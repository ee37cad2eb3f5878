"""Recorded sessions on disk: JSON lines, plain, gzip or zstd, read as a stream as often as needed.

A line is `{"t": "connect|send|recv|http|header", "conn", "ts": seconds, "url" or "addr", "data"}`, with "body" where
REST was asked by POST; a bare message; or the time of its receipt (ns) and a message.
"""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import zstandard

from collector.capture_files import exchange_of, in_order
from collector.errors import BAD_CONFIG, OperatorError
from collector.replay.carriers import Carried
from collector.simulator import SIMULATORS
from collector.simulator.wire import Transcript, Wire

READ = 1 << 20
MOST_PAGES = 1000


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One data message."""

    number: int
    """Position in the recording."""
    at: float
    """Seconds from the recording's first data message."""
    market: str
    topic: str
    text: str


def chosen(paths: Sequence[Path], exchange: str) -> list[Path]:
    """Files, and for a folder the captured ones in it (of `exchange`, where it is named), in order. Raises OperatorError."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        wanted = {exchange} if exchange else SIMULATORS.keys()
        found = in_order(one for one in path.iterdir() if exchange_of(one) in wanted)
        if not found or len({exchange_of(name) for name in found}) > 1:
            raise OperatorError(
                f"recording {path}: {'several exchanges are' if found else 'nothing is'} captured in it; name a folder that "
                "`capture` wrote into, and one exchange with --exchange",
                BAD_CONFIG,
            )
        files += found
    return files


class Page(msgspec.Struct, frozen=True):
    """One recorded REST answer."""

    path: str
    query: dict[str, str]
    body: str


def lines(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object). Raises OperatorError naming file and line."""
    number = 0
    try:
        with open_binary(file) as stream:
            for number, line in enumerate(stream, 1):
                if file.suffix == ".zst" and not line.endswith(b"\n"):
                    return  # its writer was killed
                if line.strip():
                    item = json.loads(line) if line.startswith(b"{") else timed(line)
                    if not isinstance(item, dict):
                        raise ValueError("not a JSON object")
                    yield number, item
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise unusable(file, number + 1, f"damaged gzip data ({error})") from error
    except zstandard.ZstdError as error:
        raise unusable(file, number + 1, f"damaged zstd data ({error})") from error
    except OSError as error:
        raise OperatorError(
            f"recording {file}: can't be read ({error.strerror}); correct the path", BAD_CONFIG
        ) from error
    except ValueError as error:  # also JSON's and Unicode's
        raise unusable(file, max(number, 1), str(error)) from error


def timed(line: bytes) -> dict[str, Any]:
    """Of a line "<ns> <message>". Raises ValueError."""
    at, _, text = line.strip().partition(b" ")
    if not text.startswith((b"{", b"[")):
        raise ValueError("neither an object nor a time and a message")
    return {"t": "recv", "ts": int(at) / 1e9, "data": text.decode()}


def message_of(item: dict[str, Any]) -> dict[str, Any]:
    """What a line without a connection says, {} for another one."""
    if "t" not in item:
        return item
    try:
        told = json.loads(item["data"]) if "conn" not in item and item["t"] == "recv" else {}
    except (ValueError, KeyError, TypeError):
        told = {}  # reading it for its content names the line
    return told if isinstance(told, dict) else {}


def open_binary(file: Path) -> IO[bytes]:
    if file.suffix == ".gz":
        return gzip.open(file, "rb")  # type: ignore[return-value]
    if file.suffix == ".zst":
        return io.BufferedReader(
            zstandard.ZstdDecompressor().stream_reader(file.open("rb"), read_across_frames=True), READ
        )
    return file.open("rb")


def unusable(file: Path, number: int, cause: str) -> OperatorError:
    return OperatorError(
        f"recording {file}: line {number}: {cause}; a recording is JSON lines of sent and received frames or of bare "
        "messages, with or without the time of receipt, plain, .gz or .zst",
        BAD_CONFIG,
    )


def detect(files: Sequence[Path]) -> str:
    """The exchange, from the first file that tells. Raises OperatorError."""
    for file in files:
        for _, item in lines(file):
            told = f"{item.get('exchange', '')} {item.get('url') or item.get('addr') or ''}".lower()
            message = message_of(item)
            for name, wire in SIMULATORS.items():
                if name in told or is_of(wire, message):
                    return name
    raise OperatorError(
        f"recording {files[0]}: no line tells the exchange; name it with --exchange ({', '.join(SIMULATORS)})",
        BAD_CONFIG,
    )


def is_of(wire: Wire, message: dict[str, Any]) -> bool:
    try:
        return bool(wire.identify(message)[0])
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False  # another venue's


class Recording:
    """One or more files, one after the other. Read whole once, to check them; nothing but an index is kept."""

    def __init__(self, files: Sequence[Path], wire: Wire, market: str = "") -> None:
        """`market`: that of messages whose connection is not recorded; "" takes the venue's first.

        Raises OperatorError."""
        self.files, self.wire = files, wire
        self._market = market or next(iter(wire.paths.values()))
        self._elsewhere = market
        """Market of connections by other paths than the venue has now; "": they are left out."""
        self.topics: dict[str, dict[str, int]] = {name: {} for name in wire.paths.values()}
        """market → topic → data messages"""
        self.symbols: dict[str, set[str]] = {name: set() for name in wire.paths.values()}
        self.pages: list[Page] = []
        for message in self._read(self.pages, {name: wire.transcript(name) for name in wire.paths.values()}):
            topics = self.topics[message.market]
            topics[message.topic] = topics.get(message.topic, 0) + 1
            if symbol := wire.offers(message.market, message.topic):
                self.symbols[message.market].add(symbol)
        if not any(self.topics.values()):
            raise OperatorError(
                f"recording {files[0]}: no data message of {wire.name} in it; check the file and --exchange",
                BAD_CONFIG,
            )

    def _market_of(self, path: str) -> str:
        """Of a connection to `path`, "" for another one. The simulated venue may have longer paths than the real one."""
        fitting = [market for ours, market in self.wire.paths.items() if path and ours.endswith(path)]
        return self._market if self._market in fitting else fitting[0] if fitting else self._elsewhere

    def messages(self) -> Iterator[Recorded]:
        return self._read([], {})

    def knows(self, market: str, topic: str) -> bool:
        """Recorded, or of a recorded symbol: then it is acknowledged and stays silent."""
        return topic in self.topics[market] or self.wire.offers(market, topic) in self.symbols[market]

    def rest(self, path: str, query: dict[str, str], now_ms: int, nth: int = 0) -> tuple[int, str]:
        """The recorded answer to the same request (the newest one where it was not asked `nth` times more), else that to the
        same path, where no parameter of both requests differs."""
        if same := [page for page in self.pages if page.path == path and page.query == query]:
            return 200, same[min(nth, len(same) - 1)].body
        if query.get("cursor"):
            return self.wire.recorded_rest(path, query, {}, now_ms)
        for page in self.pages:
            shared = page.query.keys() & query.keys() - {"limit"}
            if page.path == path and all(page.query[name] == query[name] for name in shared):
                return 200, page.body
        return self.wire.recorded_rest(path, query, self.symbols, now_ms)

    def _read(self, pages: list[Page], checks: dict[str, Transcript]) -> Iterator[Recorded]:
        """Every data message. REST answers are added to `pages`; `checks` (market → transcript) raise for bad content, but
        not for that of captured connections, which is there to be looked at."""
        number, base, at = 0, 0.0, 0.0
        carried: dict[tuple[str, str], Carried] = {}
        for file in self.files:
            markets: dict[str, str] = {}
            captured: set[str] = set()
            first: float | None = None
            for line, item in lines(file):
                kind, conn = item.get("t", "bare"), str(item.get("conn"))
                if kind == "header":
                    carried.clear()  # a new process
                elif kind == "connect":
                    url = urlsplit(str(item.get("url") or item.get("addr") or ""))
                    told = item.get("market")
                    markets[conn] = told if told in self.topics else self._market_of(url.path)
                    if told:
                        captured.add(conn)
                elif kind == "http":
                    self._keep_page(item, pages, file, line)
                elif kind == "close":
                    for (market, topic), one in carried.items():
                        for text in one.closed(conn):
                            yield Recorded(number, at, market, topic, text)
                            number += 1
                if kind not in ("recv", "bare"):
                    continue
                market, topic = markets.get(conn, self._market), ""
                try:
                    text = item["data"] if kind == "recv" else json.dumps(item, separators=(",", ":"))
                    topic, push_ms = self.wire.identify(json.loads(text) if kind == "recv" else item)
                    when = float(item["ts"]) if kind == "recv" else push_ms / 1000
                    if topic and market in checks and conn not in captured:
                        checks[market].entries(text)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    if conn in captured:
                        continue
                    what = f"message of {topic}" if topic else "not a received message"
                    raise unusable(file, line, f"{what}: {error!r}") from error
                if not topic or not market:
                    continue
                first = when if first is None else first
                at = max(at, base + when - first)
                texts = [text]
                if conn in captured:
                    texts = carried.setdefault((market, topic), Carried()).take(conn, text)
                for text in texts:
                    yield Recorded(number, at, market, topic, text)
                    number += 1
            base = at

    def _keep_page(self, item: dict[str, Any], pages: list[Page], file: Path, line: int) -> None:
        """Raises OperatorError."""
        if not isinstance(item.get("data"), str) or len(pages) >= MOST_PAGES:
            return
        url = urlsplit(str(item.get("url") or item.get("addr") or ""))
        try:
            query = dict(parse_qsl(url.query)) | json.loads(item.get("body") or "{}")
        except (ValueError, TypeError) as error:
            raise unusable(file, line, f"not a request's body ({error!r})") from error
        page = Page(url.path, query, item["data"])
        if page not in pages:  # files of a capture begin with those of earlier ones
            pages.append(page)
