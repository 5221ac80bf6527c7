"""From a float model folder and pictures to an int8 one that may ship, or to the reason why not. The recipe is `run`.

Owns the order of the steps and what is written. Accuracy is measured by the code and on the runtime that ships.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeapp.errors import ConvertError, LabelsError
from edgeapp.manifest import Manifest
from edgeapp.measure.accuracy import Label
from edgeapp.measure.frames import Key, open_labels
from edgeapp.measure.paired import Paired
from edgeapp.system.files import write_durably
from edgeapp.vision.model_folder import open_model_folder
from edgeapp.words import counted
from edgeapp.workshop import frame_sets, variants
from edgeapp.workshop.calibration import Evidence, levels_of
from edgeapp.workshop.layers import LayerError, layer_errors, worst
from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
from edgeapp.workshop.progress import Progress, silent
from edgeapp.workshop.quantize import Calibrated, QuantizedModel, calibrate, shifted_input, write_dynamic_range
from edgeapp.workshop.quantize_page import page
from edgeapp.workshop.quantize_verdict import Quantization, Variant, Verdict, decide, document, facts

_LAYER_PICTURES = 24
_FIXED_RANGES = ("LOGISTIC", "SOFTMAX", "LOG_SOFTMAX", "TANH")  # of their outputs, whatever the calibration saw
_MOST_OWN_SAMPLES = 100
_KEPT_COUNTS = (1, 2, 4, 8, 16)
_METRICS = {"detection": "ap50", "classification": "top1"}
MODEL_NAME, REFUSED_NAME = "model", "refused"
REPORT_NAME, DOCUMENT_NAME, FACTS_NAME = "report.html", "report.json", "facts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What to quantize, with what, and how good it must be.

    `float_model`: a model folder, or the .tflite file in one. `frames`: None where those that calibrate judge, too.
    `samples` pictures calibrate; without labels at most `most_frames` judge.
    """

    float_model: Path
    calibrate: Path
    floor: float
    frames: Path | None = None
    labels: Path | None = None
    samples: int = 50
    most_frames: int = 300
    with_mixed: bool = False


def run(request: Request, out: Path, progress: Progress = silent) -> tuple[Quantization, Verdict]:
    """Write `out`: report.html, report.json, and the model folder `model` with facts.json, or `refused`.

    Raises:
        ConvertError: the model cannot be quantized, or there are too few pictures.
        EdgeAppError: the model folder, the pictures or the labels cannot be used.
    """
    if out.exists():
        raise ConvertError(f"{out}: expected nothing there, found something")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as name:
        bench = _Bench(request, Path(name), progress)
        result = bench.measure()
        verdict = decide(result)
        _write(bench, result, verdict, Path(name) / "out")
        (Path(name) / "out").rename(out)
    return result, verdict


