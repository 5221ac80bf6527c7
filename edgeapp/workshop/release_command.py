"""`edgeapp-workshop release …`: from a model folder to what devices can fetch."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeapp.errors import ReleaseError
from edgeapp.workshop import releases
from edgeapp.workshop.dialogue import (
    add_common_options,
    add_key_options,
    add_repository_option,
    confirm,
    open_keyring,
    progress_bar,
    say,
)
from edgeapp.workshop.keys_command import Commands, say_staged, staged_text
from edgeapp.workshop.repository import Repository, fingerprint

if TYPE_CHECKING:
    from edgeapp.workshop.broker_blocks import BrokerBlocks

_STICK = "usb:"


def add_command(commands: Commands) -> None:
    """Add `release` to the commands."""
    release = commands.add_parser("release", help="make, sign, publish and withdraw releases")
    actions = release.add_subparsers(dest="release_command", required=True, metavar="COMMAND")
    _add_create(actions)
    sign = actions.add_parser("sign", help="take a release in, and sign what is staged")
    sign.add_argument("folders", type=Path, nargs="*", metavar="RELEASE", help="a folder of `release create`")
    sign.add_argument("--key", action="append", default=[], metavar="NAME", help="sign with this key only; repeatable")
    withdraw = actions.add_parser("withdraw", help="let no device take a release any more")
    forget = actions.add_parser("forget", help="list an old release no more: what devices read stays small")
    for parser in (withdraw, forget):
        parser.add_argument("release", metavar="NAME/VERSION")
    for parser in (sign, withdraw):
        parser.add_argument(
            "--security-floor", type=int, default=0, metavar="VERSION", help="no device goes below it ever after"
        )
    publish = actions.add_parser("publish", help="bring releases where devices fetch them")
    publish.add_argument("releases", nargs="*", metavar="NAME/VERSION", help="with mqtt: these, not the newest")
    unpublish = actions.add_parser("unpublish", help="clear a release's blocks from a broker")
    unpublish.add_argument("release", metavar="NAME/VERSION")
    publish.add_argument("--to", required=True, metavar="FOLDER|usb:PATH|mqtt://HOST/PREFIX")
    unpublish.add_argument("--to", required=True, metavar="mqtt://HOST/PREFIX", help="the broker")
    for parser in (publish, unpublish):
        parser.add_argument("--mqtt-password-file", type=Path, metavar="FILE", help="holds the broker's password")
        parser.add_argument("--mqtt-ca-file", type=Path, metavar="FILE", help="with mqtts: the authority to believe")
    shown = actions.add_parser("list", help="the releases and their standing")
    for parser in (sign, publish):
        add_key_options(parser)
    for parser, function in (
        (sign, _sign),
        (withdraw, _withdraw),
        (forget, _forget),
        (publish, _publish),
        (unpublish, _unpublish),
        (shown, _list),
    ):
        add_repository_option(parser)
        add_common_options(parser, function)


def _add_create(actions: Commands) -> None:
    create = actions.add_parser("create", help="make a release of a model folder")
    create.add_argument("model", type=Path, metavar="MODEL_FOLDER")
    create.add_argument("--float", type=Path, required=True, metavar="FOLDER", help="the model's float twin")
    create.add_argument("--pictures", type=Path, required=True, metavar="DIR", help="of the kind that devices see")
    create.add_argument("--semver", required=True, metavar="1.2.3")
    create.add_argument("--version", type=int, metavar="N", help="release number; that of model.json")
    create.add_argument(
        "--facts",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="JSON with accuracy, and compat, budgets, probation … ; repeatable",
    )
    create.add_argument(
        "--min-agreement", type=float, default=0.8, metavar="F1", help="with the float model (%(default)s)"
    )
    create.add_argument("--out", type=Path, required=True, metavar="DIR")
    add_common_options(create, _create)


def _create(chosen: argparse.Namespace) -> int:
    from edgeapp.workshop.release_writer import Request, create, read_facts

    request = Request(
        model_dir=chosen.model,
        float_dir=chosen.float,
        pictures_dir=chosen.pictures,
        facts=read_facts(chosen.facts),
        semver=chosen.semver,
        created_s=int(time.time()),
        version=chosen.version,
        min_agreement=chosen.min_agreement,
    )
    with progress_bar(chosen) as progress:
        release, agreed = create(request, chosen.out, progress)
    name = f"{release.model.name}/{release.model.version}"
    result = {"release": name, "folder": str(chosen.out), "agreement": dataclasses.asdict(agreed)}
    text = f"{chosen.out}: {name} ({release.semver}), {agreed}\nSign it: edgeapp-workshop release sign {chosen.out}"
    return say(chosen, result, text)


def _sign(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    for folder in chosen.folders:
        releases.stage_release(repository, folder, _now(), chosen.security_floor)
    if chosen.security_floor and not chosen.folders:
        raise ReleaseError("--security-floor: expected with a release, found none")
    waiting = repository.waiting()
    if not waiting:
        raise ReleaseError(f"{chosen.repository}: expected something staged to sign, found nothing")
    changes = [f"  {line}" for line in releases.changes(repository)]
    titles = " and ".join(f"{one.role} version {one.version}" for one in waiting)
    question = f"{titles} of the repository with first root {fingerprint(repository.first_root)}:"
    confirm(chosen, "\n".join([question, *changes, "Sign this?"]))
    used = repository.sign(open_keyring(chosen), chosen.key)
    left = repository.waiting()
    result = {"changes": releases.changes(repository) if left else [], "signed_by": used}
    lines = [f"Signed by {', '.join(used) or 'nobody: no key at hand may'}.", *map(staged_text, left)]
    lines += [] if left else ["Complete. Next: edgeapp-workshop release publish"]
    return say(chosen, {**result, "staged": [dataclasses.asdict(one) for one in left]}, "\n".join(lines))


def _withdraw(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    confirm(chosen, f"Withdraw {chosen.release}? Devices that run it go on; none takes it any more.")
    releases.withdraw(repository, chosen.release, _now(), chosen.security_floor)
    return say_staged(chosen, repository, f"{chosen.release} is withdrawn")


def _forget(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    confirm(chosen, f"Forget {chosen.release}? No device can go back to it.")
    releases.forget(repository, chosen.release, _now())
    return say_staged(chosen, repository, f"{chosen.release} is forgotten")


def _publish(chosen: argparse.Namespace) -> int:
    from edgeapp.workshop import publish
    from edgeapp.workshop.broker_blocks import read_address

    repository, now = Repository(chosen.repository), _now()
    if not repository.is_refreshed():
        repository.refresh(open_keyring(chosen), now)
    waiting = list(map(staged_text, repository.waiting()))
    if "://" not in chosen.to:
        if chosen.releases:
            raise ReleaseError("publish: expected single releases with mqtt only; a folder gets the whole repository")
        place = publish.publish_stick if chosen.to.startswith(_STICK) else publish.publish_folder
        with progress_bar(chosen) as progress:
            files = place(repository, Path(chosen.to.removeprefix(_STICK)), now, progress)
        text = "\n".join([f"{chosen.to}: {files} files, read back as a device reads them.", *waiting])
        return say(chosen, {"to": chosen.to, "files": files}, text)
    with _broker(chosen) as broker, progress_bar(chosen) as progress:
        sent = publish.publish_blocks(repository, broker, chosen.releases, now, progress)
        told = publish.publish_consents(repository, broker, read_address(chosen.to).prefix)
    lines = [f"{chosen.to}: {sent} blocks sent; the broker keeps all that are needed."]
    lines += [] if told is None else [f"{told} consents of sites told."]
    return say(chosen, {"to": chosen.to, "blocks_sent": sent, "consents": told}, "\n".join([*lines, *waiting]))


def _unpublish(chosen: argparse.Namespace) -> int:
    from edgeapp.workshop import publish

    repository = Repository(chosen.repository)
    confirm(chosen, f"Clear the blocks of {chosen.release} from {chosen.to}? Devices that fetch them now will fail.")
    with _broker(chosen) as broker:
        files = publish.unpublish_blocks(repository, broker, chosen.release)
    return say(chosen, {"to": chosen.to, "files": files}, f"{chosen.to}: the blocks of {files} files are gone.")


def _list(chosen: argparse.Namespace) -> int:
    rows: list[dict[str, Any]] = [
        {
            "release": release.name,
            "semver": release.manifest.semver,
            "sha256": release.sha256,
            "withdrawn": release.status.withdrawn,
            "security_floor": release.status.security_floor,
        }
        for release in releases.releases(Repository(chosen.repository))
    ]
    lines = [
        f"{row['release']:<32} {row['semver']:<12} {'withdrawn' if row['withdrawn'] else 'in force':<10}"
        f" {row['sha256'][:16]}…" + (f"  security floor {row['security_floor']}" if row["security_floor"] else "")
        for row in rows
    ]
    return say(chosen, {"releases": rows}, "\n".join(lines) or "no releases")


@contextlib.contextmanager
def _broker(chosen: argparse.Namespace) -> Iterator[BrokerBlocks]:
    from edgeapp.workshop.broker_blocks import BrokerBlocks, read_address

    file = chosen.mqtt_password_file
    password = file.read_text().rstrip("\r\n") if file else ""
    with BrokerBlocks(read_address(chosen.to), password, chosen.mqtt_ca_file) as broker:
        yield broker


def _now() -> datetime:
    return datetime.now(UTC)
