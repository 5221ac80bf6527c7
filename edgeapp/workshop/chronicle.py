"""What was done to a fleet's models: when, by whom, why, and what came of it.

Owns the reading together of what is kept elsewhere anyway: the signed versions of the repository, the commands and
rollouts in an operator's state folder, and what devices said of them. Nothing is written, so nothing here can differ
from what was signed and sent. A machine that has one of the two tells its half.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tuf.api.metadata import Root, Targets

from edgeapp.updates.codes import UpdateError
from edgeapp.updates.command import OPERATORS_PATH, Operators, SignedCommand, read_document, read_message
from edgeapp.updates.messages import OUTCOMES, Event
from edgeapp.updates.release import read_status
from edgeapp.workshop.releases import is_consent, is_release, release_name
from edgeapp.workshop.repository import LIFETIMES, Repository, name_of, read_metadata
from edgeapp.workshop.rollout_driver import Rollout, rollout_names
from edgeapp.workshop.words import addressees

if TYPE_CHECKING:
    from tuf.api.metadata import TargetFile

    from edgeapp.workshop.history import History

_HALTS = ("cancel", "rollback")


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One thing that was done, at a Unix time. `by`: who signed it. `releases`: NAME/VERSION that it was about."""

    at_s: float
    what: str
    by: tuple[str, ...]
    why: str = ""
    outcome: str = ""
    releases: tuple[str, ...] = ()


def signed_changes(repository: Repository) -> list[Entry]:
    """Each finished version of the targets and of the root, in the order of their making.

    When one was made is told by its expiry, since each role has one lifetime.

    Raises:
        ReleaseError: there is no repository, or a version cannot be read.
    """
    roots = repository.roots()
    keys = {keyid: name_of(key) for root in roots for keyid, key in root.keys.items()}
    entries = []
    for version, root in enumerate(roots, start=1):
        metadata = read_metadata(repository.metadata_dir / f"{version}.root.json")
        entries.append(
            Entry(
                at_s=(root.expires - LIFETIMES[Root.type]).timestamp(),
                what=f"root {version}: the keys of the repository",
                by=tuple(sorted(keys.get(keyid, keyid[:12]) for keyid in metadata.signatures)),
            )
        )
    newest = repository.newest(Targets.type)
    before: Mapping[str, TargetFile] = {}
    for version in range(1, (newest.signed.version if newest else 0) + 1):
        metadata = read_metadata(repository.metadata_dir / f"{version}.targets.json")
        after: dict[str, TargetFile] = metadata.signed.targets
        changes = target_changes(before, after)
        told = "; ".join(text for text, _ in changes) or "a later expiry"
        entries.append(
            Entry(
                at_s=(metadata.signed.expires - LIFETIMES[Targets.type]).timestamp(),
                what=f"targets {version}: {told}",
                by=tuple(sorted(keys.get(keyid, keyid[:12]) for keyid in metadata.signatures)),
                releases=tuple(name for _, name in changes if name),
            )
        )
        before = after
    return sorted(entries, key=lambda entry: entry.at_s)


def target_changes(before: Mapping[str, TargetFile], after: Mapping[str, TargetFile]) -> list[tuple[str, str]]:
    """What one version of the targets changed, each with the NAME/VERSION that it is about, or none."""
    changes = []
    for path, file in after.items():
        old, name = before.get(path), release_name(path)
        if is_release(path):
            status = read_status(file.custom or {}, path)
            was = read_status(old.custom or {}, path) if old else None
            if was is None:
                changes.append((f"new release {name}", name))
            if status.withdrawn and not (was and was.withdrawn):
                changes.append((f"{name} withdrawn", name))
            if status.security_floor > (was.security_floor if was else 0):
                changes.append((f"no device goes below version {status.security_floor} any more", name))
        elif path == OPERATORS_PATH and old != file:
            changes.append(("other operators" if old else "the first operators", ""))
        elif is_consent(path) and old != file:
            changes.append((f"consent {path}", ""))
    for path in before:
        if path not in after and is_release(path):
            changes.append((f"{release_name(path)} forgotten", release_name(path)))
        elif path not in after and is_consent(path):
            changes.append((f"consent {path} taken back", ""))
    return changes


def ordered(state: Path, history: History) -> list[Entry]:
    """Each command and each order of a rollout that was sent from this state folder.

    Raises:
        RolloutError: a rollout's folder cannot be read.
        UpdateError: what was sent cannot be read.
    """
    entries = [_command(path.read_bytes(), history) for path in sorted((state / "sent").glob("*.message"))]
    for name in rollout_names(state):
        rollout = Rollout(state, name)
        for order in rollout.draft.commands:
            path = rollout.folder / f"{order}.message"
            if path.exists():
                entry = _command(path.read_bytes(), history)
                why = "; ".join(filter(None, (entry.why, rollout.state.reason if order in _HALTS else "")))
                about = (release_name(rollout.plan.release),)
                entries.append(dataclasses.replace(entry, at_s=path.stat().st_mtime, why=why, releases=about))
    return sorted(entries, key=lambda entry: entry.at_s)


def outcome(events: Iterable[Event]) -> str:
    """What devices made of a command, by the last that each said of it."""
    last: dict[str, Event] = {}
    for event in events:
        if event.device not in last or last[event.device].phase not in OUTCOMES or event.phase in OUTCOMES:
            last[event.device] = event
    told = Counter(
        f"{event.phase.replace('_', ' ')}{f' ({event.code})' if event.code else ''}" for event in last.values()
    )
    return ", ".join(f"{count} {what}" for what, count in told.most_common()) or "nothing heard"


def _command(content: bytes, history: History) -> Entry:
    signed, files = read_message(content)
    command = signed.command
    about = () if command.release is None else (release_name(command.release.path),)
    what = f"{command.id}: {' '.join([command.op, *about])}, {addressees(command.aud)}"
    return Entry(
        at_s=command.iat,
        what=what,
        by=_signers(signed, files),
        why=command.reason,
        outcome=outcome(event for _, event in history.events_after(0, [command.seq])),
        releases=about,
    )


def _signers(signed: SignedCommand, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """The operators by the list that rode along: it is the one of that day."""
    names: dict[str, str] = {}
    if OPERATORS_PATH in files:
        try:
            listed = read_document(Operators, files[OPERATORS_PATH], OPERATORS_PATH).operators
        except UpdateError:
            listed = ()
        names = {operator.keyid: operator.name for operator in listed}
    return tuple(names.get(signature.keyid, signature.keyid[:12]) for signature in signed.signatures)
