"""The commands of the device. Each loads only what it needs: `edgeapp --help` knows neither OpenCV nor the runtime."""

from __future__ import annotations

import argparse
import json
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeapp import __version__
from edgeapp.arguments import Parser
from edgeapp.measure.profile_options import add_profile_options

if TYPE_CHECKING:
    from edgeapp.config import Config
    from edgeapp.telemetry.explain import EscalationTerms
    from edgeapp.vision.process import VisionProcess

EXIT_CONFIG = 78  # as the supervisor's; importing it would load more than --help needs
EXIT_TROUBLE = 1
EXIT_INTERRUPTED = 130  # as a shell names the end by SIGINT
EXIT_NOT_RUNNING = 3  # what `systemctl status` answers for a unit that is down
DEFAULT_CONFIG = Path("/etc/edgeapp/config.yaml")
_CLEAR_LINE = "\r\033[K"


def main(arguments: list[str], vision: VisionProcess | None = None) -> int:
    """Run one command; the exit status. `vision` is a process that was started ahead, for `run`."""
    parser: argparse.ArgumentParser = Parser(
        prog="edgeapp", description="Counts what a camera sees, on the device, privately."
    )
    parser.add_argument("--version", action="version", version=f"edgeapp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function, text in (
        ("run", partial(_run, vision), "run the daemon in the foreground"),
        ("status", _status, "how the daemon does, in a few lines"),
        ("doctor", _doctor, "examine the machine: does everything fit, and if not, what to do"),
        ("tune", _tune, "measure which delegate and how many threads are best for the model here"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}"
        )
        command.set_defaults(function=function)
        if name == "run":
            apart = "something else runs vision (vision.socket): start none before the configuration is read"
            command.add_argument("--vision-apart", action="store_true", help=apart)
        else:
            command.add_argument("--json", action="store_true", help="for a program to read")
    privacy = commands.add_parser("privacy", help="what the reports tell of people").add_subparsers(
        dest="privacy_command", required=True, metavar="COMMAND"
    )
    explain = privacy.add_parser("explain", help="what the privacy settings of this site mean, in plain words")
    explain.add_argument(
        "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}"
    )
    explain.add_argument("--json", action="store_true", help="for a program to read")
    explain.set_defaults(function=_explain)
    check = commands.add_parser("check-config", help="list every mistake in a configuration")
    check.add_argument("file", type=Path, metavar="FILE")
    check.add_argument("--json", action="store_true", help="for a program to read")
    check.set_defaults(function=_check_config)
    configure = commands.add_parser("configure", help="print a configuration with settings changed, comments kept")
    configure.add_argument("file", type=Path, metavar="FILE")
    configure.add_argument("settings", nargs="+", type=_setting, metavar="KEY=VALUE", help="such as mqtt.host=10.0.0.5")
    configure.set_defaults(function=_configure)
    _add_profile(commands)
    _add_aim(commands)
    _add_run_tensors(commands)
    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.function(chosen)
    except KeyboardInterrupt:  # a person has seen enough; the daemon has its own way to stop
        return EXIT_INTERRUPTED
    return status


