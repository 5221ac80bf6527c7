"""`edgeapp-workshop size`: measures or reads the candidates; which one to take is sizing.py's."""

from __future__ import annotations

import argparse
import dataclasses
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeapp.errors import ProfileError
from edgeapp.workshop.dialogue import add_common_options, progress_bar, say

if TYPE_CHECKING:
    from edgeapp.measure.figures import Profile
    from edgeapp.workshop.progress import Progress

Commands = Any
_SHORT = re.compile(r"rpi(\d)", re.IGNORECASE)
_METRICS = ("ap50", "ap50_95", "top1")


def add_command(commands: Commands) -> None:
    """Add `size` to the commands."""
    parser = commands.add_parser(
        "size", help="which of several models fits a board: accuracy against steady latency; 0 one, 3 none, 4 unknown"
    )
    parser.add_argument(
        "candidates", nargs="+", type=Path, metavar="CANDIDATE", help="a model folder, or a report.json of a profile"
    )
    parser.add_argument(
        "--floor", type=float, required=True, metavar="0.9", help="least accuracy, by the lower end of its interval"
    )
    parser.add_argument("--budget", required=True, metavar="MS|FILE", help="steady p95 in ms, or a budget file")
    parser.add_argument("--board", metavar="NAME", help="beginning of the board's name, or rpi3, rpi4, rpi5")
    parser.add_argument("--metric", choices=_METRICS, help="else the first that was measured")
    parser.add_argument("--frames", type=Path, metavar="VIDEO|FOLDER", help="to measure model folders on")
    parser.add_argument("--labels", type=Path, metavar="COCO.json", help="of the frames")
    parser.add_argument("--seconds", type=float, default=1800.0, help="at most so long for each folder (%(default)s)")
    parser.add_argument(
        "--provisional", action="store_true", help="take the whole run for the steady state where none was reached"
    )
    parser.add_argument("--out", type=Path, default=Path("size.html"), metavar="FILE", help="the page (%(default)s)")
    add_common_options(parser, _size)


def _size(chosen: argparse.Namespace) -> int:
    from edgeapp.workshop.sizing import Wanted, size
    from edgeapp.workshop.sizing_page import page

    budget = _budget(chosen.budget)
    with progress_bar(chosen) as progress:
        profiles = {name: _profile(chosen, path, progress) for name, path in _named(chosen.candidates).items()}
    board = _one_board(profiles, chosen.board)
    metric = chosen.metric or next(
        (name for name in _METRICS if any(name in profile.figures for profile in profiles.values())), _METRICS[0]
    )
    wanted = Wanted(metric=metric, floor=chosen.floor, budget=budget)
    sizing = size(profiles, wanted, is_provisional=chosen.provisional)
    unsettled = [name for name, profile in profiles.items() if profile.settling.answer != "settled"]
    notes: tuple[str, ...] = ()
    if chosen.provisional and unsettled:
        notes = (f"Provisional: {', '.join(unsettled)} had not settled; hot, they may be slower than this",)
    chosen.out.write_text(page(sizing, wanted, board, notes), encoding="utf-8")
    lines = [f"{sizing.headline}.", *(f"- {each.name}: {each.why}." for each in sizing.candidates)]
    lines += [*(f"{note}." for note in notes), f"See {chosen.out}"]
    result = {**dataclasses.asdict(sizing), "exit_status": sizing.exit_status, "board": board, "notes": notes}
    say(chosen, result, "\n".join(lines))
    return sizing.exit_status


def _budget(text: str) -> Any:
    from edgeapp.measure.commands import read_budget
    from edgeapp.measure.verdict import Budget

    try:
        return Budget(steady_p95_ms=float(text))
    except ValueError:
        return read_budget(Path(text))


def _named(paths: list[Path]) -> dict[str, Path]:
    """By the last part of the path, or, where that is not unique, by the whole."""
    short = [path.stem if path.is_file() else path.resolve().name for path in paths]
    names = [name if short.count(name) == 1 else str(path) for name, path in zip(short, paths, strict=True)]
    if len(set(names)) < len(names):
        raise ProfileError("expected each candidate once, found one twice")
    return dict(zip(names, paths, strict=True))


def _profile(chosen: argparse.Namespace, path: Path, progress: Progress) -> Profile:
    from edgeapp.measure.figures import Profile
    from edgeapp.reader import read_json

    if path.is_file():
        return read_json(Profile, path.read_bytes(), str(path))
    return _measure(chosen, path, progress)


def _measure(chosen: argparse.Namespace, folder: Path, progress: Progress) -> Profile:
    from edgeapp.config import ThermalConfig
    from edgeapp.measure.profile import Plan, profile
    from edgeapp.thermal.sensors import BoardSensors, SensorThread

    if chosen.frames is None or chosen.labels is None:
        raise ProfileError(
            f"{folder}: expected --frames and --labels to measure a model folder with, found them missing"
        )
    plan = Plan(seconds=chosen.seconds, frames=chosen.frames, labels=chosen.labels)
    sensors = SensorThread(BoardSensors(ThermalConfig()))
    sensors.start()
    try:
        found = profile(folder, plan, sensors=sensors, tell=lambda doing, share, _: progress(f"{folder.name}", share))
    finally:
        sensors.stop()
    progress(f"{folder.name}", 1.0)
    return found


def _one_board(profiles: dict[str, Profile], wanted: str | None) -> str:
    """The board that all were measured on.

    Raises:
        ProfileError: there are several, or it is not the one wanted.
    """
    boards = {profile.subject.board for profile in profiles.values()}
    if len(boards) > 1:
        raise ProfileError(f"expected profiles of one board, found {', '.join(sorted(map(repr, boards)))}")
    (board,) = boards
    full = _SHORT.sub(r"Raspberry Pi \1", wanted) if wanted else ""
    if not board.lower().startswith(full.lower()):
        raise ProfileError(f"--board: expected profiles of {full!r}, found {board!r}: profile on that board")
    return board
