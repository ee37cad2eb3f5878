"""The audit as one JSON document; its keys are a contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from analyzer.audit.figures import Figures, Spread, delay
from analyzer.audit.finding import Finding, Step, worst
from analyzer.audit.memory import RunMemory
from analyzer.audit.outages import Absence
from analyzer.audit.steps import areas_of
from analyzer.audit.timeline import timeline_of
from analyzer.windows import Window, moment


def document_of(figures: Figures, findings: Sequence[Finding], steps: Sequence[Step]) -> dict[str, Any]:
    window = figures.facts.window
    return {
        "verdict": worst([finding.verdict for finding in findings]),
        "as_of": window.end,
        "window": _window(window),
        "audited_from": moment(figures.audited_from),
        "areas": [
            {"area": area, "verdict": verdict, "summary": summary}
            for area, (verdict, summary) in areas_of(findings).items()
        ],
        "memory": _memory(figures),
        "restarts": {
            "count": len(figures.restarts),
            "per_day": figures.restarts_per_day,
            "crashes": sum(restart.cause == "crashed" for restart in figures.restarts),
            "list": [
                {
                    **msgspec.structs.asdict(restart),
                    "at": moment(restart.at),
                    "ended_at": moment(restart.ended_at),
                }
                for restart in figures.restarts
            ],
        },
        "questdb": {
            "outages": [_absence(one) for one in figures.absences or ()],
        },
        "coverage": figures.coverage,
        "streams": [
            {**msgspec.structs.asdict(stream), "newest": moment(stream.newest) if stream.newest else None}
            for stream in figures.streams
        ],
        "feeds": figures.feeds,
        "gaps": [_gap(figures, index) for index in range(len(figures.facts.gaps))],
        "counts": {
            "messages": figures.messages,
            "reconnects": figures.reconnects,
            "network_errors": sum(feed.network_errors for feed in figures.feeds),
            "bad_messages": figures.bad_messages,
            "dead_letters": figures.dead_letters,
        },
        "latency": {
            "exchange": delay(figures.facts),
            "exchange_by_table": figures.facts.delays,
            "ship_lag_ms": figures.ship_lag_ms,
            "loop_lag_ms": figures.loop_lag_ms,
            "handle_max_us": figures.handle_max_us,
        },
        "storage": {
            "disk_free_bytes": figures.disk_free,
            "wal_lag": figures.wal_lag,
            "suspended": [name for name, _ in figures.suspended],
        },
        "analyses": figures.facts.runs,
        "alerts": [
            {**msgspec.structs.asdict(alert), "ts": moment(alert.ts)} for alert in figures.facts.firing
        ],
        "thresholds": findings,
        "timeline": [
            {"at": moment(entry.at), "kind": entry.kind, "text": entry.text} for entry in timeline_of(figures)
        ],
        "next": steps,
    }


def unreadable(window: Window, cause: str) -> dict[str, Any]:
    """Of a database that does not answer: nothing is known, which is critical."""
    step = Step("storage", "Start QuestDB, and read its log", "collector db status; collector db start")
    nothing = Spread(None, None, None, None)
    return {
        "verdict": "critical",
        "as_of": window.end,
        "window": _window(window),
        "audited_from": None,
        "areas": [{"area": "storage", "verdict": "critical", "summary": cause}],
        "memory": {"rss_mb": None, "growth_mb_per_hour": None, "processes": []},
        "restarts": {"count": None, "per_day": None, "crashes": None, "list": []},
        "questdb": {"outages": []},
        "coverage": None,
        "streams": [],
        "feeds": [],
        "gaps": [],
        "latency": {"ship_lag_ms": nothing, "loop_lag_ms": nothing},
        "thresholds": [],
        "timeline": [],
        "next": [step],
    }


def _window(window: Window) -> dict[str, Any]:
    return {"from": window.start, "to": window.end, "seconds": window.seconds}


def _memory(figures: Figures) -> dict[str, Any]:
    """The worst of the processes that run, or of the last one that ran; `processes` has each."""
    shown = [run for run in figures.runs if run.running] or figures.runs[-1:]
    grows = figures.representative
    most = max(shown, key=lambda run: run.rss_mb, default=None)
    return {
        "rss_mb": most.rss_mb if most else None,
        "baseline_mb": most.baseline_mb if most else None,
        "peak_mb": max((run.peak_mb for run in figures.runs), default=None),
        "limit_mb": most.limit_mb if most else None,
        "swap_mb": max((run.swap_mb for run in shown), default=None),
        "swap_peak_mb": max((run.swap_peak_mb for run in figures.runs), default=None),
        "cpu_cores": max((run.cpu for run in shown if run.cpu is not None), default=None),
        "growth_mb_per_hour": grows.growth_mb_per_hour if grows else None,
        "growth_low": grows.growth_low if grows else None,
        "growth_high": grows.growth_high if grows else None,
        "hours_to_limit": grows.hours_to_limit if grows else None,
        "processes": [_process(run) for run in figures.runs],
    }


def _process(run: RunMemory) -> dict[str, Any]:
    fields = msgspec.structs.asdict(run)
    del fields["line"]
    return {"from": moment(fields.pop("from_us")), "to": moment(fields.pop("to_us")), **fields}


def _absence(one: Absence) -> dict[str, Any]:
    return {
        **msgspec.structs.asdict(one),
        "since": moment(one.since),
        "until": moment(one.until),
        "seconds": one.seconds,
        "caught_up": moment(one.caught_up) if one.caught_up is not None else None,
    }


def _gap(figures: Figures, index: int) -> dict[str, Any]:
    gap = figures.facts.gaps[index]
    end = gap.end if gap.end is not None else figures.facts.window.end_us
    return {
        "exchange": gap.exchange,
        "market": gap.market,
        "symbol": gap.symbol,
        "channel": gap.channel,
        "from": moment(gap.start),
        "to": moment(gap.end) if gap.end is not None else None,
        "seconds": (end - gap.start) / 1e6,
        "cause": gap.cause,
        "missing": gap.missing,
        "repaired": gap.repaired,
        "repair": gap.repair,
        "recovered": gap.recovered,
        "collector": gap.collector or None,
        "lost_seconds": figures.lost_s[index],
    }
