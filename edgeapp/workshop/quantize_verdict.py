"""What became of a quantization, and what to do with it, pure: ship, train for it, or calibrate anew; with reasons.

A model ships when its figure reaches the floor, as `release create` asks. Below it the cause is told by an experiment:
the float model calibrated once more, on the very frames it is judged on. Where that reaches the floor, by more than
chance, the calibration was to blame; else int8 costs this model too much, and it has to be trained for it.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from edgeapp.measure.figures import Figure
from edgeapp.measure.paired import Paired
from edgeapp.measure.verdict import words
from edgeapp.words import counted
from edgeapp.workshop.calibration import Evidence, suspicions
from edgeapp.workshop.layers import LayerError, worst

Decision = Literal["ship", "needs training", "calibration suspicious", "float misses"]
EXIT_STATUS: dict[Decision, int] = {"ship": 0, "needs training": 3, "calibration suspicious": 4, "float misses": 5}
_FEW_REFERENCES = 100
_NAMED_LAYERS = 3
_TRAIN_FLOAT = "Quantization is not to blame: train the float model further, or lower the floor knowingly"
_CALIBRATE = "Calibrate with some dozens of pictures of the site, by day and by night"


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Bare invokes on this machine, with XNNPACK and one thread. `ratio`: to float32, the median of the rounds."""

    median_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    nodes: int
    delegated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One form of the model. `figures` is empty for the float one."""

    name: str
    size_bytes: int
    speed: Speed
    figures: dict[str, Paired]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """All that was found out.

    `metric` names the figure that the floor is for. `references`: labels, or without labels detections of the float
    model. `on_own_frames`: the metric of int8 calibrated on the evaluation's frames, and its change against int8 as it
    is; None where that was not tried. `kept_float`: the layers of `mixed`.
    """

    model: str
    metric: str
    floor: float
    is_labelled: bool
    data_set: str
    frames: int
    references: int
    calibration_pictures: int
    calibration_sha256: str
    evidence: Evidence
    layers: tuple[LayerError, ...]
    float_model: Variant
    int8: Variant
    dynamic_range: Variant
    on_own_frames: Paired | None = None
    is_mixed_tried: bool = False
    mixed: Variant | None = None
    kept_float: tuple[str, ...] = ()

    def figure(self, variant: Variant) -> Figure:
        """The metric of a quantized variant."""
        return variant.figures[self.metric].quantized

    def of_float(self) -> float:
        """The metric of the float model; without labels it is its own yardstick."""
        figure = self.int8.figures[self.metric].float_model
        return 1.0 if figure is None else figure.value

    def clears(self, figure: Figure) -> bool:
        """Whether a figure reaches the floor."""
        return figure.value >= self.floor

    @property
    def is_calibration_to_blame(self) -> bool:
        """Whether the same model reaches the floor when calibrated on the frames that judge, and not by chance."""
        own = self.on_own_frames
        return own is not None and self.clears(own.quantized) and own.is_better


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision in one sentence, why, and what else is to be known; `shipped` is the variant to ship."""

    decision: Decision
    headline: str
    reasons: tuple[str, ...]
    shipped: Literal["int8", "mixed", ""] = ""

    @property
    def exit_status(self) -> int:
        """0 ship, 3 needs training, 4 calibration suspicious, 5 the float model misses the floor."""
        return EXIT_STATUS[self.decision]


def decide(result: Quantization) -> Verdict:
    """What to do."""
    metric, value = words(result.metric), result.figure(result.int8).value
    found = f"{metric} {value:.3f} of at least {result.floor:g}"
    if result.of_float() < result.floor:
        headline = f"The float model itself misses the floor: {metric} {result.of_float():.3f} of {result.floor:g}"
        return Verdict("float misses", headline, (_TRAIN_FLOAT, *_notes(result, result.int8)))
    against = suspicions(result.evidence)
    if against:
        told = f"It misses the floor: {found}"
        if value >= result.floor:
            told = f"Accuracy on these frames would do ({found}); what the ranges leave out may show on others"
        headline = "The calibration is suspicious: its pictures are not like those that the model is judged on"
        own = (_own_frames(result),) if result.is_calibration_to_blame else ()
        return Verdict(
            "calibration suspicious", headline, (*against, *own, told, _CALIBRATE, *_notes(result, result.int8))
        )
    if value >= result.floor:
        return Verdict("ship", f"Ship int8: {found}, {_gain(result, result.int8)}", _notes(result, result.int8), "int8")
    if result.is_calibration_to_blame:
        headline = f"The calibration is suspicious: int8 reaches {found}"
        reasons = (_own_frames(result), _CALIBRATE, *_notes(result, result.int8))
        return Verdict("calibration suspicious", headline, reasons)
    if result.mixed is not None and result.clears(result.figure(result.mixed)):
        return _ship_mixed(result, result.mixed)
    reasons = (_own_frames(result), _where(result), _tried(result))
    headline = f"Needs quantization-aware training: int8 reaches {found}"
    return Verdict("needs training", headline, (*reasons, *_notes(result, result.int8)))


