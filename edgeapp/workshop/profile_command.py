"""`edgeapp-workshop profile --over`: profiles a model on a device from here; the device measures and judges.

It is a command of the workshop because a device has no business with SSH to others: what runs there is
`edgeapp profile`, as a technician would run it. Model, frames, labels and budget are copied, the reports are brought
back, and nothing stays there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from edgeapp.errors import RemoteError
from edgeapp.measure.commands import EXIT_UNKNOWN, check, clear_bar, read_budget, read_progress, show_bar
from edgeapp.measure.profile_options import add_profile_options
from edgeapp.vision.model_folder import open_model_folder
from edgeapp.workshop.dialogue import guarded
from edgeapp.workshop.keys_command import Commands
from edgeapp.workshop.remote import add_device_options, last_object, open_remote

_PAGE, _DOCUMENT = "report.html", "report.json"


def add_command(commands: Commands) -> None:
    """Add `profile` to the commands."""
    command = commands.add_parser("profile", help="measure a model on a device, as `edgeapp profile` does there")
    command.add_argument("--over", required=True, metavar="ssh://USER@HOST", help="the device")
    add_device_options(command)
    add_profile_options(command)
    command.set_defaults(function=guarded(_profile, EXIT_UNKNOWN))


def _profile(chosen: argparse.Namespace) -> int:
    check(chosen)
    open_model_folder(chosen.model)
    if chosen.budget:
        read_budget(chosen.budget)
    files, arguments = _what_to_send(chosen)
    said = ""

    def listen(line: str) -> None:
        nonlocal said
        progress = read_progress(line)
        if progress is None:
            said = line
        elif not chosen.json:
            show_bar(*progress)

    with tempfile.TemporaryDirectory(prefix="edgeapp-profile-") as name:
        try:
            with open_remote(chosen, chosen.over) as remote:
                show_bar(f"copying to {remote.address}", 0.0, None)
                remote.put(files)
                status, printed = remote.run(arguments, listen)
                if not printed.strip():  # it says why on standard error
                    raise RemoteError(f"{remote.address}: {said or f'edgeapp profile ended with status {status}'}")
                result = last_object(printed, remote.address)
                remote.get([_PAGE, _DOCUMENT], Path(name))
        finally:
            clear_bar()
        chosen.out.write_bytes((Path(name) / _PAGE).read_bytes())
        chosen.out.with_suffix(".json").write_bytes((Path(name) / _DOCUMENT).read_bytes())
    if chosen.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        verdict: Any = result["verdict"]
        print("\n".join([f"{verdict['headline']}.", *(f"- {note}" for note in verdict["notes"]), f"See {chosen.out}"]))
    return status


def _what_to_send(chosen: argparse.Namespace) -> tuple[dict[str, Path], list[str]]:
    """Files by their names on the device, and the command's arguments there."""
    files = {"model": chosen.model}
    arguments = ["profile", "model", "--seconds", f"{chosen.seconds:g}", "--out", _PAGE]
    arguments += ["--json", "--progress", "lines"]
    for option in ("frames", "labels", "budget"):
        path = getattr(chosen, option)
        if path is not None:
            name = f"{option}/{path.resolve().name}"  # the report names the frames
            files[name] = path
            arguments += [f"--{option}", name]
    if chosen.threads:
        arguments += ["--threads", str(chosen.threads)]
    return files, arguments
