"""Golden cases hold what a model says, and nothing of what its memory held before."""

from __future__ import annotations

import numpy as np

from edgeapp.vision.golden import without_leftovers


def test_rows_beyond_the_count_are_zeroed_and_the_others_kept() -> None:
    nan = np.float32("nan")
    outputs = {
        "boxes": np.array([[[0.1, 0.2, 0.3, 0.4], [nan, 5, nan, 7], [9, 9, 9, 9]]], np.float32),
        "scores": np.array([[0.9, nan, 0.8]], np.float32),
        "classes": np.array([[2, nan, 1]], np.float32),
        "count": np.array([1], np.float32),
    }
    tidied = without_leftovers(outputs)
    assert {role: values.dtype for role, values in tidied.items()} == dict.fromkeys(outputs, np.dtype(np.float32))
    np.testing.assert_array_equal(tidied["boxes"], [[outputs["boxes"][0, 0], [0] * 4, [0] * 4]])
    np.testing.assert_array_equal(tidied["scores"], [[np.float32(0.9), 0, 0]])
    np.testing.assert_array_equal(tidied["classes"], [[2, 0, 0]])
    np.testing.assert_array_equal(tidied["count"], [1])


def test_a_quantized_output_stays_one() -> None:
    outputs = {"scores": np.array([[100, 7]], np.int8), "count": np.array([1], np.int8)}
    scores = without_leftovers(outputs)["scores"]
    assert scores.dtype == np.int8
    assert scores.tolist() == [[100, 0]]
