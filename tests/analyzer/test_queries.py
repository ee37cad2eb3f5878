"""The queries for the console, and `analyzer sql`: each answers from a real QuestDB, several with what is known."""

from __future__ import annotations

import csv
import io
import json
import math
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyzer.queries import Query, queries, with_settings
from collector.database.endpoint import Endpoint
from tests.analyzer import market_now
from tests.analyzer.fixtures import analyzer, settings
from tests.analyzer.market_now import BITCOIN, BTC, ETHER, OTHER, SECOND, SECONDS, VENUE
from tests.anew import anew, empty

ALL = queries()
QUIET = {"suspended_tables", "bars_check"}
"""On a healthy server these have no rows."""
Ask = Callable[..., list[dict[str, Any]]]


@pytest.fixture(scope="module")
def filled(questdb: Endpoint) -> tuple[Endpoint, int]:
    anew(questdb)
    return questdb, market_now.fill(questdb)


@pytest.fixture
def ask(filled: tuple[Endpoint, int]) -> Ask:
    """Rows of a named query, as dictionaries."""

    def asked(name: str, **changes: str) -> list[dict[str, Any]]:
        from collector.database.endpoint import connect

        with connect(filled[0]) as connection:
            cursor = connection.execute(with_settings(ALL[name], changes))
            columns = [column.name for column in cursor.description or ()]
            return [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]

    return asked


def of(
    rows: list[dict[str, Any]], venue: tuple[str, str], symbol: str = "", **more: object
) -> dict[str, Any]:
    """The one row of an instrument."""
    wanted = {"exchange": venue[0], "market": venue[1], **({"symbol": symbol} if symbol else {}), **more}
    found = [row for row in rows if wanted.items() <= row.items()]
    assert len(found) == 1, (wanted, rows)
    return found[0]


def test_forty_queries_each_with_what_it_answers() -> None:
    assert len(ALL) >= 40
    for one in ALL.values():
        assert one.text.startswith("-- "), one.name
        assert len(one.about) > 30, one.name
        assert one.about[-1] in ".:)", one.name
        assert one.text.count("@") >= 2 * len(one.settings), f"{one.name} declares what it doesn't use"


@pytest.mark.parametrize("name", ALL)
def test_every_query_answers_on_a_filled_database(ask: Ask, name: str) -> None:
    rows = ask(name)
    assert bool(rows) != (name in QUIET)


def test_candles_and_flow(ask: Ask) -> None:
    candles = [row for row in ask("candles") if row["market"] == "linear"]
    assert [row["close"] for row in candles] == pytest.approx([BITCOIN[n] for n in (59, 119, 179)])
    assert candles[1]["high"] == pytest.approx(max(BITCOIN[60:120]))
    bought = sum(0.01 * (1 + n) for n in range(60, 120))
    assert candles[1]["volume"] == pytest.approx(bought + 60 * 0.005)
    assert candles[1]["buy_share"] == pytest.approx(bought / (bought + 60 * 0.005))
    cvd = [row["cvd"] for row in ask("cvd") if row["market"] == "linear"]
    total = sum(0.01 * (1 + n) for n in range(SECONDS)) - SECONDS * 0.005 + 0.0001
    assert len(cvd) == 3
    assert cvd[-1] == pytest.approx(total)


def test_volume_profile_adds_up_to_the_volume(ask: Ask) -> None:
    rows = ask("volume_profile", symbol="ETHUSDT", steps="10")
    counts, edges = np.histogram(ETHER, bins=10)
    assert [row["volume"] for row in rows] == pytest.approx([count for count in counts if count])
    assert [row["price_from"] for row in rows] == pytest.approx(
        [edge for edge, count in zip(edges, counts, strict=False) if count]
    )
    assert {row["buy_share"] for row in rows} == {0.0}


def test_trade_sizes(ask: Ask) -> None:
    rows = [row for row in ask("trade_sizes") if row["symbol"] == BTC and row["market"] == "linear"]
    made = [(BITCOIN[n] * 0.01 * (1 + n), True) for n in range(SECONDS)]
    made += [(BITCOIN[n] * qty, False) for n in range(SECONDS) for qty in (0.002, 0.003)]
    made += [(BITCOIN[30] * 2 * 0.0001, True)]
    bounds = [0, 1e3, 1e4, 1e5, math.inf]
    for row, low, high in zip(rows, bounds, bounds[1:], strict=False):
        inside = [(notional, buy) for notional, buy in made if low <= notional < high]
        assert row["trades"] == len(inside)
        assert row["buy_share"] == pytest.approx(
            sum(n for n, buy in inside if buy) / sum(n for n, _ in inside)
        )
    largest = ask("largest_trades")[0]
    assert largest["notional"] == pytest.approx(BITCOIN[-1] * 1.8)


