"""The figures held against the thresholds: a finding each, area by area."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from analyzer.alerts.rules import MARKET_RULES
from analyzer.audit.figures import Figures, delay
from analyzer.audit.finding import (
    AREAS,
    CRITICAL,
    OK,
    UNKNOWN,
    WARNING,
    Finding,
    counted,
    level,
    measured,
    worst,
)
from analyzer.audit.outages import summary
from analyzer.audit.processes import GONE
from analyzer.audit.settings import AuditConfig
from analyzer.collectors import OVERDUE_S


def judge(figures: Figures, config: AuditConfig) -> list[Finding]:
    findings = [
        *_life(figures, config),
        *_streams(figures),
        *_memory(figures, config),
        *_machine(figures, config),
        *_restarts(figures, config),
        *_coverage(figures, config),
        *_latency(figures, config),
        *_storage(figures, config),
        *_analyses(figures),
        *_alerts(figures),
    ]
    return sorted(findings, key=lambda finding: AREAS.index(finding.area))


def _life(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    running = sum(run.running for run in figures.runs)
    warning, critical = config.pair("silence")
    if figures.silence_s is None:
        text = "no sign of life of any collector in this window"
        yield Finding("life", "silence", CRITICAL, None, "s", warning, critical, text)
        return
    sign = f"the last sign of life is {figures.silence_s:,.0f} s old"
    last = max(figures.runs, key=lambda run: run.to_us)
    died = [run for run in figures.runs if run.ended == GONE]
    if running:
        text = f"{running} collector{'s' if running > 1 else ''} running"
        late = figures.silence_s > OVERDUE_S
        text += f", as far as is known: {sign}, a new one is due every 10 s" if late else f"; {sign}"
    elif last.ended:
        text = f"no collector runs: {last.process}, {last.ended}; {sign}"
    else:
        text = f"no collector runs, as far as is known: {sign}"
    verdict = OK if running else level(figures.silence_s, "silence", config)
    if died:
        names = ", ".join(run.process for run in died)
        text += f"; {names} is gone without a word" if running else ""
        verdict = worst([verdict, WARNING])
    yield Finding("life", "silence", verdict, figures.silence_s, "s", warning, critical, text)
    gone = figures.facts.gone
    if gone:
        age = (figures.facts.window.end_us - min(one.last for one in gone)) / 1e6
        names = ", ".join(f"{one.collector} ({one.process})" for one in gone)
        text = f"no sign of life of {names} for {age:,.0f} s, while another collector records"
        yield Finding("life", "redundancy", WARNING, age, "s", critical, None, text)


def _streams(figures: Figures) -> Iterator[Finding]:
    rejected = sum(stream.rejections > 0 for stream in figures.streams)
    yield counted("streams", "rejected", rejected, f"{rejected} streams were refused by the venue")
    yield counted(
        "streams",
        "bad_messages",
        figures.bad_messages,
        f"{figures.bad_messages:,} messages could not be read",
    )
    unreached = figures.facts.unreached
    if unreached:
        names = ", ".join(
            f"{one.exchange} {one.market}" + (f" by {one.collector}" if one.collector else "")
            for one in unreached
        )
        text = f"{names}: not reached since the collector's start, and no gap can say so"
        yield Finding("streams", "never_reached", WARNING, len(unreached), "count", 1, None, text)
    lacking = len(figures.lacking)
    if lacking:
        text = f"{lacking} streams are not recorded by one collector, and by another one only"
        yield Finding("streams", "lacking", WARNING, lacking, "count", 1, None, text)
    if figures.runs:
        idle = figures.messages == 0 and not figures.streams
        errors = sum(feed.network_errors for feed in figures.feeds)
        text = f"{figures.messages or 0:,} messages, {errors:,} network errors, {figures.reconnects:,} reconnects"
        yield Finding(
            "streams",
            "messages",
            CRITICAL if idle else OK,
            figures.messages,
            "count",
            None,
            None,
            "a collector runs, and nothing has come" if idle else text,
        )


def _memory(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    shown = [run for run in figures.runs if run.running] or figures.runs[-1:]
    rss = max((run.rss_mb for run in shown), default=None)
    if rss is None:
        return
    yield measured("memory", "memory", rss * 1e6, "bytes", f"{rss:,.0f} MB in use", config)
    shares = [(run.rss_mb / run.limit_mb, run.limit_mb) for run in shown if run.limit_mb]
    if shares:
        share, limit = max(shares)
        text = f"{share:.0%} of the limit of {limit:,.0f} MB"
        yield measured("memory", "memory_share", share, "share", text, config)
    run = figures.representative
    if run is not None and run.growth_mb_per_hour is not None:
        text = (
            f"{run.growth_mb_per_hour:+,.1f} MB/h (95 %: {run.growth_low:+,.1f} … {run.growth_high:+,.1f}) "
            f"over {run.span_s / 60:,.0f} min of {run.process}"
        )
        finding = measured("memory", "growth", run.growth_mb_per_hour, "MB/h", text, config)
        if run.span_s < config.seconds("growth_after"):
            finding = msgspec.structs.replace(finding, verdict=UNKNOWN, text=f"{text}: too short to judge")
        yield finding
    yield from _grew_before(figures, config)


def _grew_before(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    """Of processes that run no more: what has ended them may come again."""
    grew = [
        (run.growth_mb_per_hour, run.process)
        for run in figures.runs
        if run is not figures.representative
        and not run.running
        and run.growth_mb_per_hour is not None
        and run.span_s >= config.seconds("growth_after")
    ]
    if grew and level(max(grew)[0], "growth", config) != OK:
        growth, process = max(grew)
        text = f"{process}, which runs no more, grew by {growth:,.1f} MB/h"
        yield Finding(
            "memory", "growth_before", WARNING, growth, "MB/h", config.pair("growth")[0], None, text
        )


def _machine(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    shown = [run for run in figures.runs if run.running] or figures.runs[-1:]
    if shown:
        swap = max(run.swap_mb for run in shown)
        yield measured("swap", "swap", swap * 1e6, "bytes", f"{swap:,.0f} MB swapped out", config)
    cpu = max((run.cpu for run in shown if run.cpu is not None), default=None)
    if cpu is not None:
        yield measured("cpu", "cpu", cpu, "cores", f"{cpu:.2f} cores in use", config)
    late = figures.loop_lag_ms
    if late.p99 is not None and late.peak is not None:
        text = f"event loop late by {late.p99:,.0f} ms (p99), at most {late.peak:,.0f} ms"
        yield measured("cpu", "loop_lag", late.p99 / 1e3, "s", text, config)


def _restarts(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    if not figures.runs:
        return
    crashed = sum(restart.cause == "crashed" for restart in figures.restarts)
    count = len(figures.restarts)
    text = f"{count} restart{'' if count == 1 else 's'}, {crashed} after a crash"
    yield measured("restarts", "restarts", figures.restarts_per_day, "per day", text, config)
    yield from _questdb(figures, config)


def _questdb(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    """An orderly stop is no fault."""
    if figures.absences is None:
        return
    per_day = sum(one.event != "stopped" for one in figures.absences) / figures.days
    verdict = level(per_day, "restarts", config)
    if any(one.caught_up is None for one in figures.absences):
        verdict = worst([verdict, WARNING])
    if any(one.lost for one in figures.absences):
        verdict = CRITICAL
    text = summary(figures.absences)
    yield Finding("restarts", "questdb", verdict, per_day, "per day", *config.pair("restarts"), text)


def _coverage(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    share = figures.coverage
    if share is None:
        yield Finding(
            "coverage", "coverage", UNKNOWN, None, "share", *config.pair("coverage"), "nothing was recorded"
        )
        return
    repaired = sum(gap.repaired for gap in figures.facts.gaps)
    elsewhere = sum(
        not gap.repaired and not lost for gap, lost in zip(figures.facts.gaps, figures.lost_s, strict=True)
    )
    text = f"{share:.4%} recorded; {len(figures.facts.gaps):,} gaps, {repaired:,} repaired"
    if elsewhere:
        text += f", {elsewhere:,} recorded by another collector"
    yield measured("coverage", "coverage", share, "share", text, config)
    undeclared = sum(stream.undeclared_s for stream in figures.streams)
    if undeclared:
        text = f"{undeclared:,.0f} s of streams are missing and no gap says so"
        yield Finding("coverage", "undeclared", WARNING, undeclared, "s", 0.0, None, text)


def _latency(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    ship = figures.ship_lag_ms
    if ship.p99 is not None and ship.peak is not None:
        now = ship.now or 0.0
        ago = figures.silence_s or 0.0
        spread = f"p99 {ship.p99 / 1e3:,.1f} s, at most {ship.peak / 1e3:,.1f} s"
        text = f"QuestDB was {now / 1e3:,.1f} s behind {ago:,.0f} s ago; {spread}"
        finding = measured("latency", "ship_lag", now / 1e3, "s", text, config)
        if finding.verdict == OK and level(ship.peak / 1e3, "ship_lag", config) == CRITICAL:
            finding = msgspec.structs.replace(finding, verdict=WARNING)
        yield finding
    late = delay(figures.facts)
    if late is not None:
        text = f"{late.p50_ms:,.0f} ms from the exchange (p50), {late.p99_ms:,.0f} ms (p99)"
        yield measured("latency", "latency", late.p99_ms / 1e3, "s", text, config)


def _storage(figures: Figures, config: AuditConfig) -> Iterator[Finding]:
    if figures.disk_free is not None:
        text = f"{figures.disk_free / 1e9:,.1f} GB free on the fuller disk"
        yield measured("storage", "disk_free", figures.disk_free, "bytes", text, config)
    count = len(figures.suspended)
    names = ", ".join(name for name, _ in figures.suspended if name != "?")
    text = f"{count} tables are suspended{f': {names}' if names else ''}"
    yield counted("storage", "suspended", count, text, CRITICAL)
    letters = figures.dead_letters
    yield counted("storage", "dead_letters", letters, f"{letters:,} dead letters")


def _analyses(figures: Figures) -> Iterator[Finding]:
    runs = figures.facts.runs
    if runs:
        failed, total = runs.get("failed", 0), sum(runs.values())
        yield counted("analyses", "failed_runs", failed, f"{failed:,} of {total:,} analyses failed")


def _alerts(figures: Figures) -> Iterator[Finding]:
    firing = [alert for alert in figures.facts.firing if alert.rule not in MARKET_RULES]
    critical = any(alert.severity == CRITICAL for alert in firing)
    names = ", ".join(sorted({alert.rule for alert in firing}))
    text = f"{len(firing)} alerts are firing{f': {names}' if names else ''}"
    yield counted("alerts", "firing", len(firing), text, CRITICAL if critical else WARNING)
