"""The probation of a model in use: does it do as well as the one before it did on this same device? Pure.

Owns what is compared and when the answer stands. The limits are the release's own (`release.Probation`), times are
arguments. Measuring is the pipeline's.

A trial lasts `duration_s`, whose default of half an hour covers three of a board's slowest time constants (500 s), so
that its latency is the one of a board that has warmed up. What can only get worse (a crash, more than half of the
frames failing) ends it at once, and what time may mend at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from edgeapp.reader import Range
from edgeapp.types import ModelReport, Situation
from edgeapp.updates.codes import Code, Refusal

if TYPE_CHECKING:
    from edgeapp.updates.release import Probation

_HOPELESS_FRAMES = 20  # of so many more than half failed: no need to wait for the rest
_LEAST_SHARE = 0.5  # of the frames that the model before it would have had in the same time
_LEAST_COMPARED = 20  # detections of both models; of fewer nothing can be said

_Amount = Annotated[float, Range(0, 1e12, "0 or more")]
_Frames = Annotated[int, Range(0, 1 << 53, "frames")]


@dataclass(frozen=True, kw_only=True, slots=True)
class Conduct:
    """How a model did over a span of time on this device.

    `inferred` counts frames that went through it, `failures` those on which it failed. `throttled_s` is the time in
    which the firmware throttled. `rss_mb` is the memory of vision at the end, MiB. None: not known.
    """

    seconds: _Amount
    inferred: _Frames
    failures: _Frames
    p95_ms: _Amount | None
    throttled_s: _Amount
    rss_mb: _Amount | None
    crashes: _Frames = 0

    @property
    def fail_rate(self) -> float:
        """The share of the frames on which it failed."""
        return self.failures / max(self.inferred + self.failures, 1)

    @property
    def throttled_share(self) -> float:
        """The share of the time in which the firmware throttled."""
        return min(self.throttled_s / self.seconds, 1.0) if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Agreement:
    """What two models had in common on the frames that both saw: `compared` detections of both together, of which
    `matched` had their like on the other side.
    """

    compared: int = 0
    matched: int = 0

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall of either model, with the other one for the truth."""
        return self.matched / self.compared if self.compared else 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What control knows of vision's models. The conducts are of the model in the folder `measured`: how it did lately,
    and since it runs; `agreement` is what it has had in common with the other one since then. `crashes` of vision count
    since the daemon started; `model` is what vision last told of its own.
    """

    situation: Situation = field(default_factory=Situation)
    measured: str = ""
    lately: Conduct | None = None
    since_begin: Conduct | None = None
    agreement: Agreement = Agreement()
    crashes: int = 0
    model: ModelReport | None = None


def judge_trial(
    before: Conduct | None, now: Conduct, limits: Probation, agreement: Agreement = Agreement()
) -> Refusal | None:
    """What speaks against the candidate so far. `before` is None where nothing ran before it.

    Asked again and again during the trial; whoever asks when it `is_over` has the verdict.
    """
    if now.crashes > limits.max_restarts:
        text = f"expected at most {limits.max_restarts} crashes of vision, found {now.crashes}"
        return Refusal(Code.E_TRIAL_CRASH, text)
    frames = now.inferred + now.failures
    if frames >= _HOPELESS_FRAMES and now.fail_rate > max(limits.max_fail_rate, 0.5):
        return _failing(now, limits)
    if not is_over(now, limits):
        return None
    return _judge_end(before, now, limits) or _differing(agreement, limits)


def is_over(now: Conduct, limits: Probation) -> bool:
    """Whether the time of the trial has passed."""
    return now.seconds >= limits.duration_s


def _judge_end(before: Conduct | None, now: Conduct, limits: Probation) -> Refusal | None:
    needed = limits.min_frames
    if before is not None and before.seconds:
        usual = before.inferred / before.seconds * limits.duration_s
        needed = min(needed, max(1, round(usual * _LEAST_SHARE)))
    if now.inferred + now.failures < needed:
        text = f"expected at least {needed} frames, found {now.inferred + now.failures}"
        return Refusal(Code.E_TRIAL_STARVED, text)
    if now.fail_rate > limits.max_fail_rate and (before is None or now.fail_rate > before.fail_rate):
        return _failing(now, limits)
    return None if before is None else _worse(before, now, limits)


def _failing(now: Conduct, limits: Probation) -> Refusal:
    share = f"{limits.max_fail_rate:.2%} of the frames"
    text = f"expected to fail on at most {share}, found {now.failures} of {now.inferred + now.failures}"
    return Refusal(Code.E_TRIAL_FAILRATE, text)


def _differing(agreement: Agreement, limits: Probation) -> Refusal | None:
    """The text has no figure in it: what the models saw is nobody's business."""
    if agreement.compared < _LEAST_COMPARED or agreement.f1 >= limits.min_agreement:
        return None
    text = f"on the same frames: expected an F1 of {limits.min_agreement:g} with the model before it, found less"
    return Refusal(Code.E_TRIAL_AGREEMENT, text)


def _worse(before: Conduct, now: Conduct, limits: Probation) -> Refusal | None:
    """What the device did better before the switch."""
    if before.p95_ms and now.p95_ms and now.p95_ms > limits.max_p95_ratio * before.p95_ms:
        expected = f"at most {limits.max_p95_ratio:g} times {before.p95_ms:.3g} ms"
        return Refusal(Code.E_TRIAL_LATENCY, f"95th percentile: expected {expected}, found {now.p95_ms:.3g} ms")
    if now.throttled_share > max(limits.max_throttled_share, before.throttled_share):
        expected = f"at most {limits.max_throttled_share:.0%} of the time"
        return Refusal(Code.E_TRIAL_THERMAL, f"throttled: expected {expected}, found {now.throttled_share:.0%}")
    if before.rss_mb is not None and now.rss_mb is not None:
        grown_mb = now.rss_mb - before.rss_mb
        if grown_mb > limits.max_rss_growth_mb:
            expected = f"at most {limits.max_rss_growth_mb:g} MiB more than {before.rss_mb:.0f}"
            return Refusal(Code.E_TRIAL_MEMORY, f"memory of vision: expected {expected}, found {grown_mb:.0f} more")
    return None
