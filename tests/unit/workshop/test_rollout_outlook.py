"""What is told of a rollout before it starts: when each wave does, and who would refuse."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgeapp.updates.release import read_release
from edgeapp.workshop.rollout_outlook import Member, failures, outlook, starts
from edgeapp.workshop.rollout_plan import Plan, read_plan
from tests.fakes.releases import manifest
from tests.fakes.told_events import told

_NOON_S = 1_780_315_200  # 2026-06-01T12:00 UTC
_HOUR_S = 3600
_RELEASE = read_release(json.dumps(manifest(7)).encode(), "releases/person/7.json")


def _plan(*waves: dict[str, Any], **changes: Any) -> Plan:
    content = {"name": "p", "release": "releases/person/7.json", "waves": list(waves), **changes}
    return read_plan(json.dumps(content).encode(), "plan.yaml")


def _member(**changes: Any) -> Member:
    fields = {"device": "kiosk-1", "state": "online", "app": "0.1.0", "model": "person", "version": 6}
    return Member(**{**fields, **changes})


def test_a_wave_starts_after_trial_and_soak_of_the_one_before_and_at_the_latest_after_its_patience() -> None:
    plan = _plan(
        {"name": "canary", "devices": ["kiosk-1"], "soak_s": _HOUR_S, "report_timeout_s": 2 * _HOUR_S},
        {"name": "half", "pct": 50, "soak_s": 0, "report_timeout_s": 3 * _HOUR_S},
        {"name": "all", "pct": 100},
    )
    found = starts(plan, trial_s=1800, now_s=_NOON_S)
    assert [(each.earliest_s - _NOON_S) / _HOUR_S for each in found] == [0, 1.5, 2]
    assert [(each.latest_s - _NOON_S) / _HOUR_S for each in found] == [0, 3, 6]


def test_a_window_puts_the_next_wave_off_until_it_has_opened() -> None:
    plan = _plan(
        {"name": "canary", "devices": ["kiosk-1"], "soak_s": _HOUR_S, "report_timeout_s": 30 * _HOUR_S},
        {"name": "all", "pct": 100, "report_timeout_s": 30 * _HOUR_S},
        window={"start": "22:00", "end": "04:00"},
    )
    assert (starts(plan, trial_s=1800, now_s=_NOON_S)[1].earliest_s - _NOON_S) / _HOUR_S == 10 + 1.5


@pytest.mark.parametrize(
    ("changes", "plan", "code", "text"),
    [
        ({}, {}, "", "would try it"),
        ({"state": "offline"}, {}, "", "once it comes: offline now"),
        ({"version": 7}, {}, "", "runs it already"),
        ({"version": 8}, {}, "E_DOWNGRADE", "it runs version 8"),
        ({"version": 8}, {"allow_downgrade": True}, "", "would try it"),
        ({"app": "0.0.9"}, {}, "E_COMPAT_APP", "expected edgeapp 0.1 or later, found 0.0.9"),
        ({"failed": "E_TRIAL_LATENCY"}, {}, "E_BLOCKED", "it failed there with E_TRIAL_LATENCY"),
        ({"model": "factory model", "version": None}, {}, "", "would try it"),
    ],
)
def test_what_a_device_would_make_of_it(changes: dict[str, Any], plan: dict[str, Any], code: str, text: str) -> None:
    (found,) = outlook(
        _plan({"name": "all", "pct": 100}, **plan), _RELEASE, {"kiosk-1": 0}, [_member(**changes), _member(device="x")]
    )
    assert found.code == code
    assert text in found.text


def test_devices_stand_wave_by_wave_and_one_that_nobody_heard_of_is_told_so() -> None:
    plan = _plan({"name": "canary", "devices": ["z"]}, {"name": "all", "pct": 100})
    found = outlook(plan, None, {"b": 1, "z": 0, "a": 1}, [_member(device="b"), _member(device="z")])
    assert [each.device for each in found] == ["z", "a", "b"]
    assert (found[1].state, found[1].runs) == ("unknown", "not told")
    assert found[2].runs == "person 6"


def test_only_what_was_rolled_back_in_use_or_crashed_counts_as_failed_there() -> None:
    events = [
        told("a", "rolled_back", "E_TRIAL_LATENCY"),
        told("b", "failed", "E_LOAD_CRASH"),
        told("c", "failed", "E_NET"),
        told("d", "committed", ""),
        told("e", "rolled_back", "E_TRIAL_CRASH", sha256="b" * 64),
    ]
    assert failures(events, "a" * 64) == {"a": "E_TRIAL_LATENCY", "b": "E_LOAD_CRASH"}
