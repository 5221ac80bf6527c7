"""What was done to a fleet's models, read together from what is kept."""

from __future__ import annotations

from typing import Any

from tuf.api.metadata import TargetFile

from edgeapp.workshop.chronicle import outcome, target_changes
from tests.fakes.told_events import told

_RELEASE = "releases/person/7.json"


def _target(path: str, content: bytes = b"1", **custom: Any) -> TargetFile:
    file = TargetFile.from_data(path, content, ["sha256"])
    file.unrecognized_fields["custom"] = {"version": 7, **custom}
    return file


def test_each_kind_of_change_is_told_once() -> None:
    fresh, withdrawn = _target(_RELEASE), _target(_RELEASE, withdrawn=True, security_floor=7)
    assert target_changes({}, {_RELEASE: fresh}) == [("new release person/7", "person/7")]
    assert target_changes({_RELEASE: fresh}, {_RELEASE: withdrawn}) == [
        ("person/7 withdrawn", "person/7"),
        ("no device goes below version 7 any more", "person/7"),
    ]
    assert target_changes({_RELEASE: withdrawn}, {_RELEASE: withdrawn}) == []
    assert target_changes({_RELEASE: withdrawn}, {}) == [("person/7 forgotten", "person/7")]
    operators, consent = "keys/operators.json", "sites/default.json"
    one, other = _target(operators), _target(operators, b"2")
    assert target_changes({}, {operators: one}) == [("the first operators", "")]
    assert target_changes({operators: one}, {operators: other}) == [("other operators", "")]
    assert target_changes({}, {consent: _target(consent)}) == [("consent sites/default.json", "")]
    assert target_changes({consent: _target(consent)}, {}) == [("consent sites/default.json taken back", "")]
    assert target_changes({}, {"blobs/" + "a" * 64: _target("b")}) == []


def test_the_last_word_of_each_device_counts_and_an_end_is_not_undone_by_a_late_step() -> None:
    events = [
        told("a", "trial"),
        told("a", "committed"),
        told("a", "standby"),
        told("b", "received"),
        told("b", "rolled_back", "E_TRIAL_LATENCY"),
        told("c", "committed"),
        told("d", "downloading"),
    ]
    assert outcome(events) == "2 committed, 1 rolled back (E_TRIAL_LATENCY), 1 downloading"
    assert outcome([]) == "nothing heard"
