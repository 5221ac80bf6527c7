"""`edgeapp-workshop compare`: files, terminal and exit status; what is compared and judged is told elsewhere."""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeapp.config import Delegate, DelegateLibrary
from edgeapp.errors import CompareError
from edgeapp.vision.delegate_argument import read_delegate
from edgeapp.workshop.dialogue import add_common_options, progress_bar
from edgeapp.workshop.keys_command import Commands
from edgeapp.workshop.remote import add_device_options, open_remote

if TYPE_CHECKING:
    from edgeapp.vision.formats import Picture
    from edgeapp.workshop.compare import Compared
    from edgeapp.workshop.places import Place
    from edgeapp.workshop.reference_link import Origin

EXIT_PARTED, EXIT_UNKNOWN = 1, 2


def add_command(commands: Commands) -> None:
    """Add `compare` to the commands."""
    command = commands.add_parser("compare", help="an edge model against its reference: where do they part, if they do")
    command.add_argument(
        "--reference",
        required=True,
        metavar="FOLDER|https://HOST",
        help="model folder to go by, or the oracle that runs it",
    )
    command.add_argument("--token-file", type=Path, metavar="FILE", help="holds the token to show to the oracle")
    command.add_argument("--ca-file", type=Path, metavar="FILE", help="the authority of the oracle's certificate (PEM)")
    command.add_argument("--cert-file", type=Path, metavar="FILE", help="a certificate of yours, if it wants one (PEM)")
    command.add_argument("--key-file", type=Path, metavar="FILE", help="the key of that certificate (PEM)")
    command.add_argument("--edge", type=Path, required=True, metavar="FOLDER", help="model folder that is to ship")
    command.add_argument("--pictures", type=Path, required=True, metavar="VIDEO|FOLDER", help="what both are shown")
    command.add_argument("--count", type=int, default=24, metavar="N", help="so many of the pictures (%(default)s)")
    command.add_argument("--delegate", default="auto", metavar="D", help="auto, none, or a library as it ships")
    command.add_argument(
        "--delegate-option", action="append", default=[], metavar="KEY=VALUE", help="for the library; repeatable"
    )
    command.add_argument("--original", type=Path, metavar="FILE.npz", help="what the original framework answered")
    command.add_argument("--device", metavar="ssh://USER@HOST", help="compare with this device, too")
    add_device_options(command)
    command.add_argument("--golden", type=Path, metavar="FOLDER", help="where equal: pictures for `release create`")
    command.add_argument("--out", type=Path, default=Path("compare.html"), metavar="FILE.html", help="(%(default)s)")
    add_common_options(command, _compare, error_status=EXIT_UNKNOWN)


def _compare(chosen: argparse.Namespace) -> int:
    if chosen.out.suffix in (".json", ".png"):
        raise CompareError(f"--out: expected the name of the page, found {chosen.out}: the rest is written beside it")
    if chosen.count < 1:
        raise CompareError(f"--count: expected at least 1, found {chosen.count}")
    if chosen.golden is not None and chosen.golden.exists():
        raise CompareError(f"--golden: expected nothing at {chosen.golden}, found something")
    from edgeapp.workshop.compare import Request, compare
    from edgeapp.workshop.pictures import some_pictures
    from edgeapp.workshop.places import Here

    request = Request(
        reference=_reference(chosen),
        edge=chosen.edge,
        delegate=read_delegate_options(chosen.delegate, chosen.delegate_option, is_here=not chosen.device),
        original=chosen.original,
    )
    pictures = some_pictures(chosen.pictures, chosen.count)
    with _device(chosen) as device, progress_bar(chosen) as progress:
        found = compare(request, pictures, Here(), device, progress)
    document = _write(chosen, found, pictures)
    comparison = found.comparison
    golden = 0
    if chosen.golden is not None and comparison.culprit is None:
        golden = _write_golden(chosen.golden, found, pictures)
    if chosen.json:
        print(json.dumps({"headline": comparison.headline, "golden": golden, "comparison": document}))
    else:
        print(_text(chosen, found, golden))
    if comparison.culprit:
        return EXIT_PARTED
    return 0 if all(stage.answer == "agrees" for stage in comparison.stages) else EXIT_UNKNOWN


