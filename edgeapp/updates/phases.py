"""The phases of an update, as tables, pure.

Owns which step may follow which, how long each phase may last, what has to be taken back in the world when the work
ends there, and where the work goes on when a start finds the device in it. Doing any of that is the installer's; what
is remembered is `state.py`'s. Guarantee: a step that is not in the table raises.

    IDLE → RECEIVED → VERIFIED → [WAIT_WINDOW →] DOWNLOADING → STAGED → SELFTEST → STANDBY → TRIAL → COMMITTED
    other ends: REFUSED, FAILED, CANCELLED, SUPERSEDED, ROLLED_BACK. An end becomes IDLE once it has been reported.
"""

from __future__ import annotations

from enum import Enum, StrEnum

from edgeapp.updates.codes import Code, UpdateError


class Phase(StrEnum):
    """What is being done about the command in work. The value is what stands on disk."""

    IDLE = "idle"
    RECEIVED = "received"  # a genuine command for this device; nothing else about it is known yet
    VERIFIED = "verified"  # its release is genuine, fits this device, and is allowed
    WAIT_WINDOW = "wait_window"  # until the maintenance window opens
    DOWNLOADING = "downloading"
    STAGED = "staged"  # all files are on disk, verified
    SELFTEST = "selftest"  # tried in a child process
    STANDBY = "standby"  # loaded and warm beside the running model
    TRIAL = "trial"  # runs, and is compared with the one of before it
    COMMITTED = "committed"
    REFUSED = "refused"  # it may not be installed here
    FAILED = "failed"  # it could not be installed
    CANCELLED = "cancelled"  # by the operator
    SUPERSEDED = "superseded"  # by a newer command
    ROLLED_BACK = "rolled_back"  # it did worse than the one of before it


class Event(StrEnum):
    """What happens to the command in work."""

    COMMAND = "command"  # a new one, whose signatures hold
    GENUINE = "genuine"  # the release is in the current targets, compatible, above the floors
    UNCHANGED = "unchanged"  # it is the release that is active already
    REFUSED = "refused"
    WINDOW_SHUT = "window_shut"
    WINDOW_OPEN = "window_open"
    FETCHED = "fetched"
    TEST_BEGUN = "test_begun"
    TEST_PASSED = "test_passed"
    SWITCHED = "switched"
    HEALTHY = "healthy"  # the trial is over, and it was good
    FAILED = "failed"  # anything else, the phase's time limit included
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    REPORTED = "reported"  # the end stands in the spool


# Until it is committed, every update can be cancelled, superseded, and fail.
_STOP = {Event.CANCELLED: Phase.CANCELLED, Event.SUPERSEDED: Phase.SUPERSEDED}
_FAIL = {Event.FAILED: Phase.FAILED, **_STOP}
_DONE = {Event.REPORTED: Phase.IDLE}

TRANSITIONS: dict[Phase, dict[Event, Phase]] = {
    Phase.IDLE: {Event.COMMAND: Phase.RECEIVED},
    Phase.RECEIVED: {Event.GENUINE: Phase.VERIFIED, Event.REFUSED: Phase.REFUSED, **_FAIL},
    Phase.VERIFIED: {
        Event.UNCHANGED: Phase.COMMITTED,
        Event.WINDOW_SHUT: Phase.WAIT_WINDOW,
        Event.WINDOW_OPEN: Phase.DOWNLOADING,
        **_FAIL,
    },
    Phase.WAIT_WINDOW: {Event.WINDOW_OPEN: Phase.DOWNLOADING, Event.REFUSED: Phase.REFUSED, **_FAIL},
    Phase.DOWNLOADING: {Event.FETCHED: Phase.STAGED, **_FAIL},
    Phase.STAGED: {Event.TEST_BEGUN: Phase.SELFTEST, **_FAIL},
    Phase.SELFTEST: {Event.TEST_PASSED: Phase.STANDBY, **_FAIL},
    Phase.STANDBY: {Event.SWITCHED: Phase.TRIAL, **_FAIL},
    Phase.TRIAL: {Event.HEALTHY: Phase.COMMITTED, Event.FAILED: Phase.ROLLED_BACK, **_STOP},
    Phase.COMMITTED: _DONE,
    Phase.REFUSED: _DONE,
    Phase.FAILED: _DONE,
    Phase.CANCELLED: _DONE,
    Phase.SUPERSEDED: _DONE,
    Phase.ROLLED_BACK: _DONE,
}

