"""One evaluation: the rules' answers become rows of `alerts`, and what nobody has been told of is sent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
import structlog

from analyzer.alerts.base import Key
from analyzer.alerts.delivery import Outcome, Target, deliver
from analyzer.alerts.record import Alert, Delivery, deliveries, firings, latest, store
from analyzer.alerts.rules import MARKET_RULES, RULES
from analyzer.alerts.settings import AlertsConfig
from analyzer.config import Endpoint
from analyzer.signals import WriteError
from analyzer.source import Source, SourceError

log = structlog.get_logger()

MOST_LINES = 20
UNREACHABLE = "questdb_unreachable"
UNREACHABLE_SECONDS = 30.0
LONGEST_WAIT_US = 3_600_000_000
Deliver = Callable[[Target, str, str, str], Outcome]


class Result(msgspec.Struct):
    """Of one evaluation."""

    firing: int = 0
    fired: int = 0
    resolved: int = 0
    delivered: int = 0
    failed: int = 0
    """Messages"""
    errors: list[str] = msgspec.field(default_factory=list)
    """Rules that could not be asked."""


class Watch:
    """Evaluates when told to. Everything it must remember is in the tables, but for a database that is away."""

    def __init__(
        self, endpoint: Endpoint, config: AlertsConfig, targets: Sequence[Target], deliver: Deliver = deliver
    ) -> None:
        self._endpoint, self._config, self._targets, self._deliver = endpoint, config, targets, deliver
        self._source = Source(endpoint)
        self._lock = threading.Lock()
        self._away_since = 0.0
        self._away_told: dict[str, int] = {}
        """Target → when it was told that the database is away (µs)."""
        self._not_before: dict[str, float] = {}
        """Target → when it wants to be spoken to again (monotonic)."""

    def evaluate(self, now: int | None = None) -> Result:
        """`now` in µs. Raises SourceError, WriteError when the database is away, which the targets are told of once."""
        with self._lock:
            at = time.time_ns() // 1000 if now is None else now
            try:
                result = self._evaluate(at)
            except (SourceError, WriteError):
                self._database_away(at)
                raise
            self._database_back(at, result)
            return result

    def close(self) -> None:
        self._source.close()

    def _evaluate(self, now: int) -> Result:
        result = Result()
        before = latest(self._source)
        changes: list[Alert] = []
        for name, rule in RULES.items():
            known = {
                key: alert for key, alert in before.items() if key[0] == name and alert.state == "firing"
            }
            try:
                off = name in self._config.switched_off
                found = [] if off else list(rule.evaluate(self._source, self._config, now))
            except SourceError as error:
                result.errors.append(f"{name}: {error}")  # what fired goes on firing
                result.firing += len(known)
                continue
            fires = {
                (name, one.exchange, one.market, one.symbol): Alert(
                    now,
                    name,
                    rule.severity,
                    "firing",
                    one.exchange,
                    one.market,
                    one.symbol,
                    one.value,
                    one.message,
                )
                for one in found
            }
            result.firing += len(fires)
            changes += [alert for key, alert in fires.items() if key not in known]
            changes += [
                msgspec.structs.replace(alert, ts=now, state="resolved")
                for key, alert in known.items()
                if key not in fires
            ]
        result.fired = sum(alert.state == "firing" for alert in changes)
        result.resolved = len(changes) - result.fired
        for alert in changes:
            say = log.error if alert.state == "firing" and alert.severity == "critical" else log.warning
            say(f"alert {alert.state}", rule=alert.rule, message=alert.message)
        if changes:
            store(self._endpoint, self._source, changes)
        self._tell(now, result)
        return result

    def _tell(self, now: int, result: Result) -> None:
        current, fired = latest(self._source), firings(self._source)
        history = deliveries(self._source, now)
        told: list[Delivery] = []
        for target in self._targets:
            if not self._may_ask(target):
                continue
            mine: dict[Key, list[Delivery]] = {}
            for one in history:
                if one.target == target.name:
                    mine.setdefault(one.key, []).append(one)
            due = due_of(current, fired, mine, now, self._config)
            for group in grouped(due):
                outcome = self._send(target, group)
                result.delivered += outcome.delivered
                result.failed += not outcome.delivered
                told += [_delivery(now, alert, target, outcome) for alert in group]
                if not self._may_ask(target):
                    break
        if told:
            store(self._endpoint, self._source, [], told)

    def _send(self, target: Target, group: Sequence[Alert]) -> Outcome:
        title, body, severity = message_of(group)
        outcome = self._deliver(target, title, body, severity)
        self._not_before[target.name] = time.monotonic() + outcome.wait_s
        if not outcome.delivered:
            log.error(
                "alert not delivered, tried again later",
                target=target.name,
                cause=outcome.error,
                attempts=outcome.attempts,
                remedy="check the target with 'analyzer alerts test'",
            )
        return outcome

    def _may_ask(self, target: Target) -> bool:
        return time.monotonic() >= self._not_before.get(target.name, 0.0)

    def _database_away(self, now: int) -> None:
        self._away_since = self._away_since or time.monotonic()
        if time.monotonic() - self._away_since < UNREACHABLE_SECONDS:
            return
        for target in self._targets:
            if target.name not in self._away_told and self._may_ask(target):
                text = f"QuestDB at {self._endpoint.http_url} does not answer; next: collector db status"
                alert = Alert(now, UNREACHABLE, "critical", "firing", "*", "*", "*", None, text)
                if self._send(target, [alert]).delivered:
                    self._away_told[target.name] = now

    def _database_back(self, now: int, result: Result) -> None:
        """Record that it was away, and tell those who were told."""
        self._away_since, told = 0.0, self._away_told
        if not told:
            return
        text = f"QuestDB at {self._endpoint.http_url} did not answer"
        over = Alert(now, UNREACHABLE, "critical", "resolved", "*", "*", "*", None, text)
        away = msgspec.structs.replace(over, ts=min(told.values()), state="firing")
        sent = [
            _delivery(at, away, target, Outcome(True, 1))
            for target in self._targets
            if (at := told.get(target.name))
        ]
        store(self._endpoint, self._source, [away, over], sent)
        self._away_told = {}
        self._tell(now, result)


def due_of(
    current: Mapping[Key, Alert],
    fired: Mapping[Key, Alert],
    history: Mapping[Key, Sequence[Delivery]],
    now: int,
    config: AlertsConfig,
) -> list[Alert]:
    """What one target must be told now. `history`: what became of earlier messages to it, in order of time.

    A firing is told once, and not within the cooldown of the one told before; that it is over is told to those who heard
    of it; one that came and went before anybody looked is told as over. What failed is tried again, ever more rarely."""
    due = []
    for key, alert in current.items():
        past = history.get(key, [])
        heard = [one for one in past if one.outcome == "delivered"]
        firing = fired.get(key)
        if firing is None or now - alert.ts > config.us("retry_for"):
            continue
        new = not heard or heard[-1].alert_ts < firing.ts
        over = alert.state == "resolved"
        if not new and (not over or heard[-1].state == "resolved" or key[0] in MARKET_RULES):
            continue
        told_before = max((one.ts for one in heard if one.state == "firing"), default=None)
        asked = firing.ts if over else now  # one that was over before its cooldown was is never told
        if new and told_before is not None and asked - told_before < config.us("cooldown"):
            continue
        failed = [one for one in past if one.alert_ts == alert.ts and one.outcome == "failed"]
        wait = config.us("every") * 2 ** (len(failed) - 1) // 2 if failed else 0
        if failed and now - failed[-1].ts < min(LONGEST_WAIT_US, wait):
            continue
        due.append(alert)
    return due


def grouped(alerts: Sequence[Alert]) -> list[list[Alert]]:
    """One message for all firings of a rule, and one for all that are over."""
    groups: dict[tuple[str, str], list[Alert]] = {}
    for alert in alerts:
        groups.setdefault((alert.rule, alert.state), []).append(alert)
    return list(groups.values())


def message_of(group: Sequence[Alert]) -> tuple[str, str, str]:
    """Title, body, and the severity of a group, which is not empty."""
    first = group[0]
    over = first.state == "resolved"
    count = f" ({len(group)})" if len(group) > 1 else ""
    title = f"Evenkeel {'over' if over else first.severity}: {first.rule}{count}"
    lines = [f"over: {alert.message}" if over else alert.message for alert in group[:MOST_LINES]]
    if len(group) > MOST_LINES:
        lines.append(f"… and {len(group) - MOST_LINES} more; next: analyzer alerts list")
    return title, "\n".join(lines), "resolved" if over else first.severity


def _delivery(at: int, alert: Alert, target: Target, outcome: Outcome) -> Delivery:
    return Delivery(
        at,
        alert.ts,
        *alert.key,
        alert.state,
        target.name,
        "delivered" if outcome.delivered else "failed",
        outcome.attempts,
        outcome.error,
    )
