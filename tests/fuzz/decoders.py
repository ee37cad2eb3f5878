"""Sessions of a decoder with its venue, in which messages are replaced by mutated ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

from collector.encode import ENCODE_ERRORS, RowEncoder
from collector.exchanges.base import Bad, Broken, Decoder, Fetch, Item, Send, Stream
from collector.rows import BookSnapshot, Row
from collector.simulator import SIMULATORS
from tests.fuzz.invariants import Violation, Wholeness, check_row, check_unreadable, require
from tests.fuzz.mutations import BREAKING, FORMLESS, MEANINGLESS
from tests.fuzz.venues import START_MS, Setup, recorded, simulated

MUTATED_A_SESSION = 200
CLEAN_BETWEEN = 3
"""About so many unchanged messages come between two mutated ones, so that there is a state to be spoilt."""
ENCODED_AT_MOST = 4 << 20


class Counts(msgspec.Struct):
    messages: int = 0
    """mutated"""
    clean: int = 0
    same: int = 0
    """mutated without a change of meaning"""
    bad: int = 0
    rows: int = 0
    unstorable: int = 0
    """Rows that line protocol can't carry; the recorder keeps their message aside."""
    sessions: int = 0


class Session:
    """One connection: a decoder and what has been seen of it."""

    def __init__(self, setup: Setup, counts: Counts, encoder: RowEncoder) -> None:
        self.setup, self.counts, self._encoder = setup, counts, encoder
        self.decoder: Decoder = setup.decoder()
        self._streams = frozenset(setup.streams)
        self._whole = Wholeness()
        self.recv_us = START_MS * 1000
        self.last: bytes = b""
        """The newest message, for the report of a violation."""

    def take(self, raw: bytes, stream: Stream | None = None) -> list[Item]:
        """Decode and check. `stream`: that which the message names, when it can be told."""
        self.last = raw
        self.recv_us += 3000
        whole = stream in self._whole.whole
        items = list(self.decoder.decode(raw, self.recv_us))
        check_unreadable(raw, items, stream, whole)
        self._check(items)
        return items

    def answered(self, tag: str, body: bytes) -> list[Item]:
        """The answer to a `Fetch`."""
        self.last = body
        items = list(self.decoder.answer(tag, body, self.recv_us))
        self._check(items)
        return items

    def look(self) -> list[Item]:
        """What the feed asks between messages."""
        require(isinstance(self.decoder.stalled(self.recv_us), str), "stalled")
        for stream in self.setup.streams:
            require(0 <= self.decoder.last_ts(stream) < 10**16, stream)
        items = list(self.decoder.flush(self.recv_us))
        self._check(items)
        return items

    def end(self) -> None:
        self._check(list(self.decoder.drain()))

    def _check(self, items: list[Item]) -> None:
        self._whole.follow(items)
        for item in items:
            check_row(item, self.setup.feed, self._streams)
            if isinstance(item, Bad):
                self.counts.bad += 1
            elif isinstance(item, Row):
                self.counts.rows += 1
                try:
                    size = self._encoder.add(item)
                except ENCODE_ERRORS:
                    self.counts.unstorable += 1
                else:
                    if size > ENCODED_AT_MOST:
                        self._encoder.take()


def named_stream(setup: Setup, clean: bytes) -> Callable[[bytes], Stream | None]:
    """Tells the stream of a message's mutants: that of the message, where all up to its topic is as it was."""
    name = SIMULATORS[setup.feed.exchange].identify(msgspec.json.decode(clean))[0]
    at = clean.find(b'"' + name.encode() + b'"')
    probe = b'{"topic":"' + name.encode() + b'","ts":{}}'
    items = setup.decoder().decode(probe, START_MS * 1000)
    found = {(item.channel, item.symbol) for item in items if isinstance(item, Broken)}
    if not name or at < 0 or len(found) != 1:
        return lambda mutant: None
    head, (stream,) = clean[: at + len(name) + 2], found
    return lambda mutant: stream if mutant.startswith(head) and mutant.count(name.encode()) == 1 else None


def mutated(clean: bytes, rng: random.Random) -> bytes:
    return rng.choice(BREAKING if clean.startswith(b"{") else FORMLESS)(clean, rng)


