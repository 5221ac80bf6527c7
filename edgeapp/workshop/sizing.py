"""Which of several models to put on a board, pure: accuracy against the latency that lasts.

Accuracy must reach the floor with the *lower end* of its 95 % interval, unlike that of one model alone: of many that
were measured on few frames, the one that looks best is likely one that had luck, and choosing would pick the luck.
Of those that keep floor and budget, the fastest is taken that leaves a tenth of every limit to spare. As fast counts
what the intervals do not tell apart; of those the smallest file is taken.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeapp.measure.figures import Figure, Profile
from edgeapp.measure.verdict import ACCURACIES, Bar, Budget, judge, percent, value, words

HEADROOM = 0.10
Standing = Literal["clears", "misses", "unknown"]
EXIT_STATUS: dict[Standing, int] = {"clears": 0, "misses": 3, "unknown": 4}
LATENCIES = ("steady_p95_ms", "steady_p50_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The floor, for the lower end of `metric`, and the budget of everything else."""

    metric: str
    floor: float
    budget: Budget


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One model, and how it stands; `why` says it. `bars`: the tightest first, what was not measured last."""

    name: str
    size_bytes: int
    accuracy: Figure | None
    latency: Figure | None
    standing: Standing
    why: str
    bars: tuple[Bar, ...]

    @property
    def spare(self) -> float:
        """The share that is left of the tightest limit but accuracy's; endless where nothing else is asked."""
        return min(
            (bar.spare for bar in self.bars if bar.spare is not None and bar.name not in ACCURACIES), default=math.inf
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizing:
    """The answer. `picked`: the name of the model to take; empty where none clears or it cannot be told."""

    standing: Standing
    picked: str
    headline: str
    candidates: tuple[Candidate, ...]

    @property
    def exit_status(self) -> int:
        """0 one is picked, 3 none clears, 4 cannot be told."""
        return EXIT_STATUS[self.standing]


def size(profiles: Mapping[str, Profile], wanted: Wanted, *, is_provisional: bool = False) -> Sizing:
    """Pick one. `is_provisional`: for those that have not settled, the whole run stands in for the steady state."""
    candidates = tuple(
        _stand(name, _as_settled(profile) if is_provisional else profile, wanted) for name, profile in profiles.items()
    )
    clearing = [each for each in candidates if each.standing == "clears"]
    unknown = [each for each in candidates if each.standing == "unknown"]
    if clearing:
        return _pick(candidates, clearing)
    if unknown:
        names = ", ".join(each.name for each in unknown)
        headline = f"Cannot be told: of {len(candidates)} none is known to clear, and of {names} too little is known"
        return Sizing(standing="unknown", picked="", headline=headline, candidates=candidates)
    nearest = max(candidates, key=lambda each: each.bars[0].spare or 0.0)
    headline = f"None of {len(candidates)} clears. Nearest is {nearest.name}: {nearest.why}"
    return Sizing(standing="misses", picked="", headline=headline, candidates=candidates)


def frontier(candidates: tuple[Candidate, ...]) -> list[tuple[float, float]]:
    """(latency in ms, accuracy) of those that no other beats in both, the fastest first."""
    known = sorted((each.latency.value, -each.accuracy.value) for each in candidates if each.latency and each.accuracy)
    best, points = 0.0, []
    for latency_ms, negative in known:
        if -negative > best:
            best = -negative
            points.append((latency_ms, best))
    return points


def _stand(name: str, profile: Profile, wanted: Wanted) -> Candidate:
    accuracy = profile.figures.get(wanted.metric)
    bars = [_accuracy_bar(accuracy, wanted), *judge(profile, wanted.budget).bars]
    bars.sort(key=lambda bar: math.inf if bar.spare is None else bar.spare)
    missed = [bar for bar in bars if bar.spare is not None and bar.spare < 0]
    blank = [words(bar.name) for bar in bars if bar.spare is None]
    standing: Standing = "clears"
    if missed:
        standing, why = "misses", "; ".join(_missed(bar, accuracy, wanted) for bar in missed)
    elif profile.settling.answer != "settled":
        standing, why = "unknown", f"has not settled: {profile.settling.reason}"
    elif blank:
        standing, why = "unknown", f"{', '.join(blank)} not measured"
    else:
        why = "; ".join(_kept(bar, wanted) for bar in bars)
    return Candidate(
        name=name,
        size_bytes=profile.subject.size_bytes,
        accuracy=accuracy,
        latency=next((profile.figures[each] for each in LATENCIES if each in profile.figures), None),
        standing=standing,
        why=why,
        bars=tuple(bars),
    )


def _accuracy_bar(accuracy: Figure | None, wanted: Wanted) -> Bar:
    if accuracy is None:
        return Bar(wanted.metric, wanted.floor, None, None)
    return Bar(wanted.metric, wanted.floor, _low(accuracy), _low(accuracy) / wanted.floor - 1)


def _low(figure: Figure | None) -> float:
    """The lower end; the value itself where there were too few frames for an interval."""
    if figure is None:
        return 0.0
    return figure.value if figure.low is None else figure.low


def _missed(bar: Bar, accuracy: Figure | None, wanted: Wanted) -> str:
    by = percent(-(bar.spare or 0.0))
    if bar.name == wanted.metric and bar.limit == wanted.floor and accuracy is not None:
        measured = (
            f"{value(bar.name, accuracy.value)} measured, {value(bar.name, bar.found)} at the lower end of its interval"
        )
        return f"{words(bar.name)} misses the floor of {wanted.floor:g} by {by} ({measured})"
    return f"{words(bar.name)} misses its limit of {value(bar.name, bar.limit)} by {by} ({value(bar.name, bar.found)})"


def _kept(bar: Bar, wanted: Wanted) -> str:
    spare = f"{percent(bar.spare or 0.0)} to spare"
    if bar.name == wanted.metric and bar.limit == wanted.floor:
        spare = "at the lower end of its interval"
    return f"{words(bar.name)} {value(bar.name, bar.found)} of {value(bar.name, bar.limit)}, {spare}"


def _pick(candidates: tuple[Candidate, ...], clearing: list[Candidate]) -> Sizing:
    roomy = [each for each in clearing if each.spare >= HEADROOM]
    pool = roomy or clearing
    fastest = min(pool, key=_latency_ms)
    as_fast = [each for each in pool if each is fastest or _is_same(each.latency, fastest.latency)]
    picked = min(as_fast, key=lambda each: each.size_bytes)
    short = "" if roomy else ", with little to spare"
    unknown = sum(each.standing == "unknown" for each in candidates)
    rest = f" ({unknown} more cannot be told)" if unknown else ""
    headline = f"Take {picked.name}{short}: {picked.why}{rest}"
    return Sizing(standing="clears", picked=picked.name, headline=headline, candidates=candidates)


def _latency_ms(candidate: Candidate) -> float:
    return candidate.latency.value if candidate.latency else math.inf


def _is_same(one: Figure | None, other: Figure | None) -> bool:
    """Whether the intervals overlap."""
    if one is None or other is None or one.low is None or one.high is None or other.low is None or other.high is None:
        return False
    return one.low <= other.high and other.low <= one.high


def _as_settled(profile: Profile) -> Profile:
    if profile.settling.answer == "settled":
        return profile
    figures = profile.figures | {f"steady_{name}": profile.figures[name] for name in ("p50_ms", "p95_ms", "fps")}
    settling = dataclasses.replace(profile.settling, answer="settled", since_s=0.0)
    return dataclasses.replace(profile, figures=figures, settling=settling)
