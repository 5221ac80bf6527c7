"""A delegate library that serves runs the model; any other is left out, with its reason, and never brings us down."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import interpreter

from edgeapp.config import DelegateLibrary, InferenceConfig
from edgeapp.errors import ManifestError, ModelError
from edgeapp.vision import loading
from edgeapp.vision.model import Model
from edgeapp.vision.tflite import Runtime
from tests.fakes.delegates import no_delegate, shim
from tests.fakes.mutants import make_good_folder, pictures


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with golden cases."""
    return make_good_folder(tmp_path_factory.mktemp("good"))


def load(folder: Path, delegate: DelegateLibrary, fault: str = "") -> Model:
    return loading.load(folder, InferenceConfig(model_dir=str(folder), delegate=delegate), fault)


def test_a_library_takes_what_it_can_and_xnnpack_the_rest(folder: Path) -> None:
    library = load(folder, shim())
    report = library.report.delegate
    assert (report.name, report.nodes, report.delegated, report.by_library) == ("libshim.so", 5, 5, 2)
    assert (report.fell_back, library.report.advice) == ("", ())
    assert str(report) == "libshim.so took 2 and xnnpack 3 of 5 nodes"
    plain = Model.load(folder)
    for picture in pictures(seed=2):
        assert library.predict(picture)[0] == plain.predict(picture)[0]
    library.close()


REFUSALS = [
    (shim("take_none"), "took none of the 5 operators"),
    (shim("refuse"), "no accelerator was found"),
    (shim("fail_prepare"), "failed to prepare"),
    (no_delegate(), "tflite_plugin_create_delegate"),
    (DelegateLibrary(library="/usr/lib/none.so"), "No such file"),
    (DelegateLibrary(library=__file__), "invalid ELF header"),
]


# The runtime's own Delegate stumbles in its __del__ over a library that it could not load; Python prints that.
_STUMBLES = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@_STUMBLES
@pytest.mark.parametrize(("library", "reason"), REFUSALS, ids=[reason for _, reason in REFUSALS])
def test_a_library_that_does_not_serve_is_left_out(folder: Path, library: DelegateLibrary, reason: str) -> None:
    runtime = Runtime(folder / "model.tflite", delegate=library)
    report = runtime.delegate
    assert (report.name, report.delegated, report.by_library) == ("xnnpack", 5, 0)
    assert report.fell_back.startswith(f"{library.library}: ")
    assert reason in report.fell_back
    runtime.invoke()


HARMS = [
    (shim("crash_create"), "ended by SIGSEGV"),
    (shim("crash_prepare"), "ended by SIGSEGV"),
    (shim("crash_invoke"), "ended by SIGSEGV"),
    (shim("fail_invoke"), "failed to invoke"),
    (shim("wrong"), "golden cases: expected outputs within"),
    (shim("refuse"), "no accelerator was found"),
    (shim("hang"), "expected an end within 2 s, found none"),
]


@pytest.mark.parametrize(("library", "reason"), HARMS, ids=[library.options["behaviour"] for library, _ in HARMS])
def test_a_harmful_library_is_met_in_a_child_and_comes_no_further(
    folder: Path, library: DelegateLibrary, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the library was loaded here")

    monkeypatch.setattr(interpreter, "load_delegate", never)
    wall_s = 2.0 if library.options["behaviour"] == "hang" else 60.0  # the others have time to come to their end
    monkeypatch.setattr(loading, "_TRIAL", dataclasses.replace(loading._TRIAL, wall_s=wall_s))
    model = load(folder, library)
    model.warm_up()
    report = model.report.delegate
    assert (report.name, report.delegated) == ("xnnpack", 5)
    assert reason in report.fell_back
    assert reason in model.report.advice[0].text


def test_a_fault_that_is_known_already_spares_the_library(folder: Path) -> None:
    assert load(folder, shim(), "it crashed").report.delegate.fell_back == "it crashed"


def test_without_a_library_there_is_no_child(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("a self-test was started")

    monkeypatch.setattr(loading, "self_test", never)
    model = loading.load(folder, InferenceConfig(model_dir=str(folder)))
    assert (model.report.threads, model.report.delegate.name) == (1, "xnnpack")


def test_a_damaged_model_is_the_models_fault(tmp_path: Path) -> None:
    make_good_folder(tmp_path)
    (tmp_path / "model.tflite").write_bytes(b"torn")
    with pytest.raises(ManifestError, match=r"expected .* bytes"):
        load(tmp_path, shim())


@_STUMBLES
def test_a_model_that_neither_can_run_is_refused_with_both_reasons(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"TFL3" * 64)
    with pytest.raises(ModelError, match=r"expected a model that .* can run, found: .*; delegate library .*none\.so: "):
        Runtime(path, delegate=DelegateLibrary(library="/usr/lib/none.so"))


def test_a_library_leaves_with_its_interpreter(folder: Path) -> None:
    runtime = Runtime(folder / "model.tflite", delegate=shim())
    given = np.zeros(runtime.inputs["image"].shape, np.int8)
    runtime.set_input(runtime.inputs["image"], given)
    runtime.invoke()
    runtime.close()
    with pytest.raises(ModelError, match="invoke failed"):
        runtime.invoke()
