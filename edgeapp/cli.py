"""The commands of the device. Each loads only what it needs: `edgeapp --help` knows neither OpenCV nor the runtime."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from edgeapp import __version__

EXIT_CONFIG = 78  # as the supervisor's; importing it would load more than --help needs
EXIT_TROUBLE = 1
EXIT_INTERRUPTED = 130  # as a shell names the end by SIGINT
EXIT_NOT_RUNNING = 3  # what `systemctl status` answers for a unit that is down
DEFAULT_CONFIG = Path("/etc/edgeapp/config.yaml")
_CLEAR_LINE = "\r\033[K"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    parser = argparse.ArgumentParser(prog="edgeapp", description="Counts what a camera sees, on the device, privately.")
    parser.add_argument("--version", action="version", version=f"edgeapp {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function, text in (
        ("run", _run, "run the daemon in the foreground"),
        ("status", _status, "how the daemon does, in a few lines"),
        ("doctor", _doctor, "examine the machine: does everything fit, and if not, what to do"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument(
            "--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE", help=f"default {DEFAULT_CONFIG}"
        )
        command.set_defaults(function=function)
        if name != "run":
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
    chosen = parser.parse_args(arguments)
    try:
        status: int = chosen.function(chosen)
    except KeyboardInterrupt:  # a person has seen enough; the daemon has its own way to stop
        return EXIT_INTERRUPTED
    return status


def _run(chosen: argparse.Namespace) -> int:
    from edgeapp import daemon
    from edgeapp.errors import AlreadyRunningError, ConfigError

    try:
        return daemon.run(chosen.config)
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
    planned = plan(config.privacy, config.counting, classes)
    print(
        json.dumps(explain.as_object(config.privacy, planned), ensure_ascii=False)
        if chosen.json
        else explain.text(config.privacy, planned)
    )
    return 0


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
    is_running = is_locked(runtime_dir / status.LOCK_NAME)
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
        _print_lines(shown)
    if not is_running:
        return EXIT_NOT_RUNNING
    return EXIT_TROUBLE if status.worst(shown) == "fail" else 0


def _print_lines(shown: tuple) -> None:  # type: ignore[type-arg]
    from edgeapp.status import marked

    for line in shown:
        print(f"{marked(line.level, is_coloured=sys.stdout.isatty())}  {line.label:<11}{line.text}")


def _doctor(chosen: argparse.Namespace) -> int:
    import logging
    import shutil

    from edgeapp.doctor import checks, report
    from edgeapp.doctor.examine import examine

    logging.disable(logging.CRITICAL)  # the findings say it
    findings = []
    has_progress, is_coloured = sys.stderr.isatty(), sys.stdout.isatty()
    width = shutil.get_terminal_size((120, 24)).columns
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


if __name__ == "__main__":
    sys.exit(main())
