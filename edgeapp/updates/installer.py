"""The way of an update through a device: each phase has one step that carries it on, as `_STEPS` says.

    command        genuine, and for this device            `_follow`
    verified       signatures, release, compatibility      `_receive`; after a restart `_verify_again`
    window         the operator's hours have come          `_choose_time`
    downloaded     what was not here is, and verified      `_fetch`
    self-tested    in a child process                      `_begin_test`, `_watch_test`
    standing by    loaded beside the running model         `_watch_standby`
    trial          runs, held against the one before       `_watch_trial`
    committed      or rolled back                          `_end`

Owns the store, and so what is remembered; all of it belongs to one thread, `run`. What lasts (fetching, the self-test)
runs as a job that is polled; vision is the pipeline's, and is spoken to through a desk where nobody waits. Each step is
remembered before it is acted upon, so that a power cut anywhere leads to the second table of `phases.py`. Leaves the
rules to `phases.py`, `changes.py`, `trial.py` and the gate, who may command anything to `listener.py`, and which models
a phase asks for to `wish.py`.

Guarantees: whatever becomes of an update, the device goes on with a model that was committed, or the factory's; every
end is reported before the next command begins.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence

from edgeapp.interfaces import Clock
from edgeapp.manifest import MANIFEST_NAME, FileSpec, manifest_json
from edgeapp.system.heart import Heart
from edgeapp.types import UpdateHealth
from edgeapp.updates import changes
from edgeapp.updates.codes import Code, Refusal, UpdateError, hold
from edgeapp.updates.command import window_opens_in_s
from edgeapp.updates.download import Blob, download_all
from edgeapp.updates.inbox import Inbox
from edgeapp.updates.jobs import Job
from edgeapp.updates.listener import JUDGED_LATER, Heard, Listener
from edgeapp.updates.other_commands import answer, judge_rollback
from edgeapp.updates.phases import AT_RISK, BUSY, ENDS, LIMITS, Event, Phase
from edgeapp.updates.release import check_tensors, release_files
from edgeapp.updates.reports import Reports, update_health
from edgeapp.updates.state import KeptCommand, Release, State
from edgeapp.updates.store import Store
from edgeapp.updates.tools import Desk, SelfTested, Tools
from edgeapp.updates.trial import Conduct, is_over, judge_trial
from edgeapp.updates.wish import committed_folders, folders_at_start, wish
from edgeapp.updates.work import Work, read_again

_LOGGER = logging.getLogger(__name__)
_TURN_S = 0.25
_REST_S = 10.0  # after the disk refused something
_HEALTHY_S = 60.0  # a start that lasted so long has not ended badly
_SWITCH_LIMIT_S = 60.0


class Installer:
    """The one that changes which model this device runs. `run` is one thread's; `health` may be called from any."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        inbox: Inbox,
        listener: Listener,
        reports: Reports,
        desk: Desk,
        tools: Tools,
    ) -> None:
        self._store, self._clock, self._inbox, self._listener = store, clock, inbox, listener
        self._reports, self._desk, self._tools = reports, desk, tools
        self._work: Work | None = None
        self._next: Heard | None = None  # waits until what is in work has ended
        self._folders: tuple[str, ...] = (str(store.folder(None)),)  # the committed models in the order to try them
        self._entered_s = self._fetch_at_s = self._rests_until_s = 0.0
        self._fetching: Job[bool] | None = None
        self._testing: Job[SelfTested] | None = None
        self._admitting: Job[Heard] | None = None
        self._fetched_bytes = 0
        self._lately: Conduct | None = None  # before the candidate was loaded
        self._crashes = 0
        self._is_end_told = False
        self._last_trouble: Refusal | None = None

    def run(self, stop: threading.Event, heart: Heart) -> None:
        """Work until told to stop; a stop in the middle of an update counts for nothing, and it goes on afterwards."""
        self._start()
        began_s = self._now_s()
        while not stop.is_set():
            heart.beat()
            self._reports.keep()
            if self._now_s() >= self._rests_until_s:
                self._turn()
                self._note_health(began_s)
            self._inbox.wait(_TURN_S)
        self._stop_jobs()
        self._try_commit(changes.stop_cleanly(self._store.state))

    def health(self) -> UpdateHealth:
        """How updates stand, for the status."""
        trouble = self._last_trouble or self._listener.last_refusal
        return update_health(self._store.state, self._desk.look(), self._folders, trouble, self._fetched_bytes)

    # -- the way of an update, phase by phase

    def _turn(self) -> None:
        """One look at what is to be done."""
        try:
            if self._store.state.phase in ENDS:
                self._finish()
                return
            if self._next is None and self._admitting is None:
                self._next = self._listener.listen(self._store.state)
            if self._next is not None:
                self._follow(self._next)
            phase = self._store.state.phase
            if phase in BUSY:
                self._check_time(phase)
                _STEPS[phase](self)
        except UpdateError as error:
            self._fail(error.reason)

    def _follow(self, heard: Heard) -> None:
        """A genuine command has come."""
        state, command = self._store.state, heard.admission.signed.command
        state = changes.raise_floors(state, heard.admission.floors)
        refusal = heard.refusal
        if command.op == "install" and state.is_pinned and refusal is None:
            refusal = Refusal(Code.E_PINNED, "expected an unpinned device, found it pinned")
        if command.op == "rollback":
            refusal = judge_rollback(state, command, heard.admission.withdrawn)
        if refusal is None and state.phase in BUSY and command.op in ("install", "rollback", "cancel"):
            is_cancel = command.op == "cancel"
            self._end(Event.CANCELLED if is_cancel else Event.SUPERSEDED, None, f"by command {command.id}")
            return  # it is followed once that end is reported
        if command.op == "install" and refusal is None:
            self._receive(heard)
        else:
            self._answer(heard, refusal)
            self._next = None

    def _receive(self, heard: Heard) -> None:
        """RECEIVED, then VERIFIED: the gate has judged both at once."""
        signed = heard.admission.signed
        message = self._store.keep(heard.content)
        kept = KeptCommand(id=signed.command.id, seq=signed.command.seq, sha256=message)
        state = changes.raise_floors(changes.receive(self._store.state, kept), heard.admission.floors)
        self._commit(state)
        self._next = None
        self._accept(heard)

    def _accept(self, heard: Heard) -> None:
        command, release = heard.admission.signed.command, heard.admission.release
        assert release is not None, "an install names a release"
        model = manifest_json(release.model).encode()
        spec = FileSpec(file=MANIFEST_NAME, sha256=self._store.keep(model), size_bytes=len(model))
        candidate = Release(
            name=release.model.name,
            version=release.model.version,
            sha256=self._store.keep(heard.admission.manifest),
            files=(*release_files(release), spec),
        )
        self._work = Work(command, release)
        self._commit(changes.accept(self._store.state, candidate))

    def _verify_again(self) -> None:
        """RECEIVED, found so after a restart."""
        state = self._store.state
        if self._admitting is None:
            assert state.command is not None, "a phase in work has a command"
            self._admitting = self._listener.admit_again(self._store.read(state.command.sha256), state)
        if not self._admitting.has_ended:
            return
        job, self._admitting = self._admitting, None
        try:
            heard = job.result()
        except UpdateError as error:
            if error.reason.code not in JUDGED_LATER:
                self._end(Event.REFUSED, error.reason)
                return
            self._rests_until_s = self._now_s() + _REST_S  # until the phase's time is over
            return
        self._try_commit(changes.raise_floors(state, heard.admission.floors))
        if heard.refusal:
            self._end(Event.REFUSED, heard.refusal)
        else:
            self._accept(heard)

    def _choose_time(self) -> None:
        """VERIFIED and WAIT_WINDOW."""
        state, command = self._store.state, self._known_work().command
        if state.active and state.candidate and state.active.sha256 == state.candidate.sha256:
            self._end(Event.UNCHANGED, None, "it is active already")
        elif window_opens_in_s(command.window, self._clock.wall_s()) == 0:
            self._commit(changes.advance(state, Event.WINDOW_OPEN))
            self._fetch_at_s = self._now_s() + self._tools.wait_s(command.id)
        elif state.phase is Phase.VERIFIED:
            self._commit(changes.advance(state, Event.WINDOW_SHUT))

    def _fetch(self) -> None:
        """DOWNLOADING: what is not here yet, each file from wherever it can be had."""
        missing = [file for file in self._candidate().files if not self._store.has(file.sha256)]
        if missing and self._fetching is None and self._now_s() >= self._fetch_at_s:
            self._fetching = Job("download", self._fetcher(missing), self._inbox.wake)
        if self._fetching is not None:
            if not self._fetching.has_ended:
                return
            job, self._fetching = self._fetching, None
            job.result()
            for file in missing:
                self._store.adopt(file)
            missing = []
        if not missing:
            self._commit(changes.advance(self._store.state, Event.FETCHED))

    def _fetcher(self, missing: Sequence[FileSpec]) -> Callable[[threading.Event], bool]:
        """What brings the missing files to their parts, in a thread of its own."""
        sources = self._tools.sources(self._known_work().command.urls)
        parts = [(Blob(file.sha256, file.size_bytes), self._store.part(file.sha256)) for file in missing]
        here_bytes = sum(file.size_bytes for file in self._candidate().files if file not in missing)
        deadline_s = self._now_s() + LIMITS[Phase.DOWNLOADING][0]

        def note(count: int) -> None:
            self._fetched_bytes = here_bytes + count

        return lambda stop: download_all(parts, sources, deadline_s=deadline_s, stop=stop, on_progress=note)

    def _begin_test(self) -> None:
        """STAGED."""
        self._commit(changes.advance(self._store.state, Event.TEST_BEGUN))
        folder = self._store.folder(self._candidate())
        budget = self._tools.budget(self._known_work().release.budgets)
        self_test = self._tools.self_test
        self._testing = Job("self-test", lambda stop: self_test(folder, budget, stop), self._inbox.wake)

    def _watch_test(self) -> None:
        """SELFTEST, in a child process."""
        assert self._testing is not None, "the phase began with a test"
        if not self._testing.has_ended:
            return
        job, self._testing = self._testing, None
        tested = job.result()
        if tested.code:
            if tested.code in Code.__members__:
                raise UpdateError(Code[tested.code], tested.text)
            raise UpdateError(Code.E_LOAD, f"{tested.code} {tested.text}")
        hold(check_tensors(self._known_work().release, tested.tensors))
        look = self._desk.look()
        self._lately = look.lately if look.situation.running else None
        self._crashes = look.crashes
        self._commit(changes.advance(self._store.state, Event.TEST_PASSED))
        self._line_up()

    def _watch_standby(self) -> None:
        """STANDBY: vision loads the candidate beside the running model; where none runs, it begins with it."""
        look, folder = self._desk.look(), str(self._store.folder(self._candidate()))
        if look.crashes > self._crashes:
            self._give_up(Refusal(Code.E_LOAD_CRASH, "vision died while it loaded the model"))
        elif folder in look.situation.rejected:
            code, text = look.situation.rejected[folder]
            raise UpdateError(Code.E_LOAD, f"vision: {code}: {text}")
        elif look.situation.beside == folder or set(self._folders) <= set(look.situation.rejected):
            self._commit(changes.begin_trial(self._store.state, self._lately))
            self._line_up()

    def _watch_trial(self) -> None:
        """TRIAL: the candidate runs, and is held against what ran before it."""
        look, folder = self._desk.look(), str(self._store.folder(self._candidate()))
        limits = self._known_work().release.probation
        if folder in look.situation.rejected:
            code, text = look.situation.rejected[folder]
            self._end(Event.FAILED, Refusal(Code.E_TRIAL_CRASH, f"vision: {code}: {text}"))
        elif look.measured != folder or look.since_begin is None:
            if self._now_s() - self._entered_s > _SWITCH_LIMIT_S:
                text = f"expected vision to switch within {_SWITCH_LIMIT_S:.0f} s, found that it did not"
                self._end(Event.FAILED, Refusal(Code.E_TRIAL_STARVED, text))
        elif refusal := judge_trial(self._store.state.before_trial, look.since_begin, limits, look.agreement):
            self._end(Event.FAILED, refusal)
        elif is_over(look.since_begin, limits):
            self._end(Event.HEALTHY, None, f"{look.since_begin.inferred} frames in {look.since_begin.seconds:.0f} s")

    def _end(self, event: Event, refusal: Refusal | None, text: str = "") -> None:
        """End the work; then take back in the world what was begun."""
        code = refusal.code.name if refusal else ""
        self._close(changes.end(self._store.state, event, code=code, now_s=self._wall_s()), refusal, text)

    def _give_up(self, refusal: Refusal) -> None:
        """End the work, and never begin it again with this release."""
        now_s = self._wall_s()
        self._close(changes.give_up(self._store.state, code=refusal.code.name, now_s=now_s), refusal, "")

    def _close(self, state: State, refusal: Refusal | None, text: str) -> None:
        about, command = self._store.state.candidate, self._store.state.command
        self._store.commit(state)
        self._stop_jobs()
        self._work, self._lately = None, None
        if state.phase is Phase.COMMITTED:
            self._folders = committed_folders(self._store)
        self._line_up()
        self._last_trouble = refusal
        text = refusal.text if refusal else text
        self._reports.tell(state, state.phase, command=command, code=state.history[-1].code, text=text, release=about)
        self._is_end_told = True

    def _finish(self) -> None:
        """An end becomes IDLE once its report is in the spool. After a restart it is reported again."""
        state = self._store.state
        if not self._is_end_told:
            ending = state.history[-1]
            command = KeptCommand(id=ending.command_id, seq=ending.seq, sha256="0" * 64)
            self._reports.tell(state, state.phase, command=command, code=ending.code, text="before a restart")
            self._is_end_told = True
        if self._reports.all_kept:
            self._store.commit(changes.report(state))
            self._is_end_told = False
            self._store.collect_garbage()

    def _fail(self, refusal: Refusal) -> None:
        """A step could not be done."""
        try:
            if self._store.state.phase in BUSY:
                self._end(Event.FAILED, refusal)
                return
        except UpdateError as error:
            refusal = error.reason
        self._last_trouble = refusal
        self._rests_until_s = self._now_s() + _REST_S
        _LOGGER.error("update: %s: %s; tried again in %.0f s", refusal.code.name, refusal.text, _REST_S)

    def _answer(self, heard: Heard, refusal: Refusal | None) -> None:
        """A command that is answered at once, in whatever phase."""
        signed = heard.admission.signed
        seen = KeptCommand(id=signed.command.id, seq=signed.command.seq, sha256=signed.sha256)
        state = self._store.state
        if refusal:
            code = refusal.code.name
            state, phase = changes.conclude(state, seen, Phase.REFUSED, code=code, now_s=self._wall_s()), Phase.REFUSED
        else:
            state, phase = answer(state, seen, signed.command, now_s=self._wall_s())
        has_moved = state.active != self._store.state.active
        self._store.commit(changes.raise_floors(state, heard.admission.floors))
        if has_moved:
            self._folders = committed_folders(self._store)
            self._line_up()
        if signed.command.op == "status":
            self._reports.answer(self._store.state, signed.command)
        self._last_trouble = refusal
        code, text = (refusal.code.name, refusal.text) if refusal else ("", "")
        self._reports.tell(self._store.state, phase, command=seen, code=code, text=text)

    def _start(self) -> None:
        start = self._store.start(self._wall_s())
        for finding in start.findings:
            self._reports.tell(self._store.state, Phase.FAILED, command=None, code=finding.code, text=str(finding))
        self._folders = folders_at_start(start.models)
        self._entered_s = self._now_s()
        self._line_up()

    def _commit(self, state: State) -> None:
        """Remember a step on the way, and say so."""
        self._store.commit(state)
        self._entered_s = self._now_s()
        self._reports.tell(state, state.phase, command=state.command, release=state.candidate)

    def _try_commit(self, state: State) -> None:
        try:
            self._store.commit(state)
        except UpdateError as error:
            _LOGGER.error("update: %s: %s", error.code, error)

    def _line_up(self) -> None:
        """Wish for the models that the phase asks for."""
        self._desk.line_up(wish(self._store, self._folders, self._desk))

    def _check_time(self, phase: Phase) -> None:
        """Hold a phase to its time limit, and what comes before the trial to the command's own."""
        limit_s = LIMITS[phase][0]
        if phase is not Phase.TRIAL and self._now_s() - self._entered_s > limit_s:
            raise UpdateError(Code.E_DEADLINE, f"{phase}: expected an end within {limit_s:.0f} s, found none")
        if phase in _EXPIRING and self._clock.wall_s() >= self._known_work().command.exp:
            raise UpdateError(Code.E_EXPIRED, f"{phase}: expected an end before the command's, found it over")

    def _known_work(self) -> Work:
        if self._work is None:
            self._work = read_again(self._store)
        return self._work

    def _candidate(self) -> Release:
        candidate = self._store.state.candidate
        assert candidate is not None, "a phase from VERIFIED on has a candidate"
        return candidate

    def _stop_jobs(self) -> None:
        for job in (self._fetching, self._testing, self._admitting):
            if job is not None:
                job.stop()
        self._fetching = self._testing = self._admitting = None
        self._fetched_bytes = 0

    def _note_health(self, began_s: float) -> None:
        state = self._store.state
        is_due = state.attempts and state.phase not in AT_RISK and self._now_s() - began_s > _HEALTHY_S
        if is_due and (self._desk.look().situation.running is not None or not self._folders):
            self._try_commit(changes.prove_healthy(state))

    def _now_s(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def _wall_s(self) -> int:
        return max(0, int(self._clock.wall_s()))


_EXPIRING = frozenset({Phase.VERIFIED, Phase.WAIT_WINDOW, Phase.DOWNLOADING})
_STEPS: Mapping[Phase, Callable[[Installer], None]] = {
    Phase.RECEIVED: Installer._verify_again,
    Phase.VERIFIED: Installer._choose_time,
    Phase.WAIT_WINDOW: Installer._choose_time,
    Phase.DOWNLOADING: Installer._fetch,
    Phase.STAGED: Installer._begin_test,
    Phase.SELFTEST: Installer._watch_test,
    Phase.STANDBY: Installer._watch_standby,
    Phase.TRIAL: Installer._watch_trial,
}
