"""The lines that are put together by hand against those that QuestDB's client makes of the same rows."""

from __future__ import annotations

from array import array
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from questdb import Protocol, Sender, TimestampMicros

from collector.encode import ENCODE_ERRORS, RowEncoder
from collector.rows import BookSnapshot, Levels, Trade

NAMES = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(lambda text: "\x00" not in text)
IDS = st.one_of(
    st.uuids().map(str), st.integers(0).map(str), st.text(st.characters(codec="utf-8"), max_size=40)
)
TIMES = st.integers(0, 2**63 - 1)
DOUBLES = st.floats(width=64)
LEVELS = st.integers(1, 60).flatmap(lambda n: arrays.arrays(np.float64, (2, n)))


SENDER = cast(Any, Sender(Protocol.Http, "127.0.0.1", 9000, protocol_version=2))
SENDER.establish()


def by_client(table: str, symbols: dict[str, Any], columns: dict[str, Any], ts: int) -> bytes:
    buffer = SENDER.new_buffer()
    buffer.row(table, symbols=symbols, columns=columns, at=TimestampMicros(ts))
    return bytes(buffer)


@given(NAMES, st.sampled_from(["buy", "sell", None]), DOUBLES, DOUBLES, IDS, TIMES, TIMES)
def test_a_trade_is_the_clients(
    symbol: str, side: str | None, price: float, qty: float, trade_id: str, ts: int, recv_ts: int
) -> None:
    encoder = RowEncoder()
    row = Trade(ts, recv_ts, "venue", "a market", symbol, side, price, qty, trade_id)
    symbols = {"exchange": "venue", "market": "a market", "symbol": symbol, "side": side}
    columns = {"recv_ts": TimestampMicros(recv_ts), "price": price, "qty": qty, "trade_id": trade_id}
    expected = by_client("trades", symbols, columns, ts)
    for _ in range(2):  # the second finds the instrument's beginning of the line
        encoder.add(row)
    assert encoder.take() == (2 * expected, array("I", [len(expected), 2 * len(expected)]))


@given(NAMES, LEVELS, LEVELS, st.integers(-(2**63) + 1, 2**63 - 1), TIMES, TIMES)
def test_a_book_is_the_clients(
    symbol: str, bids: Levels, asks: Levels, seq: int, ts: int, recv_ts: int
) -> None:
    encoder = RowEncoder()
    row = BookSnapshot(ts, recv_ts, "venue", "spot", symbol, bids, asks[:, ::-1], seq)
    symbols = {"exchange": "venue", "market": "spot", "symbol": symbol}
    columns = {"recv_ts": TimestampMicros(recv_ts), "bids": bids, "asks": asks[:, ::-1], "seq": seq}
    encoder.add(row)
    assert encoder.take()[0] == by_client("orderbook", symbols, columns, ts)


@pytest.mark.parametrize(
    "bad",
    [
        Trade(2**63, 1, "venue", "spot", "A", "buy", 1.0, 1.0, "1"),
        Trade(-1, 1, "venue", "spot", "A", "buy", 1.0, 1.0, "1"),
        Trade(1, 1, "venue", "spot", "A", "buy", cast(float, "1"), 1.0, "1"),
        BookSnapshot(1, 1, "venue", "spot", "A", np.ones((2, 1)), np.ones((2, 1)), 2**63),
    ],
)
def test_what_can_not_be_encoded_leaves_nothing_behind(bad: Trade | BookSnapshot) -> None:
    encoder = RowEncoder()
    good = Trade(1, 2, "venue", "spot", "A", "buy", 1.0, 2.0, "id")
    encoder.add(good)
    with pytest.raises(ENCODE_ERRORS):
        encoder.add(bad)
    encoder.add(good)
    data, ends = encoder.take()
    assert data[: ends[0]] * 2 == data and len(ends) == 2
