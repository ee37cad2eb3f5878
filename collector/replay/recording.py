"""Recorded sessions on disk: JSON lines, plain or gzip, read as a stream as often as needed.

A line is `{"t": "connect|send|recv|http|header", "conn", "ts": seconds, "url" or "addr", "data"}`, with "body" where
REST was asked by POST; a bare message; or the time of its receipt (ns) and a message.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from collector.errors import BAD_CONFIG, OperatorError
from collector.simulator import SIMULATORS
from collector.simulator.wire import Transcript, Wire


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """One data message."""

    number: int
    """Position in the recording."""
    at: float
    """Seconds from the recording's first data message."""
    market: str
    topic: str
    text: str


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
                if line.strip():
                    item = json.loads(line) if line.startswith(b"{") else timed(line)
                    if not isinstance(item, dict):
                        raise ValueError("not a JSON object")
                    yield number, item
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise unusable(file, number + 1, f"damaged gzip data ({error})") from error
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
    return file.open("rb")


def unusable(file: Path, number: int, cause: str) -> OperatorError:
    return OperatorError(
        f"recording {file}: line {number}: {cause}; a recording is JSON lines of sent and received frames or of bare "
        "messages, with or without the time of receipt, plain or .gz",
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

    def rest(self, path: str, query: dict[str, str], now_ms: int) -> tuple[int, str]:
        """The recorded answer to the same path, where no parameter of both requests differs."""
        if query.get("cursor"):
            return self.wire.recorded_rest(path, query, {}, now_ms)
        for page in self.pages:
            shared = page.query.keys() & query.keys() - {"limit"}
            if page.path == path and all(page.query[name] == query[name] for name in shared):
                return 200, page.body
        return self.wire.recorded_rest(path, query, self.symbols, now_ms)

    def _read(self, pages: list[Page], checks: dict[str, Transcript]) -> Iterator[Recorded]:
        """Every data message. REST answers are added to `pages`; `checks` (market → transcript) raise for bad content."""
        number, base, at = 0, 0.0, 0.0
        for file in self.files:
            markets: dict[str, str] = {}
            first: float | None = None
            for line, item in lines(file):
                kind = item.get("t", "bare")
                if kind in ("connect", "http"):
                    url = urlsplit(str(item.get("url") or item.get("addr") or ""))
                    if kind == "connect":
                        markets[str(item.get("conn"))] = self._market_of(url.path)
                    elif isinstance(item.get("data"), str):
                        query = dict(parse_qsl(url.query)) | json.loads(item.get("body") or "{}")
                        pages.append(Page(url.path, query, item["data"]))
                    continue
                if kind not in ("recv", "bare"):
                    continue
                try:
                    text = item["data"] if kind == "recv" else json.dumps(item, separators=(",", ":"))
                    topic, push_ms = self.wire.identify(json.loads(text) if kind == "recv" else item)
                    when = float(item["ts"]) if kind == "recv" else push_ms / 1000
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise unusable(file, line, f"not a received message ({error!r})") from error
                market = markets.get(str(item.get("conn")), self._market)
                if topic and market:
                    try:
                        if market in checks:
                            checks[market].entries(text)
                    except (ValueError, KeyError, TypeError, AttributeError) as error:
                        raise unusable(file, line, f"message of {topic}: {error!r}") from error
                    first = when if first is None else first
                    at = max(at, base + when - first)
                    yield Recorded(number, at, market, topic, text)
                    number += 1
            base = at
