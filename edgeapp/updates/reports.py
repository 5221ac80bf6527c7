"""What the installer tells the operator, on its way into the spool: nothing is lost while the disk is full for a while.

Owns the making of events and answers from what the device remembers. Belongs to the installer's thread.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from edgeapp.errors import SpoolError
from edgeapp.interfaces import Clock
from edgeapp.system import journal
from edgeapp.types import UpdateHealth
from edgeapp.updates.codes import Refusal
from edgeapp.updates.command import Command
from edgeapp.updates.messages import (
    CommandId,
    CommandResult,
    Event,
    PastUpdate,
    ReleaseId,
    UpdateStatus,
    event_message,
    result_message,
)
from edgeapp.updates.phases import Phase
from edgeapp.updates.state import KeptCommand, Release, State
from edgeapp.updates.trial import Look

_LOGGER = logging.getLogger(__name__)
_MAX_WAITING = 256
_RETRY_S = 10.0
EVENT, RESULT = "event", "cmd-result"
Make = Callable[[int, int], bytes]


class KeepReport(Protocol):
    """Makes a report durable: the spool's `put`."""

    def __call__(self, make: Make, kind: str = ...) -> int:
        """Raises SpoolError."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose reports these are."""

    device: str
    boot: str
    app_version: str


class Reports:
    """Events and answers in the order in which they came about."""

    def __init__(self, identity: Identity, clock: Clock, keep: KeepReport, on_report: Callable[[], None]) -> None:
        """`on_report` is called when a report is in the spool."""
        self._identity, self._clock, self._keep, self._on_report = identity, clock, keep, on_report
        self._waiting: deque[tuple[Make, str]] = deque(maxlen=_MAX_WAITING)
        self._rests_until_ns = 0

    @property
    def all_kept(self) -> bool:
        """Whether everything told is in the spool."""
        return not self._waiting

    def tell(
        self,
        state: State,
        phase: Phase,
        *,
        command: KeptCommand | Command | None,
        code: str = "",
        text: str = "",
        release: Release | None = None,
    ) -> None:
        """Say that `command` has come to `phase`."""
        origin = self._origin()

        def make(seq: int, lost: int) -> bytes:
            return event_message(
                Event(
                    **origin,
                    seq=seq,
                    lost=lost,
                    command=CommandId(id=command.id, seq=command.seq) if command else None,
                    phase=phase.value,  # type: ignore[arg-type]  # all but idle, which nothing comes to
                    code=code,
                    text=text,
                    release=_name(release),
                    active=_name(state.active),
                )
            )

        said = " ".join(filter(None, (f"{command.id}:" if command else "", phase.value, code, text)))
        extra = {**journal.UPDATE_EVENT, "edgeapp_code": code}
        _LOGGER.log(logging.WARNING if code else logging.INFO, "update %s", said, extra=extra)
        self._waiting.append((make, EVENT))
        self.keep()

    def answer(self, state: State, command: Command) -> None:
        """Say where the device stands."""
        origin, about, status = self._origin(), CommandId(id=command.id, seq=command.seq), _status(state)

        def make(seq: int, lost: int) -> bytes:
            return result_message(CommandResult(**origin, seq=seq, lost=lost, command=about, update=status))

        self._waiting.append((make, RESULT))
        self.keep()

    def _origin(self) -> dict[str, Any]:
        """What is known of a report's origin before the spool has numbered it."""
        told = self._identity
        return {"device": told.device, "boot": told.boot, "app": told.app_version, "at": int(self._clock.wall_s())}

    def keep(self) -> None:
        """Put into the spool what waits."""
        if self._clock.monotonic_ns() < self._rests_until_ns:
            return
        while self._waiting:
            make, kind = self._waiting[0]
            try:
                self._keep(make, kind)
            except SpoolError as error:
                self._rests_until_ns = self._clock.monotonic_ns() + round(_RETRY_S * 1e9)
                _LOGGER.error("%s; %d reports of updates wait in memory", error, len(self._waiting))
                return
            self._waiting.popleft()
            self._on_report()


def update_health(
    state: State, look: Look, folders: Sequence[str], trouble: Refusal | None, fetched_bytes: int
) -> UpdateHealth:
    """How updates stand, for the status on the device itself. `folders` are those of the committed models."""
    total_bytes = sum(file.size_bytes for file in state.candidate.files) if state.candidate else 0
    return UpdateHealth(
        phase=state.phase.value,
        active=_title(state.active),
        candidate=_title(state.candidate),
        fetched_pct=100 * fetched_bytes / total_bytes if total_bytes else 0.0,
        trial_s=look.since_begin.seconds if state.phase is Phase.TRIAL and look.since_begin else 0.0,
        is_pinned=state.is_pinned,
        is_safe_mode=not look.situation.running and set(folders) <= set(look.situation.rejected),
        code=trouble.code.name if trouble else "",
        text=trouble.text if trouble else "",
    )


def _title(release: Release | None) -> str:
    return f"{release.name} {release.version}" if release else ""


def _name(release: Release | None) -> ReleaseId | None:
    return ReleaseId(name=release.name, version=release.version, sha256=release.sha256) if release else None


def _status(state: State) -> UpdateStatus:
    return UpdateStatus(
        phase=state.phase.value,
        active=_name(state.active),
        last_good=_name(state.last_good),
        candidate=_name(state.candidate),
        is_pinned=state.is_pinned,
        version_floor=state.version_floor,
        security_floor=state.security_floor,
        blocked=state.blocked,
        history=tuple(
            PastUpdate(
                command_id=each.command_id,
                seq=each.seq,
                version=each.version,
                outcome=each.outcome.value,  # type: ignore[arg-type]  # an end
                code=each.code,
                ended_s=each.ended_s,
            )
            for each in state.history
        ),
    )
