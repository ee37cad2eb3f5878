"""Planted events, end to end: the analyses find what was planted, at its symbol and time, and nothing else."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.client import connect

from collector.database.endpoint import Endpoint
from collector.demo import feed_table
from collector.simulator.ledger import read_ledger
from collector.simulator.market import BOOK, LIQUIDATION, TRADE, Market
from collector.simulator.plants import (
    CYCLE_S,
    FORCED_A_SECOND,
    FORCED_EVERY_S,
    LAG_S,
    NAMES,
    SPANS_S,
    STEP,
    parse,
)
from collector.simulator.server import Options, serve
from tests.analyzer.fixtures import run_once
from tests.conftest import query
from tests.processes import background, collector, config_file, judged

SYMBOLS = ["BTCUSDT", "ETHUSDT", "SOLUSDT"]
SECONDS, RATE = 50, 600
COUNTS = {
    "whales": ("whale_buy_count", "whale_sell_count"),
    "walls": ("spoof_bid", "spoof_ask", "layering_bid", "layering_ask"),
    "cascades": ("cascade_long", "cascade_short"),
    "leadlag": ("leader_lag_s", "venue_leader_lag_s"),
}
SLACK_S = 2.0
"""A second of the grid, and one in which a busy machine may be late."""
TAIL_S = 7.0
"""One forced order five seconds after a cascade still belongs to it; and a second of the grid, and one of lateness."""

Found = dict[tuple[str, str], Any]


def found(document: dict[str, Any], exchange: str) -> Found:
    """(metric, symbol) → the row, of what stands out on a venue."""
    rows = {}
    for analysis in document["analyses"]:
        assert analysis["status"] != "failed", analysis["error"]
        for row in analysis["values"]:
            if (
                row["exchange"] == exchange
                and row["metric"] in COUNTS.get(analysis["name"], ())
                and row["value"]
            ):
                rows[row["metric"], row["symbol"]] = row
    return rows


def planted(ledger: Path) -> dict[str, list[tuple[float, float]]]:
    """Name → from and to, in seconds since the epoch; one that goes on has no end."""
    spans: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for entry in read_ledger(ledger)[1]:
        if entry.k == "p" and entry.side == "begin":
            spans[entry.id].append((entry.ts / 1e6, math.inf))
        elif entry.k == "p":
            spans[entry.id][-1] = (spans[entry.id][-1][0], entry.ts / 1e6)
    return dict(spans)


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def test_what_was_planted_is_found_and_nothing_else(tmp_path: Path, database: Endpoint) -> None:
    """Two venues at once: events are planted into one, which tells of one forced order a second; none into the other, which
    tells of all."""
    ledgers = {"binance": tmp_path / "binance.jsonl", "bybit": tmp_path / "bybit.jsonl"}
    common = ["simulate", "--port", "0", "--rate", str(RATE), "--messages", str(RATE * SECONDS)]
    one = [*common, "--exchange", "binance", "--seed", "1", "--plant", "all"]
    other = [*common, "--exchange", "bybit", "--seed", "2", "--plant", "none"]
    with (
        background(tmp_path / "one.log", *one, "--ledger", str(ledgers["binance"])) as first,
        background(tmp_path / "other.log", *other, "--ledger", str(ledgers["bybit"])) as second,
    ):
        ready = {"binance": first.line(), "bybit": second.line()}
        config = config_file(tmp_path, database, "ws://127.0.0.1:1")
        head = config.read_text().partition("[[feeds]]")[0]
        config.write_text(head + "".join(feed_table(name, "linear", ready[name], SYMBOLS) for name in ready))
        with background(tmp_path / "collector.log", "run", "--config", str(config)) as recording:
            assert first.line()["stopped"] is True
            assert second.line()["stopped"] is True
            time.sleep(0.5)
            assert recording.end(signal.SIGTERM) == 0
        first.end()
        second.end()
    for ledger in ledgers.values():
        answer = judged(ledger, config)
        assert answer["verified"], answer
        assert answer["totals"]["missing"] == 0

    low, high = query(database, "SELECT min(ts), max(ts) FROM trades")[0]
    end = high.replace(tzinfo=UTC, microsecond=0).timestamp() + 1
    window = f"{math.ceil(end - low.replace(tzinfo=UTC).timestamp())}s"
    as_of = datetime.fromtimestamp(end, UTC).isoformat()
    code, document = run_once(config, "--window", window, "--as-of", as_of, "--analyses", ",".join(COUNTS))
    assert code == 0
    assert found(document, "bybit") == {}
    rows = found(document, "binance")
    assert set(rows) == {
        ("whale_buy_count", "BTCUSDT"),
        ("leader_lag_s", "ETHUSDT"),
        ("spoof_bid", "SOLUSDT"),
        ("cascade_long", "SOLUSDT"),
    }
    spans = planted(ledgers["binance"])
    assert set(spans) == {"whale BTCUSDT", "leadlag ETHUSDT", "spoof SOLUSDT", "cascade SOLUSDT"}

    for row in rows["whale_buy_count", "BTCUSDT"]["detail"]["rows"]:
        assert any(abs(seconds(row["at"]) - begin) < SLACK_S for begin, _ in spans["whale BTCUSDT"])
        assert row["notional"] > 5e6
    for name, metric in (("spoof SOLUSDT", "spoof_bid"), ("cascade SOLUSDT", "cascade_long")):
        for row in rows[metric, "SOLUSDT"]["detail"]["rows"]:
            begin, until = seconds(row["from"]), seconds(row["to"])
            assert any(a - SLACK_S <= begin <= a + SLACK_S and until <= b + TAIL_S for a, b in spans[name]), (
                row,
                spans[name],
            )
    (lead,) = rows["leader_lag_s", "ETHUSDT"]["detail"]["rows"]
    assert lead["leader"] == "binance linear BTCUSDT"
    assert abs(lead["lag_s"] - LAG_S) <= 1


# The market alone


def played(
    names: list[str], span_s: float, rate: float = 1000.0
) -> Iterator[tuple[float, int, Any, list[Any]]]:
    """(second, kind, symbol, fills) of a market whose clock is told, ten steps a second."""
    market = Market(SYMBOLS, 1, rate, names)
    assert market.plants is not None
    events = market.events()
    for step in range(int(span_s * 10)):
        now = step / 10
        for kind, symbol, fills in chain(market.plants.step(now, now), islice(events, int(rate / 10))):
            yield now, kind, symbol, fills


def test_a_tame_market_has_nothing_that_stands_out() -> None:
    market = Market(SYMBOLS, 1, 1000.0, [])
    for symbol in market.symbols:
        sizes = np.array(symbol.instrument.quantities[: symbol.instrument.drawn])
        assert sizes.max() <= 3.2 * np.median(sizes)
    told = list(played([], 5 * CYCLE_S))
    assert max(len(fills) for _, kind, _, fills in told if kind == TRADE) <= 3
    forced = [now for now, kind, _, _ in told if kind == LIQUIDATION]
    wanted = len(SYMBOLS) * 5 * CYCLE_S / FORCED_EVERY_S
    assert len(forced) == pytest.approx(wanted, abs=4 * math.sqrt(wanted))


def test_each_event_comes_at_its_time_once_a_cycle() -> None:
    told = list(played(list(NAMES), 2 * CYCLE_S))
    whales = [
        (now, symbol.instrument.symbol)
        for now, kind, symbol, fills in told
        if kind == TRADE and any(size >= symbol.instrument.drawn for _, _, size in fills)
    ]
    assert whales == [(SPANS_S["whale"][0] + n * CYCLE_S, "BTCUSDT") for n in range(2)]
    forced = [now for now, kind, symbol, _ in told if kind == LIQUIDATION and symbol.index == 2]
    low, high = SPANS_S["cascade"]
    inside = sum(low <= now % CYCLE_S <= high for now in forced)
    assert inside == pytest.approx(2 * (high - low) * FORCED_A_SECOND, rel=0.05)
    assert inside / len(forced) > 0.97


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_wall_stands_for_its_time_and_no_price_comes_near(seed: int) -> None:
    """In the second cycle, after a cascade. Nothing reaches it in the seconds in which it comes and goes either, and it is
    always one of 20 levels."""
    market = Market(SYMBOLS, seed, 1000.0, ["spoof", "cascade"])
    assert market.plants is not None
    events, stood, traded = market.events(), [], []
    low, high = (CYCLE_S + at for at in SPANS_S["spoof"])
    for step in range(int(high + 4) * 10):
        now = step / 10
        for kind, symbol, fills in (*market.plants.step(now, now), *islice(events, 100)):
            if now < CYCLE_S or symbol.index != 2:
                continue
            if kind == BOOK:
                walls = [key for key, size in symbol.bids.sizes.items() if size == symbol.instrument.drawn]
                if walls:
                    stood.append((now, walls[0], sum(key > walls[0] for key in symbol.bids.keys)))
                    assert len(walls) == 1
            elif kind == TRADE and low - 1 <= now < high + 1.5:
                traded += [tick for _, tick, _ in fills]
    assert {round(now) for now, _, _ in stood} == {50, 51, 52, 53, 54}
    assert low <= stood[0][0] < low + 1 and high - 1 < stood[-1][0] < high + 0.5
    (wall,) = {key for _, key, _ in stood}
    assert min(traded) > wall
    assert all(4 <= before < 19 for _, _, before in stood)


def test_what_a_tame_market_is_behind_with_comes_in_many_milliseconds(tmp_path: Path) -> None:
    """Half a second in which the machine does something else: 1000 messages are late."""
    ledger = tmp_path / "ledger.jsonl"

    async def scenario() -> None:
        options = Options(exchange="bybit", rate=2000, messages=2000, plants=[], ledger=ledger)
        async with serve(options) as simulator, connect(simulator.url("linear")) as ws:
            topics = [f"publicTrade.{symbol}" for symbol in SYMBOLS]
            await ws.send(json.dumps({"op": "subscribe", "args": topics}))
            await ws.recv()
            time.sleep(0.5)  # noqa: ASYNC251
            await simulator.stopped.wait()

    asyncio.run(scenario())
    trades = Counter(entry.ts for entry in read_ledger(ledger)[1] if entry.k == "t")
    assert sum(trades.values()) > 500
    assert max(trades.values()) <= 100


def test_the_second_symbol_does_what_the_first_did_two_seconds_before() -> None:
    last: dict[int, dict[int, float]] = defaultdict(dict)
    for now, _, symbol, _ in played(["leadlag"], 120):
        last[symbol.index][int(now)] = math.log(symbol.fair)
    moves = [np.diff([last[index][second] for second in range(120)]) for index in range(3)]
    lagged = [abs(np.corrcoef(moves[0][: len(moves[0]) - lag], moves[1][lag:])[0, 1]) for lag in range(5)]
    assert int(np.argmax(lagged)) == LAG_S
    assert lagged[2] > 0.9
    assert max(lagged[n] for n in (0, 1, 3, 4)) < 0.4
    assert np.median(np.abs(moves[0])) == pytest.approx(STEP, rel=0.3)
    assert abs(np.corrcoef(moves[0], moves[2])[0, 1]) < 0.4


def test_the_same_seed_gives_the_same_market() -> None:
    one, again = ([(kind, fills) for _, kind, _, fills in played(list(NAMES), 30, 300.0)] for _ in range(2))
    assert one == again


@pytest.mark.parametrize(
    ("text", "names"),
    [("all", list(NAMES)), ("none", []), ("whale", ["whale"]), ("spoof,cascade", ["spoof", "cascade"])],
)
def test_names(text: str, names: list[str]) -> None:
    assert parse(text) == names


def test_an_unknown_name_is_refused() -> None:
    done = collector("simulate", "--port", "0", "--plant", "flood")
    assert done.returncode == 2
    assert "there are cascade, leadlag, spoof, whale" in done.stderr
