"""Kraken: a message of each kind, the checksum of its books, its answers, and its REST."""

from __future__ import annotations

import json
import zlib
from typing import Any

import pytest

from collector.exchanges import EXCHANGES
from collector.exchanges.base import (
    Bad,
    BadAnswerError,
    Broken,
    Hole,
    Item,
    Notice,
    Rejected,
    Resynced,
    Send,
    Subscribed,
)
from collector.exchanges.kraken import KrakenDecoder
from collector.exchanges.kraken_digits import DigitBook
from collector.exchanges.kraken_rest import KrakenHistory, instruments, turnover
from collector.rows import BookSnapshot, Ticker, Trade
from collector.settings import Duration, FeedConfig
from tests.fuzz.venues import RECORDINGS

PAIR = "ABC/USD"
WHERE = ("kraken", "spot", PAIR)
AT = "2023-10-06T17:35:55.440295Z"
TS = 1_696_613_755_440_295
RECV = TS + 9000
LATER = "2023-10-06T17:35:56.000001Z"
CHANNELS = ["trades", "orderbook", "tickers"]


def fresh(
    channels: list[str] = CHANNELS, symbols: tuple[str, ...] = (PAIR,), depth: int = 10
) -> KrakenDecoder:
    feed = FeedConfig(
        exchange="kraken",
        market="spot",
        symbols=list(symbols),
        channels=channels,
        book_depth=depth,
        book_interval=Duration(0.0),
    )
    streams = [(channel, symbol) for channel in channels for symbol in symbols]
    return EXCHANGES["kraken"].decoder(feed, streams, {})  # type: ignore[return-value]


def taken(decoder: KrakenDecoder, messages: list[str], recv: int = RECV) -> list[Item]:
    return [item for text in messages for item in decoder.decode(text.encode(), recv)]


def text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def trade(number: int, at: str = AT, **other: Any) -> str:
    item = {"symbol": PAIR, "side": "buy", "price": 2.5, "qty": 4, "trade_id": number, "timestamp": at}
    return text({"channel": "trade", "type": "update", "data": [item | other]})


def book(
    kind: str, bids: list[tuple[str, str]], asks: list[tuple[str, str]], checked: str, at: str = AT
) -> str:
    """`checked`: the digits whose checksum it tells, best asks first."""
    sides = [",".join(f'{{"price":{price},"qty":{qty}}}' for price, qty in side) for side in (bids, asks)]
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{PAIR}","bids":[{sides[0]}],"asks":[{sides[1]}],'
        f'"checksum":{zlib.crc32(checked.encode())},"timestamp":"{at}"}}]}}'
    )


# Asks 3.50 × 1.0, then bids 3.40 × 0.050 and 0.30 × 2.00: no dots, no leading zeros.
WHOLE = book(
    "snapshot", [("3.40", "0.050"), ("0.30", "2.00")], [("3.50", "1.0")], "35010" + "34050" + "30200"
)


def test_trades() -> None:
    made = fresh()
    assert taken(made, [trade(7)]) == [Trade(TS, RECV, *WHERE, "buy", 2.5, 4.0, "7")]
    assert taken(made, [trade(7)]) == [], "once more"
    items = taken(made, [trade(number, LATER) for number in range(8, 40)] + [trade(43, LATER)])
    assert Broken("trades", PAIR, TS + 559_706, "sequence_gap", 3) in items


@pytest.mark.parametrize(
    "wrong",
    [{"side": "b"}, {"price": 0}, {"qty": -1}, {"qty": 1e400}, {"timestamp": "now"}, {"trade_id": -1}],
)
def test_a_trade_that_cannot_be_is_declared(wrong: dict[str, Any]) -> None:
    items = taken(fresh(), [trade(1), trade(2, **wrong).replace("Infinity", "1e400"), trade(3)])
    assert [type(item) for item in items] == [Trade, Bad, Broken, Resynced, Trade]


def test_a_book_is_what_its_checksum_says() -> None:
    items = taken(
        fresh(["orderbook"]),
        [WHOLE, book("update", [("3.40", "0.000")], [("3.60", "5.0")], "35010" + "36050" + "30200", LATER)],
    )
    assert items[0] == Resynced("orderbook", PAIR, TS)
    books = [item for item in items if isinstance(item, BookSnapshot)]
    assert [(b.ts, b.bids.tolist(), b.asks.tolist()) for b in books] == [
        (TS, [[3.4, 0.3], [0.05, 2.0]], [[3.5], [1.0]]),
        (TS + 559_706, [[0.3], [2.0]], [[3.5, 3.6], [1.0, 5.0]]),
    ]


