"""Confluence: one score of 0 to 100 an instrument, from six components (see `components`), always with its parts.

score = Σ w c / Σ w over the components c that are there; their weights w are the configuration's `[confluence]`, as
shares of their sum. A component is missing when none of its numbers is there, or when what they rest on was recorded for
less than `min_coverage` of the window. Below `min_weight` of known components there is no score.

The score's coverage is the mean of its components' coverage by weight: that of the least recorded number that a component
read, or, where it read none, of its channel. Below `min_coverage` there is no score either; it's unknown where a
component's is. Verdict: long from `long` on, short up to `short`, else neutral. The score is our own: no paper fixes it,
and `analyzer evaluate` tells what it was worth.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from analyzer.config import ConfluenceConfig
from analyzer.passes.base import SIGNALS, Analysis, Metric, Tables, Value
from analyzer.passes.components import COMPONENTS, NEEDS, leans
from analyzer.passes.groups import Instrument, instruments
from analyzer.windows import Window

VERDICTS = {1: "long", 0: "neutral", -1: "short"}
SIGNS = {verdict: float(sign) for sign, verdict in VERDICTS.items()}

ROUNDING = 1e-9
"""A sum of shares is not short of its bound by less than this."""


class Part(msgspec.Struct, frozen=True, omit_defaults=True):
    component: str
    weight: float
    """Its share of all weights."""
    score: float | None = None
    coverage: float | None = None
    inputs: dict[str, float] = msgspec.field(default_factory=dict)
    """Lean of each, −1 to 1."""
    missing: str = ""
    """Why it has no part in the score."""


class Score(msgspec.Struct, frozen=True):
    """The detail of `score`, or of `weight` where there is no score."""

    score: float | None
    verdict: str
    """long, neutral, short, or none"""
    why: str
    """Why there is none."""
    coverage: float | None
    weight: float
    parts: list[Part]


class Known(msgspec.Struct):
    """What the pass says of one instrument: `analysis.metric` → value, and → coverage."""

    values: dict[str, float] = msgspec.field(default_factory=dict)
    coverage: dict[str, float | None] = msgspec.field(default_factory=dict)


def compute(tables: Tables, window: Window, settings: ConfluenceConfig) -> list[Value]:
    """`signals`: see base.SIGNALS. Numbers over all venues (exchange *) belong to no instrument."""
    values = []
    for name, known in of_instruments(tables).items():
        one = scored(known, settings)
        text = msgspec.json.encode(one).decode()
        numbers: dict[str, tuple[float, str, float | None]] = {
            "weight": (one.weight, "" if one.score is not None else text, one.coverage)
        }
        if one.score is not None:
            numbers["score"] = (one.score, text, one.coverage)
            numbers["verdict"] = (SIGNS[one.verdict], "", one.coverage)
        numbers |= {
            part.component: (part.score, "", part.coverage) for part in one.parts if part.score is not None
        }
        values += [
            Value(*name, metric, value, detail, coverage)
            for metric, (value, detail, coverage) in numbers.items()
        ]
    return values


def of_instruments(tables: Tables) -> dict[Instrument, Known]:
    table = tables["signals"]
    found: dict[Instrument, Known] = {}
    columns = (table.column(name).to_pylist() for name in SIGNALS[3:])
    for name, analysis, metric, value, coverage in zip(instruments(table), *columns, strict=True):
        if name[0] == "*":
            continue
        known = found.setdefault(name, Known())
        known.values[f"{analysis}.{metric}"] = value
        known.coverage[f"{analysis}.{metric}"] = coverage
    return found


def scored(known: Known, settings: ConfluenceConfig) -> Score:
    total = sum(settings.weights().values())
    parts = [part(name, weight / total, known, settings) for name, weight in settings.weights().items()]
    used = [one for one in parts if one.score is not None]
    weight = sum(one.weight for one in used)
    coverage = _coverage(parts)
    why = ""
    if coverage is not None and coverage < settings.min_coverage - ROUNDING:
        why = f"recorded {coverage:.0%} of the window, below {settings.min_coverage:.0%}"
    elif weight <= 0 or weight < settings.min_weight - ROUNDING:
        why = f"components of {weight:.0%} of the weight are known, below {settings.min_weight:.0%}"
    if why:
        return Score(None, "none", why, coverage, weight, parts)
    score = sum(one.weight * one.score for one in used if one.score is not None) / weight
    verdict = "long" if score >= settings.long else "short" if score <= settings.short else "neutral"
    return Score(score, verdict, "", coverage, weight, parts)


def part(name: str, weight: float, known: Known, settings: ConfluenceConfig) -> Part:
    component = COMPONENTS[name]
    found = leans(component, known.values)
    if not found:
        channel = known.values.get(f"coverage.coverage_{component.channel}")
        return Part(name, weight, coverage=channel, missing="no numbers")
    reads = {read for one in component.inputs if one.name in found for read in one.reads}
    shares = [known.coverage[read] for read in reads]
    coverage = None if None in shares else min(share for share in shares if share is not None)
    if coverage is not None and coverage < settings.min_coverage - ROUNDING:
        return Part(name, weight, None, coverage, found, f"recorded {coverage:.0%} of the window")
    return Part(name, weight, 50 + 50 * sum(found.values()) / len(found), coverage, found)


def _coverage(parts: list[Part]) -> float | None:
    """By weight, over those whose own is known; None where that of a component in the score is not."""
    if any(one.coverage is None and one.score is not None for one in parts):
        return None
    shares = [(one.weight, one.coverage) for one in parts if one.coverage is not None]
    weight = sum(share for share, _ in shares)
    return sum(share * coverage for share, coverage in shares) / weight if weight > 0 else None


def confluence(settings: ConfluenceConfig) -> Analysis:
    """The analysis with these weights and bounds."""
    weights: Mapping[str, float] = settings.weights()
    return Analysis(
        name="confluence",
        metrics=(
            Metric(
                "score", "0–100", "mean of the components below by weight; detail: its parts, what is missing"
            ),
            Metric("verdict", "sign", "1 long, 0 neutral, −1 short; absent without a score"),
            Metric(
                "weight",
                "share",
                "of all weights, that of the components that are known; detail: why no score",
            ),
            *(Metric(name, "0–100", f"component {name}; 50 says nothing of direction") for name in weights),
        ),
        channels=("trades", "orderbook", "liquidations", "tickers"),
        queries={},
        compute=partial(compute, settings=settings),
        needs=("coverage", *NEEDS),
    )


CONFLUENCE = confluence(ConfluenceConfig())
