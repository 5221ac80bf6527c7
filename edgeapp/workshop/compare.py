"""Compares an edge model with its reference, from picture to answer, and says in which stage and layer they part.

The same pictures go through the reference (builtin kernels, or an oracle elsewhere), the edge model on builtin kernels,
the edge model with the delegate that ships, and the edge model on the device. The recipe is `compare`; the rules are in
`stages.py` and `own_error.py`, the layers in `trace.py`. Here only builtin kernels run in this process, and only models
that passed the self-test; delegates run in processes of their own (`places.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeapp.config import Delegate
from edgeapp.errors import CompareError, ModelError
from edgeapp.types import Detection
from edgeapp.vision.formats import Picture
from edgeapp.vision.golden import read_golden, say_the_same
from edgeapp.vision.model import Model
from edgeapp.vision.model_folder import open_model_folder
from edgeapp.vision.selftest import SelfTestLimits, self_test
from edgeapp.vision.tensor import dequantize
from edgeapp.workshop.agreement import agreement
from edgeapp.workshop.own_error import OwnError, ratio_db
from edgeapp.workshop.places import Place
from edgeapp.workshop.progress import Progress, silent
from edgeapp.workshop.quiet import libraries_silenced
from edgeapp.workshop.reference_link import FarModel, Origin
from edgeapp.workshop.stages import (
    Comparison,
    Gap,
    Limits,
    Stage,
    StageName,
    WorstPicture,
    judge_conversion,
    judge_inputs,
    judge_kernels,
    judge_quantization,
    output_gap,
)
from edgeapp.workshop.watch import kernel_errors, own_errors, recode, threads

Array = npt.NDArray[Any]
Outputs = dict[str, Array]
"""By the decoder's roles, each [pictures, *shape]."""

_LIMITS = SelfTestLimits(address_mb=4096, invokes=3)
_LAYER_PICTURES = 6  # of these the layers are watched: it takes some tens of megabytes each
_KERNEL_PICTURES = 2
_WORST = 6
_CLEAR_MARGIN = 0.1  # as golden cases: a detection so much above the minimum score may not be missing


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What to compare. `delegate` is the one that ships, on the device where there is one.

    `reference`: a model folder, or where an oracle runs it. `original`: outputs of the framework that the reference was
    converted from, in the form of golden cases.
    """

    reference: Path | Origin
    edge: Path
    delegate: Delegate = "auto"
    original: Path | None = None
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found, and what both sides see in each picture: the reference, and the edge model as it ships."""

    comparison: Comparison
    min_score: float
    expected: tuple[tuple[Detection, ...], ...]
    found: tuple[tuple[Detection, ...], ...]


def compare(
    request: Request,
    pictures: Sequence[tuple[str, Picture]],
    here: Place,
    device: Place | None = None,
    progress: Progress = silent,
) -> Compared:
    """Run everything and judge.

    Raises:
        CompareError: the two models cannot be compared at all.
        EdgeAppError: a model folder cannot be used, or the device not be reached.
    """
    with _open(request.reference) as reference, _open(request.edge) as edge:
        _check_twins(reference, edge)
        stages = [] if request.original is None else [_convert(reference, request.original)]
        given = [[side.model.preprocess(picture) for _, picture in pictures] for side in (reference, edge)]
        recoded = [recode(values, reference.model.input, edge.model.input) for values in given[0]]
        progress("compare", 0.1)
        expected, own, with_recoded = reference.outputs(given[0]), edge.outputs(given[1]), edge.outputs(recoded)
        stages.append(_preprocess(reference, edge, given, expected, (own, with_recoded)))
        progress("compare", 0.3)
        if stages[-1].answer == "agrees":
            fed, found = given[1], own
        else:
            fed, found = recoded, with_recoded
        stages.append(_quantize(reference, edge, (given[0], fed), (expected, found), request.limits))
        progress("compare", 0.5)
        shipped = _Shipped(edge, given[1], own, request.limits)
        stages.append(shipped.compile(here, request.delegate if device is None else "auto", own))
        progress("compare", 0.7)
        if device is not None:
            stages.append(shipped.board(device, own))
            progress("compare", 0.85)
            stages.append(shipped.compile(device, request.delegate, shipped.outputs))
        progress("compare", 1.0)
        return _conclude((reference, edge), [name for name, _ in pictures], stages, expected, shipped)


