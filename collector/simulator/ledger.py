"""The ledger: one JSON line for each event of every topic that has been subscribed, whether or not anybody got it.

The first line is a header. Quantities are in base units. Times are microseconds since the epoch: `ts` the event's,
`push` the message's. `n` is the number of sockets that the event was written to. Kinds (`k`):

    t  trade         side (the taker's), p, q, id
    l  liquidation   side of the forced order (sell: a long was closed), p, q
    u  the same, of a venue that tells an id and no time: `ts` is when it was sent
    b  book update   seq, depth of the topic, snap, best bid and ask afterwards; rep: 1 on a repetition of a known state
    r  book told over REST: seq. Where a book's stream has no snapshot, nobody knows its updates before the first of these
    k  ticker        the state, or that part of it that a message told
    v  the same, whole, of a venue that tells no time: `ts` is when it was sent
    p  planted event begins or ends (`side`): id has its name and the symbol of the model, `ts` is when
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import msgspec

from collector.errors import BAD_CONFIG, OperatorError

FLUSH_CHARACTERS = 1 << 16
NULL = "null"


class Header(msgspec.Struct, frozen=True):
    ledger: int
    exchange: str
    started_us: int
    seed: int | None = None


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A line of any kind; what a kind does not have keeps its default."""

    k: str
    m: str
    s: str
    ts: int
    n: int = 0
    push: int = 0
    side: str = ""
    p: float = 0.0
    q: float = 0.0
    id: str = ""
    seq: int = 0
    depth: int = 0
    snap: int = 0
    rep: int = 0
    bid: tuple[float, float] | float | None = None
    """Of a book: (price, size), None for an empty side. Of a ticker: the price."""
    ask: tuple[float, float] | float | None = None
    last: float | None = None
    mark: float | None = None
    index: float | None = None
    funding_rate: float | None = None
    open_interest: float | None = None


def trade(
    market: str, symbol: str, ts: int, push: int, trade_id: str, side: str, price: str, qty: str
) -> str:
    """An entry without its end. Times in ms, here and below; numbers as the venue writes them."""
    return (
        f'{{"k":"t","m":"{market}","s":"{symbol}","ts":{ts}000,"push":{push}000,"id":"{trade_id}",'
        f'"side":"{side}","p":{price},"q":{qty}'
    )


def liquidation(market: str, symbol: str, ts: int, push: int, side: str, price: str, qty: str) -> str:
    return (
        f'{{"k":"l","m":"{market}","s":"{symbol}","ts":{ts}000,"push":{push}000,"side":"{side}",'
        f'"p":{price},"q":{qty}'
    )


def untimed_liquidation(
    market: str, symbol: str, push: int, liq_id: str, side: str, price: str, qty: str
) -> str:
    return (
        f'{{"k":"u","m":"{market}","s":"{symbol}","ts":{push}000,"push":{push}000,"id":"{liq_id}","side":"{side}",'
        f'"p":{price},"q":{qty}'
    )


def book(
    market: str,
    symbol: str,
    ts: int,
    push: int,
    seq: int,
    depth: int,
    snap: int,
    bid: str,
    ask: str,
    rep: int = 0,
) -> str:
    """`bid`, `ask`: "price,size", or "" for an empty side."""
    best_bid, best_ask = f"[{bid}]" if bid else NULL, f"[{ask}]" if ask else NULL
    repeated = '"rep":1,' if rep else ""
    return (
        f'{{"k":"b","m":"{market}","s":"{symbol}","ts":{ts}000,"push":{push}000,"seq":{seq},"depth":{depth},'
        f'"snap":{snap},{repeated}"bid":{best_bid},"ask":{best_ask}'
    )


def rest_book(market: str, symbol: str, now: int, seq: int) -> str:
    return f'{{"k":"r","m":"{market}","s":"{symbol}","ts":{now}000,"push":{now}000,"seq":{seq}'


TICKER_FIELDS = ("last", "mark", "index", "funding_rate", "open_interest", "bid", "ask")


def ticker(market: str, symbol: str, ts: int, values: dict[str, str]) -> str:
    """`values`: TICKER_FIELDS → number; a missing or empty one is null."""
    return _ticker("k", market, symbol, ts, values)


def untimed_ticker(market: str, symbol: str, push: int, values: dict[str, str]) -> str:
    """All of the state, of which the venue does not say when."""
    return _ticker("v", market, symbol, push, values)


def _ticker(kind: str, market: str, symbol: str, ts: int, values: dict[str, str]) -> str:
    fields = ",".join(f'"{name}":{values.get(name) or NULL}' for name in TICKER_FIELDS)
    return f'{{"k":"{kind}","m":"{market}","s":"{symbol}","ts":{ts}000,{fields}'


def planted(ts: int, name: str, symbol: str, when: str) -> str:
    """Of no stream: nothing is sent of it that other entries don't tell."""
    return f'{{"k":"p","m":"","s":"","ts":{ts}000,"id":"{name} {symbol}","side":"{when}"'


class LedgerWriter:
    """Buffered; `flush` is to be called every second and at the end."""

    def __init__(self, path: Path, exchange: str, seed: int | None, started_us: int | None = None) -> None:
        """Raises OperatorError."""
        self.path = path
        self._lines: list[str] = []
        self._characters = 0
        header = Header(1, exchange, started_us or time.time_ns() // 1000, seed)
        try:
            self._file: TextIO = path.open("w", encoding="utf-8")
            self._file.write(msgspec.json.encode(header).decode() + "\n")
            self._file.flush()
        except OSError as error:
            raise OperatorError(
                f"ledger {path}: can't be written ({error.strerror}); name a file in a writable folder with --ledger",
                BAD_CONFIG,
            ) from error

    def add(self, entries: list[str], receivers: int) -> None:
        end = f',"n":{receivers}}}\n'
        for entry in entries:
            self._lines.append(entry)
            self._lines.append(end)
            self._characters += len(entry)
        if self._characters > FLUSH_CHARACTERS:
            self._write()

    def _write(self) -> None:
        self._file.write("".join(self._lines))
        self._lines.clear()
        self._characters = 0

    def flush(self) -> None:
        self._write()
        self._file.flush()

    def close(self) -> None:
        self.flush()
        self._file.close()


def read_ledger(path: Path) -> tuple[Header, Iterator[Entry]]:
    """The header, and the entries one at a time. Raises OperatorError, also while iterating, naming file and line."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise OperatorError(
            f"ledger {path}: can't be read ({error.strerror}); name the file that `collector simulate --ledger` wrote",
            BAD_CONFIG,
        ) from error
    try:
        header = msgspec.json.decode(file.readline(), type=Header)
        if header.ledger != 1:
            raise OperatorError(
                f"ledger {path}: line 1: version {header.ledger} is not known; use the same release that wrote it",
                BAD_CONFIG,
            )
    except (msgspec.DecodeError, OSError) as error:
        file.close()
        raise OperatorError(
            f"ledger {path}: line 1: not a ledger's header ({error}); name a file written with --ledger",
            BAD_CONFIG,
        ) from error
    except OperatorError:
        file.close()
        raise

    def entries() -> Iterator[Entry]:
        decode = msgspec.json.Decoder(Entry).decode
        with file:
            for number, line in enumerate(file, 2):
                try:
                    yield decode(line)
                except msgspec.DecodeError as error:
                    raise OperatorError(
                        f"ledger {path}: line {number}: {error}; the file is damaged or its writer was killed: "
                        "record again, or remove that line",
                        BAD_CONFIG,
                    ) from error

    return header, entries()
