"""Coinbase: a message of each kind, the numbers of a connection, its answers, and its REST."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest

from collector.exchanges import EXCHANGES
from collector.exchanges.base import (
    Bad,
    BadAnswerError,
    Broken,
    Fetch,
    Hole,
    Item,
    Notice,
    Rejected,
    Request,
    Resynced,
    Send,
    Subscribed,
)
from collector.exchanges.coinbase import CoinbaseDecoder
from collector.exchanges.coinbase_rest import CoinbaseHistory, instruments, turnover
from collector.exchanges.coinbase_topics import TradeTopic
from collector.rows import BookSnapshot, Ticker, Trade
from collector.settings import Duration, FeedConfig
from tests.fuzz.venues import RECORDINGS

PRODUCT = "ABC-USD"
WHERE = ("coinbase", "spot", PRODUCT)
AT, LATER = "2026-04-07T14:30:00.123456Z", "2026-04-07T14:30:01.000000Z"
TS, TS_LATER = 1_775_572_200_123_456, 1_775_572_201_000_000
RECV = TS + 9000
ALL = ["trades", "orderbook", "tickers"]


def fresh(
    channels: list[str] = ALL, symbols: tuple[str, ...] = (PRODUCT,), known: bool = True
) -> CoinbaseDecoder:
    """`known`: that trades tell the taker's side."""
    feed = FeedConfig(
        exchange="coinbase",
        market="spot",
        symbols=list(symbols),
        channels=channels,
        book_depth=20,
        book_interval=Duration(0.0),
    )
    streams = [(channel, symbol) for channel in channels for symbol in symbols]
    made: CoinbaseDecoder = EXCHANGES["coinbase"].decoder(feed, streams, {})  # type: ignore[assignment]
    for topic in made.topics:
        if isinstance(topic, TradeTopic) and known:
            topic._sides.takers = True
    return made


def text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def message(channel: str, number: int, *events: Any, at: str = AT) -> str:
    head = {"channel": channel, "client_id": "", "timestamp": at, "sequence_num": number}
    return text(head | {"events": list(events)})


def trade(number: int, at: str = AT, **other: Any) -> dict[str, Any]:
    item = {"trade_id": str(number), "product_id": PRODUCT, "price": "2.5", "size": "4", "side": "BUY"}
    return item | {"time": at} | other


def trades(sequence: int, *items: dict[str, Any], kind: str = "update") -> str:
    return message("market_trades", sequence, {"type": kind, "trades": list(items)})


def book(
    sequence: int, kind: str, *changes: tuple[str, str, str], at: str = AT, product: str = PRODUCT
) -> str:
    updates = [
        {"side": side, "event_time": at, "price_level": price, "new_quantity": size}
        for side, price, size in changes
    ]
    return message("l2_data", sequence, {"type": kind, "product_id": product, "updates": updates}, at=at)


def taken(decoder: CoinbaseDecoder, messages: list[str], recv: int = RECV) -> list[Item]:
    return [item for one in messages for item in decoder.decode(one.encode(), recv)]


WHOLE = (("bid", "2", "10"), ("bid", "1", "20"), ("offer", "3", "30"))


def test_the_newest_trades_come_first_and_newest_first() -> None:
    made = fresh()
    rows = taken(made, [trades(0, trade(8, LATER), trade(7), kind="snapshot"), trades(1, trade(9, LATER))])
    assert rows == [
        Trade(TS, RECV, *WHERE, "buy", 2.5, 4.0, "7"),
        Trade(TS_LATER, RECV, *WHERE, "buy", 2.5, 4.0, "8"),
        Trade(TS_LATER, RECV, *WHERE, "buy", 2.5, 4.0, "9"),
    ]
    assert taken(made, [trades(2, trade(8, LATER))]) == [], "once more"


def makers(*sides: tuple[int, str]) -> bytes:
    """REST's answer: trade ids and the maker's side of each."""
    return text(
        [{"trade_id": number, "side": side, "price": "2.5", "size": "4"} for number, side in sides]
    ).encode()