def _ship_mixed(result: Quantization, mixed: Variant) -> Verdict:
    found = f"{words(result.metric)} {result.figure(mixed).value:.3f} of at least {result.floor:g}"
    price = (
        f"It takes {_cost(result, mixed)} and is {mixed.size_bytes / result.int8.size_bytes:.2f} times as large; int8 "
        f"alone reaches {result.figure(result.int8).value:.3f}"
    )
    layers = f"{counted(len(result.kept_float), 'layer')} in float32"
    headline = f"Ship int8 with {layers}: {found}, {_gain(result, mixed)}"
    return Verdict("ship", headline, (price, *_notes(result, mixed)), "mixed")


def _own_frames(result: Quantization) -> str:
    own = result.on_own_frames
    if own is None or own.change is None:
        return "Whether the calibration is to blame was not tried"
    if result.is_calibration_to_blame:
        cause = "its pictures lack what these have"
    elif own.is_better:
        cause = "better pictures would help, but not enough"
    else:
        cause = "no better, as far as these frames show: the calibration is not the cause"
    return f"Calibrated on the very frames it is judged on, int8 reaches {own.quantized.value:.3f}: {cause}"


def _gain(result: Quantization, variant: Variant) -> str:
    smaller = result.float_model.size_bytes / variant.size_bytes
    return f"{1 / variant.speed.ratio:.1f} times as fast as float32, {smaller:.1f} times smaller"


def _notes(result: Quantization, variant: Variant) -> tuple[str, ...]:
    notes = [_change(result, variant)]
    figure = result.figure(variant)
    if figure.low is not None and figure.high is not None and figure.low < result.floor <= figure.high:
        notes.append(
            f"The floor lies inside the 95 % interval ({figure.low:.3f} to {figure.high:.3f}): other frames could "
            f"decide otherwise; more of them would tell"
        )
    if result.references < _FEW_REFERENCES:
        notes.append(f"Judged by {result.references} things in {result.frames} frames: few")
    if variant.speed.ratio >= 1:
        notes.append(
            f"int8 is no faster than float32 here ({variant.speed.ratio:.2f} times its time; the delegate took "
            f"{variant.speed.delegated} of {variant.speed.nodes} operators): profile it on the device"
        )
    notes.append(_dynamic_range(result))
    return tuple(notes)


def _change(result: Quantization, variant: Variant) -> str:
    paired = variant.figures[result.metric]
    if paired.change is None:
        return (
            "No labels were given: the float model's own answers stand in for the truth. The figure says what "
            "quantization changed, not how right either model is; a mistake of both counts as right"
        )
    change = paired.change
    span = "" if change.low is None else f" (95 % interval {change.low:+.3f} to {change.high:+.3f})"
    meaning = "a difference" if paired.is_different else f"no difference that {result.frames} frames show"
    return f"{words(result.metric)} {change.value:+.3f} against float32{span}: {meaning}"


def _dynamic_range(result: Quantization) -> str:
    dynamic, int8 = result.dynamic_range.speed, result.int8.speed
    to_int8 = dynamic.ratio / int8.ratio
    measured = f"{dynamic.median_ms:.3g} ms, {to_int8:.1f} times int8 and {dynamic.ratio:.1f} times float32 in one run"
    if to_int8 > 1:
        return f"Dynamic range is advised against: it takes {measured}"
    return f"Dynamic range takes {measured}: measure both on the device"


def _where(result: Quantization) -> str:
    layers = worst(result.layers, _NAMED_LAYERS)
    shares = ", ".join(f"{layer.name} ({100 * (layer.effect or 0):.0f} %)" for layer in layers)
    return f"The error of the outputs comes most of all from {shares or 'no layer in particular'}"


def _tried(result: Quantization) -> str:
    if result.mixed is None:
        none = "no layer could be kept in float32"
        return f"--mixed: {none}" if result.is_mixed_tried else "--mixed tries to keep the worst layers in float32"
    return (
        f"Keeping {counted(len(result.kept_float), 'layer')} in float32 was tried: {words(result.metric)} "
        f"{result.figure(result.mixed).value:.3f} is not enough, and takes {_cost(result, result.mixed)}"
    )


def _cost(result: Quantization, mixed: Variant) -> str:
    one, other = mixed.speed, result.int8.speed
    if one.ratio_low <= other.ratio_high and other.ratio_low <= one.ratio_high:
        return "as long as int8 within the scatter of this run"
    return f"{one.ratio / other.ratio:.2f} times as long as int8"


def facts(result: Quantization, shipped: Variant) -> dict[str, Any]:
    """What `release create --facts` takes."""
    metric = words(result.metric)
    if not result.is_labelled:
        metric += " with the float model"
    return {
        "accuracy": {
            "metric": metric,
            "data_set": result.data_set,
            "float_model": round(result.of_float(), 4),
            "quantized": round(result.figure(shipped).value, 4),
            "floor": result.floor,
        },
        "calibration_sha256": result.calibration_sha256,
    }


def document(result: Quantization, verdict: Verdict) -> dict[str, Any]:
    """report.json."""
    return {
        "v": 1,
        "verdict": {**dataclasses.asdict(verdict), "exit_status": verdict.exit_status},
        "quantization": dataclasses.asdict(result),
    }
