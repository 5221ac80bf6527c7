"""`edgeapp profile` and `edgeapp report diff`: files and terminal; what is measured and judged is told elsewhere."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from edgeapp.config import ThermalConfig
from edgeapp.errors import ConfigError, EdgeAppError, ProfileError
from edgeapp.measure import difference
from edgeapp.measure.figures import Profile, as_json
from edgeapp.measure.report_page import page
from edgeapp.measure.verdict import Budget, judge
from edgeapp.reader import read_json, read_yaml
from edgeapp.thermal.sensors import BoardSensors, SensorThread

EXIT_UNKNOWN = 2
_BAR = 24
_CLEAR_LINE = "\r\033[K"
_PROGRESS = "progress "


def run_profile(chosen: argparse.Namespace) -> int:
    """Measure, write report.html and report.json, say the verdict; 0 clears, 1 misses, 2 cannot be told."""
    try:
        budget = read_budget(chosen.budget) if chosen.budget else None
        check(chosen)
        found = _measure(chosen)
        judgement, document = judge(found, budget), as_json(found)
        chosen.out.write_text(page(found, judgement), encoding="utf-8")
        chosen.out.with_suffix(".json").write_text(document + "\n", encoding="utf-8")
    except (EdgeAppError, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_UNKNOWN
    if chosen.json:
        verdict = dataclasses.asdict(judgement)
        print(json.dumps({"verdict": verdict, "profile": json.loads(document)}, ensure_ascii=False))
    else:
        print("\n".join([f"{judgement.headline}.", *(f"- {note}" for note in judgement.notes), f"See {chosen.out}"]))
    return judgement.exit_status


def check(chosen: argparse.Namespace) -> None:
    """What can be known before the minutes that it takes.

    Raises:
        ProfileError: the options contradict each other, or the reports cannot be written.
    """
    folder = chosen.out.resolve().parent
    if chosen.labels and not chosen.frames:
        raise ProfileError("--labels: expected --frames with the pictures that they label, found none")
    if chosen.out.suffix == ".json":
        raise ProfileError(
            f"--out: expected the name of the page, found {chosen.out}: the document is written beside it"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ProfileError(f"--out: expected {folder} to be a folder that this user may write")


def _measure(chosen: argparse.Namespace) -> Profile:
    from edgeapp.measure.profile import Plan, profile  # it loads NumPy

    plan = Plan(seconds=chosen.seconds, frames=chosen.frames, labels=chosen.labels, threads=_threads(chosen.threads))
    sensors = SensorThread(BoardSensors(ThermalConfig()))
    sensors.start()
    try:
        return profile(chosen.model, plan, sensors=sensors, tell=show_bar if chosen.progress == "bar" else _print_line)
    finally:
        sensors.stop()
        if chosen.progress == "bar":
            clear_bar()


def run_diff(chosen: argparse.Namespace) -> int:
    """Compare two profiles; 0 where nothing got worse, 1 where something did, 2 where one cannot be read."""
    try:
        first, second = (read_json(Profile, path.read_bytes(), str(path)) for path in (chosen.first, chosen.second))
    except (EdgeAppError, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_UNKNOWN
    found = difference.compare(first, second)
    if chosen.json:
        print(json.dumps([dataclasses.asdict(each) for each in found]))
    else:
        print(difference.text(first, second, found))
    return int(any(each.answer == "worse" for each in found))


def read_budget(path: Path) -> Budget:
    """YAML, of which JSON is a part."""
    try:
        return read_yaml(Budget, path.read_bytes(), str(path))
    except OSError as error:
        raise ConfigError(f"{path}: expected a file with a budget: {error.strerror}") from error


def _threads(text: Any) -> int | None:
    if text == "all":
        return min(os.cpu_count() or 1, 16)
    return text if text is None else int(text)


def show_bar(doing: str, share: float, left_s: float | None) -> None:
    """The bar of progress, on a terminal."""
    if not sys.stderr.isatty():
        return
    done = round(_BAR * min(max(share, 0.0), 1.0))
    left = "" if left_s is None else f" at most {left_s / 60:.0f} min left" if left_s > 90 else f" {left_s:.0f} s left"
    line = f"[{'#' * done}{'.' * (_BAR - done)}]{left}  {doing}"
    width = shutil.get_terminal_size((120, 24)).columns
    print(f"{_CLEAR_LINE}{line[: width - 1]}", end="", file=sys.stderr, flush=True)


def clear_bar() -> None:
    """Take the bar away."""
    if sys.stderr.isatty():
        print(_CLEAR_LINE, end="", file=sys.stderr, flush=True)


def _print_line(doing: str, share: float, left_s: float | None) -> None:
    """The progress for a program: what `read_progress` reads."""
    print(_PROGRESS + json.dumps([doing, share, left_s]), file=sys.stderr, flush=True)


def read_progress(line: str) -> tuple[str, float, float | None] | None:
    """What is done, the share of it and the seconds left, of a line of `--progress lines`; None of any other line."""
    if not line.startswith(_PROGRESS):
        return None
    doing, share, left_s = json.loads(line.removeprefix(_PROGRESS))
    return str(doing), float(share), None if left_s is None else float(left_s)
