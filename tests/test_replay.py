"""Recordings served again: message for message, at their pace, with a ledger derived independently."""

from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from collector.errors import OperatorError
from collector.replay.recording import Recording, detect
from collector.replay.server import Options, Replay, serve
from collector.simulator import SIMULATORS

SESSION = Path(__file__).parents[2] / "shared" / "recordings" / "bybit" / "linear_spot_20260809.jsonl.gz"
LINEAR, SPOT = "wss://exchange.example/v5/public/linear", "wss://exchange.example/v5/public/spot"
Json = dict[str, Any]


def trade(symbol: str, number: int, side: str = "Buy") -> Json:
    item = {
        "T": 1000 + number,
        "s": symbol,
        "S": side,
        "v": "0.10",
        "p": f"{100 + number}.5",
        "i": f"id-{number}",
    }
    return {"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": 1001 + number, "data": [item]}


def book(kind: str, u: int, bids: list[list[str]], asks: list[list[str]], depth: int = 50) -> Json:
    data = {"s": "BTCUSDT", "b": bids, "a": asks, "u": u, "seq": 7 * u}
    return {"topic": f"orderbook.{depth}.BTCUSDT", "type": kind, "ts": 2005, "data": data, "cts": 2000 + u}


def ticker(kind: str, ts: int, **fields: str) -> Json:
    return {"topic": "tickers.BTCUSDT", "type": kind, "ts": ts, "data": {"symbol": "BTCUSDT", **fields}}


def line(kind: str, conn: str, at: float, **fields: Any) -> str:
    return json.dumps({"t": kind, "conn": conn, "ts": at, **fields})


def received(conn: str, at: float, message: Json) -> str:
    return line("recv", conn, at, data=json.dumps(message))