class _Bench:
    """One float model, its pictures, and the quantized forms that are made of it in the folder `work`."""

    def __init__(self, request: Request, work: Path, progress: Progress) -> None:
        self.request, self._work, self._progress = request, work, progress
        self._float_dir = request.float_model.parent if request.float_model.is_file() else request.float_model
        self._manifest, self._float_path = open_model_folder(self._float_dir)
        if request.float_model.is_file() and request.float_model.name != self._manifest.model.file:
            raise ConvertError(
                f"{request.float_model}: expected the model that the model.json beside it describes, "
                f"{self._manifest.model.file}"
            )
        self._frames = request.frames or request.calibrate
        self._labels = self._read_labels()
        self._choice = self._choose()
        self.folders: dict[str, Path] = {}
        self._found: dict[str, variants.Found] = {}
        self._reference: variants.Found = {}

    def measure(self) -> Quantization:
        """The steps, in their order: calibrate, quantize, look inside, judge, seek the cause or a way, time."""
        samples = frame_sets.prepare(self.request.calibrate, self._choice.calibration, self._manifest)
        calibrated = calibrate(
            self._float_path, samples.inputs, input_spec=self._manifest.input, progress=self._progress
        )
        self._write_int8("int8", calibrated)
        self._write_dynamic_range()
        self._progress("quantize", 1.0)
        layers, evidence = self._look_inside(calibrated, samples)
        self._reference = self._detect(self._float_dir, "float32")
        references = variants.count_references(self._manifest, self._labels, self._reference)
        if not references:
            who = "labelled" if self.request.labels else "that the float model sees"
            raise ConvertError(f"{self._frames}: expected things in the frames that judge, found none {who}")
        figures = {name: self._judge(name) for name in ("int8", "dynamic range")}
        metric = self._metric()
        is_short = figures["int8"][metric].quantized.value < self.request.floor
        own = self._on_own_frames(metric) if is_short else None
        kept: tuple[str, ...] = ()
        if is_short and self.request.with_mixed:
            kept, figures["mixed"] = self._mix(calibrated, layers, metric)
        made = self._time(figures)
        return Quantization(
            model=f"{self._manifest.name} {self._manifest.version}",
            metric=metric,
            floor=self.request.floor,
            is_labelled=self._labels is not None,
            data_set=f"{self._frames.name}, {len(self._choice.evaluation)} frames",
            frames=len(self._choice.evaluation),
            references=references,
            calibration_pictures=len(self._choice.calibration),
            calibration_sha256=frame_sets.calibration_sha256(self.request.calibrate, self._choice.calibration),
            evidence=evidence,
            layers=layers,
            float_model=made["float32"],
            int8=made["int8"],
            dynamic_range=made["dynamic range"],
            on_own_frames=own,
            is_mixed_tried=is_short and self.request.with_mixed,
            mixed=made.get("mixed"),
            kept_float=kept,
        )

    def _look_inside(
        self, calibrated: Calibrated, samples: frame_sets.Prepared
    ) -> tuple[tuple[LayerError, ...], Evidence]:
        keys = frame_sets.spread(self._choice.evaluation, _LAYER_PICTURES)
        judged = frame_sets.prepare(self._frames, keys, self._manifest)
        path = self.folders["int8"] / self._manifest.model.file
        layers = layer_errors(calibrated, path, judged.inputs, self._progress)
        self._progress("layers", 1.0)
        evidence = Evidence(
            samples=levels_of(samples.levels.tolist()),
            evaluation=levels_of(judged.levels.tolist()),
            cuts=tuple(layer.cut for layer in layers if layer.operator not in _FIXED_RANGES),
        )
        return layers, evidence

    def _time(self, figures: Mapping[str, dict[str, Paired]]) -> dict[str, Variant]:
        speeds = variants.measure_speed({"float32": self._float_dir, **self.folders}, self._progress)
        return {
            name: Variant(name=name, size_bytes=self._size(name), speed=speed, figures=figures.get(name, {}))
            for name, speed in speeds.items()
        }

    def _read_labels(self) -> Mapping[Key, tuple[Label, ...]] | None:
        if self.request.labels is None:
            return None
        return {each.key: each.labels for each in open_labels(self.request.labels, self._manifest.classes)}

    def _choose(self) -> frame_sets.Choice:
        request = self.request
        is_shared = self._frames.resolve() == request.calibrate.resolve()
        calibration = frame_sets.keys_of(request.calibrate, self._manifest)
        evaluation = None if is_shared else frame_sets.keys_of(self._frames, self._manifest)
        absent = sorted(set(self._labels or ()) - set(evaluation or calibration), key=str)
        if absent:
            raise LabelsError(f"{request.labels}: expected its frames in {self._frames}, found no {absent[0]!r}")
        try:
            return frame_sets.choose(calibration, evaluation, self._labels, request.samples, request.most_frames)
        except ValueError as error:
            raise ConvertError(
                f"{self._frames}: expected dozens of pictures to calibrate with and others to judge by, found {error}"
            ) from error

    def _metric(self) -> str:
        return "agreement" if self._labels is None else _METRICS[self._manifest.task]

    def _write_int8(self, name: str, calibrated: Calibrated, keep_float: tuple[str, ...] = ()) -> None:
        folder = self._new_folder(name)
        quantized = calibrated.write_int8(folder / self._manifest.model.file, keep_float=keep_float)
        kept = f", {counted(len(keep_float), 'layer')} float32" if keep_float else ""
        self._describe(folder, f"int8{kept}", quantized)

    def _write_dynamic_range(self) -> None:
        folder = self._new_folder("dynamic range")
        write_dynamic_range(self._float_path, folder / self._manifest.model.file)
        self._describe(folder, "dynamic range", None)

    def _new_folder(self, name: str) -> Path:
        folder = self._work / name.replace(" ", "-")
        folder.mkdir(exist_ok=True)
        self.folders[name] = folder
        return folder

    def _describe(self, folder: Path, quantization: str, quantized: QuantizedModel | None) -> None:
        """Write model.json: the float model's, less what holds for that alone."""
        given = self._manifest
        output, spec = given.output, given.input
        if quantized is not None:
            tensors = {role: quantized.outputs[tensor] for role, tensor in output.tensors.items()}
            output, spec = dataclasses.replace(output, tensors=tensors), shifted_input(spec, quantized)
        manifest: Manifest = dataclasses.replace(
            given,
            model=describe_file(folder / given.model.file),
            input=spec,
            output=output,
            quantization=quantization,
            golden=None,
            expected_confidence=None,
        )
        write_manifest(folder, manifest)

    def _detect(self, folder: Path, name: str) -> variants.Found:
        return variants.detect(folder, self._frames, self._choice.evaluation, self._progress, f"accuracy of {name}")

    def _judge(self, name: str) -> dict[str, Paired]:
        self._found[name] = self._detect(self.folders[name], name)
        return variants.compare(self._manifest, self._labels, self._reference, self._found[name])

    def _on_own_frames(self, metric: str) -> Paired:
        """The metric of int8 that is calibrated on the frames that judge; see `quantize_verdict`."""
        keys = frame_sets.spread(self._choice.evaluation, _MOST_OWN_SAMPLES)
        inputs = frame_sets.prepare(self._frames, keys, self._manifest).inputs
        calibrated = calibrate(self._float_path, inputs, input_spec=self._manifest.input)
        self._write_int8("own frames", calibrated)
        found = self._detect(self.folders.pop("own frames"), "own frames")  # no candidate: what judges calibrated it
        return variants.improvement(self._manifest, self._labels, self._reference, self._found["int8"], found)[metric]

    def _mix(
        self, calibrated: Calibrated, layers: tuple[LayerError, ...], metric: str
    ) -> tuple[tuple[str, ...], dict[str, Paired]]:
        """Keep more and more of the worst layers in float32 until the floor is reached; the last try."""
        kept: tuple[str, ...] = ()
        figures: dict[str, Paired] = {}
        for count in _KEPT_COUNTS:
            names = tuple(layer.name for layer in worst(layers, count))
            if len(names) == len(kept):
                break
            kept = names
            self._write_int8("mixed", calibrated, kept)
            figures = self._judge("mixed")
            if figures[metric].quantized.value >= self.request.floor:
                break
        return kept, figures

    def _size(self, name: str) -> int:
        folder = self.folders.get(name, self._float_dir)
        return (folder / self._manifest.model.file).stat().st_size


def _write(bench: _Bench, result: Quantization, verdict: Verdict, out: Path) -> None:
    out.mkdir()
    report = json.dumps(document(result, verdict), ensure_ascii=False, allow_nan=False)
    write_durably(out / DOCUMENT_NAME, report.encode() + b"\n")
    write_durably(out / REPORT_NAME, page(result, verdict).encode())
    if not verdict.shipped:
        shutil.copytree(bench.folders["int8"], out / REFUSED_NAME)
        return
    shutil.copytree(bench.folders[verdict.shipped], out / MODEL_NAME)
    shipped = result.int8 if verdict.shipped == "int8" else result.mixed
    assert shipped is not None, "what ships was measured"
    told = json.dumps(facts(result, shipped), indent=2, ensure_ascii=False)
    write_durably(out / FACTS_NAME, told.encode() + b"\n")
