"""What a step means for what is remembered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeapp.updates import changes
from edgeapp.updates.codes import UpdateError
from edgeapp.updates.facts import Floors
from edgeapp.updates.phases import AT_RISK, BUSY, Event, Phase
from edgeapp.updates.state import FRESH, MAX_BLOCKED, MAX_HISTORY, KeptCommand, Release, State
from tests.fakes.power.story import NOW_S, goods

WAY = (
    Event.WINDOW_SHUT,
    Event.WINDOW_OPEN,
    Event.FETCHED,
    Event.TEST_BEGUN,
    Event.TEST_PASSED,
    Event.SWITCHED,
)


def release(version: int) -> Release:
    return goods(version).release


def command(seq: int) -> KeptCommand:
    return KeptCommand(id=f"command-{seq}", seq=seq, sha256=f"{seq:064x}")


def on_the_way(state: State, version: int, until: Phase = Phase.TRIAL) -> State:
    state = changes.receive(state, command(state.seq_seen + 1))
    if state.phase is until:
        return state
    state = changes.accept(state, release(version))
    for event in WAY:
        if state.phase is until:
            break
        state = changes.advance(state, event)
    return state


def installed(state: State, version: int) -> State:
    return changes.report(changes.end(on_the_way(state, version), Event.HEALTHY, code="", now_s=NOW_S))


def test_a_release_becomes_active_at_its_commit_and_no_earlier() -> None:
    before = installed(FRESH, 1)
    for phase in sorted(BUSY, key=list(Phase).index):
        state = on_the_way(before, 2, until=phase)
        assert state.phase is phase
        assert (state.active, state.last_good, state.version_floor) == (release(1), None, 1)
    after = installed(before, 2)
    assert (after.active, after.last_good, after.candidate, after.version_floor) == (release(2), release(1), None, 2)
    assert after.history[-1].outcome is Phase.COMMITTED


@pytest.mark.parametrize("phase", sorted(BUSY))
@pytest.mark.parametrize("event", [Event.FAILED, Event.CANCELLED, Event.SUPERSEDED])
def test_whatever_ends_an_update_leaves_the_active_release_and_the_floors(phase: Phase, event: Event) -> None:
    before = installed(installed(FRESH, 1), 2)
    after = changes.end(on_the_way(before, 3, until=phase), event, code="E_DEADLINE", now_s=NOW_S)
    assert (after.active, after.last_good, after.version_floor) == (release(2), release(1), 2)
    assert (after.candidate, after.command, after.attempts) == (None, None, 0)
    is_blocked = phase is Phase.TRIAL and event is Event.FAILED
    assert after.blocked == ((release(3).sha256,) if is_blocked else ())
    assert (after.history[-1].command_id, after.history[-1].code) == ("command-3", "E_DEADLINE")


def test_a_rollback_keeps_the_floor_and_the_release_of_before_as_last_good() -> None:
    state = installed(installed(installed(FRESH, 1), 2), 1)
    assert (state.active, state.last_good, state.version_floor) == (release(1), release(2), 2)


def test_a_blocked_release_is_no_longer_the_last_good_one() -> None:
    before = installed(installed(FRESH, 1), 2)
    after = changes.end(on_the_way(before, 1), Event.FAILED, code="E_TRIAL_LATENCY", now_s=NOW_S)
    assert (after.active, after.last_good, after.blocked) == (release(2), None, (release(1).sha256,))


def test_the_release_that_is_active_already_is_committed_without_a_trial() -> None:
    before = installed(installed(FRESH, 1), 2)
    state = on_the_way(before, 2, until=Phase.VERIFIED)
    after = changes.end(state, Event.UNCHANGED, code="", now_s=NOW_S)
    assert (after.phase, after.active, after.last_good) == (Phase.COMMITTED, release(2), release(1))


@pytest.mark.parametrize("seq", [0, 4, 5])
def test_a_command_that_is_not_newer_is_refused(seq: int) -> None:
    state = changes.see(FRESH, command(5))
    for change in (changes.see, changes.receive):
        with pytest.raises(UpdateError, match="over 5") as raised:
            change(state, command(seq))
        assert raised.value.code == "E_REPLAY"
    assert changes.receive(state, command(6)).seq_seen == 6


def test_an_end_is_no_step_on_the_way_and_a_step_no_end() -> None:
    state = on_the_way(FRESH, 1)
    with pytest.raises(UpdateError, match="step on the way"):
        changes.advance(state, Event.HEALTHY)
    with pytest.raises(UpdateError, match="an end"):
        changes.end(on_the_way(FRESH, 1, until=Phase.STAGED), Event.TEST_BEGUN, code="", now_s=NOW_S)


def test_floors_rise_and_never_fall() -> None:
    state = changes.raise_floors(FRESH, Floors(security_floor=3, time_floor_s=100))
    state = changes.raise_floors(state, Floors(security_floor=2, time_floor_s=101))
    assert (state.security_floor, state.time_floor_s) == (3, 101)


def test_history_and_blocked_releases_are_bounded_and_the_newest_stay() -> None:
    state = FRESH
    for version in range(1, MAX_BLOCKED + 3):
        ended = changes.end(on_the_way(state, version), Event.FAILED, code="E_TRIAL_CRASH", now_s=version)
        state = changes.report(ended)
    assert len(state.history) == MAX_HISTORY
    assert state.history[-1].version == MAX_BLOCKED + 2
    assert len(state.blocked) == MAX_BLOCKED
    assert state.blocked[-1] == release(MAX_BLOCKED + 2).sha256


@pytest.mark.parametrize("phase", sorted(Phase))
def test_running_well_forgets_bad_starts_unless_the_candidate_is_at_risk(phase: Phase) -> None:
    state = replace(FRESH, phase=phase, attempts=2)
    assert changes.prove_healthy(state).attempts == (2 if phase in AT_RISK else 0)


def test_a_clean_stop_undoes_the_count_of_its_start() -> None:
    for attempts in range(9):
        state = replace(FRESH, attempts=attempts)
        assert changes.stop_cleanly(changes.start(state)) == state
    assert changes.stop_cleanly(FRESH) == FRESH


def test_the_running_process_is_the_first_attempt_of_a_candidate() -> None:
    assert on_the_way(FRESH, 1, until=Phase.STAGED).attempts == 1
    assert on_the_way(FRESH, 1, until=Phase.STANDBY).attempts == 1
    assert on_the_way(FRESH, 1, until=Phase.TRIAL).attempts == 1


def test_a_pin_lasts() -> None:
    state = changes.pin(FRESH, is_pinned=True)
    assert installed(state, 1).is_pinned
    assert not changes.pin(state, is_pinned=False).is_pinned
