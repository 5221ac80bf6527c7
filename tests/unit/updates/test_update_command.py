"""No input makes the reading of a command do anything but refuse it, and only operators are followed."""

from __future__ import annotations

import dataclasses
import functools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.updates.codes import UpdateError
from edgeapp.updates.command import (
    Audience,
    Cohort,
    Operators,
    SignedCommand,
    Window,
    check_signatures,
    is_addressed,
    is_repeated,
    judge,
    read_document,
    read_message,
    window_opens_in_s,
)
from edgeapp.updates.facts import ClockReading, Floors
from tests.fakes.attacks import FACTS
from tests.fakes.releases import NOW_S, OPERATORS_PATH, Repository, operator, pack, seal

NOON = ClockReading(NOW_S, is_synchronised=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@functools.cache
def repository() -> Repository:
    return Repository()


def listed() -> Operators:
    return read_document(Operators, repository().contents[OPERATORS_PATH], OPERATORS_PATH)


def read(*signers: str, **changes: Any) -> SignedCommand:
    return read_message(repository().message(*signers, files={}, **changes))[0]


@given(content=st.binary(max_size=400) | JSON.map(lambda value: json.dumps(value).encode()))
def test_anything_but_a_message_is_refused(content: bytes) -> None:
    with pytest.raises(UpdateError):
        read_message(content)


@given(st.data())
@settings(max_examples=200)
def test_command_with_any_value_in_place_of_another_is_read_or_refused(data: st.DataObject) -> None:
    command = repository().command()
    key = data.draw(st.sampled_from([*command, "window", "urls", "reason", "not_before", "allow_downgrade", "other"]))
    command[key] = data.draw(JSON)
    try:
        signed, _ = read_message(pack(seal(json.dumps(command).encode(), "anna"), {}))
    except UpdateError as error:
        code = error.code
    else:
        judge(signed, FACTS, Floors(), NOON)
        code = "read" if key != "other" else "misread"
    assert code in ("E_PARSE", "E_TOO_BIG", "read")


@given(position=st.integers(min_value=0), piece=st.binary(max_size=8), length=st.integers(0, 16))
def test_message_with_a_piece_replaced_is_refused_or_the_same(position: int, piece: bytes, length: int) -> None:
    message = repository().message(files={})
    position %= len(message)
    altered = message[:position] + piece + message[position + length :]
    try:
        signed, _ = read_message(altered)
    except UpdateError:
        return
    assert check_signatures(signed, listed()) is not None or signed.payload == read().payload


def test_good_command_is_followed() -> None:
    signed = read()
    assert signed.command.release is not None
    assert signed.command.release.path == "releases/person/7.json"
    assert judge(signed, FACTS, Floors(), NOON) is None
    assert check_signatures(signed, listed()) is None


def test_two_operators_are_enough_for_a_threshold_of_two() -> None:
    two = {"v": 1, "threshold": 2, "operators": [operator("anna", "install"), operator("bea", "install")]}
    operators = read_document(Operators, json.dumps(two).encode(), OPERATORS_PATH)
    assert check_signatures(read("anna", "bea"), operators) is None


def test_retained_command_is_known_again_whoever_signed_it() -> None:
    signed = read()
    floors = Floors(seq_seen=signed.command.seq, command_sha256=signed.sha256)
    assert is_repeated(signed, floors)
    assert is_repeated(read("bea"), floors)
    assert not is_repeated(read(reason="another"), floors)


@pytest.mark.parametrize(
    ("op", "release"), [("rollback", {"path": "releases/person/7.json", "sha256": "a" * 64}), ("install", None)]
)
def test_release_belongs_to_install_and_only_there(op: str, release: Any) -> None:
    with pytest.raises(UpdateError, match="expected with install and only there"):
        read(op=op, release=release)


def test_clock_a_little_behind_the_operators_does_not_delay_a_command() -> None:
    assert judge(read(iat=int(NOW_S) + 200), FACTS, Floors(), NOON) is None


@pytest.mark.parametrize(
    ("audience", "is_meant"),
    [
        (Audience(all=True), True),
        (Audience(devices=("yard-1",)), True),
        (Audience(groups=("lobby", "yard")), True),
        (Audience(), False),
        (Audience(devices=("yard",), groups=("yard-1",)), False),
        (Audience(all=True, cohort=Cohort(salt="r7", pct=100)), True),
        (Audience(cohort=Cohort(salt="r7", pct=100)), False),
    ],
)
def test_audience(audience: Audience, is_meant: bool) -> None:
    assert is_addressed(audience, FACTS) == is_meant


def test_cohorts_grow_and_have_about_the_share_they_name() -> None:
    devices = [dataclasses.replace(FACTS, device_id=f"edge-{number}") for number in range(2000)]

    def chosen(pct: float) -> set[str]:
        audience = Audience(all=True, cohort=Cohort(salt="r7", pct=pct))
        return {device.device_id for device in devices if is_addressed(audience, device)}

    assert chosen(5) < chosen(25) < chosen(100)
    assert 70 <= len(chosen(5)) <= 130
    assert len(chosen(100)) == 2000


@pytest.mark.parametrize(
    ("window", "hour", "waits_h"),
    [
        (None, 12, 0),
        (Window(start="02:00", end="04:00"), 3, 0),
        (Window(start="02:00", end="04:00"), 4, 22),
        (Window(start="02:00", end="04:00"), 1, 1),
        (Window(start="22:00", end="02:00"), 1, 0),
        (Window(start="22:00", end="02:00"), 12, 10),
        (Window(start="05:00", end="05:00"), 12, 0),
    ],
)
def test_device_waits_for_its_window(window: Window | None, hour: int, waits_h: int) -> None:
    midnight_s = 20_000 * 86_400
    assert window_opens_in_s(window, midnight_s + hour * 3600) == waits_h * 3600
