"""What is in work, as the operator and the release's signers wrote it."""

from __future__ import annotations

from dataclasses import dataclass

from edgeapp.updates.command import Command, read_message
from edgeapp.updates.release import ReleaseManifest, read_release
from edgeapp.updates.store import Store


@dataclass(frozen=True, slots=True)
class Work:
    """An install: what was commanded, and the release that it names."""

    command: Command
    release: ReleaseManifest


def read_again(store: Store) -> Work:
    """What is in work, from what was kept of it, since a restart came between.

    Raises:
        UpdateError: it cannot be read.
    """
    kept, candidate = store.state.command, store.state.candidate
    assert kept is not None, "a phase in work has a command"
    assert candidate is not None, "a phase from VERIFIED on has a candidate"
    signed, _ = read_message(store.read(kept.sha256))
    path = f"releases/{candidate.name}/{candidate.version}.json"
    return Work(signed.command, read_release(store.read(candidate.sha256), path))
