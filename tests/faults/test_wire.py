"""Faults of the exchange and of the way to it."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable

import pytest

from collector.database.endpoint import Endpoint
from collector.encode import RowEncoder
from collector.rows import Trade
from collector.sink import QuestDBSink
from tests.conftest import query, wait_rows
from tests.faults.rig import Rig, seconds
from tests.faults.wire_proxy import FRAME
from tests.processes import wait_until

TRADES = b'"topic":"publicTrade.BTCUSDT"'
BOOK = b'"topic":"orderbook.50.BTCUSDT"'
ACK = b'"op":"subscribe"'


@pytest.fixture
def recording(rig: Rig, database: Endpoint) -> Rig:
    """A collector that has begun to record through a wire proxy that does nothing yet."""
    rig.behind_proxy(database)
    rig.simulate()
    rig.configure(silence="3s", stream_silence="3s", trades_silence="3s")
    rig.record()
    rig.wait_recording()
    return rig


def finish(rig: Rig) -> dict[str, int]:
    rig.wire.mutate = lambda payload: [payload]
    rig.go_on(int(seconds(1000, 4500)))
    rig.stop()
    return rig.verify()


def once(change: Callable[[bytes], list[bytes]], where: bytes) -> Callable[[bytes], list[bytes]]:
    """`change` the next message that holds `where`, and no other."""
    left = [1]

    def mutate(payload: bytes) -> list[bytes]:
        if left[0] and where in payload:
            left[0] = 0
            return change(payload)
        return [payload]

    return mutate


def test_half_open_connection(recording: Rig) -> None:
    """Silence is noticed, the connection replaced, what was sent meanwhile declared."""
    recording.wire.freeze()
    wait_until(lambda: recording.events().get("disconnected", 0) >= 1, what="the detection")
    recording.go_on()
    assert finish(recording)["missing"] > 0
    assert "silent for 3 s" in recording.log.read_text()


def test_silent_channel(recording: Rig) -> None:
    """One symbol's trades stop while all else goes on: they are declared, and subscribed anew."""

    def mute(payload: bytes) -> list[bytes]:
        asked = any(b"unsubscribe" in one and b"publicTrade.BTCUSDT" in one for one in wire.requests)
        return [payload] if asked or TRADES not in payload else []

    wire = recording.wire
    wire.mutate = mute
    wait_until(lambda: recording.causes().get("silent", 0) >= 1, what="the detection")
    recording.go_on()
    assert finish(recording)["missing"] > 0
    assert recording.causes() == {"silent": 1, "disconnected": 12}


GARBAGE = [
    b"[" * 100_000,
    b'{"topic":',
    b"\xff\xfe garbage",
    b'{%s,"type":"delta","ts":"yesterday","data":[]}',
    b'{%s,"type":"delta","ts":1e400,"data":{"b":[],"a":[],"u":1}}',
    b'{%s,"type":"delta","ts":1760000000000,"data":{"b":[["NaN","1"]],"a":[["inf","x"]],"u":2}}',
    b'{%s,"type":"delta","ts":1760000000000,"data":[{"T":1,"S":"Buy","v":"1e999","p":"NaN","i":"x"}]}',
    b'{%s,"type":"delta","ts":18446744073709551616,"data":{"b":[],"a":[],"u":18446744073709551617}}',
]
"""The last one comes first: it names its stream, so that its hole is not one that another has opened."""


@pytest.mark.parametrize("where", [TRADES, BOOK], ids=["trades", "book"])
def test_messages_that_mean_nothing(recording: Rig, where: bytes) -> None:
    """Malformed JSON, wrong types, NaN, 1e400, integers beyond 64 bits: no crash, no row of it, each kept and declared."""
    left = [text.replace(b"%s", where) for text in GARBAGE]
    seen = [0]

    def inject(payload: bytes) -> list[bytes]:
        if where in payload:
            seen[0] += 1
            if left and seen[0] % 10 == 0:
                return [left.pop(), payload]
        return [payload]

    recording.wire.mutate = inject
    letters = recording.journal / "dead-letters/messages.jsonl"
    wait_until(
        lambda: letters.exists() and len(letters.read_text().splitlines()) == len(GARBAGE),
        what="the dead letters",
    )
    totals = finish(recording)
    assert totals["unexpected"] == 0
    assert recording.causes().keys() >= {"malformed_message", "unreadable_message"}
    assert recording.events()["connected"] == 1