def test_a_lost_update_is_noticed_by_the_next_checksum() -> None:
    made = fresh(["orderbook"])
    made.subscribe()
    result = {"channel": "book", "symbol": PAIR, "depth": 10}
    ack = {"method": "subscribe", "result": result, "success": True, "req_id": 1}
    taken(made, [text(ack), WHOLE])
    # The ask at 3.50 was taken away by an update that did not come.
    lost = book("update", [("3.40", "9.000")], [], "34090" + "30200", LATER)
    items = taken(made, [lost])
    assert items[0] == Broken("orderbook", PAIR, TS, "checksum")
    assert not [item for item in items if isinstance(item, BookSnapshot)], "no wrong book is stored"
    assert isinstance(items[-1], Send) and json.loads(items[-1].text) == {
        "method": "unsubscribe",
        "params": {"channel": "book", "depth": 10, "symbol": [PAIR]},
        "req_id": 2,
    }
    assert taken(made, [lost]) == [], "of no use before the next snapshot"
    (again,) = taken(made, [text(ack | {"method": "unsubscribe", "req_id": 2})])
    assert isinstance(again, Send) and '"subscribe"' in again.text
    items = taken(made, [text(ack | {"req_id": 3}), WHOLE.replace(AT, LATER)])
    assert Resynced("orderbook", PAIR, TS + 559_706) in items


def test_levels_beyond_the_depth_are_forgotten() -> None:
    bids = [(f"{price}.0", "1.0") for price in range(90, 80, -1)]
    digits = "".join(f"{price}010" for price in range(90, 80, -1))
    pushed = "91010" + "".join(f"{price}010" for price in range(90, 81, -1))
    # 81 was pushed out by 91; when 91 goes, the venue tells 81 anew. Here it does not: nine levels are left.
    left = "".join(f"{price}010" for price in range(90, 81, -1))
    items = taken(
        fresh(["orderbook"]),
        [
            book("snapshot", bids, [], digits),
            book("update", [("91.0", "1.0")], [], pushed),
            book("update", [("91.0", "0.0")], [], left),
        ],
    )
    assert not [item for item in items if isinstance(item, Broken)]
    last = [item for item in items if isinstance(item, BookSnapshot)][-1]
    assert last.bids[0].tolist() == [float(price) for price in range(90, 81, -1)]


def test_a_message_that_is_spelled_otherwise_means_the_same() -> None:
    turned = (
        json.dumps(json.loads(WHOLE, parse_float=lambda x: f"#{x}#"), indent=1)
        .replace('"#', "")
        .replace('#"', "")
    )
    assert repr(taken(fresh(), [turned])) == repr(taken(fresh(), [WHOLE]))


def test_the_checksum_of_the_documented_books() -> None:
    """Messages that were recorded elsewhere have real checksums, of ten levels; what they show of the book is less."""
    file = RECORDINGS / "singles/kraken_ws_test_data.jsonl"
    if not file.exists():
        pytest.skip("the recordings are not here")
    told = [json.loads(line) for line in file.read_text().splitlines()]
    messages = [one["data"] for one in told if "ws_book_" in one["file"]]
    assert len(messages) == 2
    for message in messages:
        (data,) = message["data"]
        assert isinstance(
            DigitBook(10).checksum(text(message).encode(), len(data["bids"]), len(data["asks"])), int
        )
    trades = next(one["data"] for one in told if one["file"].endswith("ws_trade_update.json"))
    rows = taken(fresh(symbols=("BTC/USD",)), [text(trades)])
    assert [(r.ts, r.side, r.trade_id) for r in rows if isinstance(r, Trade)] == [
        (1_696_613_755_440_295, "buy", "10218208"),
        (1_696_613_756_123_456, "sell", "10218209"),
    ]


def test_a_ticker() -> None:
    item = {"symbol": PAIR, "bid": 1.5, "ask": 1.6, "last": 0.0, "timestamp": AT}
    (row,) = taken(fresh(), [text({"channel": "ticker", "type": "snapshot", "data": [item]})])
    assert row == Ticker(TS, RECV, *WHERE, bid=1.5, ask=1.6)
    items = taken(fresh(), [text({"channel": "ticker", "type": "update", "data": [item | {"bid": -1}]})])
    assert [type(item) for item in items] == [Bad, Broken]


def test_one_request_a_channel_and_one_answer_a_symbol() -> None:
    made = fresh(symbols=(PAIR, "DEF/USD"))
    frames = [json.loads(frame)["params"] for frame in made.subscribe()]
    assert frames == [
        {"channel": "book", "depth": 10, "symbol": [PAIR, "DEF/USD"]},
        {"channel": "ticker", "symbol": [PAIR, "DEF/USD"]},
        {"channel": "trade", "snapshot": False, "symbol": [PAIR, "DEF/USD"]},
    ]
    result = {"channel": "trade", "symbol": PAIR}
    granted = {"method": "subscribe", "result": result, "success": True, "req_id": 3}
    refused = {
        "method": "subscribe",
        "error": "Currency pair not supported DEF/USD",
        "success": False,
        "symbol": "DEF/USD",
        "req_id": 3,
    }
    items = taken(made, [text(granted), text(refused)])
    assert Subscribed("trades", PAIR) in items
    assert Rejected("trades", "DEF/USD", "Currency pair not supported DEF/USD") in items


