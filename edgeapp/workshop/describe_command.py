"""`edgeapp-workshop describe`: a .tflite file becomes a model folder, with a model.json that the device's loader takes.

Owns the options and the folder's making. What outputs mean by their shapes is `describing.py`'s. What no shape tells
is asked for and never guessed: a wrong mean costs accuracy, and nothing fails.
"""

from __future__ import annotations

import argparse
import dataclasses
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeapp.errors import ConvertError
from edgeapp.manifest import MANIFEST_NAME, InputSpec, Manifest, OutputSpec
from edgeapp.workshop.describing import Told, guess_output, roles_of
from edgeapp.workshop.dialogue import add_common_options, say
from edgeapp.workshop.keys_command import Commands

if TYPE_CHECKING:
    from edgeapp.types import Detection
    from edgeapp.vision.tensor import TensorSpec

_FILE = "model.tflite"
_SHOWN = 5


def add_command(commands: Commands) -> None:
    """Add `describe` to the commands."""
    command = commands.add_parser("describe", help="make a model folder of a .tflite file: what do its tensors mean")
    command.add_argument("model", type=Path, metavar="FILE.tflite")
    command.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="is made: model.tflite, model.json")
    command.add_argument("--like", type=Path, metavar="FOLDER", help="take all that is not said here from this model")
    command.add_argument("--name", help="of the model: a-z, 0-9 and -")
    command.add_argument("--version", type=int, metavar="N", help="release number (1, or one more than --like)")
    command.add_argument("--classes", metavar="A,B|FILE", help="in the order of the scores; a file has one in a line")
    command.add_argument("--mean", type=_numbers, metavar="X[,Y,Z]", help="a pixel becomes (pixel − mean) / std")
    command.add_argument(
        "--std", type=_numbers, metavar="X[,Y,Z]", help="mean 0 and std 255: 0 to 1; both 127.5: −1 to 1"
    )
    command.add_argument("--colours", choices=("rgb", "bgr", "gray"), help="the order of the channels (rgb)")
    command.add_argument("--resize", choices=("stretch", "letterbox"), help="(stretch)")
    command.add_argument("--activation", choices=("none", "sigmoid", "softmax"), help="that scores still need (none)")
    command.add_argument("--anchors", type=_sizes, default=(), metavar="19,10,…", help="of SSD heads: the feature maps")
    command.add_argument(
        "--tensor", action="append", default=[], metavar="ROLE=NAME", help="where shapes do not tell; repeatable"
    )
    command.add_argument("--min-score", type=float, metavar="0.5", help="what counts as seen (0.5)")
    command.add_argument("--picture", type=Path, metavar="FILE", help="show it to the model: does it see what you see?")
    add_common_options(command, _describe)


def _describe(chosen: argparse.Namespace) -> int:
    from edgeapp.vision.model import Model
    from edgeapp.workshop.quiet import libraries_silenced

    if chosen.out.exists():
        raise ConvertError(f"{chosen.out}: expected nothing there, found something")
    picture = None if chosen.picture is None else _read_picture(chosen.picture)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".describe-", dir=chosen.out.parent) as scratch:
        folder = Path(scratch) / "folder"
        folder.mkdir()
        manifest = _write(chosen, folder)
        with libraries_silenced():
            model = Model.load(folder, delegate="none")  # the device's own judgement of the folder
        try:
            model.warm_up()
            seen = () if picture is None else model.predict(picture)[0]
        finally:
            model.close()
        folder.rename(chosen.out)
    return _say(chosen, manifest, seen)


def _write(chosen: argparse.Namespace, folder: Path) -> Manifest:
    from edgeapp.vision.model_folder import read_manifest
    from edgeapp.vision.tflite import Runtime
    from edgeapp.workshop.model_folder_writer import describe_file, write_manifest
    from edgeapp.workshop.quiet import libraries_silenced

    try:
        shutil.copyfile(chosen.model, folder / _FILE)
    except OSError as error:
        raise ConvertError(f"{chosen.model}: expected a .tflite file, found: {error.strerror}") from error
    with libraries_silenced():
        runtime = Runtime(folder / _FILE, delegate="none")
    inputs, outputs = list(runtime.inputs.values()), {name: spec.shape for name, spec in runtime.outputs.items()}
    runtime.close()
    like = None if chosen.like is None else read_manifest(chosen.like)
    spec = _input(chosen, inputs, None if like is None else like.input)
    classes = _classes(chosen.classes) if chosen.classes else like.classes if like else ()
    if not classes:
        raise ConvertError("--classes: expected the names of what the model tells apart, found none")
    told = Told(
        classes=len(classes),
        activation=chosen.activation or "none",
        tensors=_roles(chosen.tensor),
        anchors=chosen.anchors,
    )
    output = guess_output(outputs, told) if like is None else _output_like(like.output, outputs, told, chosen)
    name = chosen.name or (like.name if like else "")
    if not name:
        raise ConvertError("--name: expected what the model is called, found nothing")
    given: dict[str, Any] = {
        "name": name,
        "version": chosen.version or (like.version + 1 if like else 1),
        "model": describe_file(folder / _FILE),
        "task": "classification" if output.decoder == "classifier" else "detection",
        "classes": classes,
        "input": spec,
        "output": output,
        "quantization": inputs[0].dtype,
    }
    # What was counted and chosen for the other model's own numbers does not hold for these.
    own: dict[str, Any] = {"golden": None, "expected_confidence": None, "escalate_below": {}}
    manifest = Manifest(**given) if like is None else dataclasses.replace(like, **given, **own)
    if chosen.min_score is not None:
        defaults = dataclasses.replace(manifest.defaults, min_score=chosen.min_score)
        manifest = dataclasses.replace(manifest, defaults=defaults)
    write_manifest(folder, manifest)
    return read_manifest(folder)  # its limits are kept by the reader


