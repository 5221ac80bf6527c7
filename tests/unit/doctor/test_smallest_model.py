"""The model that is shipped as bytes is the one convolution that it is said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edgeapp.doctor import smallest_model
from edgeapp.types import DelegateReport
from edgeapp.vision.tflite import Runtime
from tests.fakes.tiny_models import one_convolution


def test_the_bytes_are_those_made_from_the_runtimes_schema() -> None:
    assert smallest_model.content() == one_convolution()


def test_it_answers_what_it_was_given_and_the_delegate_takes_it(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(smallest_model.content())
    runtime = Runtime(path)
    assert runtime.delegate == DelegateReport("xnnpack", 1, 1, 1)
    assert runtime.weights == "int8"
    given = np.array([-128, -7, -1, 0, 1, 7, 100, 127], np.int8).reshape(1, 1, 1, 8)
    runtime.set_input(runtime.inputs["x"], given)
    runtime.invoke()
    assert np.array_equal(runtime.output(runtime.outputs["y"]), given)
