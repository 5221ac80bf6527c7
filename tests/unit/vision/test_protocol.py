"""What crosses the socket comes back the same, and nothing else is taken for a message."""

from __future__ import annotations

import contextlib
import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import CameraConfig, CropConfig, DelegateLibrary, InferenceConfig, MotionConfig
from edgeapp.errors import ProtocolError
from edgeapp.types import Advice, Box, CaptureHealth, DelegateReport, Detection, ModelReport, Prediction
from edgeapp.vision import protocol

_CAPTURE = CaptureHealth("running", "ok", 120, 20, 1, 24.9, 640, 480, "yuyv", "")
_MODEL = ModelReport(
    "pedestrian",
    3,
    "ab" * 32,
    "int8",
    ("person", "dog"),
    "litert 2.3",
    1,
    DelegateReport("xnnpack", 9, 8, 1, {"ADD": 1}, fell_back="/l.so: no such file"),
    (Advice("it is slow", "wait"),),
)
_MESSAGES = (
    protocol.Configure(
        camera=CameraConfig(kind="video", source="a.mp4", masks=(((0.0, 0.0), (1.0, 0.0), (1.0, 0.5)),)),
        inference=InferenceConfig(model_dir="/models/a", min_score=0.4),
        motion=MotionConfig(enabled=True),
    ),
    protocol.Configure(
        camera=CameraConfig(kind="video", source="a.mp4"),
        inference=InferenceConfig(model_dir="/models/a", delegate=DelegateLibrary(library="/l.so", options={"a": "1"})),
        motion=MotionConfig(),
        delegate_fault="/l.so: with it, vision was ended by SIGSEGV",
        crops=CropConfig(blur_heads=("person",)),
    ),
    protocol.SetRate(fps=2.5),
    protocol.Stop(),
    protocol.Ready(model=_MODEL, model_number=1),
    protocol.Health(
        capture=_CAPTURE, inferred=90, inferring_s=0.9, failures=2, busy_s=0.25, rss_mb=61.5, compared=40, matched=36
    ),
    protocol.LoadCandidate(model_dir="/models/b"),
    protocol.SwitchTo(model_number=2),
    protocol.Back(),
    protocol.Keep(),
    protocol.DropCandidate(),
    protocol.CandidateReady(model=_MODEL, model_number=2, load_ms=31.5),
    protocol.CandidateFailed(code="E_STATE", text="expected a trial"),
    protocol.Switched(model=_MODEL, model_number=2, frame_id=1 << 40),
    protocol.Dropped(model_number=1),
    protocol.Failure(code="E_LOAD", text="torn «model»"),
    protocol.KeepCrops(is_on=True),
    protocol.AskCrop(frame_id=1 << 40, index=3),
    protocol.NoCrop(frame_id=9, index=0),
)

_shares = st.floats(0, 1, width=32)


@st.composite
def _predictions(draw: st.DrawFn) -> Prediction:
    def box() -> Box:
        x, y = sorted((draw(_shares), draw(_shares))), sorted((draw(_shares), draw(_shares)))
        return Box(x[0], y[0], x[1], y[1])

    count = draw(st.integers(0, 20))
    detections = tuple(Detection(box(), draw(_shares), draw(st.integers(0, 1000))) for _ in range(count))
    captured_ns = draw(st.integers(0, 2**62))
    invoke_ms = draw(st.none() | st.floats(0, 1e6))
    return Prediction(
        draw(st.integers(0, 2**62)),
        captured_ns,
        captured_ns + 5,
        invoke_ms,
        detections,
        draw(st.integers(0, 2**32 - 1)),
    )


@pytest.mark.parametrize("message", _MESSAGES, ids=lambda message: type(message).__name__)
def test_each_message_comes_back_as_it_was_sent(message: protocol.Message) -> None:
    assert protocol.decode(protocol.encode(message)) == message


@given(_predictions())
def test_a_prediction_comes_back_as_it_was_sent(prediction: Prediction) -> None:
    assert protocol.decode(protocol.encode(prediction)) == prediction


@given(st.binary(max_size=400))
def test_random_bytes_are_refused_and_never_raise_anything_else(datagram: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        protocol.decode(datagram)


@given(_predictions(), st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_byte_gives_a_valid_prediction_or_a_refusal(prediction: Prediction, at: int, change: int) -> None:
    datagram = bytearray(protocol.encode(prediction))
    datagram[1 + at % (len(datagram) - 1)] ^= change
    try:
        found = protocol.decode(bytes(datagram))
    except ProtocolError:
        return
    assert isinstance(found, Prediction)
    for detection in found.detections:
        assert 0 <= detection.box.x_min <= detection.box.x_max <= 1
        assert 0 <= detection.score <= 1


@pytest.mark.parametrize("length", [0, 1, 10, 37])
def test_a_torn_prediction_is_refused(length: int) -> None:
    whole = protocol.encode(Prediction(1, 5, 9, 2.0, (Detection(Box(0, 0, 1, 1), 0.5, 0),)))
    with pytest.raises(ProtocolError):
        protocol.decode(whole[:length])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.5, 1.5])
def test_a_score_out_of_its_range_is_refused(value: float) -> None:
    datagram = protocol.encode(Prediction(1, 5, 9, 2.0, (Detection(Box(0, 0, 1, 1), value, 0),)))
    with pytest.raises(ProtocolError, match="shares from 0 to 1"):
        protocol.decode(datagram)


def test_a_message_with_an_unknown_field_is_refused() -> None:
    with pytest.raises(ProtocolError, match="pixels"):
        protocol.decode(b'R{"fps": 2.0, "pixels": "AAAA"}')


def test_the_crop_is_the_only_message_with_a_field_for_a_picture() -> None:
    """Every field of bytes, and what a picture of 8 by 8 grey pixels would need, beside it."""
    kinds = [*protocol._JSON_KINDS.values(), Prediction, protocol.Crop]
    with_bytes = [kind.__name__ for kind in kinds for field in dataclasses.fields(kind) if field.type == "bytes"]
    assert with_bytes == ["Crop"]
    assert len(protocol.encode(Prediction(1, 5, 9, 2.0, ()))) < 64


@given(st.binary(max_size=300))
def test_a_crop_comes_back_as_it_was_sent_and_must_be_a_jpeg(content: bytes) -> None:
    crop = protocol.Crop(7, 3, b"\xff\xd8\xff" + content + b"\xff\xd9")
    assert protocol.decode(protocol.encode(crop)) == crop
    for other in (b"x" + content, b"x" + content + b"\xff\xd9", b"\xff\xd8\xff" + content + b"\0"):
        with pytest.raises(ProtocolError, match="crop"):
            protocol.decode(protocol.encode(protocol.Crop(7, 3, other)))


def test_a_crop_beyond_its_limit_is_refused() -> None:
    with pytest.raises(ProtocolError, match="crop: expected"):
        protocol.decode(protocol.encode(protocol.Crop(1, 1, b"\xff\xd8\xff" + bytes(60_000) + b"\xff\xd9")))