def test_unknown_fields_and_topics(recording: Rig) -> None:
    """What a venue adds is passed over: no gap, no dead letter, no row lost."""

    def add(payload: bytes) -> list[bytes]:
        if not payload.startswith(b'{"topic"'):
            return [payload]
        return [b'{"topic":"new.thing","ts":1,"data":{}}', payload[:-1] + b',"brandNew":{"x":[1]}}']

    recording.wire.mutate = add
    recording.go_on(int(seconds(3000, 15_000)))
    totals = finish(recording)
    assert totals["missing"] == totals["unexpected"] == 0
    assert not (recording.journal / "dead-letters/messages.jsonl").exists()


def test_message_that_inflates_to_a_gibibyte(recording: Rig) -> None:
    """A compressed frame that was not agreed on ends the connection unread; memory stays where it was."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    mebibyte = bomb.compress(bytes(1 << 20)) + bomb.flush(
        zlib.Z_FULL_FLUSH
    )  # which nothing before it changes
    data = mebibyte * 1024
    frame = b"\xc1\x7f" + len(data).to_bytes(8, "big") + data
    recording.wire.mutate = once(lambda payload: [FRAME + frame], TRADES)
    wait_until(lambda: recording.events().get("disconnected", 0) >= 1, what="the end of the connection")
    assert recording.rss_mb() < 120
    finish(recording)


def test_frame_that_claims_a_gibibyte(recording: Rig) -> None:
    """The connection ends at the frame's head, before there is anything to hold."""
    recording.wire.mutate = once(lambda payload: [FRAME + b"\x81\x7f" + (1 << 30).to_bytes(8, "big")], TRADES)
    wait_until(lambda: recording.events().get("disconnected", 0) >= 1, what="the end of the connection")
    assert recording.rss_mb() < 120
    finish(recording)


def test_trades_sent_twice(recording: Rig) -> None:
    """Each is stored once, though distinct trades share a timestamp."""
    recording.wire.mutate = lambda payload: [payload, payload] if b"publicTrade" in payload else [payload]
    recording.go_on(int(seconds(4500, 30_000)))
    totals = finish(recording)
    assert totals["missing"] == totals["duplicated"] == 0
    shared = query(
        recording.endpoint, "SELECT count() FROM (SELECT ts, symbol, count() n FROM trades) WHERE n > 1"
    )
    assert shared[0][0] > 0


def test_book_updates_out_of_order(recording: Rig) -> None:
    """The chain is broken, so the book is invalid until its new snapshot: declared, and no wrong book stored."""
    held: list[bytes] = []

    def swap(payload: bytes) -> list[bytes]:
        if BOOK in payload and b'"delta"' in payload and len(held) < 2:
            held.append(payload)
            return [] if len(held) == 1 else [payload, held[0]]
        return [payload]

    recording.wire.mutate = swap
    wait_until(lambda: recording.causes().get("sequence_gap", 0) == 1, what="the detection")
    finish(
        recording
    )  # the new snapshot may come before the row of its interval is due: then nothing is missing
    assert held


def test_book_restarts_at_one(recording: Rig) -> None:
    """`u` = 1 replaces the book; the jump is declared, and so is the jump back."""

    def restart(payload: bytes) -> list[bytes]:
        message = json.loads(payload)
        message["type"] = "snapshot"
        message["data"] |= {"u": 1, "b": [["1", "1"]], "a": [["2", "1"]]}
        return [json.dumps(message, separators=(",", ":")).encode(), payload]

    recording.wire.mutate = once(restart, BOOK)
    wait_until(lambda: recording.causes().get("exchange_restart", 0) == 1, what="the detection")
    finish(recording)


