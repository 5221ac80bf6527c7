"""`edgeapp-workshop quantize`: files and terminal; the steps and the decision are told elsewhere."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from edgeapp.workshop.dialogue import add_common_options, progress_bar, say

Commands = Any


def add_command(commands: Commands) -> None:
    """Add `quantize` to the commands."""
    parser = commands.add_parser(
        "quantize", help="make an int8 model, and decide whether it may ship: 0 yes, 3 train, 4 calibrate anew, 5 float"
    )
    parser.add_argument("model", type=Path, metavar="FLOAT", help="model folder, or the .tflite beside its model.json")
    parser.add_argument("--calibrate", type=Path, required=True, metavar="VIDEO|FOLDER", help="typical pictures")
    parser.add_argument("--frames", type=Path, metavar="VIDEO|FOLDER", help="pictures to judge by; else the others")
    parser.add_argument("--labels", type=Path, metavar="COCO.json", help="of the pictures to judge by")
    parser.add_argument("--floor", type=_share, default=0.90, metavar="0.90", help="least accuracy (%(default)s)")
    parser.add_argument("--samples", type=int, default=50, metavar="N", help="calibration pictures (%(default)s)")
    parser.add_argument(
        "--most-frames", type=int, default=300, metavar="N", help="to judge by, unlabelled (%(default)s)"
    )
    parser.add_argument("--mixed", action="store_true", help="below the floor, try the worst layers in float32")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="is made: report, model, facts.json")
    add_common_options(parser, _quantize)


def _quantize(chosen: argparse.Namespace) -> int:
    from edgeapp.workshop.quantize_run import FACTS_NAME, MODEL_NAME, REPORT_NAME, Request, run
    from edgeapp.workshop.quantize_verdict import document

    request = Request(
        float_model=chosen.model,
        calibrate=chosen.calibrate,
        floor=chosen.floor,
        frames=chosen.frames,
        labels=chosen.labels,
        samples=chosen.samples,
        most_frames=chosen.most_frames,
        with_mixed=chosen.mixed,
    )
    with progress_bar(chosen) as progress:
        result, verdict = run(request, chosen.out, progress)
    lines = [f"{verdict.headline}.", *(f"- {reason}." for reason in verdict.reasons), f"See {chosen.out / REPORT_NAME}"]
    if verdict.shipped:
        lines.append(
            f"Next: edgeapp-workshop release create {chosen.out / MODEL_NAME} --float {chosen.model} "
            f"--facts {chosen.out / FACTS_NAME} --pictures … --semver … --out …"
        )
    say(chosen, document(result, verdict), "\n".join(lines))
    return verdict.exit_status


def _share(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"expected above 0 and at most 1, found {text}")
    return number