def test_a_refusal_without_a_symbol_is_its_requests() -> None:
    made = fresh(["trades"], (PAIR, "DEF/USD"))
    made.subscribe()
    error = {"method": "subscribe", "error": "no", "success": False, "req_id": 1}
    sent = [json.loads(item.text) for item in taken(made, [text(error)]) if isinstance(item, Send)]
    assert [one["params"]["symbol"] for one in sent] == [[PAIR], ["DEF/USD"]], "each alone"
    assert Rejected("trades", PAIR, "no") in taken(made, [text(error | {"req_id": 2})])
    assert not [
        item
        for item in taken(made, [text(error | {"error": "Exceeded msg rate", "req_id": 3})])
        if isinstance(item, Rejected)
    ]
    assert made.stalled(RECV) == ""
    assert "no answer to subscribe of trade:DEF/USD" in made.stalled(RECV + 20_000_000)


def test_heartbeats_and_unknown_messages() -> None:
    made = fresh()
    assert taken(made, ['{"channel":"heartbeat"}', '{"method":"pong","req_id":4}']) == []
    (unknown,) = taken(made, [trade(1, symbol="NO/NE")])
    assert isinstance(unknown, Notice)
    assert isinstance(taken(made, ["{}"])[0], Bad)


def test_pairs_have_the_sockets_names() -> None:
    listed = {
        "XXBTZUSD": {
            "wsname": "XBT/USD",
            "tick_size": "0.1",
            "lot_decimals": 8,
            "status": "online",
        },
        "ABCXBT": {"wsname": "ABC/XBT", "status": "cancel_only"},
    }
    first, second = instruments("spot", text({"error": [], "result": listed}).encode())
    assert (first.symbol, first.tick, first.lot, first.status) == ("BTC/USD", 0.1, 1e-8, "trading")
    assert (second.symbol, second.status) == ("ABC/BTC", "cancel_only")
    told = {name: {"v": ["1", "3"], "c": ["2.0", "1"]} for name in ("XXBTZUSD", "SOLUSD", "ABCXBT", "??")}
    assert turnover("spot", text({"error": [], "result": told}).encode()) == {
        "BTC/USD": 6.0,
        "SOL/USD": 6.0,
        "ABC/BTC": 6.0,
    }


@pytest.mark.parametrize("body", [b"{}", b"null", b"[]", b"<html>", b'{"error":["EGeneral"],"result":{}}'])
def test_an_answer_that_is_none(body: bytes) -> None:
    for read in (instruments, turnover):
        with pytest.raises(BadAnswerError):
            read("spot", body)


def trades_page(numbers: range, apart_ns: int = 1000) -> bytes:
    rows = ",".join(
        f'["2.5","4",{TS // 10**6}.{number * apart_ns:09d},"s","l","",{number}]' for number in numbers
    )
    return f'{{"error":[],"result":{{"XXBTZUSD":[{rows}],"last":"77"}}}}'.encode()


def test_history_goes_on_until_it_is_past_the_hole() -> None:
    hole = Hole(symbol="BTC/USD", from_ts=TS, to_ts=TS + 10**6, last_id="5", next_id="8")
    history = KrakenHistory("spot")
    request = history.request(hole, None)
    assert f"pair=XBTUSD&since={(TS - 1) * 1000}&" in request.path

    short = history.page(hole, None, request, trades_page(range(5, 9)), RECV)
    assert short.complete
    assert [(t.trade_id, t.ts) for t in short.rows if isinstance(t, Trade)] == [
        ("6", TS // 10**6 * 10**6 + 6),
        ("7", TS // 10**6 * 10**6 + 7),
    ]
    full = history.page(hole, None, request, trades_page(range(1000)), RECV)
    assert not full.complete
    # The last trade's time is in the next page once more: the venue may have others of it.
    last_us = TS // 10**6 * 10**6 + 999
    assert full.next is not None and f"since={(last_us - 1) * 1000}&" in full.next.path
    with pytest.raises(BadAnswerError):
        history.page(hole, None, request, b'{"error":[],"result":{"X":[[1]],"last":"1"}}', RECV)


def test_history_of_one_time_that_fills_a_page_is_not_complete() -> None:
    since = TS // 10**6 * 10**6
    hole = Hole(symbol="BTC/USD", from_ts=since, to_ts=since + 10**6, last_id="", next_id="")
    history = KrakenHistory("spot")
    page = history.page(hole, None, history.request(hole, None), trades_page(range(1000), 0), RECV)
    assert not page.complete and page.next is None
    assert len(page.rows) == 1000
