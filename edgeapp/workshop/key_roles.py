"""Who may sign what: a new repository with its keys, and keys that come, go and are replaced.

Owns the names of keys (targets1, targets2 …) and what a change of keys means for root and operators. The changes are
only staged; the signatures that make them true are `repository.py`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from tuf.api.metadata import Metadata, Root

from edgeapp.errors import KeyringError, ReleaseError
from edgeapp.updates.command import Operation, Operator, Operators
from edgeapp.workshop.keyring import public_key
from edgeapp.workshop.repository import KEY_NAME, ONLINE, Repository, expiry, name_of

if TYPE_CHECKING:
    from datetime import datetime

    from securesystemslib.signer import SSlibKey

    from edgeapp.workshop.keyring import Keyring

ALL_OPERATIONS: tuple[Operation, ...] = get_args(Operation)


@dataclass(frozen=True, kw_only=True, slots=True)
class KeyPlan:
    """How many keys the two roles of people have, how many of them must sign, and who is the first operator."""

    root_keys: int = 3
    root_threshold: int = 2
    targets_keys: int = 3
    targets_threshold: int = 2
    operator: str = "operator1"


def create_repository(repository: Repository, keyring: Keyring, plan: KeyPlan, now: datetime) -> None:
    """Make all the keys and a repository that devices can be provisioned with, signed and without releases.

    Raises:
        KeyringError: a key of one of the names exists.
        ReleaseError: there is a repository, or a threshold asks for more keys than there are.
    """
    if repository.metadata_dir.exists():
        raise ReleaseError(f"{repository.folder}: expected no repository, found one")
    names = {
        "root": [f"root{number + 1}" for number in range(plan.root_keys)],
        "targets": [f"targets{number + 1}" for number in range(plan.targets_keys)],
        **{role: [f"{role}1"] for role in ONLINE},
    }
    thresholds = {"root": plan.root_threshold, "targets": plan.targets_threshold}
    for role, threshold in thresholds.items():
        if not 1 <= threshold <= len(names[role]):
            raise ReleaseError(f"{role}: expected a threshold of 1 to {len(names[role])} keys, found {threshold}")
    taken = {name for role in names.values() for name in role} | {plan.operator}
    if there := taken.intersection(keyring.names()):
        raise KeyringError(f"{keyring.folder}: expected none of these keys, found {', '.join(sorted(there))}")
    root = Root(expires=expiry("root", now), consistent_snapshot=True)
    for role, members in names.items():
        for name in members:
            root.add_key(_named(keyring.create(name), name), role)
        root.roles[role].threshold = thresholds.get(role, 1)
    metadata = Metadata(root)
    for name in names["root"]:
        metadata.sign(keyring.signer(name), append=True)
    repository.start(metadata)
    first = make_operator(plan.operator, keyring.create(plan.operator), ALL_OPERATIONS)
    repository.stage_operators(Operators(v=1, threshold=1, operators=(first,)), now)
    repository.sign(keyring)
    repository.refresh(keyring, now)


def make_operator(name: str, public: str, operations: tuple[Operation, ...]) -> Operator:
    """An entry of the list of operators."""
    return Operator(name=name, keyid=public_key(public).keyid, public=public, ops=operations)


def add_operator(repository: Repository, operator: Operator, now: datetime, threshold: int | None = None) -> None:
    """Stage a list with one operator more; `threshold` says how many must sign from then on.

    Raises:
        ReleaseError: there is one of that name.
    """
    listed = repository.operators()
    if operator.name in [other.name for other in listed.operators]:
        raise ReleaseError(f"{operator.name}: expected no operator of that name, found one")
    _stage_operators(repository, (*listed.operators, operator), threshold or listed.threshold, now)


def revoke(repository: Repository, name: str, now: datetime) -> str:
    """Stage that a key is believed no more; the role it had.

    Raises:
        ReleaseError: nobody has that key, or too few keys would be left for the role's threshold.
    """
    role = role_of(repository, name)
    if role == "operators":
        listed = repository.operators()
        left = tuple(other for other in listed.operators if other.name != name)
        _stage_operators(repository, left, listed.threshold, now)
        return role
    root = repository.root()
    keyids = _keyids(root, role, name)
    if len(root.roles[role].keyids) - len(keyids) < root.roles[role].threshold:
        threshold = root.roles[role].threshold
        raise ReleaseError(f"{role}: expected {threshold} keys to be left, found fewer; keys rotate {name} replaces it")
    for keyid in keyids:
        root.revoke_key(keyid, role)
    repository.stage_root(root, now)
    return role


def rotate(repository: Repository, name: str, new_name: str, public: str, now: datetime) -> None:
    """Stage that the key `public`, called `new_name`, takes the place of the key `name`.

    Raises:
        ReleaseError: nobody has that key.
        KeyringError: `public` is no key.
    """
    role = role_of(repository, name)
    if role == "operators":
        listed = repository.operators()
        changed = [
            make_operator(new_name, public, other.ops) if other.name == name else other for other in listed.operators
        ]
        _stage_operators(repository, tuple(changed), listed.threshold, now)
        return
    root = repository.root()
    for keyid in _keyids(root, role, name):
        root.revoke_key(keyid, role)
    root.add_key(_named(public, new_name), role)
    repository.stage_root(root, now)


def members(repository: Repository) -> dict[str, dict[str, str]]:
    """The public halves of all keys as they are to be: by role, the operators as a role too, and by name."""
    root = repository.root()
    found = {
        role: {name_of(root.keys[keyid]): str(root.keys[keyid].keyval["public"]) for keyid in root.roles[role].keyids}
        for role in ("root", "targets", *ONLINE)
    }
    return {**found, "operators": {one.name: one.public for one in repository.operators().operators}}


def role_of(repository: Repository, name: str) -> str:
    """The role in which a key signs.

    Raises:
        ReleaseError: none.
    """
    for role, names in members(repository).items():
        if name in names:
            return role
    raise ReleaseError(f"{name}: expected a key of the repository, found none of that name: keys list")


def next_name(name: str, taken: set[str]) -> str:
    """The name of the key that follows `name`: targets2, or the next number that is free."""
    stem = re.sub(r"[0-9]+$", "", name)
    number = 1 + max(
        (int(found[1]) for other in taken if (found := re.fullmatch(f"{re.escape(stem)}([0-9]+)", other))), default=1
    )
    return f"{stem}{number}"


def _stage_operators(repository: Repository, listed: tuple[Operator, ...], threshold: int, now: datetime) -> None:
    keys = len({operator.public for operator in listed})
    if not 1 <= threshold <= keys:
        raise ReleaseError(f"operators: expected a threshold of 1 to {keys} keys, found {threshold}")
    repository.stage_operators(Operators(v=1, threshold=threshold, operators=listed), now)


def _named(public: str, name: str) -> SSlibKey:
    key = public_key(public)
    key.unrecognized_fields[KEY_NAME] = name
    return key


def _keyids(root: Root, role: str, name: str) -> list[str]:
    return [keyid for keyid in root.roles[role].keyids if name_of(root.keys[keyid]) == name]
