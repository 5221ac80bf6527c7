"""Whether a profile keeps its budget, by how much, and what to do first where it does not; pure."""

from __future__ import annotations

import dataclasses
import statistics
from dataclasses import dataclass
from typing import Annotated, Literal

from edgeapp.measure.figures import Profile
from edgeapp.reader import Range
from edgeapp.words import counted

_Ms = Annotated[float, Range(0.001, 1e6, "ms")]
_Share = Annotated[float, Range(0.001, 1.0, "")]
Answer = Literal["clears", "misses", "unknown"]
FLOORS = ("fps", "steady_fps", "ap50", "ap50_95", "top1")
ACCURACIES = ("ap50", "ap50_95", "top1")
_TIGHT = 0.10  # less to spare than this is none
_SLOWDOWN = 0.10
_NEWEST = 0.8  # of a run that has not settled, the last fifth tells how it is now
_LEAST_RUN_S = 60.0  # a shorter one that has not settled tells nothing of a slow-down
_FASTER = 0.8  # a way worth naming takes at most this share


@dataclass(frozen=True, kw_only=True, slots=True)
class Budget:
    """What a model may cost, and must reach. Latencies are of whole frames; what is None is not asked for.

    Ceilings: the times, and rss_mb. Floors: frames per second, and accuracy.
    """

    p50_ms: _Ms | None = None
    p95_ms: _Ms | None = None
    p99_ms: _Ms | None = None
    steady_p50_ms: _Ms | None = None
    steady_p95_ms: _Ms | None = None
    cold_load_ms: _Ms | None = None
    rss_mb: Annotated[float, Range(1, 1e6, "MiB")] | None = None
    fps: Annotated[float, Range(0.001, 1e5, "frames per second")] | None = None
    steady_fps: Annotated[float, Range(0.001, 1e5, "frames per second")] | None = None
    ap50: _Share | None = None
    ap50_95: _Share | None = None
    top1: _Share | None = None

    def limits(self) -> dict[str, float]:
        """What is asked for, by the figure's name."""
        return {name: limit for name, limit in dataclasses.asdict(self).items() if limit is not None}


@dataclass(frozen=True, slots=True)
class Bar:
    """One line of the budget. `spare`: the share of the limit that is left; below 0 it is missed by so much."""

    name: str
    limit: float
    found: float | None
    spare: float | None


@dataclass(frozen=True, slots=True)
class Judgement:
    """The answer in one sentence, what else is to be known, and each bar of the budget, the tightest first."""

    answer: Answer
    headline: str
    notes: tuple[str, ...]
    bars: tuple[Bar, ...]

    @property
    def exit_status(self) -> int:
        """0 clears, 1 misses, 2 cannot be told."""
        return {"clears": 0, "misses": 1, "unknown": 2}[self.answer]


def judge(profile: Profile, budget: Budget | None) -> Judgement:
    """The verdict. Without a budget it is about settling alone."""
    bars = _bars(profile, budget) if budget else ()
    missed = [bar for bar in bars if bar.spare is not None and bar.spare < 0]
    blank = [bar for bar in bars if bar.spare is None]
    settled = profile.settling.answer == "settled"
    notes = _notes(profile)
    if missed:
        return Judgement("misses", *_missing(profile, missed[0], notes), bars)
    if not settled:
        said = "Keeps its budget so far, but has" if bars and not blank else "Has"
        headline = f"{said} not settled after {profile.seconds:.0f} s: nothing can be promised of how it runs for hours"
        return Judgement(
            "unknown", headline, (f"{_sentence(profile.settling.reason)}; give it more seconds", *notes), bars
        )
    if blank:
        names = ", ".join(words(bar.name) for bar in blank)
        return Judgement("unknown", f"Cannot be told: {names} not measured", notes, bars)
    if not bars:
        latency = f"{profile.value('steady_p95_ms') or 0:.3g} ms"
        headline = f"Settled: 95 of 100 frames take at most {latency}. Without a budget there is nothing to clear"
        return Judgement("clears", headline, notes, bars)
    least = bars[0]
    spare = least.spare or 0.0
    what = f"tightest is {words(least.name)}, {_measured(least)}"
    if spare < _TIGHT:
        return Judgement("clears", f"Clears, but with only {percent(spare)} to spare: {what}", notes, bars)
    return Judgement("clears", f"Clears with {percent(spare)} to spare: stop optimising ({what})", notes, bars)


def _bars(profile: Profile, budget: Budget) -> tuple[Bar, ...]:
    bars = []
    for field in dataclasses.fields(budget):
        limit, found = getattr(budget, field.name), profile.value(field.name)
        if limit is None:
            continue
        spare = None
        if found is not None:
            spare = found / limit - 1 if field.name in FLOORS else 1 - found / limit
        bars.append(Bar(field.name, limit, found, spare))
    return tuple(sorted(bars, key=lambda bar: -1e9 if bar.spare is None else bar.spare))