def against_simulated(
    rng: random.Random, counts: Counts, encoder: RowEncoder, wanted: int
) -> Iterator[Session]:
    """A session with a simulated venue, which answers; yields before every message."""
    setup, venue = simulated(rng)
    session = Session(setup, counts, encoder)
    yield session

    def handle(items: list[Item]) -> None:
        for item in items:
            if isinstance(item, Send):
                answer(item.text)
            elif isinstance(item, Fetch):
                body = venue.rest(item.request)
                counts.messages += 1
                handle(session.answered(item.tag, mutated(body, rng) if rng.random() < 0.2 else body))

    def answer(request: str) -> None:
        for text in venue.answer(request):
            if rng.random() < 0.02:  # answers are messages too
                counts.messages += 1
                handle(session.take(mutated(text, rng)))
            else:
                handle(session.take(text))

    for request in session.decoder.subscribe():
        answer(request)
    streams: dict[bytes, Callable[[bytes], Stream | None]] = {}
    done = 0
    for clean in venue.messages():
        yield session
        session.recv_us = max(session.recv_us, venue.now_ms * 1000)
        if rng.random() * (CLEAN_BETWEEN + 1) >= 1:
            counts.clean += 1
            handle(session.take(clean))
            continue
        head = clean[:60]
        if head not in streams:
            streams[head] = named_stream(setup, clean)
        mutant = mutated(clean, rng)
        counts.messages += 1
        done += 1
        handle(session.take(mutant, streams[head](mutant)))
        if rng.random() < 0.3:
            handle(session.take(clean))  # the mutant came besides, not instead
        if rng.random() < 0.1:
            handle(session.look())
        if done >= wanted:
            break
    session.end()


def against_recorded(
    rng: random.Random, counts: Counts, encoder: RowEncoder, wanted: int
) -> Iterator[Session]:
    """A recorded session, now and then entered in the middle; nobody answers."""
    exchange, market, symbols, messages = rng.choice(recorded())
    setup = Setup(exchange, market, symbols, rng.choice((0.0, 0.1)), 200)
    session = Session(setup, counts, encoder)
    session.decoder.subscribe()
    start = 0 if rng.random() < 0.5 else rng.randrange(len(messages))
    done = 0
    for clean in messages[start:]:
        yield session
        session.take(clean)
        counts.clean += 1
        while rng.random() < 0.6 and done < wanted:
            counts.messages += 1
            done += 1
            session.take(mutated(clean, rng))
        if done >= wanted:
            break
    session.end()


def unchanged_meaning(
    rng: random.Random, counts: Counts, encoder: RowEncoder, wanted: int
) -> Iterator[Session]:
    """Two decoders, one given the messages as they are, the other in another spelling: the same rows."""
    setup, venue = simulated(rng)
    plain, other = Session(setup, counts, encoder), Session(setup, Counts(), encoder)
    yield other

    def both(text: bytes) -> None:
        """The same to both, and what follows from it."""
        mine = plain.take(text)
        same(mine, other.take(rng.choice(MEANINGLESS)(text, rng) if text.startswith(b"{") else text))
        follow(mine)

    def follow(items: list[Item]) -> None:
        for item in items:
            if isinstance(item, Fetch):
                body = venue.rest(item.request)
                mine = plain.answered(item.tag, body)
                same(mine, other.answered(item.tag, body))
                follow(mine)
            elif isinstance(item, Send):
                for answer in venue.answer(item.text):
                    both(answer)

    for one in (plain, other):
        requests = one.decoder.subscribe()
    for request in requests:
        for text in venue.answer(request):
            both(text)
    for done, clean in enumerate(venue.messages()):
        yield other
        if done >= wanted:
            break
        counts.same += 1
        counts.messages += 1
        both(clean)


def same(one: list[Item], other: list[Item]) -> None:
    require(len(one) == len(other), f"{len(other)} items instead of {len(one)}: {other} instead of {one}")
    for mine, yours in zip(one, other, strict=True):
        if isinstance(mine, BookSnapshot) and isinstance(yours, BookSnapshot):
            alike = np.array_equal(mine.bids, yours.bids) and np.array_equal(mine.asks, yours.asks)
            require(alike and (mine.ts, mine.seq, mine.symbol) == (yours.ts, yours.seq, yours.symbol), yours)
        else:
            require(mine == yours, f"{yours} instead of {mine}")


def fuzz(seed: int, counts: Counts, encoder: RowEncoder, wanted: int = MUTATED_A_SESSION) -> None:
    """One session with at least one and about `wanted` mutated messages. Raises Violation, with seed and message."""
    rng = random.Random(seed)
    kinds = [against_simulated, against_simulated, unchanged_meaning]
    if recorded():
        kinds += [against_recorded] * 2
    session = None
    counts.sessions += 1
    try:
        for session in rng.choice(kinds)(rng, counts, encoder, wanted):  # noqa: B007 - named in the report
            pass
    except Exception as error:
        message = session.last if session is not None else b""
        raise Violation(
            f"seed {seed}: {type(error).__name__}: {error}\n  message: {message[:3000]!r}"
        ) from error