ENDS = frozenset(phase for phase, steps in TRANSITIONS.items() if steps is _DONE)
BUSY = frozenset(Phase) - ENDS - {Phase.IDLE}
# Here the candidate is on disk and can hurt the board: starts that end badly count against it.
AT_RISK = frozenset({Phase.STAGED, Phase.SELFTEST, Phase.STANDBY, Phase.TRIAL})


class Undo(Enum):
    """What has to be taken back in the world when the work ends in a phase without a commit."""

    NOTHING = "nothing"
    STOP_FETCHING = "stop fetching"
    KILL_CHILD = "kill the self-test"
    DROP_CANDIDATE = "have vision drop the candidate"
    SWITCH_BACK = "have vision switch back, then drop the candidate"


# Per busy phase: the time limit in s, counted anew after a restart (the command's own expiry bounds the sum), and what
# its end without a commit takes back. Files need no undoing: what no state refers to is garbage.
LIMITS: dict[Phase, tuple[float, Undo]] = {
    Phase.RECEIVED: (15 * 60, Undo.NOTHING),
    Phase.VERIFIED: (60, Undo.NOTHING),
    Phase.WAIT_WINDOW: (8 * 24 * 3600, Undo.NOTHING),  # a weekly window, and a day
    Phase.DOWNLOADING: (24 * 3600, Undo.STOP_FETCHING),
    Phase.STAGED: (60, Undo.NOTHING),
    Phase.SELFTEST: (30 * 60, Undo.KILL_CHILD),
    Phase.STANDBY: (10 * 60, Undo.DROP_CANDIDATE),
    Phase.TRIAL: (24 * 3600, Undo.SWITCH_BACK),
}

# The second table: where the work goes on when a start, after a power cut or a clean stop, finds the device in a
# phase. Before STAGED nothing is taken on trust: the command is verified anew; what has been fetched is still there.
# Vision has been started anew too, so whatever stood by is gone. An end is reported again.
AFTER_RESTART: dict[Phase, Phase] = {
    Phase.IDLE: Phase.IDLE,
    Phase.RECEIVED: Phase.RECEIVED,
    Phase.VERIFIED: Phase.RECEIVED,
    Phase.WAIT_WINDOW: Phase.RECEIVED,
    Phase.DOWNLOADING: Phase.RECEIVED,
    Phase.STAGED: Phase.STAGED,
    Phase.SELFTEST: Phase.STAGED,
    Phase.STANDBY: Phase.STAGED,
    Phase.TRIAL: Phase.TRIAL,
    **{end: end for end in ENDS},
}

# And where it ends, with which code, once so many starts in a row have ended badly there.
MAX_ATTEMPTS = 3
AFTER_ATTEMPTS: dict[Phase, str] = {
    Phase.RECEIVED: "E_INTERRUPTED",
    Phase.VERIFIED: "E_INTERRUPTED",
    Phase.WAIT_WINDOW: "E_INTERRUPTED",
    Phase.DOWNLOADING: "E_INTERRUPTED",
    Phase.STAGED: "E_LOAD_CRASH",
    Phase.SELFTEST: "E_LOAD_CRASH",
    Phase.STANDBY: "E_LOAD_CRASH",
    Phase.TRIAL: "E_TRIAL_CRASH",
}


def next_phase(phase: Phase, event: Event) -> Phase:
    """The phase after `event`.

    Raises:
        UpdateError: E_STATE: in this phase the event is not allowed; nothing has changed.
    """
    steps = TRANSITIONS[phase]
    if event not in steps:
        raise UpdateError(Code.E_STATE, f"update in {phase}: expected {' or '.join(steps)}, found {event}")
    return steps[event]
