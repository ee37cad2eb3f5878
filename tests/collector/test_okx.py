"""OKX: a message of each kind, the rules of its sequences, its answers, and its REST."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any

import pytest

from collector.exchanges import EXCHANGES
from collector.exchanges.base import (
    Bad,
    BadAnswerError,
    Broken,
    Fetch,
    Hole,
    Instrument,
    Item,
    Notice,
    Rejected,
    Resynced,
    Send,
    Subscribed,
)
from collector.exchanges.okx import OkxDecoder
from collector.exchanges.okx_checksum import TextBook
from collector.exchanges.okx_rest import OkxHistory, OkxLiquidationHistory, instruments, turnover
from collector.rows import BookSnapshot, Liquidation, Ticker, Trade
from collector.settings import Duration, FeedConfig
from tests.fuzz.venues import RECORDINGS

MS = 1_700_000_000_000
TS = MS * 1000
RECV = TS + 5000
SWAP = "ABC-USDT-SWAP"
WHERE = ("okx", "linear", SWAP)
CHANNELS = ["trades", "orderbook", "liquidations", "tickers"]


def instrument(symbol: str, size: float, inverse: bool = False) -> Instrument:
    return Instrument(
        symbol=symbol, base="ABC", quote="USD", kind="perpetual", contract_size=size, inverse=inverse
    )


def fresh(
    market: str = "linear", symbols: tuple[str, ...] = (SWAP,), channels: list[str] = CHANNELS
) -> OkxDecoder:
    feed = FeedConfig(
        exchange="okx",
        market=market,
        symbols=list(symbols),
        channels=channels,
        book_depth=20,
        book_interval=Duration(0.0),
    )
    listed = {symbol: instrument(symbol, 0.1, market == "inverse") for symbol in symbols}
    streams = [(channel, symbol) for channel in channels for symbol in symbols]
    return EXCHANGES["okx"].decoder(feed, streams, listed)  # type: ignore[return-value]


def taken(decoder: OkxDecoder, messages: list[str], recv: int = RECV) -> list[Item]:
    return [item for text in messages for item in decoder.decode(text.encode(), recv)]


def text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def message(channel: str, data: Any, action: str = "", **arg: str) -> str:
    arg = arg or {"instId": SWAP}
    told = {"action": action} if action else {}
    return text({"arg": {"channel": channel, **arg}, **told, "data": data})


def trade(number: int, at: int = MS, channel: str = "trades-all", **other: Any) -> str:
    item = {"instId": SWAP, "tradeId": str(number), "px": "2.5", "sz": "4", "side": "sell", "ts": str(at)}
    return message(channel, [item | other])


def book(seq: int, before: int, bids: Any = (), asks: Any = (), action: str = "update", at: int = MS) -> str:
    sides = {
        side: [[price, size, "0", "1"] for price, size in told]
        for side, told in (("bids", bids), ("asks", asks))
    }
    return message(
        "books", [sides | {"ts": str(at), "checksum": 0, "seqId": seq, "prevSeqId": before}], action
    )


WHOLE = book(10, -1, [("2", "10"), ("1", "20")], [("3", "30")], "snapshot")


def test_a_trade_is_a_number_of_contracts() -> None:
    assert taken(fresh(), [trade(7)]) == [Trade(TS, RECV, *WHERE, "sell", 2.5, 0.4, "7")]
    inverse = fresh("inverse")
    (row,) = taken(inverse, [trade(7)])
    assert isinstance(row, Trade)
    assert row.qty == 4 * 0.1 / 2.5


def test_a_jump_of_ids_is_declared_where_the_rule_is_seen_to_hold() -> None:
    made = fresh()
    items = taken(made, [trade(number, MS + number) for number in range(1, 23)])
    assert not [item for item in items if not isinstance(item, Trade)]
    items = taken(made, [trade(26, MS + 50)])
    assert items[:2] == [
        Broken("trades", SWAP, TS + 22_000, "sequence_gap", 3),
        Resynced("trades", SWAP, TS + 50_000),
    ]
    assert taken(made, [trade(26, MS + 50), trade(20, MS + 20)]) == [], "seen before"
    # The other reading: ids that jump all the time tell of no loss.
    made = fresh()
    items = taken(made, [trade(3 * number, MS + number) for number in range(1, 40)])
    assert not [item for item in items if not isinstance(item, Trade)]


def test_fills_that_come_together_count() -> None:
    made = fresh()
    items = taken(
        made, [trade(3 * number, MS + number, channel="trades", count="3") for number in range(1, 30)]
    )
    assert len(items) == 29
    gap, *_ = taken(made, [trade(93, MS + 99, channel="trades", count="3")])
    assert gap == Broken("trades", SWAP, TS + 29_000, "sequence_gap", 3)


def test_ids_that_begin_anew() -> None:
    items = taken(fresh(), [trade(100), trade(3, MS + 9)])
    assert items[1] == Broken("trades", SWAP, TS, "exchange_restart")
    assert isinstance(items[3], Trade)


@pytest.mark.parametrize(
    "wrong",
    [{"side": "x"}, {"px": "0"}, {"px": "nan"}, {"sz": "-1"}, {"ts": "0"}, {"instId": "X"}, {"tradeId": "a"}],
)
def test_a_trade_that_cannot_be_is_declared(wrong: dict[str, Any]) -> None:
    items = taken(fresh(), [trade(1), trade(2, **wrong), trade(3, MS + 1)])
    assert [type(item) for item in items] == [Trade, Bad, Broken, Resynced, Trade]


def test_a_book_follows_by_prev_seq_id() -> None:
    items = taken(
        fresh(),
        [WHOLE, book(17, 10, [("2", "0")], at=MS + 1), book(17, 17, at=MS + 2), book(24, 17, [("1.5", "5")])],
    )
    books = [item for item in items if isinstance(item, BookSnapshot)]
    assert [(b.seq, b.bids.tolist(), b.asks.tolist()) for b in books] == [
        (10, [[2.0, 1.0], [1.0, 2.0]], [[3.0], [3.0]]),
        (17, [[1.0], [2.0]], [[3.0], [3.0]]),
        (24, [[1.5, 1.0], [0.5, 2.0]], [[3.0], [3.0]]),
    ]
    assert len(items) == 4, "what repeats itself is no row"


@pytest.mark.parametrize(
    ("update", "cause"),
    [
        (book(30, 17, at=MS + 9), "sequence_gap"),
        (book(5, 10, at=MS + 9), "exchange_restart"),
        (book(5, 4, at=MS + 9), "exchange_restart"),
    ],
)
def test_a_broken_chain_asks_for_a_new_book(update: str, cause: str) -> None:
    made = fresh(channels=["orderbook"])
    ack = text({"id": "1", "event": "subscribe", "arg": {"channel": "books", "instId": SWAP}})
    made.subscribe()
    items = taken(made, [ack, WHOLE, update])
    assert Broken("orderbook", SWAP, TS, cause) in items
    assert isinstance(items[-1], Send) and json.loads(items[-1].text)["op"] == "unsubscribe"
    assert taken(made, [book(40, 30, [("9", "9")])]) == [], "of no use before the next snapshot"
    (again,) = taken(made, [ack.replace("subscribe", "unsubscribe").replace('"1"', '"2"')])
    assert isinstance(again, Send) and json.loads(again.text)["op"] == "subscribe"
    items = taken(made, [ack.replace('"1"', '"3"'), book(50, -1, [("1", "1")], [], "snapshot", MS + 20)])
    assert Resynced("orderbook", SWAP, TS + 20_000) in items


def test_an_update_that_comes_twice() -> None:
    items = taken(fresh(), [WHOLE, book(17, 10, [("2", "0")]), book(17, 10, [("2", "0")])])
    assert isinstance(items[-1], Notice) and items[-1].event == "stale_update"
    assert len([item for item in items if isinstance(item, BookSnapshot)]) == 2


def test_a_book_without_a_snapshot_is_joined_to_the_one_by_rest() -> None:
    made = fresh(channels=["orderbook"])
    made.subscribe()
    ack = text({"event": "subscribe", "arg": {"channel": "books", "instId": SWAP}})
    items = taken(made, [ack, book(12, 10, [("2", "1")]), book(15, 12, [("2", "8")], at=MS + 1)])
    assert [type(item) for item in items] == [Subscribed, Fetch, Broken]
    answer = {"asks": [["3", "30", "0", "1"]], "bids": [["1", "20", "0", "1"]], "ts": str(MS), "seqId": 12}
    body = text({"code": "0", "msg": "", "data": [answer]}).encode()
    joined = made.answer(f"books:{SWAP}", body, RECV)
    assert joined[0] == Resynced("orderbook", SWAP, TS + 1000)
    (row,) = [item for item in joined if isinstance(item, BookSnapshot)]
    assert (row.seq, row.bids.tolist(), row.asks.tolist()) == (15, [[2.0, 1.0], [0.8, 2.0]], [[3.0], [3.0]])
    # One that is older than what is held does not join: it is asked for again.
    made = fresh(channels=["orderbook"])
    taken(made, [ack, book(30, 20, [("2", "1")])])
    assert [type(item) for item in made.answer(f"books:{SWAP}", body, RECV)] == [Fetch]


def test_a_checksum_that_is_not_zero_is_checked() -> None:
    right = zlib.crc32(b"2:10:3:30:1:20")
    right -= (1 << 32) * (right >= 1 << 31)
    assert [
        type(item) for item in taken(fresh(), [WHOLE.replace('"checksum":0', f'"checksum":{right}')])
    ] == [
        Resynced,
        BookSnapshot,
    ]
    items = taken(fresh(), [WHOLE.replace('"checksum":0', '"checksum":5')])
    assert Broken("orderbook", SWAP, TS, "checksum") in items
    # After one without, the digits of the book are not known.
    items = taken(fresh(), [WHOLE, book(17, 10, [("2", "0")]).replace('"checksum":0', '"checksum":5')])
    assert not [item for item in items if isinstance(item, Broken)]


def forced(*details: dict[str, str], symbol: str = SWAP) -> str:
    data = [{"details": list(details), "instId": symbol, "instType": "SWAP"}]
    return message("liquidation-orders", data, instType="SWAP")


def test_liquidations_of_all_symbols_come_together() -> None:
    order = {"bkPx": "2.5", "side": "sell", "posSide": "long", "sz": "4", "ts": str(MS)}
    made = fresh(symbols=(SWAP, "DEF-USDT-SWAP"), channels=["liquidations"])
    rows = taken(made, [forced(order, order), forced(order, symbol="OTHER-USDT-SWAP")])
    liq_id = f"{MS}-sell-2.5-4.0"
    assert rows == [
        Liquidation(TS, RECV, *WHERE, "sell", 2.5, 0.4, f"{liq_id}-0"),
        Liquidation(TS, RECV, *WHERE, "sell", 2.5, 0.4, f"{liq_id}-1"),
    ]
    assert len(made.subscribe()) == 1
    acknowledged = taken(
        made, [text({"event": "subscribe", "arg": {"channel": "liquidation-orders", "instType": "SWAP"}})]
    )
    assert acknowledged == [Subscribed("liquidations", SWAP), Subscribed("liquidations", "DEF-USDT-SWAP")]
    broken = taken(made, [forced(order | {"sz": "x"})])
    assert [type(item) for item in broken] == [Bad, Broken, Broken]


def test_tickers_are_merged_from_five_channels() -> None:
    due = MS + 3_600_000
    items = taken(
        fresh(),
        [
            message("tickers", [{"instId": SWAP, "last": "2", "bidPx": "1.9", "askPx": "", "ts": str(MS)}]),
            message("mark-price", [{"instId": SWAP, "markPx": "2.1", "ts": str(MS + 1)}]),
            message(
                "index-tickers",
                [{"instId": "ABC-USDT", "idxPx": "2.2", "ts": str(MS + 2)}],
                instId="ABC-USDT",
            ),
            message("open-interest", [{"instId": SWAP, "oi": "50", "ts": str(MS + 3)}]),
            message(
                "funding-rate",
                [{"instId": SWAP, "fundingRate": "-0.0001", "fundingTime": str(due), "ts": str(MS + 4)}],
            ),
        ],
    )
    state: dict[str, Any] = {"last": 2.0, "bid": 1.9, "mark": 2.1, "index": 2.2, "open_interest": 5.0}
    state |= {"funding_rate": -0.0001, "next_funding_ts": due * 1000}
    assert items[-1] == Ticker(TS + 4000, RECV, *WHERE, **state)
    assert len(items) == 5


@pytest.mark.parametrize("quoted", [True, False])
def test_a_refusal_names_its_argument_or_its_request(quoted: bool) -> None:
    made = fresh(channels=["trades", "orderbook"])
    made.subscribe()
    reason = f"Wrong URL or channel:books,instId:{SWAP} doesn't exist." if quoted else "no"
    error = text({"id": "1", "event": "error", "code": "60018", "msg": reason})
    if quoted:
        items = taken(made, [error])
        assert [item for item in items if isinstance(item, Rejected)] == [
            Rejected("orderbook", SWAP, f"60018: {reason}")
        ]
        return
    items = taken(made, [error])
    frames = [json.loads(item.text) for item in items if isinstance(item, Send)]
    assert [one["args"] for one in frames] == [
        [{"channel": "trades-all", "instId": SWAP}],
        [{"channel": "books", "instId": SWAP}],
    ], "each alone"
    items = taken(made, [text({"event": "error", "code": "1", "msg": "no"})])
    assert Rejected("trades", SWAP, "1: no") in items, "the oldest one that waits"


def test_pongs_notices_and_unknown_messages() -> None:
    made = fresh()
    assert taken(made, ["pong"]) == []
    assert made.stalled(RECV) == ""
    taken(made, [text({"event": "notice", "code": "64008", "msg": "soon closed"})])
    assert "going to close" in made.stalled(RECV)
    (unknown,) = taken(made, [message("books", [], "update", instId="NO-NE")])
    assert isinstance(unknown, Notice)
    assert isinstance(taken(made, ["{}"])[0], Bad)


LISTED = {
    "instId": SWAP,
    "instType": "SWAP",
    "ctType": "linear",
    "ctVal": "0.1",
    "ctMult": "10",
    "state": "suspend",
    "tickSz": "0.5",
    "lotSz": "1",
}


def test_instruments_and_turnover() -> None:
    inverse = LISTED | {"instId": "ABC-USD-SWAP", "ctType": "inverse"}
    body = text({"code": "0", "data": [LISTED, inverse]}).encode()
    (item,), cursor = instruments("linear", body)
    assert (item.symbol, item.base, item.quote, item.kind) == (SWAP, "ABC", "USDT", "perpetual")
    assert (item.contract_size, item.inverse, item.status) == (1.0, False, "suspend")
    assert (item.tick, item.lot, cursor) == (0.5, 1.0, "FUTURES")
    assert instruments("inverse", body)[0][0].inverse
    futures = text({"code": "0", "data": [LISTED | {"instType": "FUTURES"}]}).encode()
    assert instruments("linear", futures)[1] == ""
    told = text({"code": "0", "data": [{"instId": SWAP, "last": "2", "volCcy24h": "30"}]}).encode()
    assert turnover("linear", told) == {SWAP: 60.0}
    assert turnover("spot", told) == {SWAP: 30.0}


@pytest.mark.parametrize("body", [b"{}", b"null", b"[]", b"<html>", b'{"code":"50011","msg":"too many"}'])
def test_an_answer_that_is_none(body: bytes) -> None:
    for read in (instruments, turnover):
        with pytest.raises(BadAnswerError):
            read("linear", body)


def test_history_walks_back_until_the_hole_is_covered() -> None:
    hole = Hole(symbol=SWAP, from_ts=TS, to_ts=TS + 10_000, last_id="3", next_id="9")
    history, listed = OkxHistory("linear"), instrument(SWAP, 0.1)
    request = history.request(hole, listed)
    assert "type=1&after=9&" in request.path

    def page(*numbers: int) -> bytes:
        items = [
            {"tradeId": str(n), "px": "2.5", "sz": "4", "side": "buy", "ts": str(MS + n)} for n in numbers
        ]
        return text({"code": "0", "data": items}).encode()

    first = history.page(hole, listed, request, page(8, 7, 6), RECV)
    assert (first.complete, [trade.trade_id for trade in first.rows if isinstance(trade, Trade)]) == (
        False,
        ["8", "7", "6"],
    )
    assert first.rows[0].qty == 0.4
    assert first.next is not None and "after=6&" in first.next.path
    last = history.page(hole, listed, first.next, page(5, 4), RECV)
    assert (last.complete, last.next) == (True, None), "up to the newest trade before the hole"
    assert history.page(hole, listed, first.next, page(), RECV).complete is False
    unknown = Hole(symbol=SWAP, from_ts=TS, to_ts=TS + 10_000)
    assert f"type=2&after={MS + 12}&" in history.request(unknown, listed).path


def test_history_of_liquidations_walks_back_by_time_and_has_the_ids_of_the_socket() -> None:
    hole = Hole(symbol=SWAP, from_ts=TS, to_ts=TS + 10_000)
    history, listed = OkxLiquidationHistory("linear"), instrument(SWAP, 0.1)
    request = history.request(hole, listed)
    assert request.path.startswith(
        "/api/v5/public/liquidation-orders?instType=SWAP&uly=ABC-USDT&state=filled"
    )
    assert f"&after={MS + 12}&" in request.path

    def order(ms: int, **changes: str) -> dict[str, str]:
        told = {
            "side": "sell",
            "posSide": "long",
            "bkPx": "2.5",
            "sz": "4",
            "bkLoss": "0",
            "ts": str(MS + ms),
        }
        return told | changes

    def body(*orders: dict[str, str], symbol: str = SWAP) -> bytes:
        blocks = [{"instId": symbol, "instType": "SWAP", "details": list(orders)}]
        return text({"code": "0", "data": blocks if orders else []}).encode()

    alike = order(7), order(7)
    first = history.page(hole, listed, request, body(order(9, side="buy"), *alike), RECV)
    assert (first.complete, [row.side for row in first.rows]) == (False, ["buy", "sell", "sell"])
    assert {row.qty for row in first.rows} == {0.4}
    assert first.next is not None and f"&after={MS + 8}&" in first.next.path, "others of that millisecond"
    live = fresh("linear", (SWAP,), ["liquidations"])
    arg = {"channel": "liquidation-orders", "instType": "SWAP"}
    message = {"arg": arg, "data": [{"instId": SWAP, "instType": "SWAP", "details": list(alike)}]}
    rows = [row for row in live.decode(text(message).encode(), RECV) if isinstance(row, Liquidation)]
    assert list(first.rows[1:]) == rows
    last = history.page(hole, listed, first.next, body(order(7), order(-1)), RECV)
    assert (last.complete, last.next) == (True, None), "one is older than the hole"
    others = history.page(hole, listed, first.next, body(order(-1), symbol="ABC-USDT-271231"), RECV)
    assert (others.complete, list(others.rows)) == (True, []), "other symbols of the underlying"
    assert history.page(hole, listed, first.next, body(), RECV).complete is False
    stuck = history.page(hole, listed, first.next, body(*[order(7)] * 100), RECV)
    assert (stuck.complete, stuck.next) == (False, None), "a millisecond that fills a page"
    with pytest.raises(BadAnswerError):
        history.page(hole, listed, request, body(order(1, side="long")), RECV)


def recorded() -> Iterator[tuple[int, bytes]]:
    file = RECORDINGS / "okx/multi.jsonl.gz"
    if not file.exists():
        pytest.skip("the recordings are not here")
    with gzip.open(file, "rt") as lines:
        for line in lines:
            item = json.loads(line)
            if item["t"] == "recv":
                yield int(item["ts"] * 1e6), item["data"].encode()


def test_the_recorded_session_with_its_real_checksums() -> None:
    symbols = ("BTC-USD-220527", "UNI-USD-SWAP", "BTC-USDT")
    made = fresh("inverse", symbols, ["trades", "orderbook"])
    levels: dict[tuple[str, str], dict[float, float]] = {}
    items: list[Item] = []
    checked = 0
    for recv, raw in recorded():
        told = json.loads(raw)
        if told.get("arg", {}).get("channel") in ("books", "trades") and "data" in told:
            items += made.decode(raw, recv)
        if told.get("arg", {}).get("channel") == "books" and "data" in told:
            (data,) = told["data"]
            checked += bool(data["checksum"])
            for side in ("bids", "asks"):
                kept = levels.setdefault((told["arg"]["instId"], side), {})
                for price, size, *_ in data[side]:
                    kept[float(price)] = float(size)
                    if not float(size):
                        del kept[float(price)]
    assert checked > 100
    assert not [item for item in items if isinstance(item, Bad | Broken | Notice)]
    assert len([item for item in items if isinstance(item, Trade)]) >= 3
    for symbol in symbols:
        newest = [item for item in items if isinstance(item, BookSnapshot) and item.symbol == symbol][-1]
        wanted = sorted(levels[symbol, "bids"], reverse=True)[:20], sorted(levels[symbol, "asks"])[:20]
        assert (newest.bids[0].tolist(), newest.asks[0].tolist()) == wanted


def test_a_book_that_grows_without_end_is_not_checked_any_more() -> None:
    kept = TextBook()
    kept.begin()
    raw = text({"data": [{"bids": [[str(n), "1"] for n in range(1, 2500)], "asks": []}]}).encode()
    assert kept.checksum(raw) is None
    assert not kept.followed