MESSAGES: list[Json] = [
    book("snapshot", 10, [["99", "1.0"], ["98", "2"]], [["101", "3"], ["102", "1"]]),
    trade("BTCUSDT", 1),
    book("delta", 11, [["99", "0"], ["97", "5"]], [["100.5", "0.4"]]),
    ticker("snapshot", 3000, lastPrice="100", markPrice="101"),
    ticker("delta", 3001, lastPrice="102", fundingRate=""),
    {
        "topic": "allLiquidation.BTCUSDT",
        "type": "snapshot",
        "ts": 3002,
        "data": [{"T": 2999, "s": "BTCUSDT", "S": "Buy", "v": "7", "p": "95"}],
    },
    trade("ETHUSDT", 2, "Sell"),
    {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": 3003, "data": []},
]
UNSAID = dict.fromkeys(("index", "funding_rate", "open_interest", "bid", "ask"))
BOOK = {"k": "b", "s": "BTCUSDT", "push": 2005000, "depth": 50}
LEDGER: list[Json] = [
    BOOK | {"ts": 2010000, "seq": 10, "snap": 1, "bid": [99, 1.0], "ask": [101, 3]},
    {
        "k": "t",
        "s": "BTCUSDT",
        "ts": 1001000,
        "push": 1002000,
        "id": "id-1",
        "side": "buy",
        "p": 101.5,
        "q": 0.1,
    },
    BOOK | {"ts": 2011000, "seq": 11, "snap": 0, "bid": [98, 2], "ask": [100.5, 0.4]},
    {"k": "k", "s": "BTCUSDT", "ts": 3000000, "last": 100, "mark": 101, **UNSAID},
    {"k": "k", "s": "BTCUSDT", "ts": 3001000, "last": 102, "mark": 101, **UNSAID},
    {"k": "l", "s": "BTCUSDT", "ts": 2999000, "push": 3002000, "side": "sell", "p": 95, "q": 7},
    {
        "k": "t",
        "s": "ETHUSDT",
        "ts": 1002000,
        "push": 1003000,
        "id": "id-2",
        "side": "sell",
        "p": 102.5,
        "q": 0.1,
    },
]
TOPICS = ["orderbook.50.BTCUSDT", "publicTrade.BTCUSDT", "tickers.BTCUSDT", "allLiquidation.BTCUSDT",
          "publicTrade.ETHUSDT", "kline.1.BTCUSDT"]  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Path:
    file = tmp_path / "session.jsonl.gz"
    page = json.dumps({"retCode": 0, "result": {"list": [{"symbol": "BTCUSDT"}], "nextPageCursor": ""}})
    url = "https://api.example/v5/market/instruments-info?&category=linear&status=Trading&limit=1000"
    lines = [
        json.dumps({"t": "header", "format": 2, "exchange": "BYBIT"}),
        line("http", "h", 0.5, url=url, data=page),
        line("connect", "a", 1, addr=LINEAR),
        line("connect", "b", 1, url=SPOT),
        line("connect", "c", 1, url="wss://exchange.example/v5/public/option"),
        line("send", "a", 1.1, data='{"op":"subscribe","args":["publicTrade.BTCUSDT"]}'),
        received(
            "a", 1.2, {"success": True, "ret_msg": "", "conn_id": "old", "req_id": "", "op": "subscribe"}
        ),
        received("c", 1.3, trade("BTC-OPTION", 9)),
        *(received("a", 2 + n / 10, message) for n, message in enumerate(MESSAGES)),
        received("b", 3.0, trade("BTCUSDT", 3)),
    ]
    with gzip.open(file, "wt") as stream:
        stream.write("\n".join(lines) + "\n")
    return file


def recording(*files: Path) -> Recording:
    return Recording(files, SIMULATORS[detect(files)])


async def play(
    replay: Replay, market: str, batches: list[list[str]], count: int
) -> tuple[list[Json], list[str]]:
    """Subscribe in batches; the acks, and the first `count` data messages as text."""
    async with connect(replay.ready["ws_urls"][market], max_size=None) as ws:  # type: ignore[index]
        for batch in batches:
            await ws.send(json.dumps({"op": "subscribe", "args": batch}))
        acks = [json.loads(await ws.recv()) for _ in batches]
        texts = [str(await asyncio.wait_for(ws.recv(), 20)) for _ in range(count)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(ws.recv(), 0.1)
        return acks, texts


def as_sent(texts: list[str]) -> list[Json]:
    return [json.loads(text) for text in texts]


def test_a_subscriber_gets_the_recorded_messages_in_order_and_the_ledger_says_what_they_mean(
    small: Path, tmp_path: Path
) -> None:
    ledger = tmp_path / "ledger.jsonl"

    async def scenario() -> None:
        async with serve(recording(small), Options(speed=0, settle=0.05, ledger=ledger)) as replay:
            acks, texts = await play(replay, "linear", [TOPICS[:3], TOPICS[3:]], len(MESSAGES))
            assert [ack["success"] for ack in acks] == [True, True]
            assert as_sent(texts) == MESSAGES
            # From the beginning for whoever comes again, and not again in the ledger.
            _, texts = await play(replay, "linear", [["publicTrade.BTCUSDT"]], 1)
            assert as_sent(texts) == [trade("BTCUSDT", 1)]
            _, texts = await play(replay, "spot", [["publicTrade.BTCUSDT", "tickers.BTCUSDT"]], 1)
            assert as_sent(texts) == [trade("BTCUSDT", 3)]

    asyncio.run(scenario())
    header, *lines = [json.loads(text) for text in ledger.read_text().splitlines()]
    assert header["ledger"] == 1 and header["exchange"] == "bybit"
    spot = {
        "k": "t",
        "s": "BTCUSDT",
        "ts": 1003000,
        "push": 1004000,
        "id": "id-3",
        "side": "buy",
        "p": 103.5,
        "q": 0.1,
    }
    assert lines == [e | {"m": "linear", "n": 1} for e in LEDGER] + [spot | {"m": "spot", "n": 1}]


def test_a_repeated_snapshot_is_marked(tmp_path: Path) -> None:
    file, ledger = tmp_path / "bare.jsonl", tmp_path / "ledger.jsonl"
    level = [["99", "1"]], [["101", "2"]]
    bare = [
        book("snapshot", 5, *level, depth=1),
        book("snapshot", 5, *level, depth=1),
        book("snapshot", 6, *level, depth=1),
    ]
    file.write_text("".join(json.dumps(message) + "\n" for message in bare))

    async def scenario() -> None:
        async with serve(recording(file), Options(speed=0, settle=0.05, ledger=ledger)) as replay:
            _, texts = await play(replay, "linear", [["orderbook.1.BTCUSDT"]], 3)
            assert as_sent(texts) == bare

    asyncio.run(scenario())
    assert [json.loads(text).get("rep") for text in ledger.read_text().splitlines()[1:]] == [None, 1, None]


def test_only_recorded_symbols_are_known(small: Path) -> None:
    async def scenario() -> None:
        async with serve(recording(small), Options(speed=0, settle=0.05)) as replay:
            acks, _ = await play(replay, "linear", [["orderbook.200.ETHUSDT"], ["publicTrade.SOLUSDT"]], 0)
            assert acks[0]["success"], "a recorded symbol's other topics are acknowledged and silent"
            assert acks[1]["ret_msg"] == "error:handler not found,topic:publicTrade.SOLUSDT"

    asyncio.run(scenario())


def test_the_recorded_pace_times_speed_is_kept(small: Path) -> None:
    async def scenario() -> list[float]:
        async with (
            serve(recording(small), Options(speed=2, settle=0.0)) as replay,
            connect(replay.ready["ws_urls"]["linear"]) as ws,  # type: ignore[index]
        ):
            await ws.send(json.dumps({"op": "subscribe", "args": TOPICS}))
            await ws.recv()
            times = []
            for _ in MESSAGES:
                await ws.recv()
                times.append(asyncio.get_running_loop().time())
            return times

    times = asyncio.run(scenario())
    assert times[-1] - times[0] > 0.7 / 2 * 0.9  # recorded over 0.7 s; a slow machine only makes it longer


def test_recorded_rest_answers_are_served_and_others_made_up_from_the_symbols(small: Path) -> None:
    async def scenario() -> None:
        async with (
            serve(recording(small), Options()) as replay,
            httpx.AsyncClient(base_url=str(replay.ready["rest_url"])) as http,
        ):
            path = "/v5/market/instruments-info"
            answer = (await http.get(path, params={"category": "linear", "limit": 1000})).json()
            assert answer["result"]["list"] == [{"symbol": "BTCUSDT"}]
            answer = (await http.get(path, params={"category": "spot", "limit": 1000})).json()
            assert [item["symbol"] for item in answer["result"]["list"]] == ["BTCUSDT"]
            assert (await http.get("/v5/market/tickers")).status_code == 404

    asyncio.run(scenario())


@pytest.mark.skipif(not SESSION.exists(), reason="the recorded sessions in ../shared are absent")
def test_the_recorded_session_is_served_message_for_message() -> None:
    sent: dict[str, list[str]] = {"BYBIT.ws.2": [], "BYBIT.ws.3": []}
    with gzip.open(SESSION, "rt") as stream:
        for text in stream:
            item = json.loads(text)
            if item["t"] == "recv" and '"topic"' in item["data"]:
                sent[item["conn"]].append(item["data"])

    async def scenario() -> None:
        async with serve(recording(SESSION), Options(speed=0, settle=0.1)) as replay:
            for market, conn, symbols in (
                ("linear", "BYBIT.ws.2", ["BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT"]),
                ("spot", "BYBIT.ws.3", ["BTCUSDT", "ETHUSDT"]),
            ):
                batches = [
                    [f"{kind}.{symbol}" for kind in ("tickers", "orderbook.200", "publicTrade", "kline.1")]
                    for symbol in symbols
                ]
                _, texts = await play(replay, market, batches, len(sent[conn]))
                assert texts == sent[conn]
            assert replay.finished.is_set()

    asyncio.run(scenario())
    assert {conn: len(texts) for conn, texts in sent.items()} == {"BYBIT.ws.2": 2529, "BYBIT.ws.3": 674}


# The command


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from collector.cli import main; main()", "replay", *arguments]


def test_the_command_exits_when_a_client_has_had_everything(small: Path, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    arguments = ["--speed", "0", "--settle", "50ms", "--ledger", str(ledger), "--exit-when-done"]
    process = subprocess.Popen(
        command(str(small), *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())

        async def scenario() -> int:
            count = 0
            async with connect(ready["ws_urls"]["linear"]) as ws:
                await ws.send(json.dumps({"op": "subscribe", "args": TOPICS}))
                with pytest.raises(ConnectionClosed):
                    while True:
                        count += "topic" in json.loads(await ws.recv())
            return count

        assert asyncio.run(scenario()) == len(MESSAGES)
        assert process.wait(10) == 0
        assert process.stderr is not None and f"{len(MESSAGES)} of {len(MESSAGES)}" in process.stderr.read()
    finally:
        process.kill()
        process.communicate()
    assert len(ledger.read_text().splitlines()) == 1 + len(LEDGER)


def test_bad_input_names_file_and_line(small: Path, tmp_path: Path) -> None:
    good = gzip.decompress(small.read_bytes()).decode()
    bad: dict[str, tuple[bytes, str]] = {
        "cut.jsonl.gz": (small.read_bytes()[:-40], "damaged gzip"),
        "plain.jsonl.gz": (good.encode(), "line 1: damaged gzip"),
        "text.jsonl": (b"1786310817 hello\n", "line 1"),
        "broken.jsonl": (good.encode() + b'{"t":"recv"', f"line {len(good.splitlines()) + 1}"),
        "content.jsonl": (
            b'{"topic":"publicTrade.X","ts":1,"data":[{"T":1}]}\n',
            "line 1: message of publicTrade.X",
        ),
        "other.jsonl": (b'{"e":"aggTrade","E":1}\n', "no line tells the exchange"),
        "empty.jsonl": (b"", "no line tells the exchange"),
        "acks.jsonl": (b'{"t":"header","exchange":"BYBIT"}\n', "no data message"),
    }
    for name, (content, message) in bad.items():
        file = tmp_path / name
        file.write_bytes(content)
        with pytest.raises(OperatorError) as raised:
            recording(file)
        assert message in str(raised.value) and name in str(raised.value), name
        assert raised.value.exit_code == 2
    result = subprocess.run(
        command(str(tmp_path / "absent.jsonl")), capture_output=True, text=True, timeout=20
    )
    assert result.returncode == 2
    assert "absent.jsonl" in result.stderr and "Traceback" not in result.stderr
