from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.updates.messages import OUTCOMES
from edgeapp.workshop.rollout_plan import Plan, Wave
from edgeapp.workshop.rollout_step import (
    Delivered,
    Moment,
    Report,
    Request,
    RolloutState,
    Send,
    begin,
    step,
    tally,
    waits_for_approval,
)

_SOAK_S, _TIMEOUT_S, _SETTLE_S = 10.0, 100.0, 5.0
_WAVES = {"canary": 0, "five-1": 1, "five-2": 1, "five-3": 1, "five-4": 1, "rest-1": 2, "rest-2": 2}
_START_S, _EXPIRES_S = 1000.0, 100_000.0


def _plan(waves: dict[int, dict[str, Any]] | None = None, **changes: Any) -> Plan:
    basics: list[dict[str, Any]] = [
        {"name": "canary", "devices": ("canary",)},
        {"name": "five", "pct": 50.0},
        {"name": "rest", "pct": 100.0},
    ]
    timing = {"soak_s": _SOAK_S, "report_timeout_s": _TIMEOUT_S}
    made = tuple(Wave(**{**timing, **wave, **(waves or {}).get(number, {})}) for number, wave in enumerate(basics))
    return Plan(name="p", release="releases/person/7.json", waves=made, settle_s=_SETTLE_S, **changes)


