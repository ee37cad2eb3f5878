"""What atheris runs: an input's first byte chooses a venue's decoder or the journal's reader, the rest is the message."""

from __future__ import annotations

import importlib
import io
import sys
from array import array
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

from collector.encode import RowEncoder
from collector.exchanges import EXCHANGES
from collector.exchanges.base import Fetch, Item, Send
from collector.segment import SEGMENT_HEADER, Damage, encode_record, read_records
from tests.fuzz.decoders import Counts, Session
from tests.fuzz.invariants import require
from tests.fuzz.venues import Setup, Venue, symbols_of

WARM, SEEDS = 60, 12
"""Messages that a decoder has had before; messages of each venue to begin with."""
FRESH_AFTER = 300
"""Inputs after which a decoder begins anew, so that there is a state to be spoilt."""
MARKETS = [(name, market) for name in sorted(EXCHANGES) for market in sorted(EXCHANGES[name].markets)]
JOURNAL = len(MARKETS)


class Target:
    """A venue's decoder with some history."""

    def __init__(self, exchange: str, market: str) -> None:
        self._setup = Setup(exchange, market, symbols_of(exchange, market), 0.0, 50)
        self._inputs = FRESH_AFTER
        self._session: Session

    def take(self, message: bytes) -> None:
        if self._inputs >= FRESH_AFTER:
            self._inputs, self._session = 0, Session(self._setup, Counts(), RowEncoder())
            for clean in islice(self._clean(), WARM):
                self._session.take(clean)
        self._inputs += 1
        self._session.take(message)
        self._session.look()

    def _clean(self) -> Iterator[bytes]:
        """What a simulated venue sends, with its answers."""
        venue, session = Venue(self._setup, 1), self._session

        def handle(items: list[Item]) -> None:
            for item in items:
                if isinstance(item, Fetch):
                    handle(session.answered(item.tag, venue.rest(item.request)))
                elif isinstance(item, Send):
                    for answer in venue.answer(item.text):
                        handle(session.take(answer))

        for request in session.decoder.subscribe():
            for answer in venue.answer(request):
                handle(session.take(answer))
        yield from venue.messages()


@cache
def target(number: int) -> Target:
    return Target(*MARKETS[number])


def one_input(data: bytes) -> None:
    """Raises Violation, or what our code should not raise."""
    if not data:
        return
    number, rest = data[0] % (len(MARKETS) + 1), data[1:]
    if number != JOURNAL:
        target(number).take(rest)
        return
    segment = SEGMENT_HEADER + rest
    offset = len(SEGMENT_HEADER)
    for after, item in read_records(io.BytesIO(segment), 0, len(segment)):
        require(after > offset, "the reader does not advance")
        if not isinstance(item, Damage):
            raw = b"".join(encode_record(item.data, item.ends, item.recv_us))
            require(raw == segment[offset:after], item)
        offset = after
    require(offset == max(len(segment), len(SEGMENT_HEADER)), "bytes were neither read nor told as damage")


def seeds() -> Iterator[bytes]:
    """Inputs to begin with: whole messages of each venue, and whole records."""
    for number, (exchange, market) in enumerate(MARKETS):
        setup = Setup(exchange, market, symbols_of(exchange, market), 0.0, 50)
        venue = Venue(setup, 2)
        for request in setup.decoder().subscribe():
            for answer in venue.answer(request):
                yield bytes([number]) + answer[:4000]
        for message in islice(venue.messages(), SEEDS):
            yield bytes([number]) + message[:4000]
    for rows in ([b"row\n"], [b"a" * 30, b"b"]):
        ends = array("I", [sum(map(len, rows[: n + 1])) for n in range(len(rows))])
        yield bytes([JOURNAL]) + b"".join(encode_record(b"".join(rows), ends, 7)) * 2


def main() -> None:
    atheris: Any = importlib.import_module("atheris")  # where it installs; not among our packages
    atheris.Setup(sys.argv, atheris.instrument_func(one_input))
    for name in [name for name in sys.modules if name.startswith("collector.")]:
        instrument(atheris, sys.modules[name])
    atheris.Fuzz()


def instrument(atheris: Any, module: Any) -> None:
    """The functions of a module of ours, and its classes' methods."""
    for holder in [
        module,
        *(
            one
            for one in vars(module).values()
            if isinstance(one, type) and one.__module__ == module.__name__
        ),
    ]:
        for name, value in list(vars(holder).items()):
            if type(value).__name__ == "function" and value.__module__ == module.__name__:
                setattr(holder, name, atheris.instrument_func(value))


if __name__ == "__main__":
    main()
