"""What devices tell of an install of release person 7."""

from __future__ import annotations

from edgeapp.updates.messages import CommandId, Event, Phase, ReleaseId


def told(device: str, phase: Phase, code: str = "", *, sha256: str = "a" * 64) -> Event:
    """One event of a device's; `sha256` is the release's."""
    return Event(
        device=device,
        boot="0" * 16,
        seq=1,
        lost=0,
        app="0.1.0",
        at=0,
        command=CommandId(id="install-1", seq=1),
        phase=phase,
        code=code,
        release=ReleaseId(name="person", version=7, sha256=sha256),
        active=None,
    )
