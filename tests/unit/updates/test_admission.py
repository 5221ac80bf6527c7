"""A genuine command passes, raises the floors, and comes in a small message."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.attacks import ACCEPTED, Target
from tests.fakes.releases import NOW_S, OPERATORS_PATH, manifest


def test_accepted_command_raises_the_floors(tmp_path: Path) -> None:
    target = Target(tmp_path)
    target.repository.add_release(manifest(5), security_floor=4)
    assert target.receive(target.repository.message()) == ACCEPTED
    assert target.admitted is not None
    assert target.admitted.release is not None
    assert target.admitted.release.model.version == 7
    floors = target.floors
    assert (floors.seq_seen, floors.security_floor, floors.time_floor_s) == (10, 4, NOW_S - 60)
    assert floors.metadata.timestamp == 4


def test_fast_clock_of_an_operator_does_not_raise_the_time_floor_into_the_future(tmp_path: Path) -> None:
    target = Target(tmp_path)
    assert target.receive(target.repository.message(iat=int(NOW_S) + 200)) == ACCEPTED
    assert target.floors.time_floor_s == NOW_S


def test_command_without_a_release_needs_none(tmp_path: Path) -> None:
    target = Target(tmp_path)
    assert target.receive(target.repository.message(op="rollback", release=None)) == ACCEPTED
    assert target.admitted is not None
    assert target.admitted.release is None


def test_list_of_operators_is_kept_and_need_not_ride_along_again(tmp_path: Path) -> None:
    target = Target(tmp_path)
    assert target.receive(target.repository.message(seq=1)) == ACCEPTED
    files = target.repository.files
    del files[OPERATORS_PATH]
    assert target.receive(target.repository.message(seq=2, files=files)) == ACCEPTED


def test_message_with_all_that_an_install_needs_stays_below_4_kb(tmp_path: Path) -> None:
    target = Target(tmp_path)
    message = target.repository.message()
    assert len(message) < 4000
    assert target.receive(message) == ACCEPTED