def test_data_before_the_acknowledgement(rig: Rig, database: Endpoint) -> None:
    """It is stored; what came before it is not claimed to be whole."""
    rig.behind_proxy(database)
    rig.simulate()
    late: list[bytes] = []

    def hold_back(payload: bytes) -> list[bytes]:
        if ACK in payload and len(late) < 2:
            late.append(payload)
            return []
        return [payload, late.pop()] if late and TRADES in payload else [payload]

    rig.wire.mutate = hold_back
    rig.configure()
    rig.record()
    rig.wait_recording()
    totals = finish(rig)
    assert totals["missing"] == 0
    assert rig.events()["subscribed"] == 12


def test_subscription_is_refused_and_a_symbol_delisted(rig: Rig, database: Endpoint) -> None:
    """It goes silent, and the new subscription is refused: the stream is declared missing, the others go on."""
    rig.behind_proxy(database)
    rig.simulate()
    rig.configure(stream_silence="2s", silence="3s")
    rig.record()
    rig.wait_recording()

    def delist(payload: bytes) -> list[bytes]:
        if BOOK in payload:
            return []
        if ACK in payload and b'"success":true' in payload:
            return [
                payload.replace(b'"success":true', b'"success":false').replace(
                    b'"ret_msg":""', b'"ret_msg":"error:handler not found"'
                )
            ]
        return [payload]

    rig.wire.mutate = delist
    wait_until(lambda: rig.causes().get("rejected", 0) == 1, what="the refusal")
    rig.go_on()
    rig.stop()
    totals = rig.verify()
    assert totals["missing"] > 0
    open_ones = query(
        database, "SELECT DISTINCT symbol::string, channel::string FROM gaps WHERE cause = 'rejected'"
    )
    assert open_ones == [("BTCUSDT", "orderbook")]
    assert rig.events()["connected"] == 1


def test_connection_is_replaced_before_the_exchange_cuts_it(rig: Rig, database: Endpoint) -> None:
    """Old and new overlap: nothing is missing, nothing doubled, no gap."""
    rig.behind_proxy(database)
    rig.simulate()
    rig.configure(max_age="5s")
    rig.record()
    rig.wait_recording()
    wait_until(
        lambda: rig.events().get("replaced", 0) >= (10 if seconds(0, 1) else 2), 120, "the replacements"
    )
    totals = finish(rig)
    assert totals["missing"] == totals["unexpected"] == 0
    assert rig.causes() == {"disconnected": 12}  # as the exchange ended


def test_ban(rig: Rig, database: Endpoint) -> None:
    """429 with Retry-After on the handshake: nobody knocks before it is over, then recording goes on."""
    rig.behind_proxy(database)
    rig.simulate()
    rig.configure()
    rig.record()
    rig.wait_recording()
    rig.wire.refuse = 429
    rig.wire.cut()
    before = rig.wire.connections
    wait_until(lambda: rig.wire.connections > before, what="the knock")
    time.sleep(1.5)
    assert rig.wire.connections == before + 1
    rig.wire.refuse = 0
    wait_until(lambda: rig.events().get("connected", 0) >= 2, what="the connection")
    assert finish(rig)["missing"] > 0
    assert rig.events()["banned"] == 1


def test_disconnects_at_random_moments(recording: Rig) -> None:
    """Forced disconnects are declared, each from the last message before to the first after."""
    for _ in range(int(seconds(3, 20))):
        time.sleep(1.3)
        recording.wire.cut()
    wait_until(lambda: recording.health().get("ready", False), 120, "the reconnection")
    assert finish(recording)["missing"] > 0


def test_symbols_that_are_commands(database: Endpoint) -> None:
    """They are data: stored and read back as they are, as symbol and as trade id."""
    symbols = ["'; DROP TABLE trades; --", "a,b=c d", "../../etc/passwd", "line\nbreak", '"q"', "日本"]
    encoder = RowEncoder()
    now = time.time_ns() // 1000
    for symbol in symbols:
        encoder.add(Trade(now, now, "bybit", "linear", symbol, "buy", 1.0, 2.0, symbol))
    sink = QuestDBSink(database.http_url)
    sink.post([encoder.take()[0]])
    sink.close()
    wait_rows(database, "trades", len(symbols))
    stored = query(database, "SELECT symbol::string, trade_id::string FROM trades")
    assert sorted(stored) == sorted((symbol, symbol) for symbol in symbols)