@pytest.mark.parametrize(
    ("rest", "side", "event"),
    [
        (makers((7, "sell"), (6, "buy")), "buy", None),
        (makers((7, "buy"), (6, "sell")), "sell", "side_is_makers"),
    ],
    ids=["taker", "maker"],
)
def test_whose_side_trades_tell_is_found_out_by_rest(rest: bytes, side: str, event: str | None) -> None:
    """The socket says BUY; what REST tells of the same ids decides, for those held back and for later ones."""
    made = fresh(["trades"], (PRODUCT, "DEF-USD"), known=False)
    asked = taken(made, [trades(0, trade(7), kind="snapshot"), trades(1, trade(3, product_id="DEF-USD"))])
    assert asked == [Fetch(Request(f"/products/{PRODUCT}/trades?limit=1000"), f"market_trades:{PRODUCT}")]
    items = made.answer(f"market_trades:{PRODUCT}", rest, RECV)
    assert [item.event for item in items if isinstance(item, Notice)] == ([event] if event else [])
    rows = [item for item in (*items, *made.flush(RECV)) if isinstance(item, Trade)]
    assert [(row.symbol, row.side) for row in rows] == [(PRODUCT, side), ("DEF-USD", side)]
    later = taken(made, [trades(2, trade(8, LATER, side="SELL"))])
    assert [row.side for row in later if isinstance(row, Trade)] == [{"buy": "sell", "sell": "buy"}[side]]


@pytest.mark.parametrize("rest", [b"", b"{}", b"[]", b"[{}]", b"[1]", makers((99, "buy"))])
def test_without_rest_the_takers_side_is_assumed_and_said_so(rest: bytes) -> None:
    made = fresh(["trades"], known=False)
    (asked,) = taken(made, [trades(0, trade(7))])
    assert isinstance(asked, Fetch)
    assert list(made.answer(asked.tag, rest, RECV)) == []
    assert list(made.flush(RECV + 3_000_000)) == [asked], "once more"
    items = list(made.flush(RECV + 10_000_000))
    assert [item.event for item in items if isinstance(item, Notice)] == ["side_assumed"]
    assert [item.side for item in items if isinstance(item, Trade)] == ["buy"]
    assert made.drain() == []


def test_trades_that_wait_for_rest_are_not_lost_with_the_connection() -> None:
    made = fresh(["trades"], known=False)
    taken(made, [trades(0, trade(7), trade(8))])
    assert [item.trade_id for item in made.drain() if isinstance(item, Trade)] == ["7", "8"]


@pytest.mark.parametrize(
    "wrong", [{"side": "B"}, {"price": "0"}, {"size": "nan"}, {"time": "now"}, {"trade_id": "-1"}]
)
def test_a_trade_that_cannot_be_is_declared(wrong: dict[str, Any]) -> None:
    items = taken(fresh(), [trades(0, trade(1)), trades(1, trade(2) | wrong), trades(2, trade(3))])
    assert [type(item) for item in items] == [Trade, Bad, Broken, Resynced, Trade]


def test_trades_of_several_products_in_one_message() -> None:
    made = fresh(["trades"], (PRODUCT, "DEF-USD"))
    rows = taken(made, [trades(0, trade(1), trade(2, product_id="DEF-USD"))])
    assert [(row.symbol, row.trade_id) for row in rows if isinstance(row, Trade)] == [
        (PRODUCT, "1"),
        ("DEF-USD", "2"),
    ]


def test_a_book() -> None:
    items = taken(
        fresh(),
        [book(0, "snapshot", *WHOLE), book(1, "update", ("bid", "2", "0"), ("offer", "2.5", "1"), at=LATER)],
    )
    assert items[0] == Resynced("orderbook", PRODUCT, TS)
    books = [item for item in items if isinstance(item, BookSnapshot)]
    assert [(b.ts, b.bids.tolist(), b.asks.tolist()) for b in books] == [
        (TS, [[2.0, 1.0], [10.0, 20.0]], [[3.0], [30.0]]),
        (TS_LATER, [[1.0], [20.0]], [[2.5, 3.0], [1.0, 30.0]]),
    ]


