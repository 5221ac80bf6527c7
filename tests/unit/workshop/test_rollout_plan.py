from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.errors import ConfigError, RolloutError
from edgeapp.workshop.rollout_plan import Plan, assign, audiences, read_plan

_KNOWN = [f"device-{number}" for number in range(200)]
_CANARY = {"name": "canary", "devices": ["device-3"]}


def _plan(*waves: dict[str, Any], **changes: Any) -> Plan:
    content = {"name": "p", "release": "releases/person/7.json", "waves": list(waves), **changes}
    return read_plan(json.dumps(content).encode(), "plan.yaml")


def test_each_device_stands_in_one_wave_and_a_larger_share_holds_the_smaller() -> None:
    waves = assign(_plan(_CANARY, {"name": "a", "pct": 20}, {"name": "b", "pct": 100}), _KNOWN)
    assert sorted(waves) == sorted(_KNOWN)
    assert [device for device, wave in waves.items() if wave == 0] == ["device-3"]
    smaller = assign(_plan(_CANARY, {"name": "a", "pct": 20}), _KNOWN)
    assert {device for device, wave in smaller.items() if wave == 1} == {
        device for device, wave in waves.items() if wave == 1
    }
    assert 20 <= sum(wave == 1 for wave in waves.values()) <= 60


def test_a_plan_for_some_devices_touches_no_other() -> None:
    plan = _plan({"name": "all", "pct": 100}, devices=_KNOWN[:10])
    assert set(assign(plan, _KNOWN)) == set(_KNOWN[:10])
    assert all(audience.devices == tuple(_KNOWN[:10]) and not audience.all for audience in audiences(plan).values())


def test_what_halts_comes_last_and_is_for_all_whom_the_waves_are_for() -> None:
    orders = audiences(_plan(_CANARY, {"name": "a", "pct": 20}, on_halt="rollback"))
    assert list(orders) == ["wave-0", "wave-1", "cancel", "rollback"]
    assert orders["wave-0"].devices == ("device-3",)
    assert not orders["wave-0"].all
    assert orders["wave-1"].all
    assert orders["wave-1"].cohort is not None
    assert orders["cancel"].all
    assert orders["rollback"].all


@pytest.mark.parametrize(
    ("waves", "changes", "expected"),
    [
        ([{"name": "a"}], {}, "either devices or pct"),
        ([{"name": "a", "pct": 5, "devices": ["x"]}], {}, "either devices or pct"),
        ([{"name": "a", "pct": 5}, {"name": "b", "pct": 5}], {}, "expected more than 5, found 5"),
        ([_CANARY, _CANARY], {}, "names that differ"),
        ([_CANARY], {"window": {"start": "22:00", "end": "04:00"}}, "more than a day with a window"),
        ([{**_CANARY, "soak_s": 7200}], {"expires_h": 1}, "time of all waves"),
    ],
)
def test_keys_that_contradict_each_other_are_named(
    waves: list[dict[str, Any]], changes: dict[str, Any], expected: str
) -> None:
    with pytest.raises(RolloutError, match=expected):
        _plan(*waves, **changes)


def test_an_unknown_key_is_a_mistake_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean soak_s"):
        _plan({**_CANARY, "soak": 3})


@pytest.mark.parametrize(
    ("waves", "expected"),
    [
        ([{"name": "a", "devices": ["nobody"]}], "nobody: expected a device that the broker knows"),
        ([{"name": "a", "pct": 0.01}], "wave a: expected devices, found none"),
        ([_CANARY, {"name": "b", "devices": ["device-3"]}], "wave b: expected devices, found none"),
        ([{**_CANARY, "min_reports": 2}], "min_reports: expected at most its 1"),
    ],
)
def test_a_wave_that_could_give_no_evidence_is_refused(waves: list[dict[str, Any]], expected: str) -> None:
    with pytest.raises(RolloutError, match=expected):
        assign(_plan(*waves), _KNOWN)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_plan_or_a_mistake(content: bytes) -> None:
    with pytest.raises((ConfigError, RolloutError)):
        read_plan(content, "plan.yaml")
