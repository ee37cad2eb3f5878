"""`analyzer evaluate` as a process against a real QuestDB, compared with loops over the same trades and signals."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from analyzer.windows import microseconds, parse_time
from collector.database.endpoint import Endpoint
from collector.rows import Trade
from tests.analyzer.fixtures import VENUE, analyzer, settings, store
from tests.conftest import wait_rows

END = microseconds(parse_time("2026-03-02T03:00:00Z"))
START = END - 3 * 3600 * 1_000_000
MINUTE, S = 60_000_000, 1_000_000
SETTLE = 2 * S
SYMBOLS = ("BTCUSDT", "ETH'{start}")
Signals = dict[tuple[str, str, str, int], float]
"""(symbol, analysis, metric, µs) → value"""


def some_trades() -> list[Trade]:
    rng = random.Random(21)
    rows = []
    for symbol in SYMBOLS:
        price = 100.0
        for n, ts in enumerate(sorted(rng.sample(range(START, END + 30 * MINUTE), 6000))):
            price *= math.exp(rng.gauss(0, 2e-4))
            rows.append(Trade(ts, ts, *VENUE, symbol, "buy", price, 1.0, str(n)))
    return rows


def some_signals() -> Signals:
    rng = random.Random(22)
    found: Signals = {}
    for symbol in SYMBOLS:
        for at in range(START - 5 * MINUTE, END + 5 * MINUTE, MINUTE):
            found[symbol, "confluence", "score", at] = rng.uniform(0, 100)
            found[symbol, "flow", "cvd", at] = rng.uniform(-5, 5)
    return found


def post(endpoint: Endpoint, lines: list[str]) -> None:
    answer = httpx.post(f"{endpoint.http_url}/write", content="\n".join(lines) + "\n", auth=endpoint.auth)
    assert answer.status_code == 204, answer.text


def put(endpoint: Endpoint, signals: Signals, late: int = 0) -> None:
    """Signals of windows of five minutes, and their runs: the first `late` windows' an hour after their time."""
    lines = []
    for (symbol, analysis, metric, at), value in signals.items():
        tags = f"exchange={VENUE[0]},market={VENUE[1]},symbol={symbol},analysis={analysis},metric={metric}"
        lines.append(f"signals,{tags} window_s=300i,value={value!r},coverage=1.0 {at * 1000}")
    for n, (analysis, at) in enumerate(sorted({(analysis, at) for _, analysis, _, at in signals})):
        started = at + SETTLE + (3600 * S if n < late else 0)
        lines.append(
            f'analysis_runs,analysis={analysis},status=ok run_id="{n}",window_from={at - 5 * MINUTE}t,'
            f"window_to={at}t,started={started}t {started * 1000}"
        )
    post(endpoint, lines)
    wait_rows(endpoint, "signals", len(signals))
    wait_rows(endpoint, "analysis_runs", len({(analysis, at) for _, analysis, _, at in signals}))