def test_what_a_connection_lost_each_of_its_streams_has_lost() -> None:
    made = fresh(["trades", "orderbook"])
    made.subscribe()
    there = {"level2": [PRODUCT], "market_trades": [PRODUCT]}
    taken(made, [message("subscriptions", 0, {"subscriptions": there}), trades(1, trade(1))])
    taken(made, [book(2, "snapshot", *WHOLE)])
    items = taken(made, [trades(4, trade(2, LATER))])
    assert items[:2] == [
        Broken("trades", PRODUCT, TS, "sequence_gap"),
        Broken("orderbook", PRODUCT, TS, "sequence_gap"),
    ]
    assert Resynced("trades", PRODUCT, TS_LATER) in items
    (leave,) = [json.loads(item.text) for item in items if isinstance(item, Send)]
    assert leave == {"type": "unsubscribe", "product_ids": [PRODUCT], "channel": "level2"}
    assert taken(made, [book(5, "update", ("bid", "2", "1"))]) == [], "of no use before the next snapshot"
    left = {"market_trades": [PRODUCT]}
    (again,) = taken(made, [message("subscriptions", 6, {"subscriptions": left})])
    assert isinstance(again, Send) and '"subscribe"' in again.text
    items = taken(
        made, [message("subscriptions", 7, {"subscriptions": there}), book(8, "snapshot", *WHOLE, at=LATER)]
    )
    assert Resynced("orderbook", PRODUCT, TS_LATER) in items


def test_numbers_that_count_by_channel_are_whole_too() -> None:
    heartbeat, update = count(), count()
    made = fresh(["orderbook"])
    items = taken(made, [book(next(update), "snapshot", *WHOLE)])
    for _ in range(20):
        items += taken(made, [message("heartbeats", next(heartbeat), {"heartbeat_counter": 1})])
        items += taken(made, [book(next(update), "update", ("bid", "2", "1"))])
    assert not [item for item in items if isinstance(item, Broken)]
    items = taken(made, [book(next(update) + 1, "update", ("bid", "2", "1"))])
    assert [type(item) for item in items][:1] == [Broken]


def test_a_ticker() -> None:
    item = {"product_id": PRODUCT, "price": "2.5", "best_bid": "2.4", "best_ask": ""}
    made = fresh()
    (row,) = taken(made, [message("ticker", 0, {"type": "snapshot", "tickers": [item]})])
    assert row == Ticker(TS, RECV, *WHERE, last=2.5, bid=2.4)
    items = taken(made, [message("ticker", 1, {"type": "update", "tickers": [item | {"price": "-1"}]})])
    assert [type(item) for item in items] == [Bad, Broken]


def test_products_in_usdc_come_under_the_name_of_usd() -> None:
    made = fresh(["orderbook"], ("ABC-USDC",))
    items = taken(made, [book(0, "snapshot", *WHOLE)])
    assert Resynced("orderbook", "ABC-USDC", TS) in items
    both = fresh(["orderbook"], ("ABC-USDC", PRODUCT))
    items = taken(both, [book(0, "snapshot", *WHOLE)])
    assert [item.symbol for item in items if isinstance(item, BookSnapshot)] == [PRODUCT]


@pytest.mark.parametrize("reason", ["invalid product id DEF-USD", "no"])
def test_a_refusal_names_its_product_or_is_the_oldest_requests(reason: str) -> None:
    made = fresh(["trades"], (PRODUCT, "DEF-USD"))
    frames = made.subscribe()
    assert [json.loads(frame)["channel"] for frame in frames] == ["heartbeats", "market_trades"]
    items = taken(made, [text({"type": "error", "message": reason})])
    if reason == "no":
        sent = [json.loads(item.text)["product_ids"] for item in items if isinstance(item, Send)]
        assert sent == [[PRODUCT], ["DEF-USD"]], "each alone"
        items = taken(made, [text({"type": "error", "message": reason})])
        assert Rejected("trades", PRODUCT, "no") in items
    else:
        assert Rejected("trades", "DEF-USD", reason) in items
        items = taken(made, [message("subscriptions", 0, {"subscriptions": {"market_trades": [PRODUCT]}})])
        assert items == [Subscribed("trades", PRODUCT)]
        assert made.stalled(RECV + 60_000_000) == ""


