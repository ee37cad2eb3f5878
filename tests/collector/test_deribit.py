"""The Deribit adapter: each rule on messages made for it, and the recorded session against a plain reference."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from collector.exchanges.base import (
    Bad,
    BadAnswerError,
    Broken,
    Hole,
    Rejected,
    Request,
    Resynced,
    Send,
    Subscribed,
)
from collector.exchanges.deribit_rest import DeribitHistory, by_number, instruments
from collector.rows import BookSnapshot, Liquidation, Ticker, Trade
from tests.collector.recorded import decoder, frames, taken

MS = 1_765_531_356_452
CHANNELS = ["trades", "orderbook", "liquidations", "tickers"]
NAME = "BTC-PERPETUAL"
WHERE = ("deribit", "inverse", NAME)


def fresh() -> Any:
    return decoder("deribit", "inverse", [NAME], CHANNELS, 50)


def told(kind: str, data: Any) -> str:
    params = {"channel": f"{kind}.{NAME}.100ms", "data": data}
    return json.dumps({"jsonrpc": "2.0", "method": "subscription", "params": params}, separators=(",", ":"))


def trade(seq: int, **more: Any) -> dict[str, Any]:
    base = {"timestamp": MS + seq, "price": 50.0, "amount": 100.0, "direction": "sell", "trade_seq": seq}
    return base | {"trade_id": f"t{seq}", "instrument_name": NAME} | more


def book(change: int, before: int | None, bids: list[Any], asks: list[Any]) -> str:
    data = {
        "type": "change" if before is not None else "snapshot",
        "timestamp": MS + change,
        "change_id": change,
    }
    data |= {} if before is None else {"prev_change_id": before}
    return told("book", data | {"bids": bids, "asks": asks})


def test_trades_in_base_units_and_a_missing_one() -> None:
    items = taken(
        fresh(),
        [told("trades", [trade(7), trade(8)]), told("trades", [trade(8)]), told("trades", [trade(11)])],
    )
    rows = [item for item in items if isinstance(item, Trade)]
    assert rows[0] == Trade((MS + 7) * 1000, 10**15, *WHERE, "sell", 50.0, 2.0, "t7")
    assert [row.trade_id for row in rows] == ["t7", "t8", "t11"], "one that comes again is dropped"
    assert [item for item in items if isinstance(item, Broken | Resynced)] == [
        Broken("trades", NAME, (MS + 8) * 1000, "sequence_gap", 2),
        Resynced("trades", NAME, (MS + 11) * 1000),
        Broken("liquidations", NAME, (MS + 8) * 1000, "sequence_gap", None),
        Resynced("liquidations", NAME, (MS + 11) * 1000),
    ]


@pytest.mark.parametrize(("mark", "sides"), [("T", ["sell"]), ("M", ["buy"]), ("MT", ["buy", "sell"])])
def test_who_was_liquidated(mark: str, sides: list[str]) -> None:
    items = taken(fresh(), [told("trades", [trade(1, liquidation=mark)])])
    rows = [item for item in items if isinstance(item, Liquidation)]
    assert [(row.side, row.qty, row.price) for row in rows] == [(side, 2.0, 50.0) for side in sides]
    assert len({row.liq_id for row in rows}) == len(sides)
    assert len([item for item in items if isinstance(item, Trade)]) == 1


def test_a_book_by_the_chain_of_changes() -> None:
    made = fresh()
    items = taken(
        made,
        [
            book(5, None, [["new", 50.0, 100.0]], [["new", 51.0, 51.0]]),
            book(9, 5, [["new", 49.0, 98.0]], [["delete", 51.0, 0.0], ["new", 52.0, 52.0]]),
            book(9, 5, [["new", 48.0, 1.0]], []),
            book(20, 12, [["delete", 50.0, 0.0]], []),
            book(21, 20, [["delete", 49.0, 0.0]], []),
        ],
    )
    books = [item for item in items if isinstance(item, BookSnapshot)]
    assert [(b.seq, b.bids.tolist(), b.asks.tolist()) for b in books] == [
        (5, [[50.0], [2.0]], [[51.0], [1.0]]),
        (9, [[50.0, 49.0], [2.0, 2.0]], [[52.0], [1.0]]),
    ]
    assert Broken("orderbook", NAME, (MS + 9) * 1000, "sequence_gap") in items
    (again, *_) = taken(made, [book(40, None, [["new", 50.0, 100.0]], [])])
    assert again == Resynced("orderbook", NAME, (MS + 40) * 1000)


def test_a_ticker() -> None:
    data = {
        "timestamp": MS,
        "last_price": 50.0,
        "mark_price": 50.5,
        "index_price": 50.25,
        "current_funding": -0.001,
    }
    data |= {"open_interest": 7.0, "best_bid_price": 49.5, "best_ask_price": 0}
    assert taken(fresh(), [told("ticker", data)]) == [
        Ticker(MS * 1000, 10**15, *WHERE, 50.0, 50.5, 50.25, -0.001, None, 7.0, 49.5, None)
    ]


def test_what_the_answer_leaves_out_is_refused() -> None:
    made = decoder("deribit", "inverse", [NAME], CHANNELS, 50)
    answer = {"jsonrpc": "2.0", "id": 3, "result": [f"trades.{NAME}.100ms", f"ticker.{NAME}.100ms"]}
    items = taken(made, [json.dumps(answer)])
    granted = {item.channel for item in items if isinstance(item, Subscribed)}
    assert granted == {"trades", "liquidations", "tickers"}
    assert [item.channel for item in items if isinstance(item, Rejected)] == ["orderbook"]


def test_a_test_request_is_answered_and_too_many_requests_are_repeated_later() -> None:
    made = fresh()
    (answer,) = taken(made, ['{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'])
    assert isinstance(answer, Send) and json.loads(answer.text)["method"] == "public/test"
    assert answer.urgent, "the venue closes the connection of a late answer"
    assert taken(made, ['{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}']) == []
    refused = '{"jsonrpc":"2.0","id":3,"error":{"code":10028,"message":"too_many_requests"}}'
    assert not [item for item in taken(made, [refused]) if isinstance(item, Send | Rejected)]
    assert not [item for item in made.flush(10**15 + 500_000) if isinstance(item, Send)]
    (send,) = [item for item in made.flush(10**15 + 1_100_000) if isinstance(item, Send)]
    assert json.loads(send.text)["method"] == "public/subscribe"


def test_instruments_by_market() -> None:
    base = {"kind": "future", "base_currency": "BTC", "settlement_period": "perpetual", "is_active": True}
    body = json.dumps(
        {
            "result": [
                base
                | {
                    "instrument_name": NAME,
                    "instrument_type": "reversed",
                    "quote_currency": "USD",
                    "tick_size": 0.5,
                },
                base
                | {
                    "instrument_name": "BTC_USDC-PERPETUAL",
                    "instrument_type": "linear",
                    "quote_currency": "USDC",
                },
                {"kind": "spot", "instrument_name": "BTC_USDC"},
            ]
        }
    ).encode()
    assert [(i.symbol, i.inverse, i.kind, i.tick) for i in instruments("inverse", body)] == [
        (NAME, True, "perpetual", 0.5)
    ]
    assert [i.symbol for i in instruments("linear", body)] == ["BTC_USDC-PERPETUAL"]
    assert [i.symbol for i in instruments("spot", body)] == ["BTC_USDC"]


def answered(*seqs: int, more: bool = False, **changes: Any) -> bytes:
    trades = [trade(seq, **changes) for seq in seqs]
    return json.dumps({"result": {"trades": trades, "has_more": more}}).encode()


HISTORY, HOLE = DeribitHistory("inverse", "trades"), Hole(NAME, (MS + 5) * 1000, (MS + 9) * 1000)


def asked_by_number() -> Request:
    """What follows when the trade before the hole is 4."""
    first = HISTORY.request(HOLE, None)
    assert f"end_timestamp={MS + 4}&count=1&sorting=desc" in first.path
    page = HISTORY.page(HOLE, None, first, answered(4), 1)
    assert page.next is not None and "get_last_trades_by_instrument?" in page.next.path
    assert "start_seq=4&" in page.next.path and not page.complete
    return page.next


def test_history_counts_on_from_the_trade_before_the_hole() -> None:
    page = HISTORY.page(HOLE, None, asked_by_number(), answered(4, 5, 6, 7, more=True), 1)
    assert [row.trade_id for row in page.rows if isinstance(row, Trade)] == [
        "t4",
        "t5",
        "t6",
        "t7",
    ] and not page.complete
    assert page.rows[1] == Trade((MS + 5) * 1000, 1, *WHERE, "sell", 50.0, 2.0, "t5")
    assert page.next is not None and "start_seq=8&" in page.next.path
    page = HISTORY.page(HOLE, None, page.next, answered(8, 9, 10, more=True), 1)
    assert page.complete and page.next is None, "10 is younger than the hole"
    page = HISTORY.page(HOLE, None, asked_by_number(), answered(4, 5, 6), 1)
    assert page.complete and page.next is None, "there is no newer trade"


@pytest.mark.parametrize("seqs", [(4, 6, 7, 10), (5, 6, 7, 10), (), (4, 5, 5, 10)])
def test_history_with_a_number_left_out_goes_on_by_time_and_is_never_complete(seqs: tuple[int, ...]) -> None:
    page = HISTORY.page(HOLE, None, asked_by_number(), answered(*seqs), 1)
    assert not page.complete and page.next is not None
    assert f"start_timestamp={MS + 4}&end_timestamp={MS + 10}&" in page.next.path
    page = HISTORY.page(HOLE, None, page.next, answered(5, 7, more=True), 1)
    assert not page.complete and page.next is not None and f"start_timestamp={MS + 7}&" in page.next.path
    page = HISTORY.page(HOLE, None, page.next, answered(7, 8, 9), 1)
    assert not page.complete and page.next is None


def test_history_of_liquidations_is_that_of_the_trades_that_were_forced() -> None:
    """As the socket tells them: the taker's side, the other one's, or both."""
    history = DeribitHistory("inverse", "liquidations")
    trades = [
        trade(5),
        trade(6, liquidation="T"),
        trade(7, liquidation="M"),
        trade(8, liquidation="MT"),
        trade(9, liquidation="none"),
        trade(10),
    ]
    body = json.dumps({"result": {"trades": trades, "has_more": False}}).encode()
    page = history.page(HOLE, None, by_number(HOLE, 5), body, 1)
    assert page.complete
    assert [
        (row.ts - MS * 1000, row.side, row.liq_id) for row in page.rows if isinstance(row, Liquidation)
    ] == [
        (6000, "sell", "t6-T"),
        (7000, "buy", "t7-M"),
        (8000, "buy", "t8-M"),
        (8000, "sell", "t8-T"),
    ]
    assert (page.rows[0].price, page.rows[0].qty) == (50.0, 2.0)


@pytest.mark.parametrize("seqs", [(), (5,)])
def test_history_without_a_trade_before_the_hole_is_not_complete(seqs: tuple[int, ...]) -> None:
    page = HISTORY.page(HOLE, None, HISTORY.request(HOLE, None), answered(*seqs), 1)
    assert page.next is not None and "sorting=asc" in page.next.path and "start_seq" not in page.next.path
    page = HISTORY.page(HOLE, None, page.next, answered(5, 6), 1)
    assert not page.complete and page.next is None and len(page.rows) == 2


def test_a_millisecond_that_fills_a_page_ends_the_history() -> None:
    page = HISTORY.page(HOLE, None, HISTORY.request(HOLE, None), answered(), 1)
    assert page.next is not None
    page = HISTORY.page(HOLE, None, page.next, answered(5, 6, more=True, timestamp=MS + 4), 1)
    assert page.next is None and not page.complete


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"result":{}}',
        b'{"error":{"code":10028,"message":"too_many_requests"}}',
        answered(5, price=0.0),
        answered(5, direction="up"),
        answered(5, trade_seq="x"),
    ],
)
def test_an_answer_that_is_none_raises(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        HISTORY.page(HOLE, None, HISTORY.request(HOLE, None), body, 1)


def test_the_recorded_books_equal_plain_ones_and_have_no_gap() -> None:
    texts = [text for kind, _, text in frames("deribit/multi.jsonl.gz") if kind == "recv"]
    books: dict[str, dict[str, dict[float, float]]] = defaultdict(lambda: {"bids": {}, "asks": {}})
    for text in texts:
        params = json.loads(text).get("params", {})
        if params.get("channel", "").startswith("book."):
            data = params["data"]
            book = books[data["instrument_name"]]
            for side in ("bids", "asks"):
                if data["type"] == "snapshot":
                    book[side].clear()
                for action, price, size in data[side]:
                    book[side].pop(price, None)
                    if action != "delete":
                        book[side][price] = size
    items = taken(decoder("deribit", "inverse", sorted(books), ["orderbook", "tickers"]), texts)
    assert not [item for item in items if isinstance(item, Broken | Bad)]
    last = {item.symbol: item for item in items if isinstance(item, BookSnapshot)}
    assert last.keys() == books.keys()
    for symbol, book in books.items():  # options: sizes are coins
        assert list(zip(*last[symbol].bids.tolist(), strict=True)) == sorted(
            book["bids"].items(), reverse=True
        )
        assert list(zip(*last[symbol].asks.tolist(), strict=True)) == sorted(book["asks"].items())
    assert {item.symbol for item in items if isinstance(item, Ticker)} == books.keys()
