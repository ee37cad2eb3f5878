"""The Hyperliquid adapter: each rule on messages made for it, and the recorded session against a plain reference."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
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
from collector.exchanges.hyperliquid_rest import HyperliquidHistory, instruments, tick, turnover
from collector.replay.recording import Recording, detect
from collector.rows import BookSnapshot, Ticker, Trade
from collector.settings import FeedConfig
from collector.simulator import SIMULATORS
from tests.collector.recorded import RECORDINGS, decoder, taken

MS = 1_737_918_843_000
TS = MS * 1000
CHANNELS = ["trades", "orderbook", "tickers"]
WHERE = ("hyperliquid", "linear", "kPEPE")
HOUR = 3_600_000_000


def fresh(symbols: tuple[str, ...] = ("kPEPE",)) -> Any:
    return decoder("hyperliquid", "linear", list(symbols), CHANNELS, 20)


def message(channel: str, data: Any) -> str:
    return json.dumps({"channel": channel, "data": data}, separators=(",", ":"))


def fill(tid: int, ms: int = MS, **other: Any) -> dict[str, Any]:
    told = {"coin": "kPEPE", "side": "B", "px": "0.5", "sz": "10", "time": ms, "hash": "0x0", "tid": tid}
    return told | {"users": ["0x1", "0x2"]} | other


def book(ms: int, bids: list[tuple[str, str]], asks: list[tuple[str, str]], coin: str = "kPEPE") -> str:
    levels = [[{"n": 1, "px": px, "sz": sz} for px, sz in side] for side in (bids, asks)]
    return message("l2Book", {"coin": coin, "levels": levels, "time": ms})


def answered(method: str, kind: str, coin: str = "kPEPE") -> str:
    asked = {"type": kind, "coin": coin, "nSigFigs": None, "mantissa": None}
    return message("subscriptionResponse", {"method": method, "subscription": asked})


BOOK = book(MS, [("0.50", "1"), ("0.49", "2")], [("0.51", "3")])
CONTEXT = {
    "funding": "-0.0000125",
    "openInterest": "9.5",
    "oraclePx": "0.502",
    "markPx": "0.501",
    "midPx": "0.5",
}


def test_trades_have_the_takers_side_and_their_own_times() -> None:
    items = taken(fresh(), [message("trades", [fill(7), fill(3, MS - 50_000, side="A", px="0.25")])])
    assert items == [
        Trade(TS, 10**15, *WHERE, "buy", 0.5, 10.0, "7"),
        Trade(TS - 50_000_000, 10**15, *WHERE, "sell", 0.25, 10.0, "3"),
    ]


def test_the_newest_trades_that_come_once_more_are_the_same_rows() -> None:
    first, again = (taken(fresh(), [message("trades", [fill(7), fill(3)])]) for _ in range(2))
    assert first == again


@pytest.mark.parametrize(
    "wrong",
    [{"side": "X"}, {"px": "0"}, {"sz": "-1"}, {"px": "nan"}, {"sz": "inf"}, {"time": 0}, {"tid": -1}],
)
def test_a_trade_that_cannot_be_is_declared(wrong: dict[str, Any]) -> None:
    made = fresh()
    items = taken(made, [message("trades", [fill(7)]), message("trades", [fill(8) | wrong])])
    assert [type(item) for item in items][1:3] == [Bad, Broken]
    assert items[2] == Broken("trades", "kPEPE", TS, "malformed_message")
    assert not [item for item in items[1:] if isinstance(item, Trade)]
    items = taken(made, [message("trades", [fill(9, MS + 5)])])
    assert [type(item) for item in items] == [Trade, Resynced]
    assert items[1] == Resynced("trades", "kPEPE", TS + 5000)


def test_each_book_stands_alone() -> None:
    items = taken(
        fresh(),
        [
            BOOK,
            book(MS + 500, [("0.40", "4")], []),
            book(MS + 5000, [("0.45", "5")], [("0.46", "6")]),
        ],
    )
    assert items[0] == Resynced("orderbook", "kPEPE", TS)
    assert [type(item) for item in items] == [Resynced, BookSnapshot, BookSnapshot, BookSnapshot]
    books = [item for item in items if isinstance(item, BookSnapshot)]
    assert [(b.ts, b.seq, b.bids.tolist(), b.asks.tolist()) for b in books] == [
        (TS, 0, [[0.5, 0.49], [1.0, 2.0]], [[0.51], [3.0]]),
        (TS + 500_000, 0, [[0.4], [4.0]], [[], []]),
        (TS + 5_000_000, 0, [[0.45], [5.0]], [[0.46], [6.0]]),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        book(MS + 1, [("0", "1")], []),
        book(MS + 1, [("0.5", "0")], []),
        book(0, [("0.5", "1")], []),
        BOOK.replace('"0.51"', '"x"'),
        message("l2Book", {"coin": "kPEPE", "time": MS, "levels": [[]]}),
    ],
)
def test_an_unreadable_book_breaks_the_series_until_the_next(wrong: str) -> None:
    items = taken(fresh(), [BOOK, wrong, book(MS + 900, [("0.4", "1")], [])])
    assert [type(item) for item in items] == [
        *(Resynced, BookSnapshot),
        *(Bad, Broken),
        *(Resynced, BookSnapshot),
    ]
    assert items[3] == Broken("orderbook", "kPEPE", TS, "malformed_message")
    assert items[4] == Resynced("orderbook", "kPEPE", TS + 900_000)


def test_a_context_has_the_time_of_its_receipt() -> None:
    made = fresh()
    items = taken(made, [message("activeAssetCtx", {"coin": "kPEPE", "ctx": CONTEXT})])
    recv = 10**15
    state: dict[str, Any] = {"mark": 0.501, "index": 0.502, "funding_rate": -0.0000125, "open_interest": 9.5}
    assert items == [Ticker(recv, recv, *WHERE, **state, next_funding_ts=(recv // HOUR + 1) * HOUR)]
    assert made.last_ts(("tickers", "kPEPE")) < recv, (
        "what was under way then may be lost with the connection"
    )


def test_a_spot_context_has_another_name_and_only_a_price() -> None:
    made = decoder("hyperliquid", "spot", ["@142"], CHANNELS, 20)
    ctx = {"prevDayPx": "0.1", "dayNtlVlm": "24.8", "markPx": "0.2", "midPx": None, "coin": "@142"}
    items = taken(made, [message("activeSpotAssetCtx", {"coin": "@142", "ctx": ctx})])
    assert items == [Ticker(10**15, 10**15, "hyperliquid", "spot", "@142", mark=0.2)]


@pytest.mark.parametrize("ctx", [{}, {"markPx": "-1"}, {"markPx": "inf"}, {"funding": [1]}])
def test_an_unreadable_context_is_declared(ctx: dict[str, Any]) -> None:
    items = taken(fresh(), [message("activeAssetCtx", {"coin": "kPEPE", "ctx": ctx})])
    assert [type(item) for item in items] == [Bad, Broken]


def test_one_frame_a_subscription_and_its_answer() -> None:
    made = fresh()
    asked = [json.loads(frame) for frame in made.subscribe()]
    assert asked == [
        {"method": "subscribe", "subscription": {"type": kind, "coin": "kPEPE"}}
        for kind in ("trades", "l2Book", "activeAssetCtx")
    ]
    kinds = ("trades", "l2Book", "activeAssetCtx")
    items = taken(
        made, ["Websocket connection established.", *(answered("subscribe", kind) for kind in kinds)]
    )
    assert items == [Subscribed(channel, "kPEPE") for channel in CHANNELS]


def test_an_unreadable_book_is_subscribed_anew_where_it_is_acknowledged() -> None:
    made = fresh()
    *_, leave = taken(made, [answered("subscribe", "l2Book"), BOOK, BOOK.replace('"0.51"', '"x"')])
    assert leave == Send('{"method":"unsubscribe","subscription":{"type":"l2Book","coin":"kPEPE"}}')
    join = Send('{"method":"subscribe","subscription":{"type":"l2Book","coin":"kPEPE"}}')
    assert taken(made, [answered("unsubscribe", "l2Book")]) == [join]


@pytest.mark.parametrize("quoted", [True, False])
def test_an_error_quotes_its_subscription_or_does_not(quoted: bool) -> None:
    """Both readings: the stream that nothing else answers is refused, and no other."""
    made = fresh()
    reason = 'Invalid subscription {"type":"l2Book","coin":"kPEPE"}' if quoted else "no such coin"
    texts = [
        answered("subscribe", "trades"),
        message("error", reason),
        answered("subscribe", "activeAssetCtx"),
    ]
    items = taken(made, texts)
    assert [item for item in items if isinstance(item, Rejected)] == [Rejected("orderbook", "kPEPE", reason)]
    granted = [item.channel for item in items if isinstance(item, Subscribed)]
    assert granted == ["trades", "tickers"]
    assert made.stalled(10**15) == made.stalled(10**15 + 9_000_000) == ""


def test_what_is_there_or_gone_already_counts_as_an_answer() -> None:
    made = fresh()
    trades = '{"type":"trades","coin":"kPEPE"}'
    items = taken(made, [message("error", f"Already subscribed: {trades}")])
    assert items[1:] == [Subscribed("trades", "kPEPE")]
    silent = made.flush(10**15 + 10**13)
    assert Send(f'{{"method":"unsubscribe","subscription":{trades}}}') in silent
    assert Broken("trades", "kPEPE", 10**15, "silent") in silent
    items = taken(made, [message("error", f"Already unsubscribed: {trades}")])
    assert items[1:] == [Send(f'{{"method":"subscribe","subscription":{trades}}}')]


def test_pings_empty_messages_and_other_coins() -> None:
    made = fresh()
    assert taken(made, ['{"channel":"pong"}', message("trades", [])]) == []
    (unknown,) = taken(made, [book(MS, [], [], coin="KPEPE")])
    assert isinstance(unknown, Notice), "symbols are case-sensitive"
    (bad,) = taken(made, [message("user", {})])
    assert isinstance(bad, Bad)


def test_members_in_another_order_mean_the_same() -> None:
    turned = json.dumps(dict(reversed(json.loads(BOOK).items())), indent=1)
    assert [repr(item) for item in taken(fresh(), [turned])] == [
        repr(item) for item in taken(fresh(), [BOOK])
    ]


LISTING = [
    {
        "universe": [
            {"name": "BTC", "szDecimals": 5},
            {"name": "kPEPE", "szDecimals": 0},
            {"name": "OLD", "szDecimals": 1, "isDelisted": True},
        ]
    },
    [
        {"markPx": "98450.5", "dayNtlVlm": "2000.5"},
        {"markPx": "0.015123", "dayNtlVlm": "10"},
        {"markPx": None, "dayNtlVlm": "0"},
    ],
]


def test_perpetuals_with_the_tick_of_their_present_price() -> None:
    body = json.dumps(LISTING).encode()
    listed = {item.symbol: item for item in instruments("linear", body)}
    assert [(i.base, i.quote, i.kind) for i in listed.values()][:2] == [
        ("BTC", "USDC", "perpetual"),
        ("kPEPE", "USDC", "perpetual"),
    ]
    assert (listed["BTC"].tick, listed["BTC"].lot) == (1.0, 1e-5)
    assert (listed["kPEPE"].tick, listed["kPEPE"].lot) == (1e-6, 1.0)
    assert [item.status for item in listed.values()] == ["trading", "trading", "delisted"]
    assert turnover("linear", body) == {"BTC": 2000.5, "kPEPE": 10.0}


@pytest.mark.parametrize(
    ("decimals", "price", "wanted"),
    [(1, 98450.5, 1.0), (1, 9845.0, 0.1), (4, 150.0, 0.01), (6, 0.5, 1e-5), (6, 0, 1e-6), (0, 3.0, 1.0)],
)
def test_a_price_has_five_figures_or_is_whole(decimals: int, price: float, wanted: float) -> None:
    assert tick(decimals, price) == wanted


def test_spot_pairs_are_named_by_their_tokens() -> None:
    meta = {
        "tokens": [
            {"name": "USDC", "szDecimals": 8, "index": 0},
            {"name": "PURR", "szDecimals": 0, "index": 9},
        ],
        "universe": [{"name": "@142", "tokens": [9, 0], "index": 142}],
    }
    contexts = [
        {"coin": "@3", "markPx": "7", "dayNtlVlm": "7"},
        {"coin": "@142", "markPx": "0.2", "dayNtlVlm": "5"},
    ]
    body = json.dumps([meta, contexts]).encode()
    (item,) = instruments("spot", body)
    assert (item.symbol, item.base, item.quote, item.kind) == ("@142", "PURR", "USDC", "spot")
    assert (item.tick, item.lot) == (1e-5, 1.0)
    assert turnover("spot", body) == {"@142": 5.0}


@pytest.mark.parametrize(
    "body", [b"{}", b"null", b"[{}]", b'[{"universe":[{}]},[{}]]', b'[{"universe":[{}]},[]]', b"<html>"]
)
def test_an_answer_that_is_no_listing(body: bytes) -> None:
    for market in ("linear", "spot"):
        for read in (instruments, turnover):
            with pytest.raises(BadAnswerError):
                read(market, body)


@pytest.mark.parametrize(
    ("oldest", "newest", "next_id", "complete"),
    [
        (-1, 20, "", True),
        (0, 20, "", False),  # others of the same time as the oldest may have been cut off
        (-1, 10, "", False),  # the answer may be older than the end of the hole
        (-1, 10, "2", True),
    ],
)
def test_repair_is_complete_where_the_window_surely_covers_the_hole(
    oldest: int, newest: int, next_id: str, complete: bool
) -> None:
    hole = Hole(symbol="kPEPE", from_ts=TS, to_ts=TS + 10_000, next_id=next_id)
    history = HyperliquidHistory("linear")
    request = history.request(hole, None)
    assert (request.path, json.loads(request.body)) == ("/info", {"type": "recentTrades", "coin": "kPEPE"})
    body = json.dumps([fill(2, MS + newest), fill(1, MS + oldest)]).encode()
    page = history.page(hole, None, request, body, 5)
    assert [(t.ts, t.trade_id) for t in page.rows if isinstance(t, Trade)] == [
        (TS + newest * 1000, "2"),
        (TS + oldest * 1000, "1"),
    ]
    assert (page.next, page.complete) == (None, complete)
    assert history.page(hole, None, request, b"[]", 5).complete is False
    with pytest.raises(BadAnswerError):
        history.page(hole, None, request, json.dumps([fill(1, coin="BTC")]).encode(), 5)


def test_the_thousand_streams_of_an_address_are_within_its_other_limits() -> None:
    exchange = EXCHANGES["hyperliquid"]
    symbols = [f"S{number}" for number in range(500)]
    feed = FeedConfig(
        exchange="hyperliquid", market="linear", symbols=symbols, channels=["trades", "tickers"]
    )
    plan = exchange.plan(feed)
    assert sum(map(len, plan)) == 1000
    assert len(plan) <= 10
    frames = [frame for streams in plan for frame in exchange.decoder(feed, streams, {}).subscribe()]
    assert len(frames) == 1000, "under 2,000 a minute"


def recorded() -> Iterator[tuple[int, dict[str, Any]]]:
    file = RECORDINGS / "hyperliquid/btc_20250126.txt.gz"
    if not file.exists():
        pytest.skip("the recordings are not here")
    with gzip.open(file, "rt") as lines:
        for line in lines:
            at, _, text = line.strip().partition(" ")
            yield int(at) // 1000, json.loads(text)


def test_the_recorded_session_row_by_row() -> None:
    made = decoder("hyperliquid", "linear", ["BTC"], CHANNELS, 20)
    wanted: list[tuple[Any, ...]] = []
    rows: list[tuple[Any, ...]] = []
    items: list[Item] = []
    for recv, told in recorded():
        data = told["data"]
        if told["channel"] == "trades":
            for t in data:
                side = "buy" if t["side"] == "B" else "sell"
                wanted.append((t["time"] * 1000, recv, side, float(t["px"]), float(t["sz"]), str(t["tid"])))
        else:
            sides = [
                [[float(level[key]) for level in side] for key in ("px", "sz")] for side in data["levels"]
            ]
            wanted.append((data["time"] * 1000, recv, *sides))
        items += made.decode(json.dumps(told, separators=(",", ":")).encode(), recv)
    for item in items:
        if isinstance(item, Trade):
            rows.append((item.ts, item.recv_ts, item.side, item.price, item.qty, item.trade_id))
        elif isinstance(item, BookSnapshot):
            rows.append((item.ts, item.recv_ts, item.bids.tolist(), item.asks.tolist()))
    assert rows == wanted
    assert len(rows) > 100
    assert not [item for item in items if isinstance(item, Bad | Broken | Notice)]


def test_a_recording_of_lines_with_times_is_read() -> None:
    file = RECORDINGS / "hyperliquid/btc_20250126.txt.gz"
    if not file.exists():
        pytest.skip("the recordings are not here")
    assert detect([file]) == "hyperliquid"
    recording = Recording([file], SIMULATORS["hyperliquid"])
    assert set(recording.topics["linear"]) == {"trades:BTC", "l2Book:BTC"}
    assert recording.symbols["linear"] == {"BTC"}
    messages = list(recording.messages())
    assert len(messages) == 55
    assert messages[-1].at == pytest.approx(25.35, abs=0.1)
