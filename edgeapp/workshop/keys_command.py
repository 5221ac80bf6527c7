"""`edgeapp-workshop keys …` and `edgeapp-workshop repository …`: keys, who may sign what, and what expires when."""

from __future__ import annotations

import argparse
import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from edgeapp.errors import ReleaseError
from edgeapp.workshop import key_roles
from edgeapp.workshop.dialogue import (
    add_common_options,
    add_key_options,
    add_new_key_options,
    add_repository_option,
    confirm,
    new_keyring,
    open_keyring,
    say,
)
from edgeapp.workshop.keyring import Keyring
from edgeapp.workshop.repository import ONLINE, SIGNED_BY_PEOPLE, Repository, fingerprint

if TYPE_CHECKING:
    from edgeapp.updates.command import Operation
    from edgeapp.workshop.repository import Staged

_ROLES = (*SIGNED_BY_PEOPLE, *ONLINE)
_SOON_DAYS = {"root": 60, "targets": 45, "snapshot": 10, "timestamp": 5}
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_commands(commands: Commands) -> None:
    """Add `keys` and `repository` to the commands."""
    keys = commands.add_parser("keys", help="keys, and who may sign what")
    _add_keys(keys.add_subparsers(dest="keys_command", required=True, metavar="COMMAND"))
    repository = commands.add_parser("repository", help="what the signed releases need to stay valid")
    _add_repository(repository.add_subparsers(dest="repository_command", required=True, metavar="COMMAND"))


def _add_keys(actions: Commands) -> None:
    plan = key_roles.KeyPlan()
    init = actions.add_parser("init", help="make all keys and an empty repository")
    for role in SIGNED_BY_PEOPLE:
        for what, text in (("keys", "how many keys sign for it"), ("threshold", "how many of them must")):
            default = getattr(plan, f"{role}_{what}")
            init.add_argument(f"--{role}-{what}", type=int, default=default, metavar="N", help=f"{text} (%(default)s)")
    init.add_argument("--operator", default=plan.operator, metavar="NAME", help="the first operator (%(default)s)")
    create = actions.add_parser("new", help="make one key, to be listed on the machine with the repository")
    create.add_argument("name", metavar="NAME")
    operator = actions.add_parser("add-operator", help="let one more operator order updates")
    operator.add_argument("name", metavar="NAME")
    operator.add_argument(
        "--ops", default=",".join(key_roles.ALL_OPERATIONS), metavar="OP,OP", help="what may be ordered (%(default)s)"
    )
    operator.add_argument("--threshold", type=int, metavar="N", help="how many operators must sign from now on")
    rotate = actions.add_parser("rotate", help="replace a key, or every key of a role")
    rotate.add_argument("name", metavar="NAME|ROLE", help="a key, or root, targets, snapshot or timestamp")
    revoke = actions.add_parser("revoke", help="a key is believed no more")
    revoke.add_argument("name", metavar="NAME")
    shown = actions.add_parser("list", help="all keys, and what expires when")
    for parser, function in ((init, _init), (create, _new), (operator, _add_operator), (rotate, _rotate)):
        add_new_key_options(parser)
        add_common_options(parser, function)
    for parser in (operator, rotate):
        parser.add_argument("--public", metavar="HEX", help="a key made elsewhere with `keys new`")
    add_common_options(revoke, _revoke)
    add_key_options(shown)
    add_common_options(shown, _list)
    for parser in (init, operator, rotate, revoke, shown):
        add_repository_option(parser)


def _add_repository(actions: Commands) -> None:
    refresh = actions.add_parser("refresh", help="sign snapshot and timestamp anew; for a daily timer")
    renew = actions.add_parser("renew", help="stage root or targets as they are with a later expiry")
    renew.add_argument("role", choices=SIGNED_BY_PEOPLE)
    discard = actions.add_parser("discard", help="forget what is staged")
    add_key_options(refresh)
    for parser, function in ((refresh, _refresh), (renew, _renew), (discard, _discard)):
        add_repository_option(parser)
        add_common_options(parser, function)


def _init(chosen: argparse.Namespace) -> int:
    plan = key_roles.KeyPlan(
        **{field.name: getattr(chosen, field.name) for field in dataclasses.fields(key_roles.KeyPlan)}
    )
    repository = Repository(chosen.repository)
    key_roles.create_repository(repository, new_keyring(chosen), plan, _now())
    root = repository.metadata_dir / "1.root.json"
    mark = fingerprint(repository.first_root)
    text = (
        f"Keys: {chosen.keys}. Repository: {chosen.repository}.\n"
        f"Install {root} (sha256 {mark}…) on every device.\n"
        "Move root1, root2 … and targets1, targets2 … each to a stick or machine of its own; snapshot1 and timestamp1\n"
        "stay where `edgeapp-workshop repository refresh` runs daily."
    )
    return say(chosen, {"root": str(root), "fingerprint": mark, "keys": list(Keyring(chosen.keys).names())}, text)


def _new(chosen: argparse.Namespace) -> int:
    public = new_keyring(chosen).create(chosen.name)
    return say(chosen, {"name": chosen.name, "public": public}, f"{chosen.name}: {public}")


