"""`edgeapp-workshop convert`: whatever kind of model it is becomes a float32 .tflite file, or an error says why not."""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeapp.errors import ConvertError
from edgeapp.workshop.convert_kind import HINTS, Kind, kind_of
from edgeapp.workshop.dialogue import add_common_options, say
from edgeapp.workshop.keys_command import Commands

if TYPE_CHECKING:
    from edgeapp.workshop.convert import GraphCut

_HEAD_BYTES = 16
_AXES = 4


def add_command(commands: Commands) -> None:
    """Add `convert` to the commands."""
    command = commands.add_parser("convert", help="a frozen graph, ONNX or PyTorch export becomes a .tflite file")
    command.add_argument("model", type=Path, metavar="MODEL")
    command.add_argument("--out", type=Path, required=True, metavar="FILE.tflite")
    command.add_argument("--input-node", metavar="NODE", help="of a frozen graph: whose output becomes the input")
    command.add_argument(
        "--input-shape", metavar="1,H,W,C", help="the input's, of a frozen graph, or where an ONNX file leaves it open"
    )
    command.add_argument(
        "--output-node", action="append", default=[], metavar="NAME=NODE", help="of a frozen graph; repeatable"
    )
    command.add_argument(
        "--python",
        default=sys.executable,
        metavar="PATH",
        help="the interpreter that has onnx2tf or litert-torch; of a frozen graph, tensorflow to check with",
    )
    add_common_options(command, _convert)


def _convert(chosen: argparse.Namespace) -> int:
    from edgeapp.workshop.converters import PACKAGES, convert_elsewhere, convert_here

    kind = find_kind(chosen.model)
    if kind in PACKAGES:
        checked = convert_elsewhere(kind, chosen.model, chosen.out, chosen.python, _shape(chosen))
    elif kind == "frozen graph":
        checked = convert_here(chosen.model, chosen.out, _cut(chosen), chosen.python)
    else:
        raise ConvertError(
            f"{chosen.model}: expected a frozen graph (.pb), ONNX, or a PyTorch exported program (.pt2), "
            f"found {HINTS[kind]}"
        )
    inputs, outputs = _tensors(chosen.out)
    original = None if checked.file is None else str(checked.file)
    result: dict[str, Any] = {"kind": kind, "out": str(chosen.out), "inputs": inputs, "outputs": outputs}
    result |= {"checked_steps": checked.steps, "check": checked.text, "original": original}
    lines = [f"{chosen.out}: converted ({kind}); inputs {', '.join(inputs)}; outputs {', '.join(outputs)}"]
    lines.append(checked.text[:1].upper() + checked.text[1:] if original else f"Not checked: {checked.text}")
    lines += [f"{original}: what the original answers, for `edgeapp-workshop compare --original`"] * bool(original)
    return say(chosen, result, "\n".join(lines))


def find_kind(path: Path) -> Kind:
    """The kind of the file at `path`.

    Raises:
        ConvertError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        members = zipfile.ZipFile(path).namelist() if zipfile.is_zipfile(path) else []
    except (OSError, zipfile.BadZipFile) as error:
        raise ConvertError(f"{path}: expected a model file, found: {getattr(error, 'strerror', error)}") from error
    return kind_of(head, members)


def _shape(chosen: argparse.Namespace) -> str:
    text: str = chosen.input_shape or ""
    if text and not all(size.isdecimal() and int(size) for size in text.split(",")):
        raise ConvertError(f"--input-shape: expected sizes such as 1,3,224,224, found {text}")
    return text


def _cut(chosen: argparse.Namespace) -> GraphCut:
    from edgeapp.workshop.convert import GraphCut

    if not chosen.input_node or not chosen.input_shape or not chosen.output_node:
        raise ConvertError(
            "a frozen graph: expected --input-node, --input-shape and --output-node, which say what part of the graph "
            "becomes the model, found fewer"
        )
    sizes = [int(size) for size in chosen.input_shape.split(",") if size.isdecimal() and int(size)]
    outputs = dict(pair.partition("=")[::2] for pair in chosen.output_node)
    if len(sizes) != _AXES or len(sizes) != len(chosen.input_shape.split(",")):
        raise ConvertError(f"--input-shape: expected 1,HEIGHT,WIDTH,CHANNELS, found {chosen.input_shape}")
    if not all(name and node for name, node in outputs.items()):
        raise ConvertError(f"--output-node: expected NAME=NODE, found {chosen.output_node}")
    batch, height, width, channels = sizes
    return GraphCut(
        input_node=chosen.input_node, input_shape=(batch, height, width, channels), outputs=outputs
    )  # fmt: skip


def _tensors(path: Path) -> tuple[list[str], list[str]]:
    """Inputs and outputs of the file as the runtime that ships tells them: does it take the file at all?"""
    from edgeapp.vision.tflite import Runtime
    from edgeapp.workshop.quiet import libraries_silenced

    with libraries_silenced():
        runtime = Runtime(path, delegate="none")
    found = [str(spec) for spec in runtime.inputs.values()], [str(spec) for spec in runtime.outputs.values()]
    runtime.close()
    return found