def _missing(profile: Profile, worst: Bar, notes: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    headline = f"Misses by {percent(-(worst.spare or 0.0))}: {words(worst.name)} is {_measured(worst)}"
    return headline, (_attack(profile, worst), *notes)


def _attack(profile: Profile, worst: Bar) -> str:
    """What to do first about the bar that is missed most."""
    if worst.name in ACCURACIES:
        return "No stage helps here: it is the model (or its quantization) that is not right often enough."
    if worst.name == "rss_mb":
        return "Attack memory first: a smaller model or input; most of the rest is Python, OpenCV and the runtime."
    if worst.name == "cold_load_ms":
        return "Attack loading first: a smaller file, or faster storage."
    slow = slowdown(profile)
    start_ms = profile.value("start_p50_ms")
    steady_ms = profile.value("steady_p50_ms")
    if worst.name.startswith("steady") and slow and start_ms and steady_ms and worst.found:
        at_start = worst.found * (steady_ms / start_ms if worst.name in FLOORS else start_ms / steady_ms)
        if (at_start >= worst.limit) if worst.name in FLOORS else (at_start <= worst.limit):
            return "Attack the slow-down first: without it the budget would be kept (a heat sink, a fan, other load)."
    stage, took_ms = max(profile.stages_ms.items(), key=lambda item: item[1])
    total_ms = sum(profile.stages_ms.values())
    found = worst.found or 0.0
    over_ms = 1e3 / worst.limit - 1e3 / max(found, 1e-9) if worst.name in FLOORS else worst.limit - found
    needed_ms = took_ms + over_ms
    share = f"{took_ms:.3g} of {total_ms:.3g} ms a frame"
    if needed_ms <= 0:
        return f"Attack {stage} first ({share}); even without it the budget is missed: a smaller model or input."
    way = _better_way(profile)
    also = f" {way}" if stage == "invoke" and way else ""
    return f"Attack {stage} first ({share}): it would have to come down to {needed_ms:.3g} ms.{also}"


def _better_way(profile: Profile) -> str:
    model = profile.subject.model
    used = [way for way in profile.ways if (way.delegate, way.threads) == (model.delegate.name, model.threads)]
    best = min(profile.ways, key=lambda way: way.median_ms, default=None)
    if not used or best is None or best.median_ms > _FASTER * used[0].median_ms:
        return ""
    gain = 1 - best.median_ms / used[0].median_ms
    threads = counted(best.threads, "thread")
    return f"{best.delegate} with {threads} takes {percent(gain)} less."


def slowdown(profile: Profile) -> float | None:
    """By what share the median has grown since the start, where that is worth a word."""
    start_ms, last_ms = profile.value("start_p50_ms"), profile.value("steady_p50_ms")
    if last_ms is None and profile.seconds >= _LEAST_RUN_S:
        newest = [moment.median_ms for moment in profile.moments if moment.time_s > _NEWEST * profile.seconds]
        last_ms = statistics.median(newest) if newest else None
    if not start_ms or not last_ms or last_ms / start_ms - 1 < _SLOWDOWN:
        return None
    return last_ms / start_ms - 1


def _notes(profile: Profile) -> tuple[str, ...]:
    notes = []
    slow, start_ms = slowdown(profile), profile.value("start_p50_ms")
    if slow is not None and start_ms:
        notes.append(
            f"It slows down as it runs (heat, or other load): a frame took {start_ms:.3g} ms at the start and takes "
            f"{start_ms * (1 + slow):.3g} ms now, {percent(slow)} more. Figures of a short, cold run would mislead."
        )
    if profile.slowed_s:
        notes.append(f"The firmware said for {profile.slowed_s:.0f} s that it slows down or lacks voltage.")
    if profile.moments and all(moment.temp_c is None for moment in profile.moments):
        notes.append(
            "This board tells no temperature: whether it has settled is judged by latency alone, after a longer time."
        )
    if not profile.subject.frames:
        notes.append("Measured on noise, not on pictures: decoding is not in it. Give it --frames.")
    notes += [f"{_sentence(advice.text)} {advice.do}".strip() for advice in profile.subject.model.advice]
    return tuple(notes)


def _measured(bar: Bar) -> str:
    bound = "at least" if bar.name in FLOORS else "at most"
    return f"{value(bar.name, bar.found)} of {bound} {value(bar.name, bar.limit)}"


_WORDS = {
    "p50_ms": "median latency",
    "p95_ms": "p95 latency",
    "p99_ms": "p99 latency",
    "worst_ms": "worst latency",
    "start_p50_ms": "median latency at the start",
    "fps": "throughput",
    "import_ms": "loading the libraries",
    "cold_load_ms": "cold load",
    "first_ms": "first inference",
    "warm_load_ms": "warm load",
    "rss_mb": "memory",
    "ap50": "AP50",
    "ap50_95": "AP50:95",
    "top1": "top-1",
    "count_error": "count error",
    "agreement": "agreement",
}


def words(name: str) -> str:
    """What a person calls a figure."""
    if name.startswith("steady_"):
        return f"steady {_WORDS[name.removeprefix('steady_')]}"
    return _WORDS.get(name, name)


def value(name: str, number: float | None) -> str:
    """A figure's value with its unit."""
    if number is None:
        return "–"
    if name.endswith("_ms"):
        return f"{number:.3g} ms" if number < 1000 else f"{number / 1000:.3g} s"
    if name == "rss_mb":
        return f"{number:.0f} MiB"
    if name.endswith("fps"):
        return f"{number:.3g} fps"
    return f"{number:.3f}"


def percent(share: float) -> str:
    """A share in whole percent."""
    return f"{100 * share:.0f} %"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
