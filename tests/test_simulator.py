"""The exchange simulator over a real socket, and its market model by itself."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from collector.simulator import sockets
from collector.simulator.binance_topics import LiquidationTopic
from collector.simulator.bybit import BybitWire
from collector.simulator.bybit_topics import BookTopic, listing
from collector.simulator.ledger import Entry, read_ledger
from collector.simulator.listing import Listing
from collector.simulator.market import BOOK, LIQUIDATION, TICKER, TRADE, Fill, Market
from collector.simulator.server import Options, Simulator, serve

Json = dict[str, Any]


async def ask(ws: ClientConnection, op: str, *args: str, req_id: str | None = "7") -> Json:
    """Send a request; its answer, past any data before it."""
    request: Json = {"op": op, "args": list(args)} if op != "ping" else {"op": op}
    await ws.send(json.dumps(request if req_id is None else request | {"req_id": req_id}))
    while True:
        answer: Json = json.loads(await ws.recv())
        if "topic" not in answer:
            return answer


async def receive(ws: ClientConnection, count: int) -> list[Json]:
    return [json.loads(await ws.recv()) for _ in range(count)]


async def until_stopped(simulator: Simulator, ws: ClientConnection) -> list[Json]:
    """Everything that comes until the market has stopped and all of it has arrived."""
    messages = []
    while True:
        try:
            messages.append(json.loads(await asyncio.wait_for(ws.recv(), 0.3)))
        except TimeoutError:
            if simulator.stopped.is_set():
                return messages


def entries(path: Path) -> list[Entry]:
    return list(read_ledger(path)[1])


class Book:
    """A client's book, as the venue's documentation says to keep it: absolute sizes, 0 deletes, nothing else."""

    def __init__(self) -> None:
        self.bids: dict[float, float] = {}
        self.asks: dict[float, float] = {}

    def apply(self, message: Json) -> None:
        if message["type"] == "snapshot":
            self.bids, self.asks = {}, {}
        for side, levels in ((self.bids, message["data"]["b"]), (self.asks, message["data"]["a"])):
            for price, size in levels:
                if float(size):
                    side[float(price)] = float(size)
                else:
                    del side[float(price)]  # only levels that the client holds are ever deleted

    def best(self) -> tuple[tuple[float, float], tuple[float, float]]:
        bid, ask = max(self.bids), min(self.asks)
        return (bid, self.bids[bid]), (ask, self.asks[ask])


@pytest.mark.parametrize(
    ("market", "symbol"), [("linear", "BTCUSDT"), ("inverse", "BTCUSD"), ("spot", "BTCUSDT")]
)
def test_answers_have_the_form_of_their_market(market: str, symbol: str) -> None:
    async def scenario() -> None:
        async with (
            serve(Options(exchange="bybit", rate=1)) as simulator,
            connect(simulator.url(market)) as ws,
        ):
            spot = market == "spot"
            ack = await ask(ws, "subscribe", f"publicTrade.{symbol}", f"orderbook.50.{symbol}")
            conn_id = ack["conn_id"]
            text = "subscribe" if spot else ""
            assert ack == {
                "success": True, "ret_msg": text, "conn_id": conn_id, "req_id": "7", "op": "subscribe"
            }  # fmt: skip
            pong = {"success": True, "ret_msg": "pong", "conn_id": conn_id, "op": "ping"}
            assert await ask(ws, "ping") == pong | ({} if spot else {"req_id": "7"})
            ack = await ask(ws, "unsubscribe", f"publicTrade.{symbol}", req_id=None)
            assert ack["success"] and ack["op"] == "unsubscribe"
            assert ack.get("req_id") == (None if spot else "")

    asyncio.run(scenario())


def test_errors_are_the_venues_own_and_refuse_the_whole_batch() -> None:
    async def scenario() -> None:
        options = Options(exchange="bybit", rate=1, symbols=[f"S{n}USDT" for n in range(12)])
        async with serve(options) as simulator:
            async with connect(simulator.url("linear")) as ws:
                answer = await ask(ws, "subscribe", "publicTrade.S1USDT", "publicTrade.NOPEUSDT")
                assert answer == {
                    "success": False,
                    "ret_msg": "error:handler not found,topic:publicTrade.NOPEUSDT",
                    "conn_id": answer["conn_id"],
                    "req_id": "7",
                    "op": "subscribe",
                }
                for topic in ("orderbook.500.S1USDT", "nothing.S1USDT", "S1USDT"):
                    assert (await ask(ws, "subscribe", topic))[
                        "ret_msg"
                    ] == f"error:handler not found,topic:{topic}"
                assert (await ask(ws, "subscribe", "publicTrade.S1USDT"))["success"], (
                    "the batch had been refused whole"
                )
                answer = await ask(ws, "subscribe", "tickers.S2USDT", "publicTrade.S1USDT")
                assert answer["ret_msg"] == "error:already subscribed,topic:publicTrade.S1USDT"
                assert (await ask(ws, "subscribe", "tickers.S2USDT"))["success"]
                long = [f"publicTrade.{'X' * 88}" for _ in range(211)]
                assert "21000" in (await ask(ws, "subscribe", *long))["ret_msg"]
                assert not (await ask(ws, "sing"))["success"]
                for bad in ("not json", "[]", '{"args":[]}', '{"op":"subscribe","args":[1]}'):
                    await ws.send(bad)
                    assert not json.loads(await ws.recv())["success"]
            async with connect(simulator.url("spot")) as ws:
                eleven = [f"publicTrade.S{n}USDT" for n in range(11)]
                assert (await ask(ws, "subscribe", *eleven))["ret_msg"] == "args size >10"
                assert (await ask(ws, "subscribe", *eleven[:10]))["success"]
                answer = await ask(ws, "subscribe", "allLiquidation.S1USDT")
                assert answer["ret_msg"] == "error:handler not found,topic:allLiquidation.S1USDT"

    asyncio.run(scenario())


def test_a_books_deltas_rise_by_one_and_keep_exactly_its_depth() -> None:
    depths = (50, 200, 1000)

    async def scenario() -> None:
        options = Options(exchange="bybit", rate=0, messages=4000, symbols=["BTCUSDT", "ETHUSDT"])
        topics = [f"orderbook.{depth}.{symbol}" for depth in depths for symbol in options.symbols]
        async with serve(options) as simulator, connect(simulator.url("linear"), max_size=None) as ws:
            await ask(ws, "subscribe", *topics)
            books = {topic: Book() for topic in topics}
            last: dict[str, int] = {}
            for message in await until_stopped(simulator, ws):
                topic, data = message["topic"], message["data"]
                assert message["type"] == ("delta" if topic in last else "snapshot")
                assert data["u"] == last.get(topic, data["u"] - 1) + 1
                last[topic] = data["u"]
                book, depth = books[topic], int(topic.split(".")[1])
                book.apply(message)
                assert len(book.bids) == len(book.asks) == depth
                (bid, _), (ask_price, _) = book.best()
                assert bid < ask_price
            # Whoever comes now is sent the simulator's own book.
            async with connect(simulator.url("linear"), max_size=None) as late:
                await ask(late, "subscribe", *topics)
                for message in await receive(late, len(topics)):
                    fresh, kept = Book(), books[message["topic"]]
                    fresh.apply(message)
                    assert (fresh.bids, fresh.asks) == (kept.bids, kept.asks)
                    assert message["data"]["u"] == last[message["topic"]] > 1_000_000 + 500

    asyncio.run(scenario())


def test_subscribing_again_gives_a_fresh_snapshot() -> None:
    async def scenario() -> None:
        options = Options(exchange="bybit", rate=3000, symbols=["BTCUSDT"])
        async with serve(options) as simulator, connect(simulator.url("spot")) as ws:
            await ask(ws, "subscribe", "orderbook.50.BTCUSDT")
            before = await receive(ws, 5)
            await ask(ws, "unsubscribe", "orderbook.50.BTCUSDT")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(ws.recv(), 0.1)
            await ask(ws, "subscribe", "orderbook.50.BTCUSDT")
            after = await receive(ws, 2)
            assert [m["type"] for m in after] == ["snapshot", "delta"]
            assert before[-1]["data"]["u"] < after[0]["data"]["u"] == after[1]["data"]["u"] - 1
            assert len(after[0]["data"]["b"]) == 50

    asyncio.run(scenario())


def test_level_1_has_snapshots_only_and_repeats_itself_after_three_seconds() -> None:
    market = Market(["BTCUSDT"], seed=3)
    model = market.symbols[0]
    topic = BookTopic(listing("linear", model), "orderbook.1", 1)
    first = json.loads(topic.snapshot(1_000_000).text)
    published: list[Json] = []
    events = market.events()
    while len(published) < 50:
        if next(events)[0] == BOOK and (message := topic.publish([], 1_000_100)) is not None:
            published.append(json.loads(message.text))
    assert {m["type"] for m in published} == {"snapshot"}
    assert [m["data"]["u"] for m in published] == [first["data"]["u"] + n for n in range(1, 51)]
    states = [(m["data"]["b"], m["data"]["a"]) for m in [first, *published]]
    assert all(a != b for a, b in pairwise(states)), "only a change is sent"
    assert topic.repeat(1_003_099) is None
    again = topic.repeat(1_003_100)
    assert again is not None
    repeated = json.loads(again.text)
    assert repeated["data"]["u"] == published[-1]["data"]["u"] and repeated["ts"] == 1_003_100
    assert topic.repeat(1_003_200) is None


def base_units(price: str | float, size: str | float) -> tuple[float, float]:
    return float(price), float(size)


def quote_units(price: str | float, size: str | float) -> tuple[float, float]:
    return float(price), float(size) / float(price)


def test_the_ledger_agrees_with_what_a_client_received(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    symbols = ["BTCUSDT", "SOLUSDT"]
    kinds = ("publicTrade", "orderbook.50", "tickers", "allLiquidation")
    received: dict[str, list[Json]] = {}

    async def client(simulator: Simulator, market: str) -> None:
        async with connect(simulator.url(market), max_size=None) as ws:
            names = symbols if market != "inverse" else ["BTCUSD", "SOLUSD"]
            topics = [
                f"{kind}.{s}" for kind in kinds for s in names if market != "spot" or kind != "allLiquidation"
            ]
            await ask(ws, "subscribe", *topics)
            received[market] = await until_stopped(simulator, ws)

    async def scenario() -> None:
        options = Options(
            exchange="bybit", rate=15_000, messages=8_000, symbols=symbols, ledger=ledger, seed=4
        )
        async with serve(options) as simulator:
            await asyncio.gather(*(client(simulator, market) for market in ("linear", "inverse", "spot")))

    asyncio.run(scenario())
    header, _ = read_ledger(ledger)
    assert (header.exchange, header.seed) == ("bybit", 4)
    written = entries(ledger)
    assert {entry.n for entry in written} == {1}
    for market, messages in received.items():
        told: Counter[tuple[Any, ...]] = Counter()
        books: dict[str, Book] = {}
        states: dict[str, Json] = {}
        unit = quote_units if market == "inverse" else base_units
        for message in messages:
            topic, data, push = message["topic"], message["data"], message["ts"] * 1000
            if topic.startswith("publicTrade"):
                for t in data:
                    side = {"Buy": "buy", "Sell": "sell"}[t["S"]]
                    told["t", t["s"], t["T"] * 1000, push, side, *unit(t["p"], t["v"]), t["i"]] += 1
            elif topic.startswith("allLiquidation"):
                for t in data:
                    side = {"Buy": "sell", "Sell": "buy"}[t["S"]]  # S is the position's
                    told["l", t["s"], t["T"] * 1000, push, side, *unit(t["p"], t["v"])] += 1
            elif topic.startswith("orderbook"):
                book = books.setdefault(topic, Book())
                book.apply(message)
                snap = int(message["type"] == "snapshot")
                best = [unit(*level) for level in book.best()]
                told["b", data["s"], message["cts"] * 1000, push, data["u"], 50, snap, *best] += 1
            else:
                state = states.setdefault(topic, {})
                state.update(data)
                names = ["markPrice", "indexPrice", "fundingRate", "openInterest", "bid1Price", "ask1Price"]
                if market == "spot":
                    names = ["", "usdIndexPrice", "", "", "", ""]
                values = [float(state[name]) if name else None for name in ["lastPrice", *names]]
                told["k", data["symbol"], push, *values] += 1
        kept: Counter[tuple[Any, ...]] = Counter()
        for e in written:
            if e.m == market and e.n == 1:
                if e.k == "t":
                    kept["t", e.s, e.ts, e.push, e.side, e.p, e.q, e.id] += 1
                elif e.k == "l":
                    kept["l", e.s, e.ts, e.push, e.side, e.p, e.q] += 1
                elif e.k == "b":
                    kept["b", e.s, e.ts, e.push, e.seq, e.depth, e.snap, e.bid, e.ask] += 1
                else:
                    rest = e.open_interest, e.bid, e.ask
                    kept["k", e.s, e.ts, e.last, e.mark, e.index, e.funding_rate, *rest] += 1
        assert told == kept
        assert {row[0] for row in told} == set("tbk" if market == "spot" else "tblk")
        assert max(count for row, count in told.items() if row[0] != "k") == 1
    ids = [e.id for e in written if e.k == "t"]
    assert len(set(ids)) == len(ids)
    assert all(e.id.isdigit() == (e.m == "spot") for e in written if e.k == "t")


def test_the_same_seed_sends_the_same_prices_and_sizes() -> None:
    async def run(seed: int) -> list[Any]:
        options = Options(exchange="bybit", rate=0, messages=2000, seed=seed)
        topics = [f"{kind}.ETHUSDT" for kind in ("publicTrade", "orderbook.50", "allLiquidation")]
        async with serve(options) as simulator, connect(simulator.url("linear")) as ws:
            await ask(ws, "subscribe", *topics)
            return [
                [m["topic"], m["data"]["b"], m["data"]["a"], m["data"]["u"]]
                if "orderbook" in m["topic"]
                else [[t["p"], t["v"], t["S"]] for t in m["data"]]
                for m in await until_stopped(simulator, ws)
            ]

    first, second, other = (asyncio.run(run(seed)) for seed in (1, 1, 2))
    assert len(first) > 300
    assert first == second != other


def test_connections_are_cut_and_the_market_goes_on(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"

    async def scenario() -> None:
        options = Options(
            exchange="bybit", rate=2000, symbols=["BTCUSDT"], ledger=ledger, disconnect_every=0.3
        )
        async with serve(options) as simulator:
            for _ in range(2):
                async with connect(simulator.url("linear")) as ws:
                    await ask(ws, "subscribe", "publicTrade.BTCUSDT")
                    with pytest.raises(ConnectionClosed) as closed:
                        while True:
                            await ws.recv()
                    assert closed.value.rcvd is None, "no closing handshake"
                await asyncio.sleep(0.05)

    asyncio.run(scenario())
    assert {entry.n for entry in entries(ledger)} == {0, 1}


def test_skipped_deltas_count_in_the_sequence_and_are_in_the_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"

    async def scenario() -> list[Json]:
        options = Options(
            exchange="bybit", rate=0, messages=3000, symbols=["BTCUSDT"], ledger=ledger, skip_every=100
        )
        async with serve(options) as simulator, connect(simulator.url("linear")) as ws:
            await ask(ws, "subscribe", "orderbook.200.BTCUSDT", "publicTrade.BTCUSDT")
            return await until_stopped(simulator, ws)

    messages = asyncio.run(scenario())
    got = [m["data"]["u"] for m in messages if "orderbook" in m["topic"]]
    skipped = [e.seq for e in entries(ledger) if e.k == "b" and e.n == 0]
    assert sorted(got + skipped) == list(range(got[0], got[-1] + 1))
    assert skipped == [got[0] + 100 * n for n in range(1, len(skipped) + 1)] and len(skipped) > 10
    assert all(e.n for e in entries(ledger) if e.k == "t")


def test_rest_lists_instruments_and_recent_trades(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    symbols = [f"S{n}USDT" for n in range(7)]

    async def scenario() -> None:
        options = Options(exchange="bybit", rate=0, messages=1500, symbols=symbols, ledger=ledger)
        async with (
            serve(options) as simulator,
            httpx.AsyncClient(base_url=str(simulator.ready["rest_url"])) as http,
        ):

            async def get(path: str, **query: Any) -> Json:
                response = await http.get(f"/v5/market/{path}", params=query)
                assert response.headers["content-type"].startswith("application/json")
                answer: Json = response.json()
                return answer

            listed, cursor = [], ""
            for expected in (3, 3, 1):
                result = (await get("instruments-info", category="linear", limit=3, cursor=cursor))["result"]
                assert len(result["list"]) == expected
                listed += [item["symbol"] for item in result["list"]]
                cursor = result["nextPageCursor"]
            assert (listed, cursor) == (symbols, "")
            only = await get("instruments-info", category="inverse", symbol="S3USD")
            assert [item["symbol"] for item in only["result"]["list"]] == ["S3USD"]
            assert (await get("instruments-info", category="linear", symbol="NOPE"))["retCode"] == 10001
            assert (await get("instruments-info", category="moon"))["retCode"] == 10001
            assert int((await get("time"))["result"]["timeSecond"]) > 1_700_000_000
            assert (await http.get("/v5/market/nothing")).status_code == 404
            async with connect(simulator.url("spot")) as ws:
                await ask(ws, "subscribe", "publicTrade.S0USDT")
                await until_stopped(simulator, ws)
            rows = (await get("recent-trade", category="spot", symbol="S0USDT", limit=1000))["result"]["list"]
            sent = {e.id: (e.side, e.p, e.q, e.ts) for e in entries(ledger)}
            assert len(rows) == 60
            times = [int(row["time"]) for row in rows]
            assert times == sorted(times, reverse=True)
            for row in rows:
                content = (
                    row["side"].lower(),
                    float(row["price"]),
                    float(row["size"]),
                    int(row["time"]) * 1000,
                )
                assert content == sent[row["execId"]]

    asyncio.run(scenario())


def test_at_a_finite_rate_a_client_that_does_not_read_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "MOST_BUFFERED", 100_000)

    async def scenario() -> None:
        options = Options(exchange="bybit", rate=50_000, symbols=["BTCUSDT"])
        async with serve(options) as simulator:
            slow = socket.socket()
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            slow.connect(("127.0.0.1", simulator.port))
            async with connect(simulator.url("linear"), sock=slow, max_queue=1, max_size=None) as ws:
                await ask(ws, "subscribe", "orderbook.1000.BTCUSDT", "publicTrade.BTCUSDT")
                async with asyncio.timeout(30):
                    while simulator.subscriptions.clients:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                    with pytest.raises(ConnectionClosed):
                        while True:
                            await ws.recv()

    asyncio.run(scenario())


# The market model


def path(
    symbol: str, count: int, seed: int = 1
) -> tuple[np.ndarray[Any, Any], list[tuple[int, list[Any], int]]]:
    """Log returns of the fair price, and (kind, fills, spread in ticks) of each event."""
    fair, events = [], []
    for kind, model, fills in islice(Market([symbol], seed).events(), count):
        fair.append(model.fair)
        events.append((kind, fills, model.asks.best - model.bids.best))
    return np.diff(np.log(np.array(fair))), events


def test_volatility_comes_in_clusters_and_tails_are_heavy() -> None:
    returns, _ = path("BTCUSDT", 60_000)
    squared = returns**2 - (returns**2).mean()
    for lag in (1, 10, 50):
        assert (squared[:-lag] * squared[lag:]).mean() / squared.var() > 0.02, lag
    assert abs(np.corrcoef(returns[:-100], returns[100:])[0, 1]) < 0.1
    assert ((returns - returns.mean()) ** 4).mean() / returns.var() ** 2 > 4


def test_spreads_widen_with_volatility_and_trades_follow_moves() -> None:
    returns, events = path("ETHUSDT", 60_000)
    books = np.array([i for i, (kind, _, _) in enumerate(events[1:]) if kind == BOOK and i > 100])
    spreads = np.array([events[i + 1][2] for i in books])
    recent = np.convolve(returns**2, np.ones(50), "full")[books]
    assert spreads.min() == 1
    assert (
        spreads[recent > np.quantile(recent, 0.9)].mean()
        > 2 * spreads[recent < np.quantile(recent, 0.5)].mean()
    )
    trades = [i for i, (kind, _, _) in enumerate(events[1:]) if kind == TRADE]
    sides = np.array([1 if events[i + 1][1][0][0] else -1 for i in trades])
    assert np.corrcoef(sides, np.sign(returns[trades]))[0, 1] > 0.2


def test_liquidations_come_in_cascades_that_move_the_price() -> None:
    returns, events = path("SOLUSDT", 100_000)
    kinds = Counter(kind for kind, _, _ in events)
    shares = {kind: count / len(events) for kind, count in kinds.items()}
    assert 0.5 < shares[BOOK] < 0.6 and 0.3 < shares[TRADE] < 0.4
    assert 0.06 < shares[TICKER] < 0.1 and 0.005 < shares[LIQUIDATION] < 0.04
    forced = np.array([kind == LIQUIDATION for kind, _, _ in events[1:]])
    window = 50
    bursts = np.convolve(forced, np.ones(window), "valid")
    assert bursts.max() > 10 * forced.mean() * window
    start = int(bursts.argmax())
    sides = [
        1 if f[0][0] else -1 for kind, f, _ in events[start + 1 : start + 1 + window] if kind == LIQUIDATION
    ]
    assert abs(sum(sides)) == len(sides), "a cascade forces one side"
    move = returns[start : start + window].sum()
    assert np.sign(move) == np.sign(sides[0]) and abs(move) > 3 * returns.std() * np.sqrt(window)


def test_binance_tells_of_the_largest_forced_order_of_a_second() -> None:
    """Six orders by hand, then 300 against a plain loop. Housekeeping comes every 100 ms."""
    model = Market(["BTCUSDT"]).symbols[0]
    one = Listing("linear", "BTCUSDT", model)
    lots = model.instrument.quantities
    small, middle, large = sorted(model.instrument.distinct[:3], key=lots.__getitem__)

    def told(orders: list[tuple[int, Fill]], end_ms: int) -> list[tuple[int, int, str, str]]:
        """(pushed, time, side, size) of what is published."""
        topic, due, messages = LiquidationTopic(one, "btcusdt@forceOrder", 0), iter(orders), []
        following = next(due, None)
        for now_ms in range(end_ms):
            if following is not None and following[0] == now_ms:
                messages.append(topic.publish([following[1]], now_ms))
                following = next(due, None)
            if now_ms % 100 == 0:
                messages.append(topic.repeat(now_ms))
        published = [json.loads(message.text) for message in messages if message is not None]
        return [(event["E"], event["o"]["T"], event["o"]["S"], event["o"]["q"]) for event in published]

    fills = [(False, 65_000, size) for size in (small, large, middle)]
    times = [1010, 1080, 2009, 2010, 2500, 5003]
    assert told(list(zip(times, fills + fills, strict=True)), 7000) == [
        (2010, 1078, "SELL", one.qty[large]),
        (3100, 2498, "SELL", one.qty[large]),
        (6100, 5001, "SELL", one.qty[middle]),
    ]
    rng = np.random.default_rng(4)
    at = np.cumsum(rng.integers(1, 400, 300)).tolist()
    sizes = rng.permutation(model.instrument.distinct)[:300].tolist()
    orders = [(ms, (bool(rng.random() < 0.5), 65_000, size)) for ms, size in zip(at, sizes, strict=True)]
    wanted, left = [], orders
    while left:
        due = left[0][0] + 1000
        of_second = [order for order in left if order[0] < due]
        left = left[len(of_second) :]
        ms, (buys, _, size) = max(of_second, key=lambda order: lots[order[1][2]])
        pushed = min(-(-due // 100) * 100, left[0][0] if left else due + 100)
        wanted.append((pushed, ms - 2, "BUY" if buys else "SELL", one.qty[size]))
    assert len(wanted) < 80
    assert told(orders, at[-1] + 2000) == wanted


def test_sizes_have_a_heavy_tail() -> None:
    sizes = np.array(Market(["BTCUSDT"]).symbols[0].instrument.quantities)
    assert sizes.min() >= 1
    assert sizes.mean() > 3 * np.median(sizes)
    assert np.sort(sizes)[-41:].sum() > 0.2 * sizes.sum(), (
        "a hundredth of the orders is a fifth of the volume"
    )


# The command


def start(*arguments: str) -> tuple[subprocess.Popen[str], Json]:
    command = [sys.executable, "-c", "from collector.cli import main; main()", "simulate", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, json.loads(process.stdout.readline())


def test_the_command_announces_itself_and_ends_with_a_whole_ledger(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    process, ready = start("--symbols", "2", "--rate", "5000", "--ledger", str(ledger))
    try:
        assert ready["ready"] is True and ready["ws_url_base"] == f"ws://127.0.0.1:{ready['port']}"

        async def scenario() -> None:
            async with connect(ready["ws_urls"]["linear"]) as ws:
                await ask(ws, "subscribe", "publicTrade.S0001USDT", "orderbook.50.S0002USDT")
                await receive(ws, 50)
                process.send_signal(signal.SIGTERM)
                with pytest.raises(ConnectionClosed):
                    while True:
                        await ws.recv()

        asyncio.run(scenario())
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()
    assert ledger.read_bytes().endswith(b"}\n")
    assert len(entries(ledger)) > 49


def test_a_duration_ends_the_command() -> None:
    process, _ = start("--duration", "100ms", "--symbols", "1")
    assert process.wait(10) == 0
    process.communicate()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "{taken}"], "another --port"),
        (["--ledger", "/nowhere/ledger.jsonl"], "/nowhere/ledger.jsonl"),
        (["--symbols", "BTCUSDT,BTCUSDT"], "twice"),
        (["--symbols", "0"], "from 1 to"),
        (["--exchange", "moon"], "moon"),
        (["--duration", "soon"], "not a duration"),
    ],
)
def test_wrong_usage_is_told_and_exits_2(arguments: list[str], message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [argument.format(taken=taken.getsockname()[1]) for argument in arguments]
        command = [sys.executable, "-c", "from collector.cli import main; main()", "simulate", *given]
        result = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert result.returncode == 2
    assert message in result.stderr and "Traceback" not in result.stderr


def test_the_wire_is_registered_for_every_path() -> None:
    assert BybitWire().paths == {f"/v5/public/{market}": market for market in ("linear", "inverse", "spot")}
