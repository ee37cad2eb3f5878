"""Alerts: rules over tables filled by hand, what is told of them, and delivery to a real server that refuses at first."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from analyzer.alerts.delivery import Outcome, deliver, targets_of
from analyzer.alerts.record import Alert, Delivery
from analyzer.alerts.rules import RULES
from analyzer.alerts.settings import RULE_NAMES, AlertsConfig
from analyzer.alerts.watch import Watch, due_of, grouped, message_of
from analyzer.cli import main
from analyzer.config import Endpoint as ReadEndpoint
from analyzer.source import Source
from collector.database.endpoint import Endpoint
from collector.rows import Alert as CollectorAlert
from collector.rows import Row
from tests.analyzer.audits import END, gap, samples
from tests.analyzer.firing import CONFIG, S, fires, liquidation
from tests.analyzer.fixtures import settings, store
from tests.analyzer.receiver import Receiver, receiving
from tests.conftest import query, wait_rows


def test_every_rule_can_be_switched_off_by_its_name() -> None:
    assert tuple(RULES) == RULE_NAMES


def watching(database: Endpoint, receiver: Receiver, off: str = "") -> Watch:
    server = ReadEndpoint(database.http_url, database.pg)
    return Watch(server, AlertsConfig(off=off), targets_of(receiver.url))


def test_rules_on_a_process(database: Endpoint) -> None:
    store(
        database,
        [
            *samples("ok:1", 11, 12, growth=199, lag_ms=59_999.0, dead_letters=4),
            *samples("bad:1", 11, 12, growth=201, lag_ms=60_000.0),
            *samples("young:1", 11.75, 12, growth=5_000),
            gap("BTCUSDT", 11.9, None),
            gap("ETHUSDT", 11.95, None),
            gap("SOLUSDT", 12 - 59 / 3600, None),
            gap("XRPUSDT", 11.9, None, "dropped"),
            gap("DOTUSDT", 11.9, 11.95),
        ],
    )
    ((process, growth),) = fires(database, "memory_growth")
    assert (process, round(growth, 2)) == ("bad:1", 201)
    assert fires(database, "ship_lag") == [("bad:1", 60.0)]
    assert fires(database, "silence") == []
    assert fires(database, "silence", END + 49 * S) == []
    assert fires(database, "silence", END + 50 * S) == [("*", 60.0)]
    assert fires(database, "gap_open") == [("disconnected", 360.0)]
    assert fires(database, "dead_letters") == []
    assert fires(database, "table_suspended") == []
    query(
        database,
        f"UPDATE collector_stats SET dead_letters = 7 WHERE process = 'ok:1' AND ts > {END - 60 * S}",
    )
    query(database, f"UPDATE collector_stats SET journal_disk_free = 4999999999 WHERE ts > {END - 60 * S}")
    wait_rows(database, "(SELECT * FROM collector_stats WHERE journal_disk_free > 0)", 1)
    assert fires(database, "dead_letters") == [("ok:1", 3)]
    assert fires(database, "disk_free") == [("journal", 4_999_999_999.0)]
    assert fires(database, "disk_free", config=AlertsConfig(disk_free="4GB")) == []


def test_it_is_told_once_across_restarts_and_when_it_is_over(database: Endpoint) -> None:
    store(database, list(samples("h:1", 11.5, 12, lag_ms=90_000.0)))
    with receiving() as receiver:
        for _ in range(3):  # each with nothing but the tables to remember by
            watch = watching(database, receiver)
            result = watch.evaluate(END)
            watch.close()
            assert result.firing == 1
        assert receiver.titles == ["Evenkeel critical: ship_lag"]
        assert "90 s behind the journal of h:1" in receiver.taken[0]["message"]
        later = list(samples("h:1", 12, 12.05, lag_ms=0.0))
        more(database, [*later])
        watch = watching(database, receiver)
        result = watch.evaluate(END + 170 * S)
        assert (result.firing, result.resolved, result.delivered) == (0, 1, 1)
        assert watch.evaluate(END + 171 * S).delivered == 0
        assert receiver.titles[1:] == ["Evenkeel over: ship_lag"]
        watch.close()
    states = query(database, "SELECT rule, state, symbol FROM alerts ORDER BY ts")
    assert states == [("ship_lag", "firing", "h:1"), ("ship_lag", "resolved", "h:1")]
    told = query(database, "SELECT state, outcome, target FROM alert_deliveries ORDER BY ts")
    assert [row[:2] for row in told] == [("firing", "delivered"), ("resolved", "delivered")]
    assert all(row[2].startswith("json-") and "127.0.0.1" not in row[2] for row in told)


def more(database: Endpoint, rows: list[Row]) -> None:
    """Rows into a table that has some."""
    from collector.encode import RowEncoder
    from collector.sink import QuestDBSink

    before = query(database, "SELECT count() FROM collector_stats")[0][0]
    encoder = RowEncoder()
    for row in rows:
        encoder.add(row)
    sink = QuestDBSink(database.http_url, database.user, database.password)
    sink.post([encoder.take()[0]])
    sink.close()
    wait_rows(database, "collector_stats", before + len(rows))


def test_many_firings_of_a_rule_are_one_message_and_the_collectors_are_told_too(database: Endpoint) -> None:
    told = ("critical", "firing", 12.0, "QuestDB takes no rows, they wait in the journal")
    over = ("critical", "resolved", 0.0, "over")
    store(
        database,
        [
            *(liquidation(f"S{n}", n + 1, 300_000) for n in range(25)),
            CollectorAlert(END - 60 * S, "questdb_unavailable", *told),
            CollectorAlert(END - 50 * S, "journal_quota", *told),
            CollectorAlert(END - 40 * S, "journal_quota", *over),
        ],
    )
    with receiving() as receiver:
        watch = watching(database, receiver, off="liquidations_all, liquidations_symbol")
        watch.evaluate(END)
        watch.close()
        assert sorted(receiver.titles) == [
            "Evenkeel critical: questdb_unavailable",
            "Evenkeel over: journal_quota",
            "Evenkeel warning: liquidation (25)",
        ]
        (body,) = [one["message"] for one in receiver.taken if "liquidation" in one["title"]]
        assert len(body.splitlines()) == 21
        assert "and 5 more" in body


def test_a_message_that_was_not_taken_is_recorded_and_tried_again(database: Endpoint) -> None:
    store(database, list(samples("h:1", 11.5, 12, lag_ms=90_000.0)))
    with receiving() as receiver:
        receiver.answers = [(404, {})]
        watch = watching(database, receiver)
        assert watch.evaluate(END).failed == 1
        assert query(database, "SELECT outcome, attempts, error FROM alert_deliveries") == [
            ("failed", 1, "HTTP 404")
        ]
        assert watch.evaluate(END + S).failed == 0  # not yet
        result = watch.evaluate(END + 30 * S)
        assert (result.fired, result.delivered) == (0, 1)
        assert watch.evaluate(END + 31 * S).delivered == 0
        watch.close()
    assert receiver.titles == ["Evenkeel critical: ship_lag"]


def test_429_and_500_are_waited_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    waits: list[float] = []
    with receiving() as receiver:
        (target,) = targets_of(receiver.url)
        receiver.answers = [(429, {"Retry-After": "7"}), (500, {}), (503, {})]
        outcome = deliver(target, "title", "text", "critical", sleep=waits.append)
        assert outcome == Outcome(True, 4)
        assert (receiver.asked, receiver.titles) == (4, ["title"])
        assert waits[0] == 7.0
        assert 1.5 <= waits[1] <= 2.5
        assert 3.0 <= waits[2] <= 5.0
        receiver.answers = [(502, {})] * 4
        assert deliver(target, "t", "b", "warning", sleep=waits.append) == Outcome(False, 4, "HTTP 502")
        receiver.answers = [(429, {"Retry-After": "3600"})]
        assert deliver(target, "t", "b", "warning", sleep=waits.append) == Outcome(
            False, 1, "HTTP 429", 3600.0
        )
        receiver.answers = [(401, {})]
        assert deliver(target, "t", "b", "warning", sleep=waits.append) == Outcome(False, 1, "HTTP 401")
    gone = deliver(target, "t", "b", "warning", sleep=waits.append)
    assert (gone.delivered, gone.attempts, gone.error) == (False, 4, "ConnectionError")
    assert target.url not in repr(target)


def test_a_target_that_wants_to_be_left_alone_is_not_asked(database: Endpoint) -> None:
    store(database, list(samples("h:1", 11.5, 12, lag_ms=90_000.0)))
    with receiving() as receiver:
        receiver.answers = [(429, {"Retry-After": "3600"})]
        watch = watching(database, receiver)
        assert watch.evaluate(END).failed == 1
        assert watch.evaluate(END + 600 * S).failed == 0
        watch.close()
        assert receiver.asked == 1


KEY = ("ship_lag", "*", "*", "h:1")


def alert(ts: int, state: str, rule: str = "ship_lag") -> Alert:
    return Alert(ts, rule, "critical", state, "*", "*", "h:1", 1.0, "text")


def told(ts: int, of: Alert, outcome: str = "delivered") -> Delivery:
    return Delivery(ts, of.ts, *of.key, of.state, "t", outcome, 1, "")


def due(now_s: float, current: Alert, fired: Alert, *history: Delivery) -> bool:
    key = current.key
    return due_of({key: current}, {key: fired}, {key: history}, round(now_s * S), CONFIG) == [current]


def test_what_is_due() -> None:
    """Cooldown 15 min, attempts at 30 s, 30, 60, … s."""
    fired = alert(1000 * S, "firing")
    over = alert(1500 * S, "resolved")
    heard = told(1001 * S, fired)
    assert due(1001, fired, fired)
    assert not due(1002, fired, fired, heard)
    assert due(1500, over, fired, heard)
    assert not due(1501, over, fired, heard, told(1500 * S, over))
    again = alert(1600 * S, "firing")
    assert not due(1600, again, again, heard, told(1500 * S, over))
    assert not due(1900, again, again, heard, told(1500 * S, over))
    assert due(1901, again, again, heard, told(1500 * S, over))
    over_again = alert(1700 * S, "resolved")
    assert not due(
        2000, over_again, again, heard, told(1500 * S, over)
    )  # nobody was told of it: within the cooldown
    assert due(1501, over, fired)  # it came and went unseen
    assert not due(1500 + 86_401, over, fired)
    assert not due(1000 + 86_401, fired, fired)
    failures = [told(1001 * S, fired, "failed")]
    assert not due(1015, fired, fired, *failures)
    assert due(1016, fired, fired, *failures)
    failures.append(told(1016 * S, fired, "failed"))
    assert not due(1045, fired, fired, *failures)
    assert due(1046, fired, fired, *failures)
    whale, gone = alert(1000 * S, "firing", "whale"), alert(1100 * S, "resolved", "whale")
    assert not due(1100, gone, whale, told(1001 * S, whale))  # that a trade is over is no news


def test_groups_and_their_words() -> None:
    first, second = alert(S, "firing"), alert(S, "resolved")
    other = msgspec.structs.replace(first, symbol="h:2", message="more")
    assert grouped([first, second, other]) == [[first, other], [second]]
    assert message_of([first, other]) == ("Evenkeel critical: ship_lag (2)", "text\nmore", "critical")
    assert message_of([second]) == ("Evenkeel over: ship_lag", "over: text", "resolved")


def test_a_database_that_is_away_is_told_of_and_its_return(
    database: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("analyzer.alerts.watch.UNREACHABLE_SECONDS", 0.0)
    with receiving() as receiver:
        watch = watching(database, receiver)
        here = watch._source
        watch._source = Source(ReadEndpoint("http://127.0.0.1:1", ""))
        for n in range(2):
            with pytest.raises(Exception, match="refused"):
                watch.evaluate(END + n * S)
        assert receiver.titles == ["Evenkeel critical: questdb_unreachable"]
        watch._source = here
        watch.evaluate(END + 10 * S)
        watch.evaluate(END + 11 * S)
        assert receiver.titles[1:] == ["Evenkeel over: questdb_unreachable"]
        watch.close()
    assert query(database, "SELECT state FROM alerts ORDER BY ts") == [("firing",), ("resolved",)]


def test_the_commands(database: Endpoint, tmp_path: Path) -> None:
    store(database, list(samples("h:1", 11.5, 12, lag_ms=90_000.0)))
    config = ["--config", str(settings(tmp_path, database))]
    with receiving() as receiver:
        environ = {"EVENKEEL_ALERTS_URLS": receiver.url}
        done = CliRunner().invoke(main, ["alerts", "test", *config], env=environ)
        assert (done.exit_code, receiver.titles) == (0, ["Evenkeel test"])
        secrets = tmp_path / "urls"
        secrets.write_text(f"{receiver.url}\njson://127.0.0.1:1/another-long-secret\n")
        named = {"EVENKEEL_ALERTS_URLS_FILE": str(secrets)}
        receiver.answers = [(403, {})]
        done = CliRunner().invoke(main, ["alerts", "run", *config, "--format", "json"], env=environ)
        assert done.exit_code == 1
        result = json.loads(done.stdout)
        assert (result["firing"], result["failed"], result["errors"]) == (
            1,
            1,
            [],
        )  # silence: the rows are old
        listed = CliRunner().invoke(main, ["alerts", "list", *config, "--format", "json"])
        assert [one["rule"] for one in json.loads(listed.stdout)] == ["silence"]
        assert "no sign of life" in CliRunner().invoke(main, ["alerts", "list", *config]).stdout
        for text in (done.output, listed.output):
            assert "secret" not in text
        receiver.answers = [(403, {})]
        done = CliRunner().invoke(main, ["alerts", "test", *config], env=named | {"EVENKEEL_ALERTS_URLS": ""})
        assert done.exit_code == 1
        assert done.stdout.count("FAILED") == 2
        assert "secret" not in done.output


@pytest.mark.parametrize(
    ("config", "environ", "words"),
    [
        ("", {}, ["EVENKEEL_ALERTS_URLS", "no target"]),
        ("", {"EVENKEEL_ALERTS_URLS": "nonsense://hidden-secret"}, ["address 1", "apprise"]),
        ("[alerts]\nurls = 'x'\n", {}, ["alerts.urls", "EVENKEEL_ALERTS_URLS"]),
        ("[alerts]\noff = 'nothing'\n", {}, ["nothing", "no rule", "ship_lag"]),
        ("[alerts]\ncooldown = 'long'\n", {}, ["cooldown", "duration"]),
        ("[alerts]\ndisk_free = 'much'\n", {}, ["size"]),
        ("[alerts]\nwhal = 1.0\n", {}, ["alerts.whal", "unknown"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    tmp_path: Path, config: str, environ: dict[str, str], words: list[str]
) -> None:
    file = settings(tmp_path, Endpoint("http://127.0.0.1:1", ""), config)
    done = CliRunner().invoke(main, ["alerts", "test", "--config", str(file)], env=environ)
    assert (done.exit_code, done.stdout) == (2, "")
    (line,) = done.stderr.strip().splitlines()
    for word in words:
        assert word in line
    assert "hidden-secret" not in line