def test_books(ask: Ask) -> None:
    depth = of(ask("depth_now"), VENUE, BTC)
    # Ten basis points are twenty levels of half a basis point; the twentieth is at the bound itself.
    assert (depth["bid_depth"], depth["ask_depth"]) in ((20, 21), (19, 20), (20, 20), (19, 21))
    assert depth["imbalance"] < 0
    slippage = of(ask("slippage_100k"), VENUE, BTC)
    mid = BITCOIN[-1]
    filled = 100_000 / mid
    assert 1 < filled < 2
    assert slippage["buy_bps"] == pytest.approx(0.5, rel=1e-6)
    assert slippage["sell_bps"] == pytest.approx((1 * 0.5 + (filled - 1) * 1.0) / filled, rel=1e-6)
    assert of(ask("spread_now"), VENUE, BTC)["spread_bps"] == pytest.approx(1.0)
    imbalances = [row["imbalance"] for row in ask("book_imbalance") if row["symbol"] == "ETHUSDT"]
    assert imbalances == pytest.approx([-1 / 11] * len(imbalances))
    odd = of(ask("crossed_books"), VENUE, "ODDUSDT")
    assert (odd["crossed_share"], odd["one_sided_share"]) == (0.5, 0.5)
    effective = of(ask("effective_spread"), VENUE, "ETHUSDT")
    assert effective["effective_bps"] == pytest.approx(0.0, abs=1e-6)
    assert effective["quoted_bps"] == pytest.approx(1.0)


def test_markout_follows_the_takers(ask: Ask) -> None:
    rows = [row for row in ask("markout") if row["symbol"] == BTC and row["market"] == "linear"]
    large = [n for n in range(SECONDS) if BITCOIN[n] * 0.01 * (1 + n) >= 100_000]
    for row in rows:
        after = row["seconds_after"]
        moves = [BITCOIN[min(n + after, SECONDS - 1)] / BITCOIN[n] - 1 for n in large]
        assert row["trades"] == len(large)
        assert row["markout_bps"] == pytest.approx(1e4 * sum(moves) / len(moves), abs=1e-6)
    assert [row["seconds_after"] for row in rows] == [0, 1, 5, 30]


def test_who_moves_with_whom_and_who_first(ask: Ask) -> None:
    beta = of(ask("correlation_to_bitcoin"), VENUE, BTC)
    assert (beta["correlation"], beta["beta"]) == (pytest.approx(1.0), pytest.approx(1.0))
    lag = of(ask("lead_lag"), VENUE)
    assert lag["after_2s"] == pytest.approx(1.0, abs=1e-4)
    assert abs(lag["at_once"]) < 0.3
    assert ask("basis_to_spot")[-1]["basis_bps"] == pytest.approx((1 / 0.999 - 1) * 1e4)
    venues = ask("venues")
    near, far = of(venues, VENUE, BTC), of(venues, OTHER)
    assert far["mid"] / near["mid"] == pytest.approx(1.001)
    assert far["from_mean_bps"] == pytest.approx(-near["from_mean_bps"])
    basis = ask("basis")
    assert {round(row["mark_bps"], 6) for row in basis} == {10.0}


def test_derivatives(ask: Ask) -> None:
    interest = of(ask("open_interest"), VENUE, BTC)
    assert interest["open_interest"] == 1170.0
    assert interest["day_percent"] == pytest.approx(17.0)
    worst = ask("liquidation_bursts")[0]
    assert (worst["closed"], worst["orders"], worst["notional"]) == ("long", 10, 60_000.0 * 55)
    by_price = ask("liquidations_by_price")
    assert [(row["side"], row["orders"]) for row in by_price] == [("sell", 10), ("buy", 1)]
    for row, price in zip(by_price, (60_000, 61_000), strict=True):
        assert row["price_from"] <= price < row["price_from"] * 1.0011


def test_what_is_missing_and_what_is_wrong(ask: Ask, filled: tuple[Endpoint, int]) -> None:
    causes = {row["cause"]: row for row in ask("gaps_by_cause")}
    assert (causes["disconnected"]["seconds"], causes["disconnected"]["missing"]) == (10.0, 7)
    assert causes["sequence_gap"]["repaired"] == 1
    assert [row["cause"] for row in ask("gaps_open")] == ["collector_stopped"]
    repair = ask("gaps_repair")
    assert [(row["repair"], row["trades_recovered"]) for row in repair] == [("partial", 3)]
    twice = ask("duplicate_trades")
    assert [(row["symbol"], row["copies"]) for row in twice] == [("ODDUSDT", 2)]
    odd = ask("odd_trades")
    assert [row["price"] for row in odd] == [pytest.approx(BITCOIN[30] * 2)]
    latency = ask("ingestion_latency")
    assert {round(row["worst"]) for row in latency} == {20}
    skew = ask("clock_skew")
    assert min(row["least"] for row in skew) == -980  # the second of the two was received before it happened
    assert sum(row["negative_share"] > 0 for row in skew) == 1
    silent = ask("silent_streams")
    assert silent == sorted(silent, key=lambda row: -row["seconds_old"])
    end = filled[1] + (SECONDS - 1) * SECOND
    assert of(silent, VENUE, BTC, channel="trades")["newest"] == datetime(1970, 1, 1) + timedelta(
        microseconds=end
    )


