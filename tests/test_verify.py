"""`collector verify`: hand-made ledgers against hand-made rows in a real QuestDB, and the comparison against brute force."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from collector.cli import main
from collector.database.endpoint import Endpoint
from collector.simulator import sent as fingerprints
from collector.simulator.compare import NUMBERS, Gaps, compare
from collector.simulator.sent import Events, SentBook
from tests.conftest import query, wait_rows

T0 = 1_790_000_000_000_000
"""µs, the start of a 100 ms interval."""
Json = dict[str, Any]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without an evenkeel.toml."""
    monkeypatch.chdir(tmp_path)


GAP_COLUMNS = "(ts, recv_ts, exchange, market, symbol, channel, from_ts, to_ts, cause, missing, repaired)"


class Scenario:
    """A ledger and rows of an exchange of its own, so that scenarios share a database."""

    def __init__(self, name: str, symbol: str = "BTCUSDT") -> None:
        self.name, self.symbol = name, symbol
        self.lines: list[Json] = []
        self.rows: dict[str, list[str]] = {}

    def sent(self, kind: str, ms: int, **fields: Any) -> None:
        self.lines.append({"k": kind, "m": "linear", "s": self.symbol, "ts": T0 + ms * 1000, "n": 1} | fields)

    def stored(self, table: str, ms: int, *values: str) -> None:
        where = f"{T0 + ms * 1000}, {T0 + ms * 1000 + 50}, '{self.name}', 'linear', '{self.symbol}'"
        self.rows.setdefault(table, []).append(f"({where}, {', '.join(values)})")

    def trade(
        self, ms: int, trade_id: str, price: float = 100.5, *, sent: bool = True, stored: bool = True
    ) -> None:
        if sent:
            self.sent("t", ms, id=trade_id, side="buy", p=price, q=0.1)
        if stored:
            self.stored("trades", ms, "'buy'", str(price), "0.1", f"'{trade_id}'")

    def liquidation(
        self, ms: int, price: float, liq_id: str, *, sent: bool = True, stored: bool = True
    ) -> None:
        if sent:
            self.sent("l", ms, side="sell", p=price, q=2)
        if stored:
            self.stored("liquidations", ms, "'sell'", str(price), "2.0", f"'{liq_id}'")

    def book(
        self, ms: int, seq: int, bid: float = 99.0, *, sent: bool = True, stored: bool = True, depth: int = 50
    ) -> None:
        if sent:
            self.sent("b", ms, seq=seq, depth=depth, snap=0, bid=[bid, 1.5], ask=[101, 2])
        if stored:
            bids, asks = f"ARRAY[[{bid}, 98.0], [1.5, 7.0]]", "ARRAY[[101.0, 102.0], [2.0, 7.0]]"
            self.stored("orderbook", ms, bids, asks, str(seq))

    def ticker(self, ms: int, last: float, *, sent: bool = True, stored: bool = True) -> None:
        if sent:
            self.sent("k", ms, last=last, mark=100.25, index=None)
        if stored:
            self.stored("tickers", ms, str(last), "100.25", *["NULL"] * 6)

    def gap(self, channel: str, first: int, last: int | None) -> None:
        end = "NULL" if last is None else str(T0 + last * 1000)
        self.stored("gaps", first, f"'{channel}'", str(T0 + first * 1000), end, "'test'", "NULL", "false")

    def insert(self, database: Endpoint) -> None:
        for table, rows in self.rows.items():
            columns = GAP_COLUMNS if table == "gaps" else ""
            query(database, f"INSERT INTO {table}{columns} VALUES {', '.join(rows)}")

    def ledger(self, folder: Path) -> Path:
        file = folder / f"{self.name}.jsonl"
        header = {"ledger": 1, "exchange": self.name, "seed": 1, "started_us": T0}
        file.write_text("".join(json.dumps(line) + "\n" for line in [header, *self.lines]))
        return file


def perfect(name: str) -> Scenario:
    s = Scenario(name)
    for n in range(5):
        s.trade(10 * n, f"id-{n}")
    s.liquidation(1, 95.5, "a")
    s.liquidation(1, 95.5, "b")  # the same content twice
    s.book(10, 1, sent=True, stored=False)  # not the last of its interval
    s.book(20, 2)
    s.book(30, 3)
    s.book(150, 4)
    s.book(160, 5, stored=False)
    s.sent("b", 170, seq=5, depth=50, snap=1, rep=1, bid=[99.0, 1.5], ask=[101, 2])
    s.rows["orderbook"].pop()
    s.book(160, 5, sent=False)
    s.ticker(5, 100.0, stored=False)
    s.ticker(5, 101.0)
    s.ticker(6, 102.0)
    return s