def _output_like(
    like: OutputSpec, outputs: dict[str, tuple[int, ...]], told: Told, chosen: argparse.Namespace
) -> OutputSpec:
    anchors = told.anchors or (like.anchors.layers if like.anchors else ())
    told = dataclasses.replace(told, anchors=anchors)
    found = dataclasses.replace(like, tensors=roles_of(like, outputs, told))
    return dataclasses.replace(found, activation=chosen.activation) if chosen.activation else found


def _input(chosen: argparse.Namespace, inputs: list[TensorSpec], like: InputSpec | None) -> InputSpec:
    if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].shape[0] != 1 or inputs[0].shape[3] not in (1, 3):
        found = ", ".join(map(str, inputs))
        hint = (
            ": its channels come first; edgeapp-workshop convert puts them last" if _has_channels_first(inputs) else ""
        )
        raise ConvertError(f"{chosen.model}: expected one input [1, height, width, 1 or 3], found {found}{hint}")
    if like is None and (chosen.mean is None or chosen.std is None):
        raise ConvertError(
            "--mean, --std: expected how a pixel becomes an input value, (pixel − mean) / std, as in its training: "
            "0 and 255 for 0 to 1, 127.5 and 127.5 for −1 to 1; no tensor tells it, and a wrong one only costs accuracy"
        )
    _, height, width, channels = inputs[0].shape
    said = {"colour_order": chosen.colours, "resize": chosen.resize, "mean": chosen.mean, "std": chosen.std}
    if channels == 1 and chosen.colours is None:
        said["colour_order"] = "gray"
    known = {name: value for name, value in said.items() if value is not None}
    if like is None:
        return InputSpec(width=width, height=height, **known)
    return dataclasses.replace(like, width=width, height=height, **known)


def _has_channels_first(inputs: list[TensorSpec]) -> bool:
    return len(inputs) == 1 and len(inputs[0].shape) == 4 and inputs[0].shape[1] in (1, 3)


def _read_picture(path: Path) -> Any:
    import cv2

    picture = cv2.imread(str(path))
    if picture is None:
        raise ConvertError(f"--picture: expected a picture, found none at {path}")
    return picture


def _classes(text: str) -> tuple[str, ...]:
    path = Path(text)
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else text.split(",")
    return tuple(line.strip() for line in lines if line.strip())


def _roles(pairs: list[str]) -> dict[str, str]:
    roles = dict(pair.partition("=")[::2] for pair in pairs)
    if not all(role and name for role, name in roles.items()):
        raise ConvertError(f"--tensor: expected ROLE=NAME, found {', '.join(pairs)}")
    return roles


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(number) for number in text.split(","))


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def _say(chosen: argparse.Namespace, manifest: Manifest, seen: tuple[Detection, ...]) -> int:
    spec, output = manifest.input, manifest.output
    scale = ", ".join(f"(pixel − {m:g}) / {s:g}" for m, s in zip(spec.mean, spec.std, strict=False))
    lines = [
        f"{chosen.out}: {manifest.name} {manifest.version}, {manifest.quantization}, {output.decoder}",
        f"input {spec.width} x {spec.height}, {spec.colour_order}, {spec.resize}, {scale}",
        f"outputs {', '.join(f'{role} {name!r}' for role, name in output.tensors.items())}"
        f"; background {output.background}, activation {output.activation}",
    ]
    found = [{"class": manifest.classes[one.class_index], "score": round(one.score, 3)} for one in seen]
    if chosen.picture is not None:
        told = ", ".join(f"{one['class']} {one['score']:.2f}" for one in found[:_SHOWN]) or "nothing"
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        lines.append(f"In {chosen.picture} it sees {told}{more}")
    else:
        lines.append("Not tried on a picture: --picture shows whether it sees what you see")
    lines.append(
        f"All of it stands in {chosen.out / MANIFEST_NAME}, to be changed by hand: docs/models.md has every key"
    )
    return say(
        chosen, {"folder": str(chosen.out), "manifest": dataclasses.asdict(manifest), "seen": found}, "\n".join(lines)
    )
