"""What a profile can be told, on the device and from a workstation. Loads nothing, so that `--help` is quick."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_profile_options(parser: argparse.ArgumentParser) -> None:
    """The model folder, and what to measure it with."""
    parser.add_argument("model", type=Path, metavar="MODEL_FOLDER")
    parser.add_argument("--seconds", type=_seconds, default=1800.0, metavar="N", help="at most (default 1800)")
    parser.add_argument("--frames", type=Path, metavar="VIDEO|FOLDER", help="pictures; without them noise is taken")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="what is in the pictures, in COCO's JSON")
    parser.add_argument("--budget", type=Path, metavar="FILE", help="what it may cost and must reach, YAML or JSON")
    parser.add_argument("--threads", type=_threads, metavar="N|all", help="default: what is measured best")
    parser.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE.html", help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="for a program to read")


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= 86_400:
        raise argparse.ArgumentTypeError(f"expected 1 to 86400 s, found {text}")
    return seconds


def _threads(text: str) -> str:
    if text != "all" and not (text.isdecimal() and 1 <= int(text) <= 16):
        raise argparse.ArgumentTypeError(f"expected 1 to 16, or all, found {text}")
    return text