def _open(where: Path | Origin) -> _Side:
    if isinstance(where, Origin):
        far = FarModel(where)
        return _Side(far, b"", f", on {far.runs_on}, at {where.host}")
    report = self_test(where, _LIMITS, delegate="none")
    if not report.passed:
        raise CompareError(f"{where}: expected to pass the self-test, found {report.code}: {report.text}")
    _, path = open_model_folder(where)
    with libraries_silenced():
        return _Side(Model.load(where, delegate="none", threads=threads()), path.read_bytes())


class _Side:
    """One of the two models: on builtin kernels with its file, or a far one, whose file is not here."""

    def __init__(self, model: Model | FarModel, content: bytes, how: str = "") -> None:
        manifest = model.manifest
        self.model, self.content, self.sha256 = model, content, manifest.model.sha256
        self.title = f"{manifest.name} {manifest.version} ({manifest.quantization}{how})"

    def __enter__(self) -> _Side:
        return self

    def __exit__(self, *_: object) -> None:
        self.model.close()

    def outputs(self, inputs: Sequence[Array]) -> Outputs:
        """What it gives for each of some input tensors."""
        found = [self.model.run(values)[0] for values in inputs]
        return {role: np.stack([one[role] for one in found]) for role in self.model.outputs}

    def reals(self, outputs: Outputs) -> Outputs:
        """Real values of the outputs that can be compared number by number."""
        roles = self.model.outputs
        if self.model.manifest.output.decoder == "ssd_postprocess":  # its rows are sorted: near scores change places
            roles = {"scores": roles["scores"]}
        return {role: dequantize(outputs[role], spec) for role, spec in roles.items()}


def _check_twins(reference: _Side, edge: _Side) -> None:
    one, other = reference.model, edge.model
    facts = (
        ("classes", one.manifest.classes, other.manifest.classes),
        ("input shape", one.input.shape, other.input.shape),
        ("outputs", _shapes(one), _shapes(other)),
    )
    for what, expected, found in facts:
        if expected != found:
            raise CompareError(f"edge model: expected the {what} of the reference, {expected}, found {found}")


def _shapes(model: Model | FarModel) -> dict[str, tuple[int, ...]]:
    return {role: spec.shape for role, spec in sorted(model.outputs.items())}


def _convert(reference: _Side, original: Path) -> Stage:
    cases = read_golden(original, reference.model)
    found = reference.outputs(list(cases.inputs))
    return judge_conversion(_gaps(reference, dict(cases.outputs), reference, found))


def _preprocess(
    reference: _Side, edge: _Side, given: Sequence[Sequence[Array]], expected: Outputs, found: tuple[Outputs, Outputs]
) -> Stage:
    """`found`: what the edge model gives for inputs of its own, and for the reference's."""
    specs = reference.model.input, edge.model.input
    reals = [
        np.concatenate([dequantize(one, spec) for one in values]) for values, spec in zip(given, specs, strict=True)
    ]
    scales = [spec.scale for spec in specs if spec.is_quantized]
    step = max(scales) if scales else max(float(np.ptp(reals[0])) / 255, 1e-6)
    own_db, given_db = (_mean_db(_gaps(reference, expected, edge, outputs)) for outputs in found)
    return judge_inputs(reals[0], reals[1], step, with_own_db=own_db, with_given_db=given_db)


def _quantize(
    reference: _Side,
    edge: _Side,
    given: Sequence[Sequence[Array]],
    outputs: tuple[Outputs, Outputs],
    limits: Limits,
) -> Stage:
    """`given` and `outputs`: of the reference, and of the edge model fed with the same."""
    chosen = _spread(len(given[0]), _LAYER_PICTURES)
    layers, left_out = (
        own_errors(reference.content, edge.content, [given[0][at] for at in chosen], [given[1][at] for at in chosen])
        if reference.content
        else (None, 0)
    )
    same = _same(reference, outputs[0], edge, outputs[1])
    gaps = _gaps(reference, outputs[0], edge, outputs[1])
    return judge_quantization(layers, gaps, same, limits, left_out=left_out)


