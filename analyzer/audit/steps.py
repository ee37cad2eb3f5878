"""What to do next about a finding that is not in order, each with a command to begin with."""

from __future__ import annotations

from collections.abc import Sequence

from analyzer.audit import logs
from analyzer.audit.figures import Figures
from analyzer.audit.finding import CRITICAL, WARNING, Finding, Step, worst

NEXT: dict[str, tuple[str, str]] = {
    "silence": ("Start the collector, or look why it does not start", "collector check && collector run"),
    "redundancy": (
        "Start the collector that is gone, or go on with one if it was taken away",
        "collector check && collector run",
    ),
    "never_reached": ("See whether the venue can be reached, and what the log says", "collector check"),
    "lacking": ("See which streams one of the collectors lacks", "analyzer sql run gaps_open"),
    "messages": ("See whether the venues can be reached and know the symbols", "collector check"),
    "rejected": ("Correct the symbols of the feed that the venue refuses", "collector check"),
    "bad_messages": ("Look at what could not be read", "collector dead-letter list --kind messages"),
    "memory": ("See what holds the memory", "collector memory top"),
    "memory_share": ("See what holds the memory before the limit ends the process", "collector memory top"),
    "growth": ("Compare two snapshots to see what grows", "collector memory snapshot"),
    "growth_before": ("Watch whether it grows again", "collector memory snapshot"),
    "swap": ("Find what else takes the memory of this machine", "free -m; ps aux --sort -rss | head"),
    "cpu": ("Divide the feeds between two collectors, or lengthen book_interval", "collector check"),
    "loop_lag": ("Look for a machine without CPU or with a stuck disk", "top; iostat -x 5 3"),
    "restarts": ("Read what the process said at its end", ""),
    "questdb": ("Read what QuestDB said at its end", "collector db status"),
    "coverage": ("Fetch what REST still has of the missing trades", "collector repair --since 12h --again"),
    "undeclared": ("Repeat the audit once a collector has run again", "collector run"),
    "ship_lag": ("See whether QuestDB takes rows", "collector db status"),
    "latency": ("Compare the clock of this machine with another", "timedatectl; chronyc tracking"),
    "disk_free": ("Free space, or keep less", "df -h; grep -A9 retention evenkeel.toml"),
    "suspended": ("Mend the cause that wal_tables() names, then resume each table", ""),
    "dead_letters": ("Look at what was put aside, and send it again", "collector dead-letter list"),
    "failed_runs": ("Read the errors of the last passes", "analyzer run-once"),
    "firing": ("Read what fires and what each message advises", "analyzer alerts list"),
}

KERNEL = "dmesg -T | grep -i 'killed process'"
"""Whom the kernel has killed for want of memory."""


def steps_of(findings: Sequence[Finding], figures: Figures) -> list[Step]:
    """The worst first."""
    steps = []
    for verdict in (CRITICAL, WARNING):
        for finding in findings:
            if finding.verdict == verdict:
                text, command = NEXT[finding.name]
                if finding.name == "restarts":
                    more, command = _last_words(figures)
                    text += more
                elif finding.name == "questdb":
                    command = _questdb_log(figures) or command
                elif finding.name == "silence":
                    command = _unit_status(figures) or command
                elif finding.name == "suspended":
                    named = [name for name, _ in figures.suspended if name != "?"] or ["…"]
                    command = "; ".join(f"ALTER TABLE {name} RESUME WAL" for name in named)
                steps.append(Step(finding.area, f"{text} ({finding.text})", command))
    return steps


def _last_words(figures: Figures) -> tuple[str, str]:
    """Where the log of the process is that ended last, in words, and the command that shows it."""
    ended = [restart for restart in figures.restarts if restart.cause != "stopped"] or figures.restarts
    if not ended:
        return "", ""
    log = log_of(figures, ended[-1].previous)
    return logs.words(log), logs.command(log, ended[-1].at, "collector run")


def _questdb_log(figures: Figures) -> str:
    """What it wrote, where no later end has replaced that, and of a killed one whether the kernel did it."""
    absences = figures.absences or []
    unwanted = [one for one in absences if one.event != "stopped"]
    if not unwanted:
        return ""
    last = unwanted[-1]
    commands = [logs.command(last.log, last.until)] if last is absences[-1] else []
    if last.cause == "killed":
        commands.append(KERNEL)
    return "; ".join(filter(None, commands))


def _unit_status(figures: Figures) -> str:
    """Where systemd keeps the collector, it knows more."""
    last = max(figures.runs, key=lambda run: run.to_us, default=None)
    kind, _, unit = log_of(figures, last.process if last else "").partition(":")
    return f"systemctl status {unit}" if kind == "journal" and unit else ""


def log_of(figures: Figures, process: str) -> str:
    """As the process itself told; "": it did not."""
    told = [one.log for one in figures.facts.process_events if one.process == process and one.log]
    return told[-1] if told else ""


def areas_of(findings: Sequence[Finding]) -> dict[str, tuple[str, str]]:
    """Area → verdict and a summary: the worst findings' words."""
    areas: dict[str, list[Finding]] = {}
    for finding in findings:
        areas.setdefault(finding.area, []).append(finding)
    summed = {}
    for area, members in areas.items():
        verdict = worst([finding.verdict for finding in members])
        summed[area] = (
            verdict,
            "; ".join(f.text for f in members if f.verdict == verdict or len(members) == 1),
        )
    return summed
