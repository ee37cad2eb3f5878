"""The Binance adapter: each rule on messages made for it, and recorded sessions against plain references."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from collector.exchanges.base import (
    Bad,
    Broken,
    Fetch,
    Hole,
    Notice,
    Rejected,
    Resynced,
    Send,
    Subscribed,
)
from collector.exchanges.binance_rest import BinanceHistory, instruments
from collector.rows import BookSnapshot, Liquidation, Ticker, Trade
from tests.collector.recorded import RECORDINGS, decoder, taken

MS = 1_700_000_000_000
NAME = "BTCUSDT"


def linear(*channels: str, symbol: str = NAME) -> Any:
    return decoder("binance", "linear", [symbol], list(channels), 1000)


def agg(number: int, **more: Any) -> str:
    base = {
        "e": "aggTrade",
        "E": MS + number,
        "s": NAME,
        "a": number,
        "p": "50",
        "q": "2",
        "T": MS + number,
        "m": True,
    }
    return json.dumps(base | more, separators=(",", ":"))


def depth(first: int, last: int, before: int, bids: list[Any], asks: list[Any]) -> str:
    event = {
        "e": "depthUpdate",
        "E": MS + last,
        "T": MS + last - 1,
        "s": NAME,
        "U": first,
        "u": last,
        "pu": before,
    }
    return json.dumps(event | {"b": bids, "a": asks}, separators=(",", ":"))


def snapshot(last: int) -> bytes:
    return json.dumps(
        {"lastUpdateId": last, "bids": [["50", "1"], ["49", "1"]], "asks": [["51", "1"]]}
    ).encode()


def test_trades_bare_and_in_an_envelope_and_a_missing_one() -> None:
    envelope = '{"stream":"btcusdt@aggTrade","data":' + agg(8, m=False) + "}"
    items = taken(linear("trades"), [agg(7), envelope, agg(8), agg(11)])
    where = ("binance", "linear", NAME)
    assert items == [
        Trade((MS + 7) * 1000, 10**15, *where, "sell", 50.0, 2.0, "7"),
        Trade((MS + 8) * 1000, 10**15 + 1, *where, "buy", 50.0, 2.0, "8"),
        Broken("trades", NAME, (MS + 8) * 1000, "sequence_gap", 2),
        Resynced("trades", NAME, (MS + 11) * 1000),
        Trade((MS + 11) * 1000, 10**15 + 3, *where, "sell", 50.0, 2.0, "11"),
    ]


@pytest.mark.parametrize("direct", [False, True], ids=["covers", "continues"])
def test_the_snapshot_joins_the_events_held_meanwhile(direct: bool) -> None:
    made = linear("orderbook")
    items = taken(made, ['{"result":null,"id":1}'])
    assert items[0] == Subscribed("orderbook", NAME)
    assert isinstance(items[1], Fetch) and items[1].request.path == f"/fapi/v1/depth?symbol={NAME}&limit=1000"
    last = 12 if direct else 14
    held = [
        depth(5, 10, 4, [["48", "9"]], []),
        depth(11, 12, 10, [["47", "9"]], []),
        depth(13, 15, 12, [["50", "0"]], []),
    ]
    items = taken(made, held)
    assert items == [Broken("orderbook", NAME, (MS + 9) * 1000, "awaiting_snapshot")]
    whole, row, *more = made.answer(f"{NAME.lower()}@depth@100ms", snapshot(last), 9)
    assert isinstance(whole, Resynced)
    if direct:
        assert (row.seq, row.bids.tolist()) == (12, [[50, 49, 47], [1, 1, 9]])
        assert [item.seq for item in more] == [15]
        return
    assert (whole.ts, more) == ((MS + 14) * 1000, [])
    assert (row.seq, row.bids.tolist(), row.asks.tolist()) == (15, [[49], [1]], [[51], [1]])
    (row,) = taken(made, [depth(16, 18, 15, [], [["52", "3"]])])
    assert (row.seq, row.asks.tolist()) == (18, [[51, 52], [1, 3]])


def joined() -> Any:
    made = linear("orderbook")
    taken(made, ['{"result":null,"id":1}', depth(5, 10, 4, [], [])])
    assert isinstance(made.answer(f"{NAME.lower()}@depth@100ms", snapshot(7), 9)[-1], BookSnapshot)
    return made


@pytest.mark.parametrize("lost", ["removed", "swapped"])
def test_a_broken_chain_asks_for_a_new_snapshot_and_nothing_else(lost: str) -> None:
    made = joined()
    first, second = depth(11, 12, 10, [["40", "1"]], []), depth(13, 14, 12, [["41", "1"]], [])
    items = taken(made, [second] if lost == "removed" else [second, first])
    assert items[0] == Broken("orderbook", NAME, (MS + 9) * 1000, "sequence_gap", None)
    assert [type(item) for item in items] == [Broken, Fetch]
    again = made.answer(f"{NAME.lower()}@depth@100ms", snapshot(13), 9)
    assert [type(item) for item in again][:2] == [Resynced, BookSnapshot]
    assert again[1].seq == 14


def test_an_event_once_more_changes_nothing_and_an_old_snapshot_is_asked_for_again() -> None:
    made = joined()
    assert [type(item) for item in taken(made, [depth(5, 10, 4, [["1", "1"]], [])])] == [Notice]
    made = linear("orderbook")
    taken(made, ['{"result":null,"id":1}', depth(50, 60, 49, [], [])])
    assert [type(item) for item in made.answer(f"{NAME.lower()}@depth@100ms", snapshot(7), 9)] == [Fetch]
    assert [type(item) for item in made.answer(f"{NAME.lower()}@depth@100ms", b"", 9)] == [Bad]
    assert [type(item) for item in made.flush(9 + 6_000_000)] == [Fetch]


def test_a_forced_order_is_what_was_filled() -> None:
    order = {"s": NAME, "S": "SELL", "q": "3", "p": "49", "ap": "50", "X": "FILLED", "z": "2", "T": MS}
    (row,) = taken(
        linear("liquidations"), [json.dumps({"e": "forceOrder", "E": MS, "o": order}, separators=(",", ":"))]
    )
    assert isinstance(row, Liquidation)
    assert (row.side, row.price, row.qty, row.ts) == ("sell", 50.0, 2.0, MS * 1000)


def test_tickers_are_merged_and_open_interest_is_asked_for() -> None:
    made = linear("tickers")
    items = taken(made, ['{"result":null,"id":1}'])
    assert [type(item) for item in items] == [Subscribed, Fetch]
    mark = {"e": "markPriceUpdate", "E": MS, "s": NAME, "p": "50", "i": "49", "r": "", "T": MS + 5}
    (row,) = taken(made, [json.dumps(mark, separators=(",", ":"))])
    where = ("binance", "linear", NAME)
    assert row == Ticker(MS * 1000, 10**15, *where, mark=50.0, index=49.0, next_funding_ts=(MS + 5) * 1000)
    (row,) = made.answer(
        "btcusdt@ticker", json.dumps({"openInterest": "7.5", "time": MS + 9}).encode(), 10**15
    )
    assert (row.ts, row.mark, row.open_interest) == ((MS + 9) * 1000, 50.0, 7.5)
    taken(made, [json.dumps(mark | {"E": MS + 20, "p": "52"}, separators=(",", ":"))])
    assert [item for item in made.flush(10**15 + 59_000_000) if isinstance(item, Fetch)] == []
    assert len([item for item in made.flush(10**15 + 61_000_000) if isinstance(item, Fetch)]) == 1
    # What came between the answer's time and the answer is not told of that time, and isn't forgotten.
    later = [
        json.dumps(mark | {"E": MS + ms, "p": p}, separators=(",", ":")) for ms, p in ((30, "53"), (40, "54"))
    ]
    assert [row.open_interest for row in taken(made, later)] == [7.5, 7.5]
    answer = json.dumps({"openInterest": "8", "time": MS + 30}).encode()
    (row,) = made.answer("btcusdt@ticker", answer, 10**15)
    assert (row.ts, row.mark, row.open_interest) == ((MS + 30) * 1000, 53.0, 8.0)
    (row,) = taken(made, [json.dumps(mark | {"E": MS + 50, "p": ""}, separators=(",", ":"))])
    assert (row.mark, row.open_interest) == (None, 8.0)
    # An answer that is older than what was known when it was asked for stands at that time.
    made.flush(10**15 + 122_000_000)
    (row,) = made.answer("btcusdt@ticker", answer.replace(b"30", b"01"), 10**15)
    assert (row.ts, row.mark, row.open_interest) == ((MS + 50) * 1000, None, 8.0)


@pytest.mark.parametrize("shape", ["error", "code"])
def test_a_refused_request_is_asked_for_name_by_name(shape: str) -> None:
    made = linear("trades", "liquidations")
    told: dict[str, Any] = {"code": 2, "msg": "Invalid request"}
    refusal = {"id": 1} | ({"error": told} if shape == "error" else told)
    items = [item for item in taken(made, [json.dumps(refusal)]) if isinstance(item, Send)]
    assert [json.loads(item.text)["params"] for item in items] == [
        ["btcusdt@aggTrade"],
        ["btcusdt@forceOrder"],
    ]
    items = taken(made, [json.dumps(refusal | {"id": 2}), '{"result":null,"id":3}'])
    assert [type(item) for item in items] == [Notice, Rejected, Subscribed]


def test_a_shutdown_that_is_announced_ends_the_connection() -> None:
    made = linear("trades")
    taken(made, ['{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}'])
    assert made.stalled(10**15)


def test_routes_sizes_and_contracts() -> None:
    body = {
        "symbol": "BTCUSD_PERP",
        "contractStatus": "TRADING",
        "contractType": "PERPETUAL",
        "contractSize": 100,
    }
    (one,) = instruments("inverse", json.dumps({"symbols": [body]}).encode())
    assert (one.contract_size, one.inverse, one.kind, one.status) == (100.0, True, "perpetual", "trading")


def test_history_goes_on_by_id_until_a_trade_after_the_hole() -> None:
    history, hole = BinanceHistory("linear"), Hole(NAME, MS * 1000, (MS + 20) * 1000, last_id="6")
    request = history.request(hole, None)
    assert request.path.endswith("&fromId=7")

    def page(numbers: range, request: Any = request) -> Any:
        items = [{"a": n, "p": "1", "q": "1", "T": MS + n, "m": False} for n in numbers]
        return history.page(hole, None, request, json.dumps(items).encode(), 1)

    assert page(range(7, 30)).complete
    assert not page(range(9, 30)).complete, "7 and 8 are gone"
    assert page(range(0)).complete, "nothing came after 6"
    by_time = history.request(Hole(NAME, MS * 1000, (MS + 20) * 1000), None)
    assert f"startTime={MS}&endTime={MS + 21}" in by_time.path


def test_the_recorded_session_has_no_gap_and_its_last_book_is_the_plain_one() -> None:
    """Depth every message, the snapshot in line as it was answered."""
    file = RECORDINGS / "binance_usdm/btcusdt_20240718.txt.gz"
    if not file.exists():
        pytest.skip("the recordings are not here")
    made = linear("orderbook")
    items: list[Any] = []
    plain: dict[str, dict[float, float]] = {"b": {}, "a": {}}
    last = 0
    taken(made, ['{"result":null,"id":1}'])
    with gzip.open(file, "rt") as lines:
        for line in lines:
            at, _, text = line.strip().partition(" ")
            message = json.loads(text)
            event = message.get("data", message)
            if "lastUpdateId" in event:
                if not last:
                    last = event["lastUpdateId"]
                    plain = {
                        k: {float(p): float(q) for p, q in event[n]}
                        for k, n in (("b", "bids"), ("a", "asks"))
                    }
                    items += made.answer("btcusdt@depth@100ms", text.encode(), int(at) // 1000)
            elif event.get("e") == "depthUpdate":
                items += made.decode(text.encode(), int(at) // 1000)
                if last and event["u"] >= last:
                    for side in ("b", "a"):
                        for p, q in event[side]:
                            plain[side][float(p)] = float(q)
    breaks = [item for item in items if isinstance(item, Broken)]
    assert [item.cause for item in breaks] in ([], ["awaiting_snapshot"])
    assert not [item for item in items if isinstance(item, Bad)]
    row = next(item for item in reversed(items) if isinstance(item, BookSnapshot))
    bids = sorted(((p, q) for p, q in plain["b"].items() if q), reverse=True)[:500]
    asks = sorted((p, q) for p, q in plain["a"].items() if q)[:500]
    assert list(zip(*row.bids.tolist(), strict=True))[:500] == bids
    assert list(zip(*row.asks.tolist(), strict=True))[:500] == asks
    assert len([item for item in items if isinstance(item, BookSnapshot)]) > 1000
