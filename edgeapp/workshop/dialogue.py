"""How the workshop's commands talk: options they share, passphrases, questions, progress bars, and the last word.

Guarantees: with --json standard output holds one JSON object and nothing else; where nobody sits at a terminal nothing
is asked, and what is dangerous happens only with --yes.
"""

from __future__ import annotations

import argparse
import contextlib
import getpass
import json
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeapp.errors import EdgeAppError, KeyringError, ReleaseError
from edgeapp.workshop.keyring import Keyring
from edgeapp.workshop.progress import Progress, silent

EXIT_INTERRUPTED = 130  # as a shell names the end by SIGINT
_PIPE_WIDTH = 160
_NO_PASSPHRASE = "WARNING: without a passphrase whoever reads these files can sign with them."


def add_key_options(parser: argparse.ArgumentParser) -> None:
    """Where the keys are and what opens them."""
    parser.add_argument("--keys", type=Path, default=Path("keys"), metavar="DIR", help="folder of keys (%(default)s)")
    parser.add_argument("--passphrase-file", type=Path, metavar="FILE", help="holds the keys' passphrase; else asked")


def add_new_key_options(parser: argparse.ArgumentParser) -> None:
    """As `add_key_options`, for commands that make keys."""
    add_key_options(parser)
    parser.add_argument("--no-passphrase", action="store_true", help="leave new keys unencrypted")


def add_repository_option(parser: argparse.ArgumentParser) -> None:
    """Where the repository is."""
    default = Path("repository")
    parser.add_argument("--repository", type=Path, default=default, metavar="DIR", help="the releases (%(default)s)")


def add_common_options(
    parser: argparse.ArgumentParser, function: Callable[[argparse.Namespace], int], *, error_status: int = 1
) -> None:
    """What every command has; `function` runs it, and its errors on purpose become one line and `error_status`."""
    parser.add_argument("--json", action="store_true", help="for a program to read")
    parser.add_argument("--yes", action="store_true", help="ask nothing")
    parser.set_defaults(function=guarded(function, error_status))


def open_keyring(chosen: argparse.Namespace) -> Keyring:
    """The keys to sign with; asks for the passphrase where one is needed and somebody can be asked.

    Raises:
        KeyringError: the passphrase file cannot be used.
    """
    if chosen.passphrase_file is not None:
        return Keyring(chosen.keys, _read_passphrase(chosen.passphrase_file))
    keyring = Keyring(chosen.keys)
    if sys.stdin.isatty() and any(keyring.is_encrypted(name) for name in keyring.names()):
        return Keyring(chosen.keys, getpass.getpass(f"Passphrase of {chosen.keys}: ").encode())
    return keyring


def new_keyring(chosen: argparse.Namespace) -> Keyring:
    """The folder to make keys in, with the passphrase of --passphrase-file, or one that is asked for twice.

    Raises:
        KeyringError: there is no passphrase, and --no-passphrase was not given.
    """
    if chosen.no_passphrase:
        print(_NO_PASSPHRASE, file=sys.stderr)
        return Keyring(chosen.keys)
    if chosen.passphrase_file is not None:
        return Keyring(chosen.keys, _read_passphrase(chosen.passphrase_file))
    if not sys.stdin.isatty():
        raise KeyringError("expected --passphrase-file or --no-passphrase, as nobody can be asked here")
    passphrase = getpass.getpass(f"Passphrase of {chosen.keys}: ")
    if not passphrase or getpass.getpass("Once more: ") != passphrase:
        raise KeyringError("expected the same passphrase twice, found two different ones or none")
    return Keyring(chosen.keys, passphrase.encode())


def confirm(chosen: argparse.Namespace, question: str) -> None:
    """Ask before something dangerous.

    Raises:
        ReleaseError: the answer was not yes, or nobody can be asked.
    """
    if chosen.yes:
        return
    if not sys.stdin.isatty():
        raise ReleaseError(f"{question}\nExpected --yes, as nobody can be asked here")
    print(f"{question} Type yes to go on: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip() != "yes":
        raise ReleaseError("Stopped: the answer was not yes.")


def say(chosen: argparse.Namespace, result: dict[str, Any], text: str) -> int:
    """The last word: `result` for a program, `text` for a person; the exit status of success."""
    print(json.dumps(result, ensure_ascii=False) if chosen.json else text)
    return 0


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, wrapped: Collection[str] = ()) -> None:
    """A table for a person. Cells of the columns `wrapped` may take several lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None)
    for name in columns:
        table.add_column(name, no_wrap=name not in wrapped, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))  # what devices say is no markup
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


@contextlib.contextmanager
def progress_bar(chosen: argparse.Namespace) -> Iterator[Progress]:
    """Progress as a bar a step on standard error; nothing where that is no terminal."""
    if chosen.json or not sys.stderr.isatty():
        yield silent
        return
    import rich.console
    import rich.progress

    with rich.progress.Progress(console=rich.console.Console(stderr=True)) as bars:
        tasks: dict[str, rich.progress.TaskID] = {}

        def show(step: str, share: float) -> None:
            if step not in tasks:
                tasks[step] = bars.add_task(step, total=1.0)
            bars.update(tasks[step], completed=share)

        yield show


def _read_passphrase(path: Path) -> bytes:
    try:
        passphrase = path.read_bytes().rstrip(b"\r\n")
    except OSError as error:
        raise KeyringError(f"{path}: expected a passphrase, found: {error.strerror}") from error
    if not passphrase:
        raise KeyringError(f"{path}: expected a passphrase, found an empty file")
    return passphrase


def guarded(function: Callable[[argparse.Namespace], int], error_status: int) -> Callable[[argparse.Namespace], int]:
    """The function, whose errors on purpose become one line and this exit status."""

    def run(chosen: argparse.Namespace) -> int:
        try:
            return function(chosen)
        except (EdgeAppError, OSError) as error:
            if chosen.json:
                print(json.dumps({"error": getattr(error, "code", "E_IO"), "text": str(error)}, ensure_ascii=False))
            else:
                print(error, file=sys.stderr)
            return error_status
        except (KeyboardInterrupt, EOFError):  # at a question
            return EXIT_INTERRUPTED

    return run
