"""Two models at once in the real vision process: no frame lost, none of two minds, nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeapp.vision import protocol
from tests.fakes.switching import Switcher

SWITCHES = 60


@pytest.fixture
def switcher(tmp_path: Path) -> Iterator[Switcher]:
    with Switcher(tmp_path, is_fast=True) as running:
        yield running


def test_sixty_switches_lose_no_frame_and_every_prediction_names_the_model_that_made_it(switcher: Switcher) -> None:
    before_mb, before = switcher.lowest_rss_mb(), switcher.footprint()
    switches = sum(switcher.exchange(index) for index in range(SWITCHES * 5 // 6))
    after_mb, after = switcher.lowest_rss_mb(), switcher.footprint()
    assert switches == SWITCHES
    assert switcher.lost == 0
    assert switcher.misattributed == 0
    assert after == before, "threads, descriptors"
    assert after_mb < before_mb + 8
    assert switcher.predictions > 4 * SWITCHES


def test_a_broken_candidate_leaves_the_running_model_untouched(switcher: Switcher) -> None:
    torn = switcher.models["blind"] / "model.tflite"
    torn.write_bytes(torn.read_bytes()[:-1])
    before = switcher.footprint()
    for model_dir in (str(switcher.models["blind"]), "/nowhere"):
        switcher.client.order(protocol.LoadCandidate(model_dir=model_dir))
        failed = switcher.wait(protocol.CandidateFailed)
        assert failed.code == "E_MANIFEST"
        assert model_dir in failed.text
        switcher.watch(20)
    assert switcher.footprint() == before
    assert (switcher.lost, switcher.misattributed, switcher.model_number) == (0, 0, 1)


def test_commands_that_do_not_fit_are_refused_and_change_nothing(switcher: Switcher) -> None:
    client = switcher.client
    for command in (protocol.SwitchTo(model_number=7), protocol.Keep(), protocol.Back(), protocol.DropCandidate()):
        client.order(command)
        assert switcher.wait(protocol.CandidateFailed).code == "E_STATE"
    model_number = switcher.load("blind").model_number
    for command in (
        protocol.SwitchTo(model_number=model_number + 1),
        protocol.Keep(),
        protocol.Back(),
        protocol.LoadCandidate(model_dir=str(switcher.models["seeing"])),
    ):
        client.order(command)
        assert switcher.wait(protocol.CandidateFailed).code == "E_STATE"
    switcher.switch(model_number)
    for command in (protocol.SwitchTo(model_number=1), protocol.DropCandidate()):
        client.order(command)
        assert switcher.wait(protocol.CandidateFailed).code == "E_STATE"
    client.order(protocol.Back())
    assert switcher.wait(protocol.Switched).model_number == 1
    switcher.watch(20)
    assert (switcher.lost, switcher.misattributed) == (0, 0)


def test_a_still_picture_is_inferred_anew_after_a_switch(tmp_path: Path) -> None:
    """The motion gate would have what the old model saw stand as the new one's."""
    with Switcher(tmp_path, is_fast=True, has_gate=True) as switcher:
        switched = switcher.switch(switcher.load("blind").model_number)
        first = switcher.watch(1)[0]
        assert first.frame_id >= switched.frame_id
        assert first.model_number == switched.model_number
        assert first.invoke_ms is not None
        switcher.watch(20)
        assert switcher.misattributed == 0


def test_the_picture_is_decoded_as_large_as_the_models_that_are_loaded_need_it(tmp_path: Path) -> None:
    """JPEGs of 320 x 240 are decoded at half scale for a model of 80 x 80, and whole for one of 160 x 160."""
    with Switcher(tmp_path, is_fast=False, blind_px=80) as switcher:
        _wait_format(switcher, "MJPG")
        switcher.switch(switcher.load("blind").model_number)
        _wait_format(switcher, "MJPG")  # the larger one still sees some of the frames, and not worse than before
        switcher.client.order(protocol.Keep())
        switcher.wait(protocol.Dropped)
        _wait_format(switcher, "MJPG 1/2")
        switcher.load("seeing")
        _wait_format(switcher, "MJPG")
        assert switcher.misattributed == 0


def _wait_format(switcher: Switcher, expected: str) -> None:
    """One word of vision may be of before; a busy machine may need a few more."""
    switcher.wait(protocol.Health)
    found = [""]
    while found[-1] != expected:
        assert len(found) < 20, found
        found.append(switcher.wait(protocol.Health).capture.pixel_format)