def scenarios() -> list[tuple[Scenario, dict[str, dict[str, int]]]]:
    """Each with what verify must say of its tables, beside zeros; of `sent` and `stored` nothing."""
    out: list[tuple[Scenario, dict[str, dict[str, int]]]] = [(perfect("perfect"), {})]

    s = perfect("missing")
    s.trade(7, "lost", stored=False)
    s.liquidation(1, 95.5, "c", stored=False)
    s.book(250, 6, stored=False)
    s.ticker(9, 104.0, stored=False)
    lost = {"missing": 1, "undeclared": 1}
    out.append((s, dict.fromkeys(("trades", "liquidations", "orderbook", "tickers"), lost)))

    s = perfect("declared")
    s.trade(7, "lost-1", stored=False)
    s.trade(8, "lost-2", stored=False)
    s.gap("trades", 7, 8)  # closed at both ends
    s.liquidation(3, 90, "c", stored=False)
    s.gap("liquidations", 2, 3)
    s.book(250, 6, stored=False)
    s.gap("orderbook", 280, 300)  # overlaps the interval, not the update
    s.ticker(9, 104.0, stored=False)
    s.gap("tickers", 8, None)  # open
    hole = {"missing": 1, "declared": 1}
    twice = {"missing": 2, "declared": 2}
    out.append((s, {"trades": twice, "liquidations": hole, "orderbook": hole, "tickers": hole}))

    s = perfect("orphaned")  # left open by a collector that is gone; its successor had another journal
    s.gap("trades", -50, None)
    s.stored("feed_events", -20, "'trades'", "'subscribed'", "''", "NULL")
    s.trade(7, "lost", stored=False)
    out.append((s, {"trades": lost}))

    s = perfect("still-open")  # noticed after the last subscription, although it began before
    s.gap("trades", 5, None)
    s.stored("feed_events", 5, "'trades'", "'subscribed'", "''", "NULL")
    s.trade(7, "lost", stored=False)
    out.append((s, {"trades": hole}))

    s = perfect("elsewhere")
    s.trade(7, "lost", stored=False)
    s.gap("orderbook", 0, 1000)  # another channel
    s.gap("trades", 1, 6)
    s.gap("trades", 8, 9)
    s.book(399, 6, stored=False)
    s.gap("orderbook", 0, 299)
    out.append((s, {"trades": lost, "orderbook": lost}))

    s = perfect("duplicated")
    s.trade(8, "id-0", sent=False)  # a second row of the same trade, at another time
    s.liquidation(1, 95.5, "c", sent=False)
    out.append((s, {"trades": {"duplicated": 1}, "liquidations": {"duplicated": 1}}))

    s = perfect("wrong")
    s.trade(7, "id-x", 100.5, stored=False)
    s.trade(7, "id-x", 100.25, sent=False)
    s.book(250, 6, 99.0, stored=False)
    s.book(250, 6, 99.5, sent=False)
    s.ticker(9, 104.0, stored=False)
    s.ticker(9, 104.5, sent=False)
    bad = {"wrong": 1}
    out.append((s, {"trades": bad, "orderbook": bad, "tickers": bad}))

    s = perfect("unexpected")
    s.trade(7, "never", sent=False)
    s.liquidation(1, 80, "x", sent=False)
    s.book(150, 77, sent=False)
    s.ticker(5, 101.0, stored=False)
    s.sent("k", 20, last=1.0)
    s.stored("tickers", 20, "1.0", *["NULL"] * 7)
    s.ticker(11, 104.0, sent=False)
    extra = {"unexpected": 1}
    out.append((s, dict.fromkeys(("trades", "liquidations", "orderbook", "tickers"), extra)))

    s = perfect(
        "told-over-rest"
    )  # the first state of all is told after two intervals, the second time is a resync
    s.lines.insert(
        0, {"k": "b", "m": "linear", "s": "BTCUSDT", "ts": T0 - 150_000, "seq": -1, "depth": 50, "n": 1}
    )
    s.lines.insert(1, {"k": "r", "m": "linear", "s": "BTCUSDT", "ts": T0 - 60_000, "seq": -1})
    s.book(250, 6, stored=False)
    s.sent("r", 260, seq=6)
    out.append((s, {"orderbook": lost}))

    # A stream that begins with a snapshot has nothing that can't be known, whatever is asked of REST later.
    s = Scenario("told-by-the-stream")
    s.book(0, 1, stored=False)
    s.lines[0]["snap"] = 1
    s.sent("r", 60, seq=1)
    s.lines.append(
        {"k": "r", "m": "linear", "s": "QUIETUSDT", "ts": T0, "seq": 1}
    )  # told, and then nothing came
    s.trade(7, "id")
    s.liquidation(1, 95.5, "a")
    s.ticker(6, 102.0)
    s.book(250, 2)
    out.append((s, {"orderbook": lost}))

    # A ticker that was overtaken within its millisecond by one that got lost: right content, and yet not the last.
    s = perfect("overtaken")
    s.ticker(9, 104.0)
    s.ticker(9, 105.0, stored=False)
    s.gap("tickers", 9, 10)
    out.append((s, {"tickers": hole}))
    return out