def _reference(chosen: argparse.Namespace) -> Path | Origin:
    from edgeapp.workshop.reference_link import read_origin

    files = {name: getattr(chosen, name) for name in ("token_file", "ca_file", "cert_file", "key_file")}
    if "://" in chosen.reference:
        return read_origin(chosen.reference, **files)
    for name, path in files.items():
        if path is not None:
            option = f"--{name.replace('_', '-')}"
            raise CompareError(f"{option}: expected with --reference https://…, found {chosen.reference}")
    return Path(chosen.reference)


def read_delegate_options(text: str, options: list[str], *, is_here: bool) -> Delegate:
    """The delegate that a person named; a library's path is one of this machine where `is_here`.

    Raises:
        CompareError: an option is no KEY=VALUE, or there is no library for it.
    """
    pairs = dict(option.partition("=")[::2] for option in options)
    if any("=" not in option for option in options):
        raise CompareError(f"--delegate-option: expected KEY=VALUE, found {options}")
    if text in ("auto", "xnnpack", "none"):
        if pairs:
            raise CompareError(f"--delegate-option: expected with a library, found --delegate {text}")
        return read_delegate(text)
    return DelegateLibrary(library=str(Path(text).resolve()) if is_here and "/" in text else text, options=pairs)


@contextlib.contextmanager
def _device(chosen: argparse.Namespace) -> Iterator[Place | None]:
    from edgeapp.workshop.places import There

    if chosen.device is None:
        yield None
        return
    with open_remote(chosen, chosen.device) as remote:
        yield There(remote)


def _write(chosen: argparse.Namespace, found: Compared, pictures: list[tuple[str, Picture]]) -> dict[str, Any]:
    """Page, document and picture; the document."""
    from edgeapp.vision.model_folder import read_manifest
    from edgeapp.workshop.compare_page import page
    from edgeapp.workshop.compare_sheet import as_seen, draw_sheet

    manifest = read_manifest(chosen.edge)
    places = {name: at for at, (name, _) in enumerate(pictures)}
    cases = [
        (name, as_seen(pictures[at][1], manifest.input), found.expected[at], found.found[at])
        for name, at in ((one.name, places[one.name]) for one in found.comparison.worst)
    ]
    sheet = draw_sheet(cases, manifest.classes, manifest.defaults.min_score)
    chosen.out.with_suffix(".png").write_bytes(sheet)
    url = f"data:image/png;base64,{base64.b64encode(sheet).decode()}"
    chosen.out.write_text(page(found.comparison, url), encoding="utf-8")
    document: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(found.comparison), allow_nan=False))
    chosen.out.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return document


def _write_golden(folder: Path, found: Compared, pictures: list[tuple[str, Picture]]) -> int:
    """Write the pictures that make good golden cases into a new folder, for `release create --pictures`."""
    import cv2

    from edgeapp.workshop.golden_writer import choose_cases

    chosen = choose_cases(found.expected, found.found, found.min_score)
    folder.mkdir(parents=True)
    for at in chosen:
        name, picture = pictures[at]
        if not cv2.imwrite(str(folder / f"{Path(name).stem.replace(' ', '-')}.png"), picture):
            raise CompareError(f"{folder}: a picture cannot be written")
    return len(chosen)


def _text(chosen: argparse.Namespace, found: Compared, golden: int) -> str:
    comparison = found.comparison
    lines = [f"{comparison.headline}.", f"Reference: {comparison.reference}, sha256 {comparison.reference_sha256}"]
    lines += [
        f"{stage.answer.upper() if stage.answer == 'diverges' else stage.answer:<13}{stage.name:<14}"
        f"{'' if stage.where == 'here' else stage.where + ': '}{stage.text}"
        for stage in comparison.stages
    ]
    if golden:
        lines.append(f"{chosen.golden}: {golden} pictures for `edgeapp-workshop release create --pictures`")
    return "\n".join([*lines, f"See {chosen.out}"])
