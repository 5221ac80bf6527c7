"""The device's TUF client as a command, so that an outside suite can try it.

Owns the command line of tuf-conformance (https://github.com/theupdateframework/tuf-conformance, CLIENT-CLI.md): `init`
with a trusted root, `refresh` the metadata, `download` a target. The client is the one that devices use.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError

from edgeapp.system.files import write_durably
from edgeapp.updates.fetchers import WebFiles
from edgeapp.updates.metadata import DurableUpdater

_TRUSTED_ROOT = "trusted_root"  # what init was given; not called .json, so that it is no role's metadata


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `tuf-client` to the commands."""
    parser = commands.add_parser("tuf-client", help="the device's TUF client, for a conformance suite to try")
    parser.add_argument("--metadata-dir", type=Path, required=True, metavar="DIR", help="where metadata is kept")
    parser.add_argument("--metadata-url", metavar="URL", help="the repository's metadata")
    parser.add_argument("--target-name", metavar="PATH", help="the target to download")
    parser.add_argument("--target-base-url", metavar="URL", help="the repository's targets")
    parser.add_argument("--target-dir", type=Path, metavar="DIR", help="where to put it")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    init = actions.add_parser("init", help="trust a root")
    init.add_argument("trusted_root", type=Path, metavar="TRUSTED_ROOT")
    for name, function, needed, text in (
        ("refresh", _refresh, ("metadata_url",), "bring the metadata up to date"),
        ("download", _download, ("metadata_url", "target_name", "target_base_url", "target_dir"), "fetch a target"),
    ):
        actions.add_parser(name, help=text).set_defaults(action_function=function, needed=needed)
    init.set_defaults(action_function=_init, needed=())
    parser.set_defaults(function=_run, parser=parser)


def _run(chosen: argparse.Namespace) -> int:
    missing = [f"--{name.replace('_', '-')}" for name in chosen.needed if getattr(chosen, name) is None]
    if missing:
        chosen.parser.error(f"{chosen.action} needs {', '.join(missing)}")
    try:
        chosen.action_function(chosen)
    except (RepositoryError, DownloadError, OSError) as error:
        print(f"{chosen.action}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _init(chosen: argparse.Namespace) -> None:
    content = chosen.trusted_root.read_bytes()
    chosen.metadata_dir.mkdir(parents=True, exist_ok=True)
    for name in (_TRUSTED_ROOT, "root.json"):
        write_durably(chosen.metadata_dir / name, content)


def _refresh(chosen: argparse.Namespace) -> DurableUpdater:
    updater = DurableUpdater(
        str(chosen.metadata_dir),
        chosen.metadata_url,
        fetcher=WebFiles(),
        bootstrap=(chosen.metadata_dir / _TRUSTED_ROOT).read_bytes(),
    )
    updater.refresh()
    return updater


def _download(chosen: argparse.Namespace) -> None:
    updater = _refresh(chosen)
    target = updater.get_targetinfo(chosen.target_name)
    if target is None:
        raise RepositoryError(f"{chosen.target_name}: expected among the targets, found nothing")
    updater.target_dir = str(chosen.target_dir)
    if updater.find_cached_target(target) is None:
        updater.download_target(target, target_base_url=chosen.target_base_url)
