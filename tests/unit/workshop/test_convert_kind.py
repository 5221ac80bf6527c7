"""Kinds of model files, by what is in them."""

from __future__ import annotations

import pytest

from edgeapp.workshop.convert_kind import HINTS, Kind, kind_of
from tests.fakes.frozen_graph import TinyDetector
from tests.fakes.tiny_models import one_convolution


@pytest.mark.parametrize(
    ("head", "members", "kind"),
    [
        (TinyDetector().content[:16], (), "frozen graph"),
        (b"\x08\x08\x12\x07pytorch", (), "onnx"),
        (one_convolution()[:16], (), "tflite"),
        (b"PK\x03\x04", ("archive/archive_format", "archive/models/model.json"), "exported program"),
        (b"PK\x03\x04", ("serialized_exported_program.json", "version"), "exported program"),
        (b"PK\x03\x04", ("m/data.pkl", "m/data/0"), "pickle"),
        (b"PK\x03\x04", ("m/data.pkl", "m/constants.pkl", "m/code/m.py"), "torchscript"),
        (b"PK\x03\x04", ("config.json", "model.weights.h5"), "unknown"),
        (b"\x89HDF\r\n\x1a\n", (), "hdf5"),
        (b"<!doctype html>", (), "unknown"),
        (b"", (), "unknown"),
    ],
)
def test_a_kind_is_told_by_what_is_in_the_file(head: bytes, members: tuple[str, ...], kind: Kind) -> None:
    assert kind_of(head, members) == kind


def test_every_kind_that_is_not_converted_says_what_to_do() -> None:
    assert set(HINTS) == {"pickle", "torchscript", "tflite", "hdf5", "unknown"}