def _add_operator(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    operations: list[Operation] = []
    for word in chosen.ops.split(","):
        if word not in key_roles.ALL_OPERATIONS:
            raise ReleaseError(f"--ops: expected an operation ({', '.join(key_roles.ALL_OPERATIONS)}), found {word}")
        operations.append(word)
    public = chosen.public or new_keyring(chosen).create(chosen.name)
    operator = key_roles.make_operator(chosen.name, public, tuple(operations))
    key_roles.add_operator(repository, operator, _now(), chosen.threshold)
    return say_staged(chosen, repository, f"{chosen.name} may order {', '.join(operations)}")


def _rotate(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    everyone = key_roles.members(repository)
    names = sorted(everyone[chosen.name]) if chosen.name in _ROLES else [chosen.name]
    if chosen.public and len(names) > 1:
        raise ReleaseError(f"--public: expected one key to replace, found {', '.join(names)}")
    for name in names:
        key_roles.role_of(repository, name)
    confirm(chosen, f"Replace {', '.join(names)}?")
    keyring = Keyring(chosen.keys) if chosen.public else new_keyring(chosen)
    taken = {name for role in everyone.values() for name in role} | set(keyring.names())
    done = []
    for name in names:
        new_name = key_roles.next_name(name, taken)
        taken.add(new_name)
        key_roles.rotate(repository, name, new_name, chosen.public or keyring.create(new_name), _now())
        done.append(f"{name} → {new_name}")
    return say_staged(chosen, repository, "; ".join(done))


def _revoke(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    role = key_roles.role_of(repository, chosen.name)
    confirm(chosen, f"Revoke {chosen.name} ({role})? What it signs from then on no device believes.")
    key_roles.revoke(repository, chosen.name, _now())
    return say_staged(chosen, repository, f"{chosen.name} ({role}) is revoked")


def _refresh(chosen: argparse.Namespace) -> int:
    repository, now = Repository(chosen.repository), _now()
    repository.refresh(open_keyring(chosen), now)
    rows = _expiries(repository, now)
    soon = [_row_text(row) for row in rows if row["is_soon"]]
    return say(chosen, {"roles": rows}, "\n".join(["Snapshot and timestamp are signed anew; publish them.", *soon]))


def _renew(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    if chosen.role == "root":
        repository.stage_root(repository.root(), _now())
    else:
        repository.stage_targets(repository.targets(), _now())
    return say_staged(chosen, repository, f"{chosen.role} is staged as it is, with a later expiry")


def _discard(chosen: argparse.Namespace) -> int:
    repository = Repository(chosen.repository)
    confirm(chosen, f"Forget what is staged ({', '.join(one.role for one in repository.waiting()) or 'nothing'})?")
    repository.discard()
    return say(chosen, {"staged": []}, "Nothing is staged.")


def _list(chosen: argparse.Namespace) -> int:
    repository, keyring = Repository(chosen.repository), Keyring(chosen.keys)
    members = key_roles.members(repository)
    at_hand = {keyring.public(name) for name in keyring.names()}
    ops = {operator.name: operator.ops for operator in repository.operators().operators}
    keys: list[dict[str, Any]] = [
        {"name": name, "role": role, "public": public, "at_hand": public in at_hand, "ops": list(ops.get(name, ()))}
        for role, names in members.items()
        for name, public in sorted(names.items())
    ]
    roles, waiting = _expiries(repository, _now()), repository.waiting()
    lines = [
        f"{key['role']:<10} {key['name']:<14} {'in ' + str(chosen.keys) if key['at_hand'] else 'elsewhere'}"
        + (f"  may order {', '.join(key['ops'])}" if key["ops"] else "")
        for key in keys
    ]
    lines += ["", *map(_row_text, roles), *map(staged_text, waiting)]
    root = fingerprint(repository.first_root)
    result = {"first_root": root, "keys": keys, "roles": roles, "staged": [dataclasses.asdict(one) for one in waiting]}
    return say(chosen, result, "\n".join([f"first root {root}", *lines]))


def in_words(expires: datetime, now: datetime) -> str:
    """How far off a day is: "in 3 months (2026-09-01)"."""
    days = round((expires - now).total_seconds() / 86_400)
    size = abs(days)
    amount = f"{size / 30.4:.0f} months" if size > 60 else f"{size} day{'' if size == 1 else 's'}"
    return f"{f'in {amount}' if days >= 0 else f'{amount} ago'} ({expires:%Y-%m-%d})"


def staged_text(staged: Staged) -> str:
    """What is staged, in a line."""
    signed = ", ".join(staged.signed) or "nobody"
    wanted = f"{staged.missing} more of {', '.join(staged.others)}" if staged.missing else "the root first"
    return f"staged: {staged.role} version {staged.version}, signed by {signed}; wanted: {wanted}"


def _expiries(repository: Repository, now: datetime) -> list[dict[str, Any]]:
    rows = []
    for role in _ROLES:
        metadata = repository.newest(role)
        if metadata is not None:
            expires = metadata.signed.expires
            rows.append(
                {
                    "role": role,
                    "version": metadata.signed.version,
                    "expires": f"{expires:%Y-%m-%dT%H:%M:%SZ}",
                    "words": in_words(expires, now),
                    "is_soon": (expires - now).total_seconds() < _SOON_DAYS[role] * 86_400,
                }
            )
    return rows


def _row_text(row: dict[str, Any]) -> str:
    remedy = "refresh" if row["role"] in ONLINE else f"renew {row['role']}"
    advice = f"  SOON: edgeapp-workshop repository {remedy}" if row["is_soon"] else ""
    return f"{row['role']:<10} version {row['version']} expires {row['words']}{advice}"


def say_staged(chosen: argparse.Namespace, repository: Repository, what: str) -> int:
    """The last word of a command that staged something."""
    waiting = repository.waiting()
    result = {"done": what, "staged": [dataclasses.asdict(one) for one in waiting]}
    lines = [what, *map(staged_text, waiting), "Sign it: edgeapp-workshop release sign"]
    return say(chosen, result, "\n".join(lines))


def _now() -> datetime:
    return datetime.now(UTC)