class _Shipped:
    """The edge model elsewhere than on builtin kernels here. Keeps the last that ran: that is what ships."""

    def __init__(self, edge: _Side, inputs: Sequence[Array], builtin: Outputs, limits: Limits) -> None:
        self._edge, self._inputs, self._limits = edge, inputs, limits
        self.outputs, self.how = builtin, "builtin kernels, here"
        self.runtime = ""

    def board(self, device: Place, builtin: Outputs) -> Stage:
        """Builtin kernels on the device against builtin kernels here."""
        return self._run("runtime", device, "none", builtin)

    def compile(self, place: Place, delegate: Delegate, builtin: Outputs) -> Stage:
        """A delegate against the builtin kernels of the same place."""
        return self._run("compilation", place, delegate, builtin)

    def _run(self, name: StageName, place: Place, delegate: Delegate, base: Outputs) -> Stage:
        model = self._edge.model
        try:
            arrays, ran = place.run(self._edge.content, {model.input.name: np.stack(self._inputs)}, delegate)
        except CompareError as error:
            return Stage(name=name, where=place.name, answer="diverges", text=f"it gives no outputs: {error}")
        self.outputs = {role: arrays[spec.name] for role, spec in model.outputs.items()}
        self.how, self.runtime = f"{ran.delegate}, {place.name}", ran.runtime
        if ran.delegate.fell_back:
            text = f"the delegate library is not used: {ran.delegate.fell_back}"
            return Stage(name=name, where=place.name, answer="not compared", text=text)
        note = f"{ran.delegate}, {ran.runtime}"
        layers: tuple[OwnError, ...] = ()
        chosen = [self._inputs[at] for at in _spread(len(self._inputs), _KERNEL_PICTURES)]
        try:
            layers = kernel_errors(self._edge.content, chosen, place, delegate)
        except CompareError as error:
            note += f"; single layers could not be run: {error}"
        return judge_kernels(
            name,
            place.name,
            layers,
            _gaps(self._edge, base, self._edge, self.outputs),
            _same(self._edge, base, self._edge, self.outputs),
            self._limits,
            note,
        )


def _conclude(
    sides: tuple[_Side, _Side],
    names: Sequence[str],
    stages: Sequence[Stage],
    expected: Outputs,
    shipped: _Shipped,
) -> Compared:
    reference, edge = sides
    seen, found = _decoded(reference, expected), _decoded(edge, shipped.outputs)
    same = _same(reference, expected, edge, shipped.outputs)
    reals = reference.reals(expected), edge.reals(shipped.outputs)
    decibels = [
        min(_picture_db(reals[0][role][at], reals[1][role][at]) for role in reals[0]) for at in range(len(names))
    ]
    order = sorted(range(len(names)), key=lambda at: (same[at], decibels[at]))[:_WORST]
    comparison = Comparison(
        reference=reference.title,
        reference_sha256=reference.sha256,
        edge=edge.title,
        shipped=shipped.how,
        runtime=shipped.runtime,
        pictures=len(names),
        stages=tuple(stages),
        agreement=agreement(seen, found, min_score=edge.model.min_score),
        worst=tuple(WorstPicture(name=names[at], says_the_same=same[at], db=decibels[at]) for at in order),
    )
    return Compared(comparison, edge.model.min_score, seen, found)


def _picture_db(expected: Array, found: Array) -> float:
    return ratio_db(float(np.square(expected).sum()), float(np.square(found - expected).sum()))


def _gaps(reference: _Side, expected: Outputs, edge: _Side, found: Outputs) -> tuple[Gap, ...]:
    """In steps of the edge model's outputs."""
    reals = reference.reals(expected), edge.reals(found)
    return tuple(output_gap(role, reals[0][role], reals[1][role], edge.model.outputs[role]) for role in reals[0])


def _mean_db(gaps: Sequence[Gap]) -> float:
    return sum(gap.db for gap in gaps) / len(gaps)


def _same(reference: _Side, expected: Outputs, edge: _Side, found: Outputs) -> list[bool]:
    clear = edge.model.min_score + _CLEAR_MARGIN
    pairs = zip(_decoded(reference, expected), _decoded(edge, found), strict=True)
    return [say_the_same(one, other, clear) for one, other in pairs]


def _decoded(side: _Side, outputs: Outputs) -> tuple[tuple[Detection, ...], ...]:
    """What the outputs mean, picture by picture, in shares of the input; nothing where they are no numbers."""
    count = len(next(iter(outputs.values())))
    found = []
    for at in range(count):
        try:
            found.append(side.model.decode({role: values[at] for role, values in outputs.items()}))
        except ModelError:  # not finite, no score: it sees nothing that can be believed
            found.append(())
    return tuple(found)


def _spread(count: int, most: int) -> list[int]:
    """Up to `most` positions, evenly spread over `count`."""
    return sorted({round(at) for at in np.linspace(0, count - 1, min(count, most))})
