from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.errors import CaptureError
from edgeapp.vision.formats import decode_mjpeg, decode_yuyv, fourcc_name, jpeg_reduction, jpeg_size
from tests.fakes.uvc import encode_jpeg, encode_yuyv


def _smooth_picture(width: int, height: int) -> np.ndarray:
    """Colours that change slowly, so that neither chroma subsampling nor JPEG loses much."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [40 + 170 * x / width, 220 - 180 * y / height, 60 + 90 * (x / width + y / height)]
    return np.stack(planes, axis=-1).astype(np.uint8)


def test_yuyv_bytes_become_the_picture_that_they_were_made_of() -> None:
    picture = _smooth_picture(64, 48)
    decoded = decode_yuyv(encode_yuyv(picture), np.empty_like(picture))
    assert np.abs(decoded.astype(int) - picture).max() <= 5


def test_yuyv_is_written_into_the_given_buffer() -> None:
    raw, buffer = encode_yuyv(_smooth_picture(64, 48)), np.zeros((48, 64, 3), np.uint8)
    decode_yuyv(raw.reshape(1, -1), buffer)
    assert buffer.any()


@pytest.mark.parametrize("missing", [1, 128, 64 * 48])
def test_a_torn_yuyv_frame_is_refused(missing: int) -> None:
    raw = encode_yuyv(_smooth_picture(64, 48)).reshape(-1)[:-missing]
    with pytest.raises(CaptureError, match=f"expected 6144 bytes for 64x48, found {6144 - missing}"):
        decode_yuyv(raw, np.empty((48, 64, 3), np.uint8))


def test_a_jpeg_becomes_the_picture_that_it_was_made_of() -> None:
    picture = _smooth_picture(640, 480)
    decoded = decode_mjpeg(encode_jpeg(picture), (640, 480))
    assert decoded.shape == (480, 640, 3)
    assert np.abs(decoded.astype(int) - picture).mean() < 2


@pytest.mark.parametrize(
    ("min_size", "shape"),
    [
        ((640, 480), (480, 640)),
        ((401, 10), (480, 640)),
        ((400, 300), (240, 320)),
        ((300, 300), (240, 320)),
        ((320, 240), (240, 320)),
        ((224, 224), (240, 320)),
        ((10, 240), (240, 320)),
        ((10, 151), (240, 320)),
        ((200, 150), (120, 160)),
        ((100, 75), (60, 80)),
    ],
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_is_large_enough(
    min_size: tuple[int, int], shape: tuple[int, int]
) -> None:
    picture = _smooth_picture(640, 480)
    decoded = decode_mjpeg(encode_jpeg(picture), min_size)
    assert decoded.shape[:2] == shape
    expected = cv2.resize(picture, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    assert np.abs(decoded.astype(int) - expected).mean() < 3


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_a_reduced_picture_falls_short_of_what_is_needed_by_a_fifth_at_most_unless_the_source_does(
    width: int, height: int, min_width: int, min_height: int
) -> None:
    divisor = jpeg_reduction((width, height), (min_width, min_height))
    assert divisor == 1 or (5 * -(-width // divisor) >= 4 * min_width and 5 * -(-height // divisor) >= 4 * min_height)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.02, 0.3, 0.5, 0.9, 0.999])
def test_a_jpeg_torn_at_any_place_is_refused(share: float) -> None:
    jpeg = encode_jpeg(_smooth_picture(640, 480))
    with pytest.raises(CaptureError, match="JPEG frame"):
        decode_mjpeg(jpeg[: int(jpeg.size * share)], (640, 480))


def test_the_end_of_a_thumbnail_in_the_head_does_not_hide_that_the_jpeg_is_torn() -> None:
    jpeg = encode_jpeg(_smooth_picture(640, 480)).tobytes()
    segment = b"\xff\xd8 thumbnail \xff\xd9"
    with_thumbnail = jpeg[:2] + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]
    assert decode_mjpeg(np.frombuffer(with_thumbnail, np.uint8), (640, 480)).shape == (480, 640, 3)
    torn = with_thumbnail[: len(with_thumbnail) // 2]
    with pytest.raises(CaptureError, match="expected an end marker"):
        decode_mjpeg(np.frombuffer(torn, np.uint8), (640, 480))


def test_a_jpeg_padded_with_zeros_as_cameras_send_it_is_whole() -> None:
    jpeg = np.concatenate([encode_jpeg(_smooth_picture(64, 48)), np.zeros(5000, np.uint8)])
    assert decode_mjpeg(jpeg, (64, 48)).shape == (48, 64, 3)


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused_as_a_frame_and_nothing_else(data: bytes) -> None:
    with pytest.raises(CaptureError):
        decode_mjpeg(np.frombuffer(b"\xff\xd8\xff" + data, np.uint8), (64, 48))


@given(st.binary(max_size=200))
def test_the_size_of_a_damaged_head_is_told_or_refused(data: bytes) -> None:
    try:
        width, height = jpeg_size(b"\xff\xd8\xff" + data)
    except CaptureError:
        return
    assert width > 0
    assert height > 0


def test_a_fourcc_that_cannot_be_printed_is_still_a_word() -> None:
    assert fourcc_name(float(cv2.VideoWriter.fourcc(*"MJPG"))) == "MJPG"
    assert fourcc_name(-1.0) == "????"
