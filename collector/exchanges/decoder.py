"""What the decoders of most venues have in common: topics found by name, requests and answers, silence, new snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from collector.exchanges.base import (
    UNREADABLE,
    Bad,
    Broken,
    Item,
    Notice,
    Received,
    Rejected,
    Send,
    Stream,
)
from collector.exchanges.topic import Topic

OVERDUE_US = 10_000_000
EARLIER_US = 1_000_000
"""How long before its acknowledgement what a subscription brings may have happened."""
LOOK_US = 1_000_000
"""Between two looks for silence."""


class StreamDecoder:
    """One connection. A venue's own decoder says how a message is addressed (`find`, `name_of`), what a request looks
    like (`frames`) and what answers mean (`control`, which calls `acknowledged`, `ended` or `refused` for each name)."""

    batch = 10
    """Names in one request."""

    def __init__(self, topics: Iterable[Topic], frame_interval: float) -> None:
        """`frame_interval`: least seconds between two frames of ours, as in `Limits`."""
        self.topics = list(topics)
        self.streams: Sequence[Stream] = [stream for topic in self.topics for stream in topic.streams]
        self.last_push_us = 0
        by_name: dict[str, list[Topic]] = {}
        for topic in self.topics:
            for name in topic.names:
                by_name.setdefault(name, []).append(topic)
        self.by_name = {name: tuple(sharing) for name, sharing in by_name.items()}
        self._by_stream = {stream: topic for topic in self.topics for stream in topic.streams}
        self._live: set[str] = set()
        """Names that the venue has acknowledged."""
        self._unanswered: dict[str, tuple[str, int]] = {}
        """Name → (operation, when): at most one a name."""
        self._started = self._look_at = 0
        self._overdue = OVERDUE_US + round(len(self.by_name) / self.batch * frame_interval * 1e6)

    # What a venue adds

    def find(self, raw: bytes) -> Sequence[Topic]:
        """The topics that this data message is for; none for any other message. Called for each message: cheap."""
        raise NotImplementedError

    def name_of(self, message: Any) -> str:
        """The name under which this decoded data message is subscribed; "" for any other message."""
        raise NotImplementedError

    def frames(self, op: str, names: Sequence[str]) -> list[str]:
        """The frames of a request; `op` is "subscribe" or "unsubscribe", `names` at most a batch."""
        raise NotImplementedError

    def control(self, message: Any, recv_us: int, out: list[Item]) -> None:
        """Append what a message means that is no data. May raise what UNREADABLE lists, or KeyError."""
        raise NotImplementedError

    # The way in

    def decode(self, raw: bytes, recv_us: int) -> Sequence[Item]:
        out: list[Item] = []
        for topic in self.find(raw) or self._read_other(raw, recv_us, out):
            topic.messages += 1
            topic.bytes += len(raw)
            try:
                push_us = topic.read(raw, recv_us, out)
            except UNREADABLE as error:
                topic.fail(str(error), recv_us, out)
            else:
                if push_us > self.last_push_us:
                    self.last_push_us = push_us
            if topic.resync:
                self._ask_anew(topic, recv_us, out)
        return out

    def _read_other(self, raw: bytes, recv_us: int, out: list[Item]) -> Sequence[Topic]:
        """The topics of a data message that is spelled with white space or escapes, or its members in another order; what
        any other message means goes to `out`."""
        try:
            message = msgspec.json.decode(raw)
            name = self.name_of(message)
            if name in self.by_name:
                return self.by_name[name]
            if name:
                out.append(Notice("unknown_topic", name[:200]))
            else:
                self.control(message, recv_us, out)
        except (*UNREADABLE, KeyError, AttributeError, IndexError) as error:
            out.append(Bad(f"not a known message: {error!r}", unnamed=True))
        return ()

    def answer(self, tag: str, body: bytes, recv_us: int) -> Sequence[Item]:
        """`tag` is the topic's name."""
        out: list[Item] = []
        for topic in self.by_name.get(tag, ()):
            try:
                topic.answer(body, recv_us, out)
            except (*UNREADABLE, KeyError, AttributeError, IndexError) as error:
                topic.fail(f"REST: {error!r}", recv_us, out)
            if topic.resync:
                self._ask_anew(topic, recv_us, out)
        return out

    # Requests and answers

    def subscribe(self) -> list[str]:
        return self._ask("subscribe", list(self.by_name), 0)

    def _ask(self, op: str, names: Sequence[str], recv_us: int) -> list[str]:
        frames = []
        for start in range(0, len(names), self.batch):
            part = names[start : start + self.batch]
            self._unanswered.update(dict.fromkeys(part, (op, recv_us)))
            frames += self.frames(op, part)
        return frames

    def _ask_anew(self, topic: Topic, recv_us: int, out: list[Item]) -> None:
        """Leave the topic and, once that is acknowledged, subscribe it again."""
        topic.resync = False
        names = [name for name in topic.names if name not in self._unanswered]
        out.extend(Send(frame) for frame in self._ask("unsubscribe", names, recv_us))

    def acknowledged(self, name: str, recv_us: int, out: list[Item], together: Sequence[str] = ()) -> None:
        """The venue sends `name` from now on. `together`: those that the same answer is for."""
        self._unanswered.pop(name, None)
        if name in self._live or name not in self.by_name:
            return
        self._live.add(name)
        for topic in self.by_name[name]:
            topic.last_recv = recv_us
            live = sum(needed in self._live for needed in topic.names)
            if live == len(topic.names):
                topic.subscribed(recv_us, out)
            elif live == 1 and not set(topic.names) <= {name, *together}:
                # The first of several: what comes before all of them may be lost with the connection.
                out.extend(
                    Broken(channel, symbol, recv_us - EARLIER_US, "awaiting_sources")
                    for channel, symbol in topic.streams
                )

    def ended(self, name: str, recv_us: int, out: list[Item]) -> None:
        """The venue no longer sends `name`, as we have asked: now it can be asked for again."""
        self._unanswered.pop(name, None)
        self._live.discard(name)
        if name in self.by_name:
            out.extend(Send(frame) for frame in self._ask("subscribe", [name], recv_us))

    def refused(self, name: str, reason: str, out: list[Item]) -> None:
        """The venue will not send `name`."""
        self._unanswered.pop(name, None)
        for topic in self.by_name.get(name, ()):
            topic.waiting_since = 0
            out.extend(Rejected(channel, symbol, reason[:200]) for channel, symbol in topic.streams)

    def postpone(self, names: Iterable[str], until_us: int) -> None:
        """Their request is to be repeated at `until_us`: the wait for its answer begins then."""
        for name in names:
            if name in self._unanswered:
                self._unanswered[name] = (self._unanswered[name][0], until_us)

    def asked(self, op: str) -> list[str]:
        """Names for which `op` is not answered yet, oldest first."""
        return [name for name, (asked, _) in self._unanswered.items() if asked == op]

    # The clock

    def flush(self, recv_us: int) -> Sequence[Item]:
        out: list[Item] = []
        for topic in self.topics:
            topic.flush(recv_us, out)
        if recv_us >= self._look_at:
            self._look_at = recv_us + LOOK_US
            for topic in self.topics:
                since = topic.last_recv
                if topic.silent(recv_us):
                    detail = f"nothing for {(recv_us - since) // 10**6} s"
                    out.append(Notice("silent", detail, topic.channel, topic.symbol))
                    # Of books and tickers the new snapshot tells whether anything was missed.
                    out.extend(
                        Broken(channel, symbol, topic.last_ts or since, "silent")
                        for channel, symbol in topic.streams
                        if channel == "trades"
                    )
                    self._ask_anew(topic, recv_us, out)
        return out

    def drain(self) -> Sequence[Item]:
        out: list[Item] = []
        for topic in self.topics:
            topic.drain(out)
        return out

    def last_ts(self, stream: Stream) -> int:
        topic = self._by_stream[stream]
        known = topic.known_until()
        # What is lost with the connection may have been sent before the receipt of what came last.
        return min(known, self.last_push_us) if topic.untimed and self.last_push_us else known

    def received(self) -> Iterable[Received]:
        return [(topic.channel, topic.messages, topic.bytes) for topic in self.topics]

    def stalled(self, recv_us: int) -> str:
        self._started = self._started or recv_us
        for name, (op, since) in self._unanswered.items():
            if recv_us - (since or self._started) > self._overdue:
                return f"no answer to {op} of {name}"
        for topic in self.topics:
            if topic.waiting_since and recv_us - topic.waiting_since > OVERDUE_US:
                return f"no snapshot of {topic.name}"
        return ""