def fill(database: Endpoint, trades: list[Trade]) -> None:
    store(database, trades)
    wait_rows(database, "ohlcv_1s", len({(trade.symbol, trade.ts // S) for trade in trades}))


def followed(trades: list[Trade], symbol: str, at: int, horizon: int) -> float | None:
    """ln(exit / entry) from the trades themselves; every second or two has one, so none is stale."""
    own = [trade for trade in trades if trade.symbol == symbol]
    entry = next(trade for trade in own if trade.ts // S * S >= at + SETTLE)
    low = entry.ts // S * S
    out = low + horizon * S
    exits = [trade for trade in own if low + S <= trade.ts < out // S * S]
    return math.log(exits[-1].price / entry.price) if out <= END and exits else None


def evaluate(config: Path, *arguments: str) -> Any:
    done = analyzer(
        "evaluate",
        "--config",
        str(config),
        "--as-of",
        "2026-03-02T03:00:00Z",
        "--since",
        "3h",
        "--format",
        "json",
        *arguments,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_against_loops_over_the_trades(database: Endpoint, tmp_path: Path) -> None:
    trades, signals = some_trades(), some_signals()
    fill(database, trades)
    put(database, signals, late=20)
    config = settings(tmp_path, database)
    document = evaluate(
        config, "--analysis", "confluence,flow", "--metric", "score,cvd", "--horizons", "1m,5m"
    )
    inside = {key: value for key, value in signals.items() if START <= key[3] < END}
    assert (document["status"], document["signals"], document["instruments"]) == ("ok", len(inside), 2)
    assert document["trials"] == 4
    assert [(r["metric"], r["horizon_s"]) for r in document["results"]] == [
        ("score", 60),
        ("score", 300),
        ("cvd", 60),
        ("cvd", 300),
    ]
    for result in document["results"]:
        values, gains, ways = [], [], []
        for (symbol, _, metric, at), value in inside.items():
            gain = followed(trades, symbol, at, result["horizon_s"])
            if metric == result["metric"] and gain is not None:
                values.append(value)
                gains.append(gain)
                ways.append((value >= 70) - (value <= 35) if metric == "score" else (1 if value > 0 else -1))
        directed = [(way, gain) for way, gain in zip(ways, gains, strict=True) if way]
        assert (result["signals"], result["directed"]) == (len(values), len(directed))
        hits = sum(way * gain > 0 for way, gain in directed) / len(directed)
        mean = 1e4 * sum(way * gain for way, gain in directed) / len(directed)
        frame = pl.DataFrame({"a": values, "b": gains})
        assert result["hit_rate"]["value"] == pytest.approx(hits)
        assert result["mean_return_bps"]["value"] == pytest.approx(mean)
        assert result["ic"]["value"] == pytest.approx(
            frame.select(pl.corr("a", "b", method="spearman")).item()
        )
        assert result["ic_p_adjusted"] == pytest.approx(min(1, 4 * result["ic"]["p"]))
        assert result["ic"]["low"] < result["ic"]["value"] < result["ic"]["high"]
    # The first 20 runs of all are confluence's: of windows from five minutes before the start on.
    assert document["late"] == 15 * len(SYMBOLS)
    timely = evaluate(config, "--timely", "--horizons", "1m")
    assert (timely["late"], timely["results"][0]["signals"]) == (30, document["results"][0]["signals"] - 30)

    one = evaluate(config, "--symbols", "BTCUSDT", "--window", "5m", "--horizons", "1m")
    assert one["results"][0]["signals"] == document["results"][0]["signals"] / 2
    none = evaluate(config, "--window", "15m")
    assert (none["status"], none["signals"], none["results"], none["trials"]) == ("empty", 0, [], 0)
    done = analyzer("evaluate", "--config", str(config), "--as-of", "2026-03-02T03:00:00Z", "--since", "3h")
    assert done.returncode == 0, done.stderr
    assert max(len(line) for line in done.stdout.splitlines()) <= 100
    for text in (
        "score",
        "confluence, 5m",
        "15m",
        "4 trials",
        "block",
        "360 signals of 2 instruments, 30 of them",
    ):
        assert text in done.stdout.replace("\n", " "), text


def test_prices_outside_entry_and_exit_change_nothing(database: Endpoint, tmp_path: Path) -> None:
    """Signals at one time; other prices before their entries and from their exits on, and further signals after the end."""
    at = START + 60 * MINUTE
    rng = random.Random(23)
    signals: Signals = {}
    trades: list[Trade] = []
    for n in range(12):
        symbol = f"S{n}USDT"
        signals[symbol, "confluence", "score", at] = rng.uniform(0, 100)
        times = [at + SETTLE + second * S + 500_000 for second in range(-300, 600)]
        trades += [Trade(ts, ts, *VENUE, symbol, "buy", rng.uniform(90, 110), 1.0, str(ts)) for ts in times]
    fill(database, trades)
    put(database, signals)
    config = settings(tmp_path, database)
    first = evaluate(config, "--horizons", "5m")
    assert first["results"][0]["signals"] == 12
    entry, out = at + SETTLE, at + SETTLE + 5 * MINUTE
    other = [
        trade
        if entry <= trade.ts < out
        else Trade(trade.ts, trade.ts, *VENUE, trade.symbol, "buy", price, 1.0, "x")
        for trade in trades
        for price in (rng.uniform(1, 1000),)
    ]
    # Under other identifiers: rows that are added to the same seconds, first and last of them.
    early = [
        Trade(t.ts - 400_000, t.ts, *VENUE, t.symbol, "buy", t.price, 1.0, "y")
        for t in other
        if t.trade_id == "x"
    ]
    store(database, [trade for trade in other if trade.trade_id == "x"])
    store(database, early)
    wait_rows(database, "ohlcv_1s WHERE trades = 3", len(early))
    assert evaluate(config, "--horizons", "5m")["results"] == first["results"]


def test_nothing_to_evaluate_is_said(database: Endpoint, tmp_path: Path) -> None:
    config = settings(tmp_path, database)
    done = analyzer("evaluate", "--config", str(config), "--since", "1h")
    assert done.returncode == 0, done.stderr
    assert "no signals of these metrics in" in done.stdout
    put(database, {("BTCUSDT", "confluence", "score", START + MINUTE * n): 50.0 + n for n in range(20)})
    document = evaluate(config)
    assert (document["status"], document["signals"]) == ("unpriced", 20)
    assert [(r["signals"], r["hit_rate"], r["ic"]) for r in document["results"]] == [(0, None, None)] * 4
    done = analyzer("evaluate", "--config", str(config), "--as-of", "2026-03-02T03:00:00Z", "--since", "3h")
    assert "No signal has a return yet" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--since", "soon"), "soon"),
        (("--horizons", ""), "--horizons"),
        (("--horizons", "1m,1m"), "--horizons"),
        (("--horizons", "1s"), "whole seconds"),
        (("--horizons", "2500ms"), "whole seconds"),
        (("--analysis", "flaw"), "there are coverage"),
        (("--metric", "skore"), "skore"),
        (("--analysis", "flow", "--metric", "score"), "score"),
        (("--as-of", "noon"), "--as-of"),
        (("--window", "x"), '"x"'),
    ],
)
def test_bad_input_is_one_line_and_exit_2(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    config = tmp_path / "evenkeel.toml"
    config.write_text('[questdb]\nurl = "http://127.0.0.1:1"\n')
    done = analyzer("evaluate", "--config", str(config), *arguments)
    assert done.returncode == 2
    assert word in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_database_that_is_not_there_is_exit_1(tmp_path: Path) -> None:
    config = tmp_path / "evenkeel.toml"
    config.write_text('[questdb]\nurl = "http://127.0.0.1:1"\n')
    done = analyzer("evaluate", "--config", str(config))
    assert done.returncode == 1
    assert "collector db status" in done.stderr