def _add_profile(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    profile = commands.add_parser("profile", help="measure a model here until it has settled, and write a report")
    add_profile_options(profile)
    profile.add_argument("--progress", choices=("bar", "lines"), default="bar", help="lines: for a program to read")
    profile.set_defaults(function=_profile)
    report = commands.add_parser("report", help="what the reports of `profile` say").add_subparsers(
        dest="report_command", required=True, metavar="COMMAND"
    )
    diff = report.add_parser("diff", help="what differs between two profiles, beyond their noise")
    diff.add_argument("first", type=Path, metavar="A.json")
    diff.add_argument("second", type=Path, metavar="B.json")
    diff.add_argument("--json", action="store_true", help="for a program to read")
    diff.set_defaults(function=_report_diff)


def _add_aim(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    aim = commands.add_parser("aim", help="a page with the live picture, for who mounts the camera; for some minutes")
    aim.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}")
    aim.add_argument("--port", type=_port, default=8443, metavar="N", help="to listen on (default %(default)s; 0: any)")
    aim.add_argument("--address", metavar="A", help="to listen on; default: that of the network that leads out")
    aim.add_argument("--minutes", type=_minutes, default=10, metavar="N", help="until it ends (default %(default)s)")
    aim.add_argument(
        "--while-running", action="store_true", help="also beside the live service, where the source allows two users"
    )
    aim.set_defaults(function=_aim)


def _port(text: str) -> int:
    return _whole(text, 0, 65535)


def _minutes(text: str) -> int:
    return _whole(text, 1, 60)


def _whole(text: str, low: int, high: int) -> int:
    if not (text.isdecimal() and low <= int(text) <= high):
        raise argparse.ArgumentTypeError(f"expected {low} to {high}, found {text}")
    return int(text)


def _add_run_tensors(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    tensors = commands.add_parser(
        "run-tensors", help="run a model file on tensors: what `edgeapp-workshop compare` asks"
    )
    tensors.add_argument("model", type=Path, metavar="MODEL.tflite")
    tensors.add_argument("--inputs", type=Path, required=True, metavar="FILE")
    tensors.add_argument("--out", type=Path, required=True, metavar="FILE")
    tensors.add_argument("--delegate", default="auto", metavar="D", help="auto, xnnpack, none, or a library as JSON")
    tensors.add_argument("--threads", type=int, default=1, metavar="N")
    tensors.set_defaults(function=_run_tensors)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, found {text}")
    return key, value


def _profile(chosen: argparse.Namespace) -> int:
    from edgeapp.measure.commands import run_profile

    return run_profile(chosen)


def _run_tensors(chosen: argparse.Namespace) -> int:
    from edgeapp.measure.tensors import run_command

    return run_command(chosen)


def _report_diff(chosen: argparse.Namespace) -> int:
    from edgeapp.measure.commands import run_diff

    return run_diff(chosen)


def _aim(chosen: argparse.Namespace) -> int:
    from edgeapp.aim.command import run
    from edgeapp.errors import AimError, ConfigError

    try:
        return run(chosen)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except AimError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return EXIT_TROUBLE


def _run(vision: VisionProcess | None, chosen: argparse.Namespace) -> int:
    from edgeapp import config_file, daemon
    from edgeapp.errors import AlreadyRunningError, ConfigError

    try:
        config = config_file.load(chosen.config)
        if vision is not None and config.vision.socket:
            vision.kill()
            vision = None
        return daemon.run(config, chosen.config, vision)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    except AlreadyRunningError as error:
        print(f"edgeapp runs already: {error}", file=sys.stderr)
        return EXIT_TROUBLE


def _check_config(chosen: argparse.Namespace) -> int:
    import dataclasses

    from edgeapp import config_file
    from edgeapp.errors import ConfigError

    try:
        config_file.load(chosen.file)
    except ConfigError as error:
        mistakes = getattr(error, "mistakes", ())
        if chosen.json:
            listed = [dataclasses.asdict(mistake) for mistake in mistakes]
            print(json.dumps({"file": str(chosen.file), "ok": False, "mistakes": listed, "text": str(error)}))
        else:
            print(error, file=sys.stderr)
        return EXIT_CONFIG
    print(json.dumps({"file": str(chosen.file), "ok": True, "mistakes": []}) if chosen.json else f"{chosen.file}: ok")
    return 0


def _configure(chosen: argparse.Namespace) -> int:
    from edgeapp import config_file, settings_edit
    from edgeapp.errors import ConfigError

    settings = dict(chosen.settings)
    try:
        before = config_file.load(chosen.file)
        text = settings_edit.edited(chosen.file.read_text(encoding="utf-8"), settings)
        settings_edit.check(before, config_file.read(text.encode(), str(chosen.file)), settings)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    sys.stdout.write(text)
    return 0


def _explain(chosen: argparse.Namespace) -> int:
    from edgeapp import config_file
    from edgeapp.errors import ConfigError, ManifestError
    from edgeapp.telemetry import explain
    from edgeapp.telemetry.budget import plan
    from edgeapp.vision.model_folder import read_manifest

    try:
        config = config_file.load(chosen.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    classes = config.tracking.classes
    if not classes:  # all of the model's
        try:
            classes = read_manifest(Path(config.inference.model_dir)).classes
        except ManifestError as error:
            print(f"{error}\nPut the model in place, or name the classes in tracking.classes.", file=sys.stderr)
            return EXIT_TROUBLE
    planned = plan(config.privacy, config.counting, classes, config.escalation)
    terms = _escalation_terms(config, classes) if config.escalation.enabled else None
    print(
        json.dumps(explain.as_object(config.privacy, planned, terms), ensure_ascii=False)
        if chosen.json
        else explain.text(config.privacy, planned, terms)
    )
    return 0


def _escalation_terms(config: Config, classes: tuple[str, ...]) -> EscalationTerms:
    from urllib.parse import urlsplit

    from edgeapp.escalation.policy import limits
    from edgeapp.telemetry.budget import plan, releasable
    from edgeapp.telemetry.explain import EscalationTerms

    settings, told = config.escalation, (config.privacy, config.counting)
    most = limits(settings)
    return EscalationTerms(
        host=urlsplit(settings.endpoint or "").hostname or "",
        per_hour=most.hour,
        per_day=min(most.day, 24 * most.hour, most.month),
        max_side_px=settings.crop.max_side_px,
        margin_pct=settings.crop.margin_pct,
        blur_heads=settings.crop.blur_heads,
        corrects_counts=settings.corrects_counts,
        without=plan(*told, classes) if releasable(*told) else None,
    )


def _status(chosen: argparse.Namespace) -> int:
    from edgeapp import config_file, status
    from edgeapp.errors import ConfigError, EdgeAppError
    from edgeapp.reader import read_json
    from edgeapp.system.files import is_locked

    try:
        config = config_file.load(chosen.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    runtime_dir = Path(config.paths.runtime_dir)
    try:
        is_running = is_locked(runtime_dir / status.LOCK_NAME)
    except PermissionError:
        print(f"{runtime_dir}: this user may not look there. As root:  sudo edgeapp status", file=sys.stderr)
        return EXIT_TROUBLE
    path = runtime_dir / status.STATUS_NAME
    try:
        text = path.read_bytes()
        found = read_json(status.Status, text, str(path))
    except (OSError, EdgeAppError) as error:
        if chosen.json:
            print(json.dumps({"running": is_running, "error": str(error)}))
        elif is_running:
            print(f"edgeapp is starting; no status yet ({error})")
        else:
            print("edgeapp is NOT RUNNING, and left no status. Start it: systemctl start edgeapp")
        return EXIT_TROUBLE if is_running else EXIT_NOT_RUNNING
    shown = status.lines(found, time.time(), is_running=is_running)
    if chosen.json:
        listed = [{"label": line.label, "level": line.level, "text": line.text} for line in shown]
        print(
            json.dumps(
                {"running": is_running, "level": status.worst(shown), "lines": listed, "status": json.loads(text)}
            )
        )
    else:
        print(status.as_text(shown, width=_terminal_width(), is_coloured=sys.stdout.isatty()))
    if not is_running:
        return EXIT_NOT_RUNNING
    return EXIT_TROUBLE if status.worst(shown) == "fail" else 0


def _terminal_width() -> int | None:
    """The columns of the terminal that shows what is printed; None where a program or a file takes it."""
    import shutil

    return shutil.get_terminal_size((120, 24)).columns if sys.stdout.isatty() else None


def _doctor(chosen: argparse.Namespace) -> int:
    import logging

    from edgeapp.doctor import checks, report
    from edgeapp.doctor.examine import examine

    logging.disable(logging.CRITICAL)  # the findings say it
    findings = []
    has_progress, is_coloured = sys.stderr.isatty(), sys.stdout.isatty()
    width = _terminal_width()
    for step in examine(checks.all_checks(chosen.config, checks.Machine())):
        if has_progress:
            doing = f"      {step.name} …" if isinstance(step, checks.Check) else ""
            print(f"{_CLEAR_LINE}{doing}", end="", file=sys.stderr, flush=True)
        if isinstance(step, report.Finding):
            findings.append(step)
            if not chosen.json:
                print(report.text(step, width=width, is_coloured=is_coloured), flush=True)
    print(json.dumps(report.as_object(findings), ensure_ascii=False) if chosen.json else report.conclusion(findings))
    return report.exit_status(findings)


def _tune(chosen: argparse.Namespace) -> int:
    import dataclasses
    import os

    from edgeapp import config_file, status
    from edgeapp.errors import ConfigError, EdgeAppError
    from edgeapp.measure.tune import tune
    from edgeapp.system.files import is_locked
    from edgeapp.vision.tuning import Tuning, choose
    from edgeapp.vision.tuning_store import TuningStore, find_key

    try:
        config = config_file.load(chosen.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    wanted, state_dir = config.inference, Path(config.paths.state_dir)
    if is_locked(Path(config.paths.runtime_dir) / status.LOCK_NAME):
        print("edgeapp runs, and would be measured with. Stop it: systemctl stop edgeapp", file=sys.stderr)
        return EXIT_TROUBLE
    if not os.access(state_dir, os.W_OK | os.X_OK):  # before the minutes that it takes
        print(f"paths.state_dir: expected {state_dir} to be a folder that this user may write", file=sys.stderr)
        return EXIT_TROUBLE
    try:
        key = find_key(Path(wanted.model_dir))
        measured = tune(Path(wanted.model_dir), cores=key.cores, on_progress=_show_progress)
        TuningStore(state_dir).keep(Tuning(key=key, measured=measured))
    except (EdgeAppError, OSError) as error:
        print(error, file=sys.stderr)
        return EXIT_TROUBLE
    finally:
        _show_progress("")
    best = choose(wanted, measured)
    if chosen.json:
        rows = [{**dataclasses.asdict(way), "chosen": way == best} for way in measured]
        print(json.dumps({**dataclasses.asdict(key), "measured": rows}))
        return 0
    print(f"{'delegate':<10}{'threads':>7}{'median ms':>11}{'p99 ms':>9}")
    for way in measured:
        mark = "  chosen" if way == best else ""
        print(f"{way.delegate:<10}{way.threads:>7}{way.median_ms:>11.2f}{way.p99_ms:>9.2f}{mark}")
    return 0


def _show_progress(doing: str) -> None:
    if sys.stderr.isatty():
        print(f"{_CLEAR_LINE}{doing}", end="", file=sys.stderr, flush=True)
