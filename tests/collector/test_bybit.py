"""The Bybit adapter: each rule on messages made for it, and the recorded session against a plain reference."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from collector.exchanges.base import Bad, Broken, Notice, Rejected, Resynced, Send, Subscribed
from collector.exchanges.bybit import Bybit
from collector.rows import BookSnapshot, Liquidation, Ticker, Trade
from collector.settings import Duration
from tests.collector.bybit_messages import book, decoder, feed, message, trade

RECORDING = Path(__file__).parents[3] / "shared/recordings/bybit/linear_spot_20260809.jsonl.gz"
T0 = 1_700_000_000_000


def levels(row: BookSnapshot) -> tuple[list[list[float]], list[list[float]]]:
    return row.bids.tolist(), row.asks.tolist()


def test_trade_row_has_taker_side_fill_time_and_id() -> None:
    assert decoder().decode(trade("abc", T0, S="Sell"), 5) == [
        Trade(T0 * 1000, 5, "bybit", "linear", "BTCUSDT", "sell", 100.5, 0.5, "abc")
    ]


def test_liquidation_side_is_flipped_and_its_id_survives_a_resend() -> None:
    item = {"T": T0, "s": "BTCUSDT", "S": "Buy", "v": "2", "p": "99.5"}
    raw = message(
        topic="allLiquidation.BTCUSDT", type="snapshot", ts=T0, data=[item, item, item | {"S": "Sell"}]
    )
    first = decoder().decode(raw, 5)
    again = decoder().decode(raw, 6)
    assert [(r.side, r.qty, r.price, r.ts) for r in first if isinstance(r, Liquidation)] == [
        ("sell", 2.0, 99.5, T0 * 1000),
        ("sell", 2.0, 99.5, T0 * 1000),
        ("buy", 2.0, 99.5, T0 * 1000),
    ]
    ids = [r.liq_id for r in first if isinstance(r, Liquidation)]
    assert len(set(ids)) == 3
    assert ids == [r.liq_id for r in again if isinstance(r, Liquidation)]


def test_ticker_deltas_are_merged_and_cleared_fields_become_none() -> None:
    d = decoder()
    topic = "tickers.BTCUSDT"
    assert (
        d.decode(message(topic=topic, type="delta", ts=T0, data={"lastPrice": "1"}), 1) == []
    )  # no snapshot yet
    (row,) = d.decode(
        message(
            topic=topic,
            type="snapshot",
            ts=T0,
            data={
                "symbol": "BTCUSDT",
                "lastPrice": "10",
                "markPrice": "11",
                "indexPrice": "12",
                "fundingRate": "-0.005",
                "nextFundingTime": "1760342400000",
                "openInterest": "492373.72",
                "bid1Price": "9",
                "ask1Price": "11",
            },
        ),
        1,
    )
    where = ("bybit", "linear", "BTCUSDT")
    funding_ts = 1760342400000000
    assert row == Ticker(T0 * 1000, 1, *where, 10.0, 11.0, 12.0, -0.005, funding_ts, 492373.72, 9.0, 11.0)
    (row,) = d.decode(
        message(topic=topic, type="delta", ts=T0 + 1, data={"ask1Price": "13", "fundingRate": ""}), 2
    )
    assert row == Ticker(
        T0 * 1000 + 1000, 2, *where, 10.0, 11.0, 12.0, None, funding_ts, 492373.72, 9.0, 13.0
    )


def test_book_snapshot_delta_delete() -> None:
    d = decoder()
    out = d.decode(book("snapshot", 10, [["100", "1"], ["99", "2"]], [["101", "3"], ["102", "4"]]), 1)
    assert isinstance(out[0], Resynced)
    assert isinstance(out[1], BookSnapshot)
    assert levels(out[1]) == ([[100, 99], [1, 2]], [[101, 102], [3, 4]])
    (row,) = d.decode(
        book("delta", 11, [["100", "0"], ["98", "5"]], [["101", "9"], ["77.5", "0"]], T0 + 1), 2
    )
    assert isinstance(row, BookSnapshot)
    assert levels(row) == ([[99, 98], [2, 5]], [[101, 102], [9, 4]])
    assert (row.seq, row.ts, row.recv_ts) == (11, (T0 + 1) * 1000, 2)


def test_missing_delta_invalidates_until_the_new_snapshot_and_says_how_many() -> None:
    d = decoder()
    d.decode(book("snapshot", 10, [["100", "1"]], [["101", "3"]]), 1)
    out = d.decode(book("delta", 13, [["100", "2"]], [], T0 + 30), 2)
    assert out[0] == Broken("orderbook", "BTCUSDT", T0 * 1000, "sequence_gap", 2)
    assert isinstance(out[1], Send)
    request = json.loads(out[1].text)
    assert (request["op"], request["args"]) == ("unsubscribe", ["orderbook.50.BTCUSDT"])
    assert d.decode(book("delta", 14, [["100", "7"]], [], T0 + 40), 3) == []
    (again,) = d.decode(message(success=True, ret_msg="", req_id=request["req_id"], op="unsubscribe"), 4)
    assert isinstance(again, Send)
    assert json.loads(again.text)["op"] == "subscribe"
    out = d.decode(book("snapshot", 20, [["90", "1"]], [["91", "1"]], T0 + 50), 5)
    assert out[0] == Resynced("orderbook", "BTCUSDT", (T0 + 50) * 1000)
    assert isinstance(out[1], BookSnapshot)
    assert levels(out[1]) == ([[90], [1]], [[91], [1]])


def test_duplicated_delta_changes_nothing() -> None:
    d = decoder()
    d.decode(book("snapshot", 10, [["100", "1"]], [["101", "3"]]), 1)
    d.decode(book("delta", 11, [["100", "2"]], [], T0 + 1), 2)
    (notice,) = d.decode(book("delta", 11, [["100", "2"]], [], T0 + 1), 3)
    assert isinstance(notice, Notice)
    (row,) = d.decode(book("delta", 12, [["99", "1"]], [], T0 + 2), 4)
    assert isinstance(row, BookSnapshot)
    assert levels(row) == ([[100, 99], [2, 1]], [[101], [3]])


def test_swapped_deltas_are_a_break() -> None:
    d = decoder()
    d.decode(book("snapshot", 10, [["100", "1"]], [["101", "3"]]), 1)
    assert isinstance(d.decode(book("delta", 12, [["100", "2"]], [], T0 + 2), 2)[0], Broken)
    assert d.decode(book("delta", 11, [["100", "5"]], [], T0 + 1), 3) == []


def test_restart_with_u_1_replaces_the_book_and_declares_the_jump() -> None:
    d = decoder()
    d.decode(book("snapshot", 10, [["100", "1"]], [["101", "3"]]), 1)
    out = d.decode(book("delta", 1, [["50", "1"]], [["51", "1"]], T0 + 9), 2)
    assert out[0] == Broken("orderbook", "BTCUSDT", T0 * 1000, "exchange_restart", None)
    assert out[1] == Resynced("orderbook", "BTCUSDT", (T0 + 9) * 1000)
    assert isinstance(out[2], BookSnapshot)
    assert levels(out[2]) == ([[50], [1]], [[51], [1]])


def test_level_1_repeats_itself_without_a_row_and_needs_no_chain() -> None:
    d = decoder(book_depth=1, channels=["orderbook"])
    d.decode(book("snapshot", 10, [["100", "1"]], [["101", "3"]], T0, 1), 1)
    assert d.decode(book("snapshot", 10, [["100", "1"]], [["101", "3"]], T0 + 3000, 1), 2) == []
    (row,) = d.decode(book("snapshot", 17, [["100.5", "1"]], [["101", "3"]], T0 + 3001, 1), 3)
    assert isinstance(row, BookSnapshot)
    assert levels(row) == ([[100.5], [1]], [[101], [3]])


def test_interval_stores_the_state_at_its_end() -> None:
    d = decoder(book_interval=Duration(0.1))
    assert (
        len(d.decode(book("snapshot", 1, [["100", "1"]], [["101", "1"]], T0), 1_000_000)) == 1
    )  # Resynced only
    assert d.decode(book("delta", 2, [["100", "2"]], [], T0 + 40), 1_040_000) == []
    assert d.decode(book("delta", 3, [["100", "3"]], [], T0 + 99), 1_099_000) == []
    (row,) = d.decode(book("delta", 4, [["100", "4"]], [], T0 + 100), 1_100_000)
    assert isinstance(row, BookSnapshot)
    assert (row.seq, row.ts, levels(row)[0]) == (3, (T0 + 99) * 1000, [[100], [3]])
    assert d.flush(1_150_000) == []
    (row,) = d.flush(1_200_000)  # nothing newer pushed it out
    assert isinstance(row, BookSnapshot)
    assert (row.seq, levels(row)[0]) == (4, [[100], [4]])
    assert d.flush(9_000_000) == []
    assert d.drain() == []


def test_inverse_sizes_are_converted_from_usd_to_base_units() -> None:
    d = decoder(market="inverse")
    (row,) = d.decode(trade("a", T0, p="50000", v="100"), 1)
    assert isinstance(row, Trade)
    assert row.qty == 0.002
    snapshot = d.decode(book("snapshot", 10, [["50000", "100"]], [["51000", "51"]]), 1)[1]
    assert isinstance(snapshot, BookSnapshot)
    assert levels(snapshot) == ([[50000], [0.002]], [[51000], [0.001]])
    item = {"T": T0, "s": "BTCUSDT", "S": "Sell", "v": "500", "p": "50000"}
    (forced,) = d.decode(message(topic="allLiquidation.BTCUSDT", type="snapshot", ts=T0, data=[item]), 1)
    assert isinstance(forced, Liquidation)
    assert (forced.side, forced.qty) == ("buy", 0.01)


def test_level_1_is_sampled_like_the_others() -> None:
    d = decoder(book_depth=1, channels=["orderbook"], book_interval=Duration(0.1))
    rows = []
    for n in range(25):
        out = d.decode(book("snapshot", 10 + n, [["100", str(n + 1)]], [["101", "3"]], T0 + 10 * n, 1), n)
        rows += [item for item in out if isinstance(item, BookSnapshot)]
    assert [(row.seq, row.bids.tolist()) for row in rows] == [(19, [[100], [10]]), (29, [[100], [20]])]


def test_depth_stored_is_less_than_depth_kept() -> None:
    d = decoder(book_depth=2)
    snapshot = book("snapshot", 5, [["100", "1"], ["99", "1"], ["98", "1"]], [["101", "1"]])
    row = d.decode(snapshot, 1)[1]
    assert isinstance(row, BookSnapshot)
    assert levels(row) == ([[100, 99], [1, 1]], [[101], [1]])
    (row,) = d.decode(book("delta", 6, [["100", "0"]], [], T0 + 1), 2)
    assert isinstance(row, BookSnapshot)
    assert levels(row)[0] == [[99, 98], [1, 1]]


@pytest.mark.parametrize(
    "raw",
    [
        trade(p="NaN"),
        trade(p="1e400"),
        trade(p="-1"),
        trade(v="0"),
        trade(S="Up"),
        trade(T=2**70),
        trade(v=None),
        trade()[:-3],
        b'{"topic":"publicTrade.BTCUSDT"}',
        b'{"topic":"publicTrade.BTCUSDT","ts":1,"data":{}}',
        b'{"a":{"topic":"publicTrade.BTCUSDT"}}',
    ],
)
def test_bad_trade_messages_are_told_and_declared(raw: bytes) -> None:
    d = decoder()
    d.decode(trade("good", T0), 1)
    out = d.decode(raw, 2)
    assert not [item for item in out if isinstance(item, Trade)]
    assert [type(item) for item in out if isinstance(item, Bad | Broken)] == [Bad, Broken]
    broken = next(item for item in out if isinstance(item, Broken))
    assert (broken.from_ts, broken.cause) == (T0 * 1000, "malformed_message")
    after = d.decode(trade("next", T0 + 5), 3)
    assert [type(item) for item in after] == [Resynced, Trade]


def test_good_trades_beside_a_bad_one_are_kept() -> None:
    items = [
        {"T": T0, "S": "Buy", "v": "1", "p": "1", "i": "a"},
        {"T": T0, "S": "Buy", "v": "1", "p": "Infinity", "i": "b"},
        {"T": T0, "S": "Sell", "v": "1", "p": "1", "i": "c"},
    ]
    out = decoder().decode(message(topic="publicTrade.BTCUSDT", ts=T0, data=items), 1)
    assert [item.trade_id for item in out if isinstance(item, Trade)] == ["a", "c"]
    assert len([item for item in out if isinstance(item, Bad)]) == 1


@pytest.mark.parametrize(
    "raw",
    [
        book("delta", 11, [["NaN", "1"]], []),
        book("delta", 11, [["100", "-1"]], []),
        book("delta", 11, [["1e400", "1"]], []),
        book("strange", 11, [], []),
        book("delta", 11, [["100", "1"]], [])[:-5],
    ],
)
def test_bad_book_messages_break_the_book(raw: bytes) -> None:
    d = decoder()
    d.decode(book("snapshot", 10, [["100", "1"]], [["101", "1"]]), 1)
    assert [type(item) for item in d.decode(raw, 2)] == [Bad, Broken, Send]


@pytest.mark.parametrize("raw", [b"", b"garbage", b"[]", b"null", b"{}", b'{"op":5}', b"\xff\xfe"])
def test_what_is_no_message_is_told(raw: bytes) -> None:
    assert [type(item) for item in decoder().decode(raw, 1)] == [Bad]


def test_white_space_escapes_and_unknown_fields_do_not_matter() -> None:
    text = trade("x").decode()
    spaced = json.dumps(json.loads(text) | {"new": {"topic": "publicTrade.BTCUSDT"}}, indent=1).encode()
    for raw in (spaced, text.replace("publicTrade", "public\\u0054rade").encode()):
        assert [type(item) for item in decoder().decode(raw, 1)] == [Trade]


def test_requests_stay_in_the_limits_at_1000_symbols() -> None:
    symbols = [f"SYMBOL{n}USDT" for n in range(1000)]
    settings = feed(symbols=symbols, channels=["trades", "orderbook", "tickers"])
    plan = Bybit().plan(settings)
    assert sorted(stream for streams in plan for stream in streams) == sorted(
        (channel, symbol) for channel in settings.channels for symbol in symbols
    )
    for streams in plan:
        requests = [json.loads(text) for text in Bybit().decoder(settings, streams, {}).subscribe()]
        assert max(len(r["args"]) for r in requests) <= 10
        assert sum(len(arg) for r in requests for arg in r["args"]) <= 21_000


def test_acks_of_both_forms_and_pongs() -> None:
    d = decoder(channels=["trades", "tickers"])
    (request,) = (json.loads(text) for text in d.subscribe())
    assert request["args"] == ["publicTrade.BTCUSDT", "tickers.BTCUSDT"]
    ack = message(success=True, ret_msg="", conn_id="c", req_id=request["req_id"], op="subscribe")
    assert d.decode(ack, 1) == [Subscribed("trades", "BTCUSDT"), Subscribed("tickers", "BTCUSDT")]
    d = decoder(market="spot", channels=["trades"])
    d.subscribe()
    spot_ack = message(success=True, ret_msg="subscribe", conn_id="c", op="subscribe")  # without the id
    assert d.decode(spot_ack, 1) == [Subscribed("trades", "BTCUSDT")]
    for pong in (
        message(success=True, ret_msg="pong", conn_id="c", op="ping"),
        message(args=["1672916271846"], op="pong"),
    ):
        assert d.decode(pong, 2) == []


def test_refused_batch_is_asked_for_one_by_one_until_the_culprit_is_known() -> None:
    d = decoder(symbols=["BTCUSDT", "NOSUCH"], channels=["trades"])
    (request,) = (json.loads(text) for text in d.subscribe())
    refusal = "error:handler not found,topic:publicTrade.NOSUCH"
    out = d.decode(message(success=False, ret_msg=refusal, req_id=request["req_id"], op="subscribe"), 1)
    singles = [json.loads(item.text) for item in out if isinstance(item, Send)]
    assert [r["args"] for r in singles] == [["publicTrade.BTCUSDT"], ["publicTrade.NOSUCH"]]
    assert d.decode(message(success=True, ret_msg="", req_id=singles[0]["req_id"], op="subscribe"), 2) == [
        Subscribed("trades", "BTCUSDT")
    ]
    assert d.decode(
        message(success=False, ret_msg=refusal, req_id=singles[1]["req_id"], op="subscribe"), 2
    ) == [Rejected("trades", "NOSUCH", refusal)]


def test_overdue_ack_and_snapshot_are_noticed() -> None:
    d = decoder(channels=["orderbook"])
    (request,) = (json.loads(text) for text in d.subscribe())
    assert d.stalled(1_000_000) == ""
    assert "no answer to subscribe" in d.stalled(12_000_000)
    d.decode(message(success=True, ret_msg="", req_id=request["req_id"], op="subscribe"), 12_000_000)
    assert d.stalled(13_000_000) == ""
    assert "no snapshot" in d.stalled(23_000_000)
    d.decode(book("snapshot", 10, [["100", "1"]], [["101", "3"]]), 24_000_000)
    assert d.stalled(90_000_000) == ""


class Reference:
    """A book kept in the plainest way: every level in a dict, sorted when asked."""

    def __init__(self) -> None:
        self.sides: dict[str, dict[float, float]] = {"b": {}, "a": {}}

    def apply(self, kind: str, data: dict[str, Any]) -> None:
        for side in ("b", "a"):
            if kind == "snapshot":
                self.sides[side] = {}
            for price, size in data[side]:
                self.sides[side][float(price)] = float(size)
            self.sides[side] = {p: s for p, s in self.sides[side].items() if s}

    def top(self, side: str, depth: int) -> list[list[float]]:
        best = sorted(self.sides[side].items(), reverse=side == "b")[:depth]
        return [[p for p, _ in best], [s for _, s in best]]


@pytest.mark.skipif(not RECORDING.exists(), reason="../shared/recordings is not beside this checkout")
@pytest.mark.parametrize(("conn", "market"), [("BYBIT.ws.2", "linear"), ("BYBIT.ws.3", "spot")])
def test_recorded_session_row_for_row(conn: str, market: str) -> None:
    symbols = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT"] if market == "linear" else ["BTCUSDT", "ETHUSDT"]
    channels = ["trades", "orderbook", "tickers"]
    d = decoder(market=market, symbols=symbols, channels=channels, book_depth=200)
    d.subscribe()
    books = {symbol: Reference() for symbol in symbols}
    tickers: dict[str, dict[str, str]] = {}
    counts = {"trades": 0, "orderbook": 0, "tickers": 0}
    with gzip.open(RECORDING, "rt") as lines:
        for line in lines:
            entry = json.loads(line)
            if entry.get("t") != "recv" or entry["conn"] != conn:
                continue
            raw, recv_us = entry["data"].encode(), int(entry["ts"] * 1e6)
            rows = [item for item in d.decode(raw, recv_us) if not isinstance(item, Resynced | Subscribed)]
            m = json.loads(raw)
            kind, *_, symbol = m.get("topic", ".").split(".")
            where = ("bybit", market, symbol)
            if kind == "publicTrade":
                assert rows == [
                    Trade(
                        t["T"] * 1000, recv_us, *where, t["S"].lower(), float(t["p"]), float(t["v"]), t["i"]
                    )
                    for t in m["data"]
                ]
                counts["trades"] += len(rows)
            elif kind == "orderbook":
                books[symbol].apply(m["type"], m["data"])
                (row,) = rows
                assert isinstance(row, BookSnapshot)
                assert (row.ts, row.recv_ts, row.symbol, row.seq) == (
                    m["cts"] * 1000,
                    recv_us,
                    symbol,
                    m["data"]["u"],
                )
                assert row.bids.tolist() == books[symbol].top("b", 200)
                assert row.asks.tolist() == books[symbol].top("a", 200)
                assert row.bids.dtype == np.float64
                assert len(books[symbol].sides["b"]) == len(books[symbol].sides["a"]) == 200
                counts["orderbook"] += 1
            elif kind == "tickers":
                tickers[symbol] = (tickers.get(symbol, {}) if m["type"] == "delta" else {}) | m["data"]
                now = tickers[symbol]
                index = now.get("indexPrice", now.get("usdIndexPrice"))
                (row,) = rows
                assert isinstance(row, Ticker)
                assert (row.ts, row.last, row.index) == (
                    m["ts"] * 1000,
                    float(now["lastPrice"]),
                    float(index) if index else None,
                )
                for name, field in (
                    ("mark", "markPrice"),
                    ("funding_rate", "fundingRate"),
                    ("open_interest", "openInterest"),
                    ("bid", "bid1Price"),
                    ("ask", "ask1Price"),
                ):
                    assert getattr(row, name) == (float(now[field]) if field in now else None)
                counts["tickers"] += 1
            else:
                assert not [item for item in rows if not isinstance(item, Notice)]
    messages = {"linear": (1598, 758), "spot": (550, 81)}[market]  # counted in the file by topic
    assert (counts["orderbook"], counts["tickers"]) == messages
    assert counts["trades"] >= {"linear": 102, "spot": 18}[market]  # that many messages of one trade or more


def ticker(kind: str, ts: int = 1_700_000_000_000, **values: Any) -> bytes:
    return message(topic="tickers.BTCUSDT", type=kind, data={"symbol": "BTCUSDT"} | values, cs=1, ts=ts)


def test_after_an_unreadable_ticker_the_state_is_asked_for_anew() -> None:
    """The delta that could not be read may have changed anything: what follows it is not whole before a snapshot."""
    bybit = decoder(channels=["tickers"])
    bybit.decode(ticker("snapshot", lastPrice="100", markPrice="101"), 1)
    items = list(bybit.decode(ticker("delta", markPrice="102", lastPrice="-1"), 20_000_000))
    assert [type(item) for item in items] == [Bad, Broken, Send]
    assert isinstance(items[2], Send)
    assert "unsubscribe" in items[2].text
    assert bybit.decode(ticker("delta", lastPrice="103"), 20_000_001) == []
    resynced, row = bybit.decode(ticker("snapshot", lastPrice="104", markPrice="105"), 20_000_002)
    assert isinstance(resynced, Resynced)
    assert isinstance(row, Ticker)
    assert (row.last, row.mark) == (104.0, 105.0)


@pytest.mark.parametrize("value", ["1_000", "١٢", "inf", "NaN", " 1", True, [], {}, -5])
def test_a_ticker_value_that_is_no_number_is_bad(value: object) -> None:
    items = decoder(channels=["tickers"]).decode(ticker("snapshot", lastPrice=value), 1)
    assert isinstance(items[0], Bad)
    assert not any(isinstance(item, Ticker) for item in items)


@pytest.mark.parametrize(
    "raw", [b'{"a":' * 5000, b'{"op":"\xe4"}', b'{"topic":"publicTrade.BTCUSDT","ts":"\xe4"}']
)
def test_no_bytes_make_the_decoder_raise(raw: bytes) -> None:
    assert any(isinstance(item, Bad) for item in decoder().decode(raw, 1))


def test_sizes_that_vanish_in_base_units_are_no_rows() -> None:
    inverse = decoder(market="inverse", channels=["trades", "orderbook"])
    assert isinstance(inverse.decode(trade(v="1e-323"), 1)[0], Bad)
    rows = inverse.decode(book("snapshot", 1, [["100", "50"], ["99", "1e-323"]], [["101", "202"]]), 1)
    (row,) = [item for item in rows if isinstance(item, BookSnapshot)]
    assert row.bids.tolist() == [[100.0], [0.5]]
    assert row.asks.tolist() == [[101.0], [2.0]]
