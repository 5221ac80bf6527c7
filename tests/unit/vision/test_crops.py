"""A crop shows one box, is small, redacted and without metadata; and there is none unless it is turned on."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edgeapp.config import CropConfig
from edgeapp.types import Box, Detection
from edgeapp.vision import protocol
from edgeapp.vision.crops import KEPT_BYTES, KEPT_NS, CropStore, redacted
from edgeapp.vision.formats import Picture

CLASSES = ("person", "dog")
CONFIG = CropConfig(margin_pct=0, max_side_px=256, max_kb=32)
MIDDLE = Detection(Box(0.25, 0.25, 0.75, 0.75), 0.5, 0)
ASKED = protocol.AskCrop(frame_id=7, index=0)


def noise(height: int = 240, width: int = 320) -> Picture:
    return np.random.default_rng(1).integers(0, 255, (height, width, 3), np.uint8)


def store(config: CropConfig | None = CONFIG) -> CropStore:
    made = CropStore(config)
    made.turn(is_on=True)
    return made


def shown(answer: protocol.Crop | protocol.NoCrop) -> Picture:
    assert isinstance(answer, protocol.Crop)
    return np.asarray(cv2.imdecode(np.frombuffer(answer.jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)


@pytest.mark.parametrize("config", [None, CONFIG])
def test_without_a_configuration_or_before_it_is_turned_on_there_is_no_pixel(config: CropConfig | None) -> None:
    closed = CropStore(config)
    if config is None:
        closed.turn(is_on=True)
    closed.keep(noise(), 7, [MIDDLE], CLASSES, 0)
    assert not closed.is_on
    assert closed.answer(ASKED, 0) == protocol.NoCrop(frame_id=7, index=0)


def test_turned_off_it_forgets_what_it_kept() -> None:
    kept = store()
    kept.keep(noise(), 7, [MIDDLE], CLASSES, 0)
    kept.turn(is_on=False)
    kept.turn(is_on=True)
    assert isinstance(kept.answer(ASKED, 0), protocol.NoCrop)


def test_a_crop_shows_the_box_with_its_margin_and_nothing_else() -> None:
    picture = np.zeros((240, 320, 3), np.uint8)
    picture[60:180, 80:240] = 255
    kept = store()
    kept.keep(picture, 7, [MIDDLE], CLASSES, 0)
    crop = shown(kept.answer(ASKED, 0))
    assert crop.shape == (120, 160, 3)
    assert crop.min() > 240
    wide = store(CropConfig(margin_pct=25))
    wide.keep(picture, 7, [MIDDLE], CLASSES, 0)
    assert shown(wide.answer(ASKED, 0)).shape == (180, 240, 3)


def test_a_crop_is_a_copy_and_is_given_once() -> None:
    picture = np.full((240, 320, 3), 200, np.uint8)
    kept = store()
    kept.keep(picture, 7, [MIDDLE], CLASSES, 0)
    picture[:] = 0
    assert shown(kept.answer(ASKED, 0)).min() > 190
    assert isinstance(kept.answer(ASKED, 0), protocol.NoCrop)


def test_a_crop_is_scaled_down_and_compressed_below_its_limit() -> None:
    small = CropConfig(max_side_px=200, max_kb=16)
    jpeg = redacted(noise(1000, 500), None, small)
    assert jpeg is not None
    assert len(jpeg) <= 16_000
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (200, 100, 3)
    assert redacted(noise(640, 640), None, CropConfig(max_side_px=640, max_kb=4)) is None


def test_a_crop_has_no_metadata() -> None:
    kept = store()
    kept.keep(noise(), 7, [MIDDLE], CLASSES, 0)
    answer = kept.answer(ASKED, 0)
    assert isinstance(answer, protocol.Crop)
    markers = {marker for marker in range(0xE1, 0xF0) if bytes([0xFF, marker]) in answer.jpeg[:200]}
    assert not markers, "no APP1 to APP15: no EXIF, no XMP"
    assert b"\xff\xfe" not in answer.jpeg[:200], "no comment"


def test_the_heads_of_chosen_classes_are_blurred_and_no_others() -> None:
    config = CropConfig(margin_pct=0, blur_heads=("person",))
    stripes = np.zeros((240, 320, 3), np.uint8)
    stripes[:, ::16] = 255
    stripes[:, 1::16] = 255

    def sharpness(class_index: int) -> tuple[float, float]:
        kept = store(config)
        kept.keep(stripes, 7, [Detection(MIDDLE.box, 0.5, class_index)], CLASSES, 0)
        crop = shown(kept.answer(ASKED, 0)).astype(float)
        return float(crop[:30].std(axis=1).mean()), float(crop[90:].std(axis=1).mean())

    head, legs = sharpness(0)
    assert head < legs / 5
    head, legs = sharpness(1)
    assert head == pytest.approx(legs, rel=0.1)


def test_memory_is_bounded_in_bytes_and_in_time() -> None:
    kept = store()
    whole = Detection(Box(0, 0, 1, 1), 0.5, 0)
    for frame_id in range(100):
        kept.keep(noise(480, 640), frame_id, [whole] * 9, CLASSES, 0)
    held = sum(crop.pixels.nbytes for crop in kept._kept.values())
    assert held <= KEPT_BYTES
    assert held == kept._bytes
    assert isinstance(kept.answer(protocol.AskCrop(frame_id=99, index=0), KEPT_NS + 1), protocol.NoCrop)
    assert kept._bytes == 0


def test_of_a_crowd_the_least_sure_are_kept() -> None:
    kept = store()
    crowd = [Detection(MIDDLE.box, 0.9 - 0.01 * place, 0) for place in range(20)]
    kept.keep(noise(), 7, crowd, CLASSES, 0)
    assert {place for _, place in kept._kept} == set(range(12, 20))
    assert isinstance(kept.answer(ASKED, 0), protocol.NoCrop)


def test_the_largest_crop_that_may_be_configured_fits_a_message() -> None:
    largest = protocol.Crop(2**64 - 1, 65_535, b"\xff\xd8\xff" + bytes(protocol.MAX_CROP_BYTES - 5) + b"\xff\xd9")
    datagram = protocol.encode(largest)
    assert len(datagram) < protocol.MAX_MESSAGE_BYTES
    assert protocol.decode(datagram) == largest
    assert CropConfig(max_kb=48).max_kb * 1000 == protocol.MAX_CROP_BYTES
