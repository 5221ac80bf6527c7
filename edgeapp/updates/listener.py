"""From published messages to commands that this device follows: the cheap questions, then the gate, one at a time.

Owns which refusals are worth a report. A message that is for others, or comes again with each connect, is none. What
cannot be judged now (too early, no clock, no network) is judged again later. Whoever can publish can make us refuse, so
only so many refusals an hour are reported; the rest is dropped.
"""

from __future__ import annotations

import hashlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeapp.interfaces import Clock
from edgeapp.updates.admission import Admission, Gate, GenuineButRefusedError
from edgeapp.updates.codes import Code, Refusal, UpdateError, hold
from edgeapp.updates.command import SignedCommand, is_repeated, judge, read_message
from edgeapp.updates.facts import ClockReading, Floors
from edgeapp.updates.inbox import Inbox
from edgeapp.updates.jobs import Job
from edgeapp.updates.phases import Phase
from edgeapp.updates.reports import Reports
from edgeapp.updates.state import State

if TYPE_CHECKING:
    from tuf.ngclient.fetcher import FetcherInterface

_LOGGER = logging.getLogger(__name__)
_LATER_S = 60.0
_MAX_TOLD = 20  # refusals an hour
_HOUR_S = 3600.0
# These say that the question could not be asked, not what the answer is.
JUDGED_LATER = frozenset(
    {Code.E_NOT_YET, Code.E_CLOCK, Code.E_NET, Code.E_HTTP, Code.E_DEADLINE, Code.E_SPACE, Code.E_IO}
)
_NO_NEWS = frozenset({Code.E_AUDIENCE})


@dataclass(frozen=True, slots=True)
class Heard:
    """A genuine command for this device as it was published, and why its release may not be installed, if so."""

    content: bytes
    admission: Admission
    refusal: Refusal | None = None


class Listener:
    """Belongs to the installer's thread. What must be fetched to judge a message is fetched in a thread of its own."""

    def __init__(
        self, gate: Gate, inbox: Inbox, clock: Clock, reports: Reports, other: Callable[[], FetcherInterface | None]
    ) -> None:
        """`other` makes what is asked for files that did not come with a message."""
        self._gate, self._inbox, self._clock, self._reports, self._other = gate, inbox, clock, reports, other
        self._job: Job[Heard] | None = None
        self._content = b""
        self._told: dict[str, Code] = {}
        self._told_at_s: deque[float] = deque(maxlen=_MAX_TOLD)
        self.last_refusal: Refusal | None = None

    def listen(self, state: State) -> Heard | None:
        """The next command to follow, or to refuse as a genuine one; None where there is none yet."""
        if self._job is None:
            self._take(state)
        if self._job is None or not self._job.has_ended:
            return None
        job, self._job = self._job, None
        try:
            return job.result()
        except Exception as error:
            self._refuse(self._content, _reason(error), state)
            return None

    def admit_again(self, content: bytes, state: State) -> Job[Heard]:
        """Judge once more the command in work, which is known already: after a restart nothing is taken on trust."""
        assert state.command is not None, "a command is in work"
        return self._begin(content, replace(state.floors, seq_seen=state.command.seq - 1))

    def _take(self, state: State) -> None:
        now_s = self._clock.monotonic_ns() / 1e9
        while self._job is None and (content := self._inbox.take(now_s)) is not None:
            try:
                signed, _ = read_message(content)
                hold(judge(signed, self._gate.device, state.floors, self._now()))
            except Exception as error:
                self._refuse(content, _reason(error), state)
                continue
            self._content = content
            self._job = self._begin(content, state.floors)

    def _begin(self, content: bytes, floors: Floors) -> Job[Heard]:
        now, gate, other = self._now(), self._gate, self._other

        def admit(_: object) -> Heard:
            try:
                return Heard(content, gate.admit(content, floors, now, other()))
            except GenuineButRefusedError as error:
                return Heard(content, error.admission, error.reason)

        return Job("admission", admit, self._inbox.wake)

    def _refuse(self, content: bytes, refusal: Refusal, state: State) -> None:
        signed = _read(content)
        is_old = signed is not None and (signed.command.seq < state.seq_seen or is_repeated(signed, state.floors))
        if refusal.code in _NO_NEWS or (refusal.code is Code.E_REPLAY and is_old):
            _LOGGER.debug("%s: %s", refusal.code.name, refusal.text)
            return
        if refusal.code in JUDGED_LATER:
            self._inbox.keep(content, self._clock.monotonic_ns() / 1e9 + self._wait_s(signed))
        digest = hashlib.sha256(content).hexdigest()
        if self._told.get(digest) is not refusal.code and self._may_tell():
            self._told = {**dict(list(self._told.items())[-_MAX_TOLD:]), digest: refusal.code}
            self.last_refusal = refusal
            self._reports.tell(
                state,
                Phase.REFUSED,
                command=signed.command if signed else None,
                code=refusal.code.name,
                text=refusal.text,
            )

    def _wait_s(self, signed: SignedCommand | None) -> float:
        """Until it may be judged again: when its time has come, at least; a minute where that is not the matter."""
        early_s = signed.command.not_before - self._clock.wall_s() if signed else 0.0
        return early_s if early_s > 0 else _LATER_S

    def _may_tell(self) -> bool:
        now_s = self._clock.monotonic_ns() / 1e9
        if len(self._told_at_s) == _MAX_TOLD and now_s - self._told_at_s[0] < _HOUR_S:
            return False
        self._told_at_s.append(now_s)
        return True

    def _now(self) -> ClockReading:
        return ClockReading(self._clock.wall_s(), self._clock.is_synchronised())


def _reason(error: Exception) -> Refusal:
    """Why a message is refused. It is retained: what it makes us stumble over must not end us at each start."""
    if isinstance(error, UpdateError):
        return error.reason
    _LOGGER.error("a message fails unexpectedly", exc_info=error)
    return Refusal(Code.E_PARSE, f"message: expected a command, found what fails with {type(error).__name__}")


def _read(content: bytes) -> SignedCommand | None:
    try:
        return read_message(content)[0]
    except Exception:  # it was told before
        return None
