"""The BitMEX adapter: each rule on messages made for it, and the recorded session against a plain reference."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest

from collector.exchanges.base import Bad, Broken, Hole, Instrument, Rejected, Resynced, Send, Subscribed
from collector.exchanges.bitmex_rest import BitmexHistory, instruments
from collector.rows import BookSnapshot, Liquidation, Ticker, Trade
from tests.collector.recorded import decoder, frames, taken

T = "2024-11-24T08:26:22.356Z"
TS = 1_732_436_782_356_000
CHANNELS = ["trades", "orderbook", "liquidations", "tickers"]


def message(table: str, action: str, *data: dict[str, Any]) -> str:
    told = {"table": table, "action": action, "data": [{"symbol": "XBTUSD"} | item for item in data]}
    return json.dumps(
        told | ({"filter": {"symbol": "XBTUSD"}} if action == "partial" else {}), separators=(",", ":")
    )


def level(number: int, side: str, size: float | None = None, price: float | None = None) -> dict[str, Any]:
    told = {"id": number, "side": side, "size": size, "price": price, "timestamp": T}
    return {key: value for key, value in told.items() if value is not None}


def fresh(depth: int = 50) -> Any:
    return decoder("bitmex", "inverse", ["XBTUSD"], CHANNELS, depth)


PARTIAL = message("orderBookL2", "partial", level(1, "Buy", 100, 50.0), level(2, "Sell", 510, 51.0))


def test_a_trade_is_in_base_units_and_may_have_no_side() -> None:
    trade = {"timestamp": T, "size": 100, "price": 50.0, "trdMatchID": "a"}
    items = taken(
        fresh(),
        [
            message("trade", "insert", trade | {"side": "Buy"}),  # before the partial
            message("trade", "partial", trade | {"side": "Sell"}),
            message("trade", "insert", trade | {"trdMatchID": "b"}),
        ],
    )
    where = ("bitmex", "inverse", "XBTUSD")
    assert items == [
        Trade(TS, 10**15 + 1, *where, "sell", 50.0, 2.0, "a"),
        Trade(TS, 10**15 + 2, *where, None, 50.0, 2.0, "b"),
    ]


def test_a_book_by_ids_and_a_level_that_is_not_there() -> None:
    made = fresh()
    items = taken(
        made,
        [
            message("orderBookL2", "update", level(1, "Buy", 7)),
            PARTIAL,
            message("orderBookL2", "update", level(1, "Buy", 200)),
            message("orderBookL2", "insert", level(3, "Buy", 49, 49.0)),
            message("orderBookL2", "delete", level(1, "Buy")),
            message("orderBookL2", "delete", level(9, "Sell")),
            message("orderBookL2", "update", level(3, "Buy", 9)),
        ],
    )
    assert items[0] == Resynced("orderbook", "XBTUSD", TS)
    books = [item for item in items if isinstance(item, BookSnapshot)]
    assert [(b.bids.tolist(), b.asks.tolist()) for b in books] == [
        ([[50.0], [2.0]], [[51.0], [10.0]]),
        ([[50.0], [4.0]], [[51.0], [10.0]]),
        ([[50.0, 49.0], [4.0, 1.0]], [[51.0], [10.0]]),
        ([[49.0], [1.0]], [[51.0], [10.0]]),
    ]
    assert items[5] == Broken("orderbook", "XBTUSD", TS, "unknown_level")
    assert len(items) == 6, "nothing more before a new partial"


def test_a_break_leaves_the_table_and_subscribes_it_again() -> None:
    made = fresh()
    acks = [
        json.dumps({"success": True, "subscribe": f"{table}:XBTUSD"}, separators=(",", ":"))
        for table in ("trade", "orderBookL2", "liquidation", "instrument")
    ]
    items = taken(made, acks)
    assert {(item.channel, item.symbol) for item in items if isinstance(item, Subscribed)} == {
        (channel, "XBTUSD") for channel in CHANNELS
    }
    *_, leave = taken(made, [PARTIAL, message("orderBookL2", "delete", level(9, "Sell"))])
    assert leave == Send('{"op":"unsubscribe","args":["orderBookL2:XBTUSD"]}')
    assert taken(made, ['{"success":true,"unsubscribe":"orderBookL2:XBTUSD"}']) == [
        Send('{"op":"subscribe","args":["orderBookL2:XBTUSD"]}')
    ]
    assert isinstance(taken(made, [PARTIAL])[0], Resynced)


def test_liquidations_are_what_is_inserted() -> None:
    order = {"orderID": "o", "side": "Sell", "price": 50.0, "leavesQty": 100}
    items = taken(
        fresh(),
        [
            message("liquidation", "partial"),
            message("liquidation", "insert", order),
            message("liquidation", "update", {"orderID": "o", "leavesQty": 40}),
            message("liquidation", "delete", {"orderID": "o"}),
        ],
    )
    at = 10**15 + 1
    assert items == [Liquidation(at, at, "bitmex", "inverse", "XBTUSD", "sell", 50.0, 2.0, "o")]


def test_liquidations_have_no_time_so_that_the_connections_newest_event_tells_how_far_they_are_known() -> (
    None
):
    """A collector that is late receives what was sent long before: its receipt says nothing of what is still unread."""
    made = fresh()
    order = {"orderID": "o", "side": "Sell", "price": 50.0, "leavesQty": 100}
    made.decode(message("liquidation", "partial", order).encode(), TS + 90_000_000)
    assert made.last_ts(("liquidations", "XBTUSD")) == TS + 90_000_000
    trade = {"timestamp": T, "size": 100, "price": 50.0, "trdMatchID": "a", "side": "Buy"}
    made.decode(message("trade", "partial", trade).encode(), TS + 90_000_001)
    assert made.last_ts(("liquidations", "XBTUSD")) == TS


def test_tickers_are_merged() -> None:
    first, second = taken(
        fresh(),
        [
            message(
                "instrument",
                "partial",
                {"timestamp": T, "lastPrice": 50.0, "fundingRate": -0.1, "markPrice": 49.5},
            ),
            message("instrument", "update", {"timestamp": T, "lastPrice": 51.0}),
            message("instrument", "update", {"timestamp": T, "volume": 9}),
        ],
    )
    where = ("bitmex", "inverse", "XBTUSD")
    assert first == Ticker(TS, 10**15, *where, last=50.0, mark=49.5, funding_rate=-0.1)
    assert second == Ticker(TS, 10**15 + 1, *where, last=51.0, mark=49.5, funding_rate=-0.1)


@pytest.mark.parametrize("alone", [False, True])
def test_an_error_is_about_one_name_or_about_all(alone: bool) -> None:
    made = fresh()
    args = ["trade:XBTUSD"] if alone else ["trade:XBTUSD", "orderBookL2:XBTUSD"]
    error = {
        "status": 400,
        "error": "Unknown or expired symbol.",
        "request": {"op": "subscribe", "args": args},
    }
    _, *items = taken(made, [json.dumps(error)])
    if alone:
        assert items == [Rejected("trades", "XBTUSD", "Unknown or expired symbol.")]
    else:
        asked = [json.loads(item.text)["args"] for item in items if isinstance(item, Send)]
        assert asked == [[name] for name in args]
        request = {"op": "subscribe", "args": args[:1]}
        again = error | {"error": "You are already subscribed to this topic", "request": request}
        assert taken(made, [json.dumps(again)])[1:] == [Subscribed("trades", "XBTUSD")]


def test_welcome_and_pong_mean_nothing_and_nonsense_is_bad() -> None:
    made = fresh()
    assert (
        taken(made, ["pong", '{"info":"Welcome to the BitMEX Realtime API.","limit":{"remaining":39}}']) == []
    )
    (bad,) = taken(made, ['{"what":1}'])
    assert isinstance(bad, Bad)


def test_contract_sizes_and_what_is_left_out() -> None:
    base = {"state": "Open", "typ": "FFWCSX", "underlying": "XBT", "isQuanto": False}
    body = json.dumps(
        [
            base | {"symbol": "XBTUSD", "isInverse": True, "multiplier": -100000000, "quoteCurrency": "USD"},
            base
            | {
                "symbol": "XBTUSDT",
                "isInverse": False,
                "multiplier": 1,
                "underlyingToPositionMultiplier": 1000000,
            }
            | {"quoteCurrency": "USDT", "tickSize": 0.5, "lotSize": 1000},
            base | {"symbol": "ETHUSD", "isInverse": False, "isQuanto": True, "multiplier": 100},
            base | {"symbol": "XBT_USDT", "typ": "IFXXXP", "isInverse": False},
        ]
    ).encode()
    (inverse,) = instruments("inverse", body)
    (linear,) = instruments("linear", body)
    assert (inverse.symbol, inverse.contract_size, inverse.inverse) == ("XBTUSD", 1.0, True)
    assert (linear.symbol, linear.contract_size, linear.inverse, linear.tick) == ("XBTUSDT", 1e-6, False, 0.5)


def test_history_pages_by_start_and_is_whole_when_a_page_is_not_full() -> None:
    history, hole = BitmexHistory("inverse"), Hole("XBTUSD", TS, TS + 5_000)
    instrument = Instrument(symbol="XBTUSD", base="XBT", quote="USD", kind="perpetual", inverse=True)
    request = history.request(hole, instrument)
    assert (
        "&start=0&startTime=2024-11-24T08%3A26%3A22.356Z&endTime=2024-11-24T08%3A26%3A22.362Z" in request.path
    )
    trade = {"timestamp": T, "symbol": "XBTUSD", "side": "Buy", "size": 100, "price": 50.0, "trdMatchID": "a"}
    page = history.page(hole, instrument, request, json.dumps([trade] * 1000).encode(), 1)
    assert page.next is not None and "&start=1000&" in page.next.path and not page.complete
    page = history.page(hole, instrument, page.next, json.dumps([trade]).encode(), 1)
    assert (page.next, page.complete) == (None, True)
    assert page.rows == [Trade(TS, 1, "bitmex", "inverse", "XBTUSD", "buy", 50.0, 2.0, "a")]


def test_the_recorded_books_equal_plain_ones_and_have_no_gap() -> None:
    """Ids are kept with their prices, as the recording's changes do not tell them."""
    texts = [text for kind, _, text in frames("bitmex/multi.jsonl.gz") if kind == "recv"]
    books: dict[str, dict[tuple[str, int], tuple[float, float]]] = defaultdict(dict)
    trades: list[tuple[str, str]] = []
    for text in texts:
        told = json.loads(text)
        if told.get("table") == "orderBookL2":
            for item in told["data"]:
                book, key = books[item["symbol"]], (item["side"], item["id"])
                if told["action"] == "delete":
                    del book[key]
                else:
                    book[key] = (item.get("price") or book[key][0], item["size"])
        elif told.get("table") == "trade":
            trades += [(item["symbol"], item["trdMatchID"]) for item in told["data"]]
    items = taken(decoder("bitmex", "linear", sorted(books), ["trades", "orderbook"]), texts)
    assert not [item for item in items if isinstance(item, Broken | Bad)]
    last = {item.symbol: item for item in items if isinstance(item, BookSnapshot)}
    assert last.keys() == books.keys()
    for symbol, book in books.items():
        bids = sorted(((p, s) for (side, _), (p, s) in book.items() if side == "Buy"), reverse=True)
        asks = sorted((p, s) for (side, _), (p, s) in book.items() if side == "Sell")
        assert list(zip(*last[symbol].bids.tolist(), strict=True)) == bids[:1000]
        assert list(zip(*last[symbol].asks.tolist(), strict=True)) == asks[:1000]
    assert [(item.symbol, item.trade_id) for item in items if isinstance(item, Trade)] == trades
