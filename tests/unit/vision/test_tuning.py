"""The rule of choice among measured ways, and the file that keeps them."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import DelegateLibrary, InferenceConfig
from edgeapp.vision.runtimes import installed_runtime
from edgeapp.vision.tflite import Runtime
from edgeapp.vision.tuning import THREAD_GAIN, Measured, Tuning, TuningKey, choose, settle, thread_counts
from edgeapp.vision.tuning_store import TuningStore
from tests.fakes.tiny_models import make_model_folder

_KEY = TuningKey(sha256="ab" * 32, runtime="ai-edge-litert 2.3.0", board="Raspberry Pi 5 Model B", cores=4)


_OPEN = InferenceConfig(model_dir="/m")


def way(delegate: Any, threads: int, median_ms: float) -> Measured:
    return Measured(delegate=delegate, threads=threads, median_ms=median_ms, p99_ms=2 * median_ms)


_MEASURED = (way("xnnpack", 1, 30.0), way("none", 1, 25.0), way("xnnpack", 2, 18.0), way("xnnpack", 3, 17.0))


@pytest.mark.parametrize(("cores", "counts"), [(1, [1]), (2, [1]), (3, [1, 2]), (4, [1, 2, 3]), (0, [1])])
def test_never_all_cores_but_where_there_is_one(cores: int, counts: list[int]) -> None:
    assert list(thread_counts(cores)) == counts


@pytest.mark.parametrize(
    ("pinned", "chosen"),
    [
        ({}, ("xnnpack", 2)),  # 18 of 25 ms is worth a thread, 17 of 18 is not
        ({"delegate": "none"}, ("none", 1)),
        ({"threads": 1}, ("none", 1)),
        ({"threads": 3}, ("xnnpack", 3)),
        ({"delegate": "xnnpack", "threads": 1}, ("xnnpack", 1)),
    ],
)
def test_the_choice_is_the_best_of_what_is_left_open(pinned: dict[str, Any], chosen: tuple[str, int]) -> None:
    best = choose(InferenceConfig(model_dir="/m", **pinned), _MEASURED)
    assert best is not None
    assert (best.delegate, best.threads) == chosen


def test_two_threads_more_must_gain_twice() -> None:
    ways = [way("xnnpack", 1, 10.0), way("xnnpack", 2, 9.0), way("xnnpack", 3, 6.5)]
    assert choose(_OPEN, ways) == ways[0]
    assert choose(_OPEN, [*ways, way("none", 3, 6.3)]) == way("none", 3, 6.3)


def test_what_was_never_measured_is_not_chosen() -> None:
    assert choose(InferenceConfig(model_dir="/m", threads=4), _MEASURED) is None
    assert choose(_OPEN, ()) is None


_WAYS = st.lists(
    st.builds(way, st.sampled_from(["xnnpack", "none"]), st.integers(1, 4), st.floats(0.01, 1e4)), min_size=1
)


@given(_WAYS)
def test_no_way_with_fewer_threads_is_nearly_as_fast_as_the_chosen(ways: list[Measured]) -> None:
    best = choose(_OPEN, ways)
    assert best is not None
    for other in ways:
        if other.threads < best.threads:
            assert best.median_ms <= other.median_ms * THREAD_GAIN * (1 + 1e-9)
        if other.threads == best.threads:
            assert best.median_ms <= other.median_ms


def test_without_a_measurement_auto_is_xnnpack_with_one_thread() -> None:
    settled = settle(_OPEN, None)
    assert (settled.delegate, settled.threads) == ("xnnpack", 1)
    assert settle(InferenceConfig(model_dir="/m", delegate="none", threads=2), None).threads == 2


def test_a_library_is_never_exchanged_for_what_was_measured() -> None:
    library = InferenceConfig(model_dir="/m", delegate=DelegateLibrary(library="/l.so"))
    assert choose(library, _MEASURED) is None
    assert settle(library, None) == dataclasses.replace(library, threads=1)


def test_a_measurement_is_found_again_and_a_newer_one_replaces_it(tmp_path: Path) -> None:
    store = TuningStore(tmp_path)
    assert store.find(_KEY) is None
    store.keep(Tuning(key=_KEY, measured=_MEASURED))
    newer = Tuning(key=_KEY, measured=_MEASURED[:1])
    store.keep(newer)
    assert TuningStore(tmp_path).find(_KEY) == newer


@pytest.mark.parametrize("other", [{"sha256": "cd" * 32}, {"runtime": "older"}, {"board": "Pi 4"}, {"cores": 2}])
def test_a_measurement_of_another_model_runtime_or_board_is_none(tmp_path: Path, other: dict[str, Any]) -> None:
    store = TuningStore(tmp_path)
    store.keep(Tuning(key=_KEY, measured=_MEASURED))
    assert store.find(dataclasses.replace(_KEY, **other)) is None


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    store = TuningStore(tmp_path)
    for number in range(12):
        store.keep(Tuning(key=dataclasses.replace(_KEY, sha256=f"{number:064x}"), measured=_MEASURED * 4))
    found = [store.find(dataclasses.replace(_KEY, sha256=f"{number:064x}")) is not None for number in range(12)]
    assert found == [False] * 4 + [True] * 8


def test_a_torn_file_counts_as_nothing_and_is_written_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = TuningStore(tmp_path)
    store.path.write_text('{"tunings": [{"key"')
    with caplog.at_level(logging.WARNING):
        assert store.find(_KEY) is None
    assert "tuning.json" in caplog.text
    store.keep(Tuning(key=_KEY, measured=_MEASURED))
    assert store.find(_KEY) is not None


def test_the_runtime_is_called_as_in_the_reports_of_models(tmp_path: Path) -> None:
    assert installed_runtime() == Runtime(make_model_folder(tmp_path) / "model.tflite").name