class _Run:
    """A rollout whose orders are delivered at once, in a world whose clock is turned by hand."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.state, self.now_s = plan, begin(_WAVES, _EXPIRES_S), _START_S
        self.since_s: float | None = _START_S - _SETTLE_S
        self.sent: list[Send] = []
        self.go()

    def go(self, *events: Report | Delivered | Request, after_s: float = 0.0) -> _Run:
        self.now_s += after_s
        self.state, sends = step(self.plan, self.state, events, Moment(self.now_s, self.since_s))
        while sends:
            self.sent += sends
            delivered = [Delivered(send.device, send.order, self.now_s) for send in sends]
            self.state, sends = step(self.plan, self.state, delivered, Moment(self.now_s, self.since_s))
        return self

    def report(self, phase: str, *devices: str, code: str = "", order: str = "", after_s: float = 0.0) -> _Run:
        reports = [Report(device, order or f"wave-{_WAVES[device]}", phase, code) for device in devices]
        return self.go(*reports, after_s=after_s)

    def soak(self) -> _Run:
        return self.go(after_s=_SOAK_S)

    @property
    def addressed(self) -> set[str]:
        return {name for name, each in self.state.devices.items() if each.order}


def test_the_first_wave_gets_its_order_and_nobody_else() -> None:
    assert _Run(_plan()).sent == [Send("canary", "wave-0")]


def test_a_good_release_reaches_everybody_wave_by_wave() -> None:
    run = _Run(_plan()).report("committed", "canary")
    assert run.addressed == {"canary"}  # it soaks
    run.soak()
    assert run.addressed == {"canary", "five-1", "five-2", "five-3", "five-4"}
    run.report("committed", "five-1", "five-2", "five-3", "five-4").soak()
    run.report("committed", "rest-1", "rest-2").soak()
    assert run.state.phase == "done"
    assert [send.order for send in run.sent] == ["wave-0"] + 4 * ["wave-1"] + 2 * ["wave-2"]


@pytest.mark.parametrize("phase", sorted(OUTCOMES - {"committed"}))
def test_a_canary_that_does_not_commit_halts(phase: str) -> None:
    run = _Run(_plan()).report(phase, "canary", code="E_GOLDEN")
    assert run.state.phase == "halting"
    assert "wave canary: 1 of 1 devices failed (E_GOLDEN 1)" in run.state.reason
    assert run.sent[-1] == Send("canary", "cancel")
    run.report("cancelled", "canary", order="cancel")
    assert run.state.phase == "halted"
    assert run.addressed == {"canary"}


def test_silence_halts() -> None:
    run = _Run(_plan()).report("downloading", "canary").go(after_s=_TIMEOUT_S - 1)
    assert run.state.phase == "running"
    run.go(after_s=1)
    assert run.state.phase == "halting"
    assert "silent" in run.state.reason


def test_silence_is_not_judged_before_what_waited_at_the_broker_could_arrive() -> None:
    run = _Run(_plan())
    run.since_s = None
    run.go(after_s=10 * _TIMEOUT_S)
    assert run.state.phase == "running"
    run.since_s = run.now_s
    run.go(after_s=_SETTLE_S - 1).report("committed", "canary", after_s=0.5).go(after_s=0.5).soak()
    assert "five-1" in run.addressed


def test_no_wave_starts_while_nobody_listens() -> None:
    run = _Run(_plan()).report("committed", "canary")
    run.since_s = None
    run.go(after_s=100 * _SOAK_S)
    assert run.addressed == {"canary"}


def test_a_failure_is_judged_also_while_the_line_is_down() -> None:
    run = _Run(_plan())
    run.since_s = None
    run.report("failed", "canary")
    assert run.state.phase == "halting"


@pytest.mark.parametrize("code", ["E_NOT_YET", "E_CLOCK"])
def test_a_refusal_that_the_device_judges_again_is_no_end(code: str) -> None:
    run = _Run(_plan()).report("refused", "canary", code=code)
    assert run.state.phase == "running"
    assert run.report("committed", "canary").soak().state.wave == 1


def test_a_canary_that_goes_back_after_its_commit_halts_later_waves() -> None:
    run = _Run(_plan()).report("committed", "canary").soak()
    assert run.state.wave == 1
    run.report("rolled_back", "canary", code="E_TRIAL_CRASH")
    assert run.state.phase == "halting"
    assert run.addressed == {"canary", "five-1", "five-2", "five-3", "five-4"}
    assert {send.order for send in run.sent[-5:]} == {"cancel"}


@pytest.mark.parametrize(("error_pct", "failures", "is_halted"), [(0, 1, True), (25, 1, False), (25, 2, True)])
def test_more_failures_than_allowed_halt(error_pct: float, failures: int, is_halted: bool) -> None:
    run = _Run(_plan({1: {"error_pct": error_pct, "success_pct": 50.0}})).report("committed", "canary").soak()
    run.report("failed", *[f"five-{number + 1}" for number in range(failures)])
    assert (run.state.phase == "halting") is is_halted


def test_a_wave_that_can_no_longer_succeed_halts() -> None:
    run = _Run(_plan({1: {"error_pct": 100.0, "success_pct": 75.0}})).report("committed", "canary").soak()
    run.report("failed", "five-1")
    assert run.state.phase == "running"
    run.report("failed", "five-2")
    assert "75 % can no longer succeed" in run.state.reason


def test_a_wave_waits_for_its_least_number_of_reports() -> None:
    wave = {"success_pct": 25.0, "min_reports": 3, "error_pct": 100.0}
    run = _Run(_plan({1: wave})).report("committed", "canary").soak()
    run.report("committed", "five-1", "five-2").soak()
    assert run.state.wave == 1
    run.report("committed", "five-3").soak()
    assert run.state.wave == 2


def test_the_soak_begins_anew_when_the_wave_is_no_success_any_more() -> None:
    wave = {"success_pct": 50.0, "min_reports": 2, "error_pct": 50.0}
    run = _Run(_plan({1: wave})).report("committed", "canary").soak().report("committed", "five-1", "five-2")
    run.report("rolled_back", "five-1", after_s=_SOAK_S - 1).go(after_s=2)
    assert run.state.wave == 1
    run.report("committed", "five-3").go(after_s=_SOAK_S - 1)
    assert run.state.wave == 1
    assert run.go(after_s=1).state.wave == 2


def test_a_pause_starts_no_wave_and_still_halts() -> None:
    run = _Run(_plan()).go(Request("pause")).report("committed", "canary").soak()
    assert run.addressed == {"canary"}
    run.go(Request("resume"))
    assert run.state.wave == 1
    run.go(Request("pause")).report("failed", "five-1")
    assert run.state.phase == "halting"


def test_a_wave_with_a_gate_waits_for_its_approval() -> None:
    run = _Run(_plan({1: {"approval": True}}))
    assert not waits_for_approval(run.plan, run.state)
    run.report("committed", "canary").soak()
    assert waits_for_approval(run.plan, run.state)
    assert run.state.wave == 0
    run.go(Request("approve"))
    assert run.state.wave == 1


def test_an_operator_halts() -> None:
    run = _Run(_plan()).report("committed", "canary").soak().go(Request("halt"))
    assert run.state.phase == "halting"
    assert {send.device for send in run.sent if send.order == "cancel"} == run.addressed
    assert run.go(after_s=_plan().halt_timeout_s).state.phase == "halted"


def test_only_who_committed_goes_back_also_when_that_is_heard_late() -> None:
    run = _Run(_plan({1: {"error_pct": 25.0, "success_pct": 50.0}}, on_halt="rollback"))
    run.report("committed", "canary").soak().report("committed", "five-1").report("failed", "five-2")
    run.go(Request("halt"))
    orders = {name: each.order for name, each in run.state.devices.items() if each.order}
    assert orders == {
        "canary": "rollback",
        "five-1": "rollback",
        "five-2": "cancel",
        "five-3": "cancel",
        "five-4": "cancel",
    }
    run.report("committed", "five-3")
    assert run.sent[-1] == Send("five-3", "rollback")


def test_no_wave_starts_with_a_command_that_has_expired() -> None:
    run = _Run(_plan({1: {"approval": True}})).report("committed", "canary").soak()
    run.go(after_s=_EXPIRES_S)
    assert run.state.phase == "expired"
    assert run.go(Request("approve")).addressed == {"canary"}


def test_reports_of_strangers_change_nothing() -> None:
    run = _Run(_plan())
    before = run.state
    assert run.go(Report("stranger", "wave-0", "failed")).state == before


_NAMES = st.sampled_from(sorted(_WAVES))
_PHASES = st.sampled_from(["received", "trial", *sorted(OUTCOMES)])
_REPORTS = st.builds(
    lambda device, phase, code: Report(device, f"wave-{_WAVES[device]}", phase, code),
    _NAMES,
    _PHASES,
    st.sampled_from(["", "E_CLOCK", "E_GOLDEN"]),
)
_REQUESTS = st.builds(Request, st.sampled_from(["pause", "resume", "approve", "halt"]))
_TURNS = st.lists(
    st.tuples(
        st.lists(_REPORTS | _REQUESTS, max_size=4),
        st.sampled_from([0.0, 1.0, _SOAK_S, _TIMEOUT_S]),
        st.booleans(),  # whether we listen
        st.booleans(),  # whether what is to be sent is delivered
    ),
    max_size=12,
)
_PLANS = st.builds(
    lambda success, error, gate, halt: _plan(
        {1: {"success_pct": success, "error_pct": error, "approval": gate}}, on_halt=halt
    ),
    st.sampled_from([25.0, 75.0, 100.0]),
    st.sampled_from([0.0, 25.0, 100.0]),
    st.booleans(),
    st.sampled_from(["cancel", "rollback"]),
)


@settings(max_examples=200)
@given(_PLANS, _TURNS)
def test_whatever_happens_no_wave_is_touched_before_those_before_it_have_succeeded(
    plan: Plan, turns: list[tuple[list[Any], float, bool, bool]]
) -> None:
    state, now_s = begin(_WAVES, _EXPIRES_S), _START_S
    committed: set[str] = set()
    for events, after_s, is_listening, is_delivered in turns:
        now_s += after_s
        at = Moment(now_s, now_s - _SETTLE_S if is_listening else None)
        before = state
        committed |= {each.device for each in events if isinstance(each, Report) and each.phase == "committed"}
        state, sends = step(plan, state, events, at)
        _hold_promises(plan, before, state, sends, committed)
        # Whoever is killed after keeping this state, and goes on, still owes each of these devices its order.
        again, sends_again = step(plan, state, [], at)
        assert {send.device for send in sends} <= {send.device for send in sends_again}
        if (again.phase, again.wave) == (state.phase, state.wave):
            assert sends_again == sends
        if is_delivered:
            state, _ = step(plan, state, [Delivered(send.device, send.order, now_s) for send in sends], at)


def _hold_promises(
    plan: Plan, before: RolloutState, after: RolloutState, sends: tuple[Send, ...], committed: set[str]
) -> None:
    touched = {name for name, each in after.devices.items() if each.order}
    assert all(after.devices[name].wave <= after.wave for name in touched)
    assert {send.device for send in sends} <= touched
    for number in range(after.wave):
        members = [name for name, wave in _WAVES.items() if wave == number]
        share = 100 * len(committed.intersection(members)) / len(members)
        assert share >= plan.waves[number].success_pct
    if before.phase != "running":
        assert after.wave == before.wave
        assert {name for name, each in before.devices.items() if each.order} == touched
    for send in sends:
        assert send.order != "rollback" or send.device in committed


@given(st.lists(_REPORTS, max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_reports_and_doubles_change_no_standing(reports: list[Report], random: Any) -> None:
    run = _Run(_plan({0: {"error_pct": 100.0, "success_pct": 1.0}}))
    shuffled = [*reports, *reports[:3]]
    random.shuffle(shuffled)
    at = Moment(_START_S, None)
    one, _ = step(run.plan, run.state, reports, at)
    other, _ = step(run.plan, run.state, shuffled, at)
    assert [tally(one, wave) for wave in range(3)] == [tally(other, wave) for wave in range(3)]
