"""Whatever a start finds, it has an answer, and no way of answering goes round for ever."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from edgeapp.updates import changes
from edgeapp.updates.codes import Code, UpdateError
from edgeapp.updates.phases import AFTER_ATTEMPTS, AT_RISK, BUSY, MAX_ATTEMPTS, Event, Phase
from edgeapp.updates.recovery import SLOTS, Found, Level, Plan, recover
from edgeapp.updates.state import FRESH, LEVELS, KeptCommand, Release, State
from tests.fakes.power.story import NOW_S, goods

ONE, TWO, THREE = (goods(version).release for version in (1, 2, 3))
COMMAND = KeptCommand(id="command", seq=1, sha256="c" * 64)
LOST = UpdateError(Code.E_STATE_LOST, "torn")


def found(
    state: State | UpdateError | None, other: State | UpdateError | None = None, *, intact: object = None
) -> Found:
    states = [each for each in (state, other) if isinstance(each, State)]
    blobs = frozenset[str]().union(*(each.blobs for each in states))
    whole = blobs if intact is None else intact
    assert isinstance(whole, frozenset)
    files = frozenset(f"blobs/{sha256}" for sha256 in blobs)
    return Found(dict(zip(SLOTS, (state, other), strict=True)), files, whole)


def every_state() -> Iterator[State]:
    """Each phase, with each number of attempts, with and without each release."""
    for phase, attempts, active, last_good in itertools.product(
        Phase, range(LEVELS * MAX_ATTEMPTS + 1), (None, ONE), (None, TWO)
    ):
        is_busy = phase in BUSY
        for candidate in {THREE if phase in AT_RISK else None, THREE if is_busy else None}:
            yield replace(
                FRESH,
                phase=phase,
                attempts=attempts,
                active=active,
                last_good=last_good,
                candidate=candidate,
                command=COMMAND if is_busy else None,
            )


def expected_active(state: State, intact: frozenset[str]) -> Release | None:
    committed = (state.active, state.last_good) if state.active else (None,)
    return next((each for each in committed if each and each.blobs <= intact), None)


@pytest.mark.parametrize(
    "gone", [gone for size in range(4) for gone in itertools.combinations((ONE, TWO, THREE), size)]
)
def test_only_what_is_whole_and_committed_or_in_its_trial_ever_runs(gone: tuple[Release, ...]) -> None:
    for state in every_state():
        gone_blobs = {file.sha256 for each in gone for file in each.files if file.file == "model.tflite"}
        intact = state.blobs - gone_blobs
        plan = recover(found(state, intact=intact), NOW_S)
        assert plan.state.active == expected_active(state, intact)
        for level, release in plan.models:
            assert (release is None) == (level is Level.FACTORY)
            if release is None:
                continue
            assert release.blobs <= intact
            is_trial = plan.state.phase is Phase.TRIAL
            known = {Level.ACTIVE: plan.state.active, Level.LAST_GOOD: plan.state.last_good}
            assert release == (plan.state.candidate if is_trial and level is Level.CANDIDATE else known[level])
        if state.attempts < MAX_ATTEMPTS:
            assert plan.models[-1] == (Level.FACTORY, None)


def test_bad_starts_in_a_row_end_the_update_then_lead_down_to_safe_mode_and_stay_there() -> None:
    for state in every_state():
        plans = bad_starts(state, 2 * LEVELS * MAX_ATTEMPTS)
        busy = [plan.state.phase in BUSY for plan in plans]
        assert busy == sorted(busy, reverse=True), "a start put an update back to work"
        assert sum(busy) <= MAX_ATTEMPTS
        assert plans[-1].models == ()
        calm = [len(plan.models) for plan in plans if plan.state.phase not in BUSY]
        assert calm == sorted(calm, reverse=True), "a start went back up although nothing went well"


def test_one_start_that_goes_well_leads_out_of_safe_mode() -> None:
    for state in every_state():
        last = bad_starts(state, 2 * LEVELS * MAX_ATTEMPTS)[-1]
        plan = recover(found(changes.prove_healthy(last.state)), NOW_S)
        assert plan.models[0] == ((Level.ACTIVE, state.active) if state.active else plan.models[0])
        assert plan.models[-1] == (Level.FACTORY, None)


@pytest.mark.parametrize("phase", sorted(AT_RISK))
def test_three_bad_starts_end_the_work_and_block_the_release(phase: Phase) -> None:
    state = busy_in(phase, attempts=1)
    plans = bad_starts(state, MAX_ATTEMPTS)
    assert [plan.state.phase in BUSY for plan in plans] == [True, True, False]
    if phase is Phase.TRIAL:
        assert [plan.models[0][0] for plan in plans] == [Level.CANDIDATE, Level.CANDIDATE, Level.ACTIVE]
    last = plans[-1].state
    assert last.phase is (Phase.ROLLED_BACK if phase is Phase.TRIAL else Phase.FAILED)
    assert (last.blocked, last.history[-1].code) == ((THREE.sha256,), AFTER_ATTEMPTS[phase])
    assert (last.active, last.candidate) == (ONE, None)


def test_a_clean_restart_in_a_trial_burns_no_attempt() -> None:
    state = busy_in(Phase.TRIAL, attempts=1)
    for _ in range(20):
        plan = recover(found(changes.stop_cleanly(state)), NOW_S)
        assert plan.models[0] == (Level.CANDIDATE, THREE)
        state = plan.state
    assert state.attempts == 1


def test_a_device_that_is_switched_off_every_evening_keeps_waiting_for_its_window() -> None:
    state = busy_in(Phase.WAIT_WINDOW, attempts=1)
    for _ in range(20):
        plan = recover(found(changes.prove_healthy(state)), NOW_S)
        assert plan.state.phase is Phase.RECEIVED
        state = replace(plan.state, phase=Phase.WAIT_WINDOW)


def test_the_newer_of_two_states_counts() -> None:
    old, new = replace(FRESH, generation=6, active=ONE), replace(FRESH, generation=7, active=TWO)
    for slots in ((old, new), (new, old)):
        assert recover(found(*slots), NOW_S).state.active == TWO


def test_a_torn_state_leaves_the_other_one_in_force() -> None:
    state = replace(FRESH, generation=6, active=ONE)
    plan = recover(found(LOST, state), NOW_S)
    assert (plan.state.active, [each.code for each in plan.findings]) == (ONE, ["E_STATE_LOST"])


def test_with_both_states_lost_the_factory_model_runs_and_it_is_told() -> None:
    plan = recover(found(LOST, LOST), NOW_S)
    assert plan.models == ((Level.FACTORY, None),)
    assert {each.code for each in plan.findings} == {"E_STATE_LOST"}


def test_with_both_states_gone_but_blobs_there_it_is_told() -> None:
    lost = Found(dict.fromkeys(SLOTS), frozenset({"blobs/" + "a" * 64}), frozenset())
    assert [each.code for each in recover(lost, NOW_S).findings] == ["E_STATE_LOST"]


def test_a_device_out_of_the_box_runs_the_factory_model_and_complains_of_nothing() -> None:
    plan = recover(Found(dict.fromkeys(SLOTS), frozenset({".state.a.new"}), frozenset()), NOW_S)
    assert (plan.models, plan.findings, plan.remove) == (((Level.FACTORY, None),), (), (".state.a.new",))


def test_a_damaged_active_release_gives_way_to_the_last_good_one() -> None:
    state = replace(FRESH, active=TWO, last_good=ONE)
    plan = recover(found(state, intact=ONE.blobs), NOW_S)
    assert plan.models == ((Level.ACTIVE, ONE), (Level.FACTORY, None))
    assert [each.code for each in plan.findings] == ["E_HASH"]


def test_with_active_and_last_good_damaged_the_factory_model_runs() -> None:
    state = replace(FRESH, active=TWO, last_good=ONE)
    plan = recover(found(state, intact=frozenset()), NOW_S)
    assert plan.models == ((Level.FACTORY, None),)
    assert [each.code for each in plan.findings] == ["E_HASH", "E_HASH", "E_NO_LAST_GOOD"]


@pytest.mark.parametrize("phase", sorted(AT_RISK))
def test_a_damaged_candidate_is_fetched_again(phase: Phase) -> None:
    state = busy_in(phase, attempts=1)
    plan = recover(found(state, intact=state.blobs - {THREE.files[0].sha256}), NOW_S)
    assert (plan.state.phase, plan.state.candidate) == (Phase.RECEIVED, THREE)
    assert plan.models[0] == (Level.ACTIVE, ONE)
    assert f"blobs/{THREE.files[0].sha256}" in plan.remove


def test_garbage_is_what_neither_state_refers_to() -> None:
    part, other = THREE.files[1].sha256, ONE.files[1].sha256
    state = replace(busy_in(Phase.DOWNLOADING, attempts=0), generation=2)
    older = replace(FRESH, generation=1, active=TWO)
    here = found(state, older, intact=(state.blobs | older.blobs) - {part})
    extra = {f"stage/{part}.part", f"stage/{part}.map", f"stage/{other}.part", "blobs/" + "f" * 64}
    extra |= {f"releases/{each.folder_name}" for each in (ONE, TWO, THREE)} | {"releases/.9-x.new", ".state.b.new"}
    plan = recover(replace(here, files=here.files | extra), NOW_S)
    assert set(plan.remove) == {
        f"blobs/{part}",
        f"stage/{other}.part",
        "blobs/" + "f" * 64,
        "releases/.9-x.new",
        ".state.b.new",
    }


def test_a_part_of_what_is_whole_already_is_garbage() -> None:
    done = THREE.files[1].sha256
    here = found(busy_in(Phase.DOWNLOADING, attempts=0))
    assert recover(replace(here, files=here.files | {f"stage/{done}.map"}), NOW_S).remove == (f"stage/{done}.map",)


def test_an_end_that_was_not_reported_is_found_again() -> None:
    ended = changes.end(busy_in(Phase.TRIAL, attempts=1), Event.HEALTHY, code="", now_s=NOW_S)
    plan = recover(found(ended), NOW_S)
    assert (plan.state.phase, plan.state.active) == (Phase.COMMITTED, THREE)
    assert changes.report(plan.state).phase is Phase.IDLE


def busy_in(phase: Phase, *, attempts: int) -> State:
    return replace(FRESH, phase=phase, attempts=attempts, active=ONE, candidate=THREE, command=COMMAND)


def bad_starts(state: State, count: int) -> list[Plan]:
    """So many starts in a row, none of which ends well."""
    plans = []
    for _ in range(count):
        plans.append(recover(found(state), NOW_S))
        state = plans[-1].state
    return plans