def run(database: Endpoint, *arguments: str) -> tuple[int, str]:
    environment = {"EVENKEEL_QUESTDB_URL": database.http_url, "EVENKEEL_QUESTDB_PG": database.pg}
    result = CliRunner(env=environment).invoke(main, ["verify", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_each_kind_of_difference_is_found_and_decides_the_exit_code(
    database: Endpoint, tmp_path: Path
) -> None:
    cases = scenarios()
    for scenario, _ in cases:
        scenario.insert(database)
    for scenario, expected in cases:
        code, output = run(database, "--ledger", str(scenario.ledger(tmp_path)), "--format", "json")
        answer = json.loads(output)
        found = {
            stream["table"]: {name: stream[name] for name in NUMBERS[2:] if stream[name]}
            for stream in answer["streams"]
        }
        assert {table: numbers for table, numbers in found.items() if numbers} == expected, scenario.name
        fails = any({"undeclared", "duplicated", "wrong", "unexpected"} & set(n) for n in expected.values())
        assert (code, answer["verified"]) == (int(fails), not fails), scenario.name
        assert set(found) == {"trades", "liquidations", "orderbook", "tickers"}
        assert (answer["totals"]["undeclared"] == 0) == all(
            not s["first_undeclared"] for s in answer["streams"]
        )
    perfect_streams = run(database, "--ledger", str(tmp_path / "perfect.jsonl"), "--format", "json")[1]
    counted = {s["table"]: (s["sent"], s["stored"]) for s in json.loads(perfect_streams)["streams"]}
    assert counted == {"trades": (5, 5), "liquidations": (2, 2), "orderbook": (2, 3), "tickers": (2, 2)}

    code, table = run(database, "--ledger", str(tmp_path / "missing.jsonl"))
    assert code == 1 and "NOT verified" in table and "first undeclared loss" in table
    code, _ = run(database, "--ledger", str(tmp_path / "perfect.jsonl"), "--book-interval", "0ms")
    assert code == 1, "every update was wanted, and one was not stored"


def test_the_configuration_tells_depth_and_interval(database: Endpoint, tmp_path: Path) -> None:
    s = Scenario("bybit")
    for n in range(4):
        s.book(10 * n, n)
        s.book(10 * n, 500 + n, depth=200, stored=False)
    s.insert(database)
    wait_rows(database, "orderbook", 4)
    ledger = s.ledger(tmp_path)
    code, output = run(database, "--ledger", str(ledger))
    assert code == 2 and "depths 50, 200" in output and "--config" in output
    config = tmp_path / "evenkeel.toml"
    text = '[[feeds]]\nexchange="bybit"\nmarket="linear"\nsymbols=["BTCUSDT"]\nbook_depth={}\nbook_interval="0ms"\n'
    for depth, missing in ((20, 0), (100, 4)):
        config.write_text(text.format(depth))
        code, output = run(database, "--ledger", str(ledger), "--config", str(config), "--format", "json")
        totals = json.loads(output)["totals"]
        assert (totals["sent"], totals["missing"], code) == (4, missing, int(missing > 0))


def test_bad_usage_exits_2_and_says_what_to_do(database: Endpoint, tmp_path: Path) -> None:
    header = '{"ledger":1,"exchange":"x","seed":1,"started_us":1}\n'
    line = '{"k":"t","m":"linear","s":"A","ts":1,"id":"1","side":"buy","p":1,"q":1,"n":1}\n'
    for content, message in (
        (None, "no such file"),
        ("", "line 1: not a ledger"),
        ('{"ledger":9,"exchange":"x","started_us":1}\n', "version 9"),
        (header, "no event"),
        (header + line + '{"k":"t","m"', "line 3"),
        (header + line + '{"k":"t","m":"linear","s":"A","ts":"soon"}\n', "line 3"),
    ):
        file = tmp_path / "ledger.jsonl"
        file.unlink(missing_ok=True)
        if content is not None:
            file.write_text(content)
        code, output = run(database, "--ledger", str(file))
        assert code == 2 and message in output and "ledger.jsonl" in output
    file.write_text(header + line)
    code, output = run(database, "--ledger", str(file), "--book-interval", "often")
    assert code == 2 and "often" in output
    query(database, "DROP TABLE tickers")
    code, output = run(database, "--ledger", str(file))
    assert code == 1 and "collector migrate" in output


# The comparison against brute force

SMALL = st.integers(0, 12)
INTERVALS = st.lists(st.tuples(SMALL, SMALL).map(lambda pair: (min(pair), max(pair))), max_size=4)


def events(rows: list[tuple[int, int, int]]) -> Events:
    """(ts, id, content) each."""
    out = Events()
    for ts, number, content in rows:
        out.add(*fingerprints.trade(ts, "buy", float(content), 1.0, str(number)))
    return out


@given(
    sent=st.dictionaries(SMALL, st.tuples(SMALL, SMALL)),
    stored=st.lists(st.tuples(SMALL, SMALL, SMALL), max_size=14),
    gaps=INTERVALS,
)
def test_trades_compare_as_brute_force_does(
    sent: dict[int, tuple[int, int]], stored: list[tuple[int, int, int]], gaps: list[tuple[int, int]]
) -> None:
    rows = [(ts, number, content) for number, (ts, content) in sent.items()]
    out = compare(("trades", "m", "s"), events(rows), events(stored), Gaps(gaps), 100)
    ids = Counter(number for _, number, _ in stored)
    lost = [ts for ts, number, _ in rows if number not in ids]
    declared = sum(any(first <= ts <= last for first, last in gaps) for ts in lost)
    assert (out.missing, out.declared, out.undeclared) == (len(lost), declared, len(lost) - declared)
    assert out.duplicated == sum(count - 1 for count in ids.values())
    assert out.unexpected == len(ids.keys() - sent.keys())
    assert out.wrong == sum(
        number in sent and (*sent[number][:1], number, sent[number][1]) not in stored for number in ids
    )


@given(
    times=st.lists(SMALL, min_size=1, max_size=14).map(sorted),
    kept=st.sets(SMALL),
    repeated=st.sets(SMALL),
    gaps=INTERVALS,
    interval=st.sampled_from([0, 3, 5]),
)
def test_books_compare_as_brute_force_does(
    times: list[int], kept: set[int], repeated: set[int], gaps: list[tuple[int, int]], interval: int
) -> None:
    sent, stored = SentBook(), Events()
    wanted: dict[int, tuple[int, int]] = {}
    for seq, ts in enumerate(times):
        row = fingerprints.book(ts, seq, (1.0, 1.0), (2.0, 1.0))
        sent.add(*row)
        sent.depths.append(50)
        sent.repetition.append(int(seq in repeated))
        if seq in kept:
            stored.add(*row)
        if seq not in repeated:
            wanted[ts // interval if interval else seq] = seq, ts
    out = compare(("orderbook", "m", "s"), sent, stored, Gaps(gaps), interval)
    lost = [(ts - ts % interval, ts - ts % interval + interval - 1) if interval else (ts, ts)
            for seq, ts in wanted.values() if seq not in kept]  # fmt: skip
    declared = sum(any(a <= last and b >= first for a, b in gaps) for first, last in lost)
    assert (out.sent, out.missing, out.declared) == (len(wanted), len(lost), declared)
    assert (out.duplicated, out.wrong, out.unexpected) == (0, 0, 0)


@given(sent=st.lists(SMALL), stored=st.lists(SMALL))
def test_events_without_an_id_compare_as_multisets(sent: list[int], stored: list[int]) -> None:
    def forced(prices: list[int]) -> Events:
        out = Events()
        for price in prices:
            out.add(*fingerprints.liquidation(7, "sell", float(price), 1.0))
        return out

    out = compare(("liquidations", "m", "s"), forced(sent), forced(stored), Gaps([]), 100)
    told, held = Counter(sent), Counter(stored)
    assert out.undeclared == (told - held).total()
    assert out.unexpected == sum(count for price, count in held.items() if price not in told)
    assert out.duplicated == (held - told).total() - out.unexpected


def test_a_stream_that_sent_nothing_must_hold_nothing() -> None:
    out = compare(("trades", "m", "s"), Events(), events([(1, 1, 1)]), Gaps([]), 100)
    assert (out.unexpected, out.missing, out.good) == (1, 0, False)


def test_an_unknown_format_is_bad_usage() -> None:
    assert CliRunner().invoke(main, ["verify", "--ledger", "x", "--format", "xml"]).exit_code == 2
    assert CliRunner().invoke(main, ["verify"]).exit_code == 2