def test_operations(ask: Ask) -> None:
    assert [row["rule"] for row in ask("alerts_firing")] == ["journal_quota"]
    assert {row["rule"]: row["times"] for row in ask("alerts_last_week")} == {
        "journal_quota": 1,
        "questdb_unavailable": 1,
    }
    assert ask("dead_letters")[0]["dead_letters"] == 2
    load = [row for row in ask("collector_load") if row["cpu_share"] is not None]
    assert load[0]["cpu_share"] == pytest.approx(0.3)
    assert load[0]["rows_per_s"] == pytest.approx(60.0)
    times = {row["analysis"]: row for row in ask("analysis_times")}
    assert (times["flow"]["runs"], times["flow"]["failed"], times["flow"]["longest_ms"]) == (2, 1, 30.0)
    assert {row["view_status"] for row in ask("views")} == {"valid"}
    sizes = {row["tableName"]: row for row in ask("table_sizes")}
    assert sizes["trades"]["rowCount"] == len(market_now.trades(0))
    assert ask("suspicions")[0]["metric"] == "spoof_bid"
    assert [row["value"] for row in ask("signal_history")] == [0.25]


def test_the_commands(filled: tuple[Endpoint, int], tmp_path: Path) -> None:
    config = ("--config", str(settings(tmp_path, filled[0])))
    listed = json.loads(analyzer("sql", "list", "--format", "json").stdout)
    assert [one["name"] for one in listed] == list(ALL)
    assert "last_trades" in analyzer("sql", "list").stdout
    assert analyzer("sql", "show", "gaps_open").stdout.rstrip() == ALL["gaps_open"].text.rstrip()
    done = analyzer("sql", "run", "last_trades", *config, "--set", "symbol=ETHUSDT", "--format", "json")
    rows = json.loads(done.stdout)
    assert (done.returncode, len(rows)) == (0, 50)
    assert rows[0]["price"] == pytest.approx(ETHER[-1])
    assert rows[0]["ts"].endswith("Z")
    done = analyzer("sql", "run", "last_trades", *config, "--format", "csv", "--limit", "3")
    table = list(csv.DictReader(io.StringIO(done.stdout)))
    assert (done.returncode, len(table), table[0]["symbol"]) == (0, 3, BTC)
    done = analyzer("sql", "run", "candles", *config)
    assert "vwap" in done.stdout
    done = analyzer("sql", "run", "candles", *config, "--set", "symbol=no'ne", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("nothing",), 2, "analyzer sql list"),
        (("trades",), 2, "last_trades"),
        (("candles", "--set", "colour=red"), 2, "symbol, hours"),
        (("candles", "--set", "hours=soon"), 2, "is a number"),
        (("candles", "--set", "hours"), 2, "NAME=VALUE"),
        (("candles", "--config", "/nowhere.toml"), 2, "can't be read"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments: tuple[str, ...], code: int, words: str) -> None:
    done = analyzer("sql", "run", *arguments)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_no_server_and_no_tables(questdb: Endpoint, tmp_path: Path) -> None:
    nowhere = Endpoint("http://127.0.0.1:9", "postgresql://admin:quest@127.0.0.1:9/qdb")
    done = analyzer("sql", "run", "candles", "--config", str(settings(tmp_path, nowhere)))
    assert (done.returncode, "check that it runs" in done.stderr) == (1, True)
    assert "quest@" not in done.stderr
    empty(questdb)
    done = analyzer("sql", "run", "candles", "--config", str(settings(tmp_path, questdb)))
    assert (done.returncode, "collector migrate" in done.stderr) == (1, True)


def test_settings_change_their_line_only() -> None:
    one = Query("q", "", {"a": "'x'", "n": "5"}, "-- @a := 'x'\nDECLARE @a := 'x', @n := 5\nSELECT @a, @n")
    changed = with_settings(one, {"a": "it's", "n": "-2.5"})
    assert changed == "-- @a := 'x'\nDECLARE @a := 'it''s', @n := -2.5\nSELECT @a, @n"
    assert with_settings(one, {}) == one.text


def test_the_queries_are_in_the_package(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=root, check=True, capture_output=True, timeout=60)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"analyzer/sql/queries/{name}.sql" for name in ALL} <= names
