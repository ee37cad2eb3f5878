"""What a soak has shown: the verdict, Markdown for the documents, JSON, and a picture."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from analyzer.trend import Trend, trend
from tests.soak.run import Outage, Outcome, Plan

MB = 1e6
OLD_START_MB, OLD_GROWTH_MB_PER_MINUTE, OLD_LIMIT_MB = 500, 200, 6000
"""The replaced system: where its memory began, how it grew, and where it was killed."""


class Limits(msgspec.Struct, frozen=True):
    growth_mb_per_hour: float
    rss_mb: float


class Figures(msgspec.Struct):
    plan: Plan
    limits: Limits
    machine: dict[str, Any]
    warm_up_s: float
    messages: int
    messages_per_second: float
    messages_per_cpu_second: float
    cpu_percent: float
    """Of one core."""
    growth_mb_per_hour: Trend
    rss_mb_median: float
    rss_mb_peak: float
    pss_mb_peak: float
    swap_mb_peak: float
    threads: tuple[int, int]
    """fewest and most after the warm-up"""
    fds: tuple[int, int]
    journal_mb_peak: float
    lag_s_median: float
    lag_s_peak: float
    outcome: Outcome
    failures: list[str]


def warm_up(plan: Plan, outages: list[Outage]) -> float:
    """Seconds that the trend leaves out: a tenth, at least a minute, and the first outage (what it uses for the first time
    takes memory once) until it was caught up with; but never more than half."""
    first = outages[0].caught_up if outages else 0.0
    return min(max(60.0, plan.duration / 10, first), plan.duration / 2)


def evaluate(plan: Plan, limits: Limits, outcome: Outcome) -> Figures:
    skipped = warm_up(plan, outcome.outages)
    busy = [one for one in outcome.samples if one.t >= skipped] or outcome.samples
    t, rss = np.array([one.t for one in busy]), np.array([one.rss for one in busy], dtype=np.float64)
    growth = trend(t / 3600, rss / MB)
    first, last = busy[0], max(busy, key=lambda one: one.messages)
    cpu, seconds = last.cpu - first.cpu, last.t - first.t
    peak = max(one.rss for one in outcome.samples) / MB
    failures = []
    if growth.low > limits.growth_mb_per_hour:
        failures.append(
            f"memory grows by {growth.slope:.2f} MB/h (95 %: from {growth.low:.2f}), allowed are "
            f"{limits.growth_mb_per_hour:g}"
        )
    if peak >= limits.rss_mb:
        failures.append(f"RSS reached {peak:.1f} MB, allowed are less than {limits.rss_mb:g}")
    failures += [
        f"verify: {name} = {outcome.verify[name]}"
        for name in ("missing", "undeclared", "duplicated", "wrong", "unexpected")
        if outcome.verify[name]
    ]
    if outcome.exit_code:
        failures.append(f"the collector ended with exit code {outcome.exit_code}")
    failures += [
        f"the outage at {outage.killed:.0f} s was not caught up with"
        for outage in outcome.outages
        if not outage.caught_up
    ]
    return Figures(
        plan=plan,
        limits=limits,
        machine={
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": os.cpu_count(),
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        },
        warm_up_s=skipped,
        messages=outcome.sent,
        messages_per_second=outcome.sent / outcome.wall_s if outcome.wall_s else 0.0,
        messages_per_cpu_second=(last.messages - first.messages) / cpu if cpu else 0.0,
        cpu_percent=100 * cpu / seconds if seconds else 0.0,
        growth_mb_per_hour=growth,
        rss_mb_median=float(np.median(rss)) / MB,
        rss_mb_peak=peak,
        pss_mb_peak=max(one.pss for one in outcome.samples) / MB,
        swap_mb_peak=max(one.swap for one in outcome.samples) / MB,
        threads=(min(one.threads for one in busy), max(one.threads for one in busy)),
        fds=(min(one.fds for one in busy), max(one.fds for one in busy)),
        journal_mb_peak=max(one.journal_bytes for one in outcome.samples) / MB,
        lag_s_median=float(np.median([one.lag_s for one in busy])),
        lag_s_peak=max(one.lag_s for one in busy),
        outcome=outcome,
        failures=failures,
    )


def markdown(figures: Figures, picture: str) -> str:
    plan, growth, outcome, machine = (
        figures.plan,
        figures.growth_mb_per_hour,
        figures.outcome,
        figures.machine,
    )
    killed = (
        f"QuestDB killed (SIGKILL) every {plan.kill_every:g} s and down for {plan.down:g} s"
        if plan.kill_every
        else "QuestDB up throughout"
    )
    verdict = "passed" if not figures.failures else "FAILED: " + "; ".join(figures.failures)
    verify = outcome.verify
    rows = [
        ("messages", f"{figures.messages:,} ({figures.messages_per_second:,.0f}/s)"),
        (
            "RSS growth",
            f"{growth.slope:+.2f} MB/h, 95 % interval {growth.low:+.2f} … {growth.high:+.2f} "
            f"(fails when the interval is above {figures.limits.growth_mb_per_hour:g})",
        ),
        (
            "RSS",
            f"median {figures.rss_mb_median:.1f} MB, peak {figures.rss_mb_peak:.1f} MB "
            f"(must stay below {figures.limits.rss_mb:g})",
        ),
        ("PSS, swap", f"peak {figures.pss_mb_peak:.1f} MB, {figures.swap_mb_peak:.1f} MB"),
        (
            "CPU",
            f"{figures.cpu_percent:.0f} % of one core, {figures.messages_per_cpu_second:,.0f} messages per CPU second",
        ),
        (
            "threads, file descriptors",
            f"{figures.threads[0]}–{figures.threads[1]}, {figures.fds[0]}–{figures.fds[1]}",
        ),
        ("journal on disk", f"peak {figures.journal_mb_peak:,.0f} MB"),
        ("lag", f"median {figures.lag_s_median * 1000:.0f} ms, peak {figures.lag_s_peak:.1f} s"),
        ("drain at SIGTERM", f"{outcome.drain_s:.1f} s, exit code {outcome.exit_code}"),
        (
            "verify",
            ", ".join(
                f"{name} {verify[name]:,}"
                for name in ("sent", "stored", "missing", "undeclared", "duplicated", "wrong", "unexpected")
            ),
        ),
        (
            "collector_stats",
            f"{outcome.stats['rows']:.0f} rows; RSS at most {outcome.stats['rss_max'] / MB:.1f} MB, "
            f"event loop late by at most {outcome.stats['loop_lag_ms_max']:.0f} ms",
        ),
    ]
    lines = [
        f"# Soak of {machine['at'][:10]}: {verdict}",
        "",
        f"{plan.duration:g} s at {plan.rate:,.0f} messages/s offered over {len(plan.symbols)} symbols, {killed}. "
        f"{machine['cores']} cores shared by exchange simulator, collector and QuestDB; {machine['system']}, "
        f"Python {machine['python']}; {machine['at']}.",
        "",
        "| | |",
        "|---|---|",
        *[f"| {name} | {value} |" for name, value in rows],
        "",
        "Growth: Theil–Sen slope of RSS over time, sampled every second from outside, without the first "
        f"{figures.warm_up_s:.0f} s (warm-up and first outage); {growth.points} points; the interval is Sen's, its "
        f"variance enlarged {growth.inflation:.1f} times for autocorrelation.",
        "",
    ]
    if outcome.outages:
        lines += [
            "| QuestDB killed at | answered again | caught up | rows/s catching up | live before | ratio | most pending |",
            "|---|---|---|---|---|---|---|",
        ]
        for outage in outcome.outages:
            ratio = outage.catch_up_rows_per_s / outage.live_rows_per_s if outage.live_rows_per_s else 0.0
            lines.append(
                f"| {outage.killed:.0f} s | {outage.started:.0f} s | {outage.caught_up:.0f} s | "
                f"{outage.catch_up_rows_per_s:,.0f} | {outage.live_rows_per_s:,.0f} | {ratio:.1f} | "
                f"{outage.most_pending_bytes / MB:,.0f} MB |"
            )
        lines += [
            "",
            "Rows per second while catching up include those that are sent again because the server was started anew.",
            "",
        ]
    return "\n".join([*lines, f"![RSS over time]({picture})", ""])


def plot(figures: Figures, path: Path) -> None:
    """RSS beside the line of the replaced system (logarithmic), and what waited in the journal."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    samples, growth = figures.outcome.samples, figures.growth_mb_per_hour
    minutes = [one.t / 60 for one in samples]
    figure, (memory, journal) = pyplot.subplots(
        2, 1, sharex=True, figsize=(9, 6), height_ratios=(3, 1), layout="constrained"
    )
    end = max(minutes)
    old_x = np.linspace(0, end, 200)
    old_y = np.minimum(OLD_START_MB + OLD_GROWTH_MB_PER_MINUTE * old_x, OLD_LIMIT_MB)
    memory.semilogy(
        old_x, old_y, "--", color="tab:red", label="replaced system: 500 MB + 200 MB/min, limit 6 GB"
    )
    memory.semilogy(
        minutes,
        [one.rss / MB for one in samples],
        color="tab:blue",
        label=f"collector: {growth.slope:+.2f} MB/h ({growth.low:+.2f} … {growth.high:+.2f})",
    )
    memory.set_ylim(20, 10_000)
    memory.set_ylabel("RSS, MB")
    memory.set_title(f"{figures.messages:,} messages at {figures.messages_per_second:,.0f}/s")
    memory.grid(visible=True, which="major", alpha=0.3)
    journal.plot(minutes, [one.pending_bytes / MB for one in samples], color="tab:green")
    journal.set_ylabel("in the journal,\nnot acknowledged, MB")
    journal.set_xlabel("minutes (shaded: QuestDB is down)")
    journal.grid(visible=True, alpha=0.3)
    for outage in figures.outcome.outages:
        for axes in (memory, journal):
            axes.axvspan(
                outage.killed / 60, (outage.started or samples[-1].t) / 60, color="grey", alpha=0.25, lw=0
            )
    memory.legend(loc="center left")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
