"""What the privacy settings of a site mean, before it goes live: in plain words, and as an object for programs; pure.

Owns the words and the table. Every figure is of the exact distribution of the noise (`noise.py`) under the plan
(`budget.py`); nothing here is estimated.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edgeapp.config import PrivacyConfig
from edgeapp.telemetry.budget import (
    DAY,
    LEVELS,
    QUARTER,
    FamilyRelease,
    Level,
    Plan,
)
from edgeapp.telemetry.noise import half_width, standard_deviation
from edgeapp.types import CROSSINGS, DWELL, ENTERED, ESCALATED, PRESENCE


@dataclass(frozen=True, kw_only=True, slots=True)
class EscalationTerms:
    """What escalation may send: to which host, how many crops, how large; and whether answers correct the counts.

    `without` is what the site would release without escalation; None where that would be nothing.
    """

    host: str
    per_hour: int
    per_day: int
    max_side_px: int
    margin_pct: float
    blur_heads: tuple[str, ...]
    corrects_counts: bool
    without: Plan | None = None


_WIDTH = 80
_COVERAGE = 0.95
_EVERY = {"quarter": "15 min", "hour": "hour", "day": "day"}
# For each family: what one number counts, and an example of a day's number.
_EXAMPLES = {
    ENTERED: ("entries of one class", 500),
    CROSSINGS: ("crossings of one line in one direction", 500),
    PRESENCE: ("tracks of one class at the busiest moment", 20),
    DWELL: ("stays of one range of lengths in one zone", 100),
    ESCALATED: ("escalated tracks with one outcome", 20),
}


def as_object(privacy: PrivacyConfig, plan: Plan, escalation: EscalationTerms | None = None) -> dict[str, Any]:
    """The guarantee with its parameters, and each release with its exact figures, for JSON."""
    guarantee: dict[str, Any] = {"name": privacy.guarantee}
    if privacy.guarantee != "none":
        guarantee |= {"epsilon_per_day": privacy.epsilon_per_day, "suppress_below": privacy.suppress_below}
    if privacy.guarantee == "duration":
        settings = asdict(privacy)
        guarantee |= {name: settings[name] for name in ("event_s", "segments", "chunk_s", "max_rows")}
    return {
        "guarantee": guarantee,
        "releases": [_figures(level, release) for level, release in _all(plan)],
        "escalation": None if escalation is None else _terms(escalation, plan),
        "sentences": list(_sentences(privacy, plan, escalation)),
    }


def text(privacy: PrivacyConfig, plan: Plan, escalation: EscalationTerms | None = None) -> str:
    """The same for a person, in lines of at most 80 columns."""
    rows = [_figures(level, release) for level, release in _all(plan)]
    table = [f"{'family':<12}{'every':<8}{'numbers':>8}{'epsilon':>10}{'scale':>10}{'std dev':>10}{'19 of 20':>12}"]
    table += [
        f"{row['family']:<12}{_EVERY[row['level']]:<8}{row['cells']:>8}{row['epsilon']:>10.4f}{row['scale']:>10.1f}"
        f"{row['standard_deviation']:>10.1f}{'±' + str(row['within_95']):>12}"
        for row in rows
    ]
    paragraphs = [textwrap.fill(sentence, _WIDTH) for sentence in _sentences(privacy, plan, escalation)]
    return "\n\n".join([paragraphs[0], *(["\n".join(table)] if rows else []), *paragraphs[1:]])


def _all(plan: Plan) -> Iterator[tuple[Level, FamilyRelease]]:
    for level in LEVELS:
        for release in plan.releases(level):
            yield level, release


def _figures(level: Level, release: FamilyRelease) -> dict[str, Any]:
    return {
        "family": release.family,
        "level": level.name,
        "cells": len(release.cells),
        "epsilon": float(release.epsilon),
        "sensitivity": release.sensitivity,
        "scale": float(release.scale),
        "standard_deviation": round(standard_deviation(release.scale), 3),
        "within_95": half_width(release.scale, _COVERAGE),
    }


def _terms(escalation: EscalationTerms, plan: Plan) -> dict[str, Any]:
    terms = {name: getattr(escalation, name) for name in EscalationTerms.__slots__ if name != "without"}
    return {**terms, "cost": _cost(escalation, plan)}


def _cost(escalation: EscalationTerms, plan: Plan) -> list[dict[str, Any]]:
    """For each family of a day: within which width nineteen of twenty numbers are, with escalation and without it."""
    releases = escalation.without.releases(DAY) if escalation.without else ()
    before = {release.family: half_width(release.scale, _COVERAGE) for release in releases}
    return [
        {
            "family": release.family,
            "within_95": half_width(release.scale, _COVERAGE),
            "within_95_without": before.get(release.family),
        }
        for release in plan.releases(DAY)
    ]


def _sentences(privacy: PrivacyConfig, plan: Plan, escalation: EscalationTerms | None) -> Iterator[str]:
    """One paragraph each; the first says what is protected."""
    if privacy.guarantee == "none":
        yield "Nothing is told of people: privacy.guarantee is none. Reports speak of the device alone."
        return
    epsilon = privacy.epsilon_per_day
    yield _protected(privacy)
    subject = "one track" if privacy.guarantee == "track" else "one such event"
    yield (
        f"Epsilon is {epsilon:g}: whatever somebody guesses about {subject}, all reports of all time together make it"
        f" at most {math.exp(epsilon):.3g} times as likely, or as unlikely, as it was without them. The epsilons of the"
        " table add up to it."
    )
    if privacy.guarantee == "track":
        yield (
            "A person seen as m tracks - lost and found again, or back the next day - spends m times epsilon: "
            + ", ".join(f"{m} tracks {m * epsilon:g} (x{math.exp(m * epsilon):.3g})" for m in (2, 5))
            + "."
        )
    yield from _examples(plan)
    if privacy.suppress_below:
        yield f"Numbers below {privacy.suppress_below} after the noise are left out. That hides nothing more."
    if escalation is not None:
        yield from _of_escalation(escalation, plan)


def _of_escalation(terms: EscalationTerms, plan: Plan) -> Iterator[str]:
    blurred = f", heads of {', '.join(terms.blur_heads)} blurred" if terms.blur_heads else ""
    yield (
        f"ESCALATION IS ON: while a signed consent of the site allows it, pictures leave for {terms.host}: one of each"
        f" uncertain track, at most {terms.per_hour} an hour and {terms.per_day} a day, of at most {terms.max_side_px}"
        f" pixels a side, with {terms.margin_pct:g} % around the box, in which others may be seen{blurred}. No noise"
        " hides what such a picture shows. Who watches the network also sees when one is sent, and so that somebody"
        " passed."
    )
    yield (
        "How many tracks were escalated, and how often the larger model said the same, is told with noise only. A track"
        " can take the place of one other in the limits above, so that family is noised for two tracks."
    )
    if terms.corrects_counts:
        yield (
            "Answers correct the counts (escalation.corrects_counts), so crossings, presence and dwell are noised for"
            " two tracks as well: their noise is twice what it would be without."
        )
    dearer = [row for row in _cost(terms, plan) if row["within_95_without"] is not None]
    if dearer:
        yield (
            "Escalation costs the other numbers precision, and no epsilon: all of them together spend what is stated"
            " above. A day's number is within, nineteen times of twenty, "
            + ", ".join(
                f"{row['family']} ±{row['within_95']} (without it ±{row['within_95_without']})" for row in dearer
            )
            + "."
        )


def _protected(privacy: PrivacyConfig) -> str:
    if privacy.guarantee == "track":
        return (
            "Protected is each track: the way of one person or thing through the picture, as far as the tracker"
            " followed it. Who reads the reports can hardly tell whether it was there."
        )
    times = "once" if privacy.segments == 1 else f"{privacy.segments} times"
    return (
        f"Protected is whatever is seen at most {times} for at most {privacy.event_s} s, tracked well or badly. Who"
        " reads the reports can hardly tell whether it was there. Who stays longer or comes oftener is protected less."
        f" Everything is counted anew every {privacy.chunk_s} s, at most {privacy.max_rows} tracks each time; who stays"
        " longer is counted again."
    )


def _examples(plan: Plan) -> Iterator[str]:
    for release in plan.releases(DAY):
        if release.family in _EXAMPLES:
            what, example = _EXAMPLES[release.family]
            width = half_width(release.scale, _COVERAGE)
            yield f"A day count of {example} {what} will be reported within ±{width}, nineteen times of twenty."
    for release in plan.releases(QUARTER):
        if release.family in (ENTERED, CROSSINGS):
            what, _ = _EXAMPLES[release.family]
            width = half_width(release.scale, _COVERAGE)
            yield f"A quarter of an hour with fewer than {width} {what} is hard to tell from one with none."
    if plan.releases(DAY):
        yield "A sum of several numbers of one row has more noise: the standard deviation times the root of how many."