def test_heartbeats_and_unknown_messages() -> None:
    made = fresh()
    assert taken(made, [message("heartbeats", 0, {"heartbeat_counter": 7})]) == []
    assert isinstance(taken(made, [book(1, "update", product="NO-NE")])[0], Notice)
    assert isinstance(taken(made, [message("candles", 2, {})])[0], Notice)
    assert isinstance(taken(made, ["{}"])[0], Bad)


def test_the_messages_that_others_recorded() -> None:
    file = RECORDINGS / "singles"
    found = list(file.glob("*coinbase*"))
    if not found:
        pytest.skip("the recordings are not here")
    told = {
        one["file"].rpartition("/")[2]: one["data"]
        for one in map(json.loads, found[0].read_text().splitlines())
    }
    made = fresh(symbols=("BTC-USD",))
    names = ("ws_l2_data_snapshot.json", "ws_l2_data_update.json", "ws_market_trades.json", "ws_ticker.json")
    items = []
    for sequence, name in enumerate(names):
        items += taken(made, [text(told[name] | {"sequence_num": sequence})])
    assert not [item for item in items if isinstance(item, Bad | Broken | Notice)]
    levels: dict[str, dict[float, float]] = {"bid": {}, "offer": {}}
    for name in names[:2]:
        for change in told[name]["events"][0]["updates"]:
            levels[change["side"]][float(change["price_level"])] = float(change["new_quantity"])
    bids = sorted((price for price, size in levels["bid"].items() if size), reverse=True)
    books = [item for item in items if isinstance(item, BookSnapshot)]
    assert books[-1].bids.tolist() == [bids, [levels["bid"][price] for price in bids]]
    wanted = {
        (one["trade_id"], one["side"].lower(), float(one["price"]), float(one["size"]))
        for one in told[names[2]]["events"][0]["trades"]
    }
    assert {(r.trade_id, r.side, r.price, r.qty) for r in items if isinstance(r, Trade)} == wanted


def test_products_and_turnover() -> None:
    listed = [
        {"id": PRODUCT, "base_currency": "ABC", "quote_currency": "USD", "quote_increment": "0.01"},
        {"id": "OLD-USD", "status": "delisted", "base_increment": "0.5"},
        {"id": "OFF-USD", "status": "online", "trading_disabled": True},
    ]
    found = instruments("spot", text(listed).encode())
    assert [(item.symbol, item.status) for item in found] == [
        (PRODUCT, "trading"),
        ("OLD-USD", "delisted"),
        ("OFF-USD", "disabled"),
    ]
    assert (found[0].base, found[0].tick, found[1].lot) == ("ABC", 0.01, 0.5)
    told = {PRODUCT: {"stats_24hour": {"volume": "3", "last": "2"}}}
    assert turnover("spot", text(told).encode()) == {PRODUCT: 6.0}


@pytest.mark.parametrize("body", [b"null", b"1", b"<html>", b'[{"x":1}]', b'{"A":{}}'])
def test_an_answer_that_is_none(body: bytes) -> None:
    for read in (instruments, turnover):
        with pytest.raises(BadAnswerError):
            read("spot", body)


def test_history_walks_back_until_the_hole_is_covered() -> None:
    hole = Hole(symbol=PRODUCT, from_ts=TS, to_ts=TS_LATER, last_id="3", next_id="9")
    history = CoinbaseHistory("spot")
    request = history.request(hole, None)
    assert request.path == f"/products/{PRODUCT}/trades?limit=1000&after=9"

    def page(*numbers: int) -> bytes:
        return text(
            [{"trade_id": n, "side": "buy", "price": "2.5", "size": "4", "time": LATER} for n in numbers]
        ).encode()

    first = history.page(hole, None, request, page(8, 7), RECV)
    assert not first.complete
    assert first.rows[0] == Trade(TS_LATER, RECV, *WHERE, "sell", 2.5, 4.0, "8"), "REST has the maker's side"
    assert first.next is not None and first.next.path.endswith("after=7")
    last = history.page(hole, None, first.next, page(6, 5, 4), RECV)
    assert (last.complete, last.next) == (True, None)
    assert history.page(hole, None, first.next, b"[]", RECV).complete is False
    assert history.page(hole, None, first.next, page(7), RECV).next is None, "it would never end"
