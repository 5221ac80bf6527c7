"""Which model runs, which stands by: every order is answered, and none that does not fit changes anything."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeapp.errors import ModelError
from edgeapp.vision import protocol
from edgeapp.vision.model import Model
from edgeapp.vision.models import Models
from tests.fakes.tiny_models import make_model_folder

LOAD = protocol.LoadCandidate(model_dir="candidate")


class Bench:
    """Models on a bench: loading waits for the gate, and what is sent is heard here."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None
        self._heard: queue.Queue[Any] = queue.Queue()
        self.models = Models(Model.load(folder), load=self._load, send=self._heard.put)

    def _load(self, path: Path) -> Model:
        self.gate.wait(10)
        if self.error is not None:
            raise self.error
        return Model.load(self._folder)

    def order(self, *commands: protocol.ModelCommand) -> None:
        for command in commands:
            self.models.handle(command)

    def hear(self) -> Any:
        return self._heard.get(timeout=10)

    def is_silent(self) -> bool:
        return self._heard.empty()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture
def bench(folder: Path) -> Bench:
    return Bench(folder)


def test_a_candidate_is_loaded_tried_and_kept(bench: Bench) -> None:
    first = bench.models.active
    bench.order(LOAD)
    ready = bench.hear()
    assert (ready.model_number, bench.models.active) == (first.model_number + 1, first)
    bench.order(protocol.SwitchTo(model_number=ready.model_number))
    assert bench.models.active is first, "it runs on until the frame in work is done"
    assert bench.models.flip(42)
    switched = bench.hear()
    assert (switched.model_number, switched.frame_id) == (ready.model_number, 42)
    assert bench.models.active.model_number == ready.model_number
    assert not bench.models.flip(43)
    bench.order(protocol.Keep())
    assert bench.hear() == protocol.Dropped(model_number=first.model_number)
    bench.order(LOAD)
    assert bench.hear().model_number == ready.model_number + 1, "no model number is given twice"


def test_the_way_back_leaves_the_candidate_standing_by(bench: Bench) -> None:
    first = bench.models.active
    bench.order(LOAD)
    candidate = bench.hear().model_number
    for _ in range(2):
        bench.order(protocol.SwitchTo(model_number=candidate))
        bench.models.flip(1)
        assert bench.hear().model_number == candidate
        bench.order(protocol.Back())
        bench.models.flip(2)
        assert bench.hear().model_number == first.model_number
        assert bench.models.active is first
    bench.order(protocol.DropCandidate())
    assert bench.hear() == protocol.Dropped(model_number=candidate)


def test_a_candidate_that_is_dropped_while_it_is_loaded_never_stands_by(bench: Bench) -> None:
    bench.gate.clear()
    bench.order(LOAD, protocol.DropCandidate())
    bench.gate.set()
    assert bench.hear() == protocol.Dropped(model_number=2)
    bench.order(protocol.SwitchTo(model_number=2))
    assert bench.hear().code == "E_STATE"


@pytest.mark.parametrize(
    ("error", "code"),
    [(ModelError("torn"), "E_LOAD"), (MemoryError(), "E_INTERNAL"), (ZeroDivisionError("what"), "E_INTERNAL")],
)
def test_a_candidate_that_fails_may_be_followed_by_another(bench: Bench, error: Exception, code: str) -> None:
    bench.error = error
    bench.order(LOAD)
    failed = bench.hear()
    assert failed.code == code
    assert failed.text
    bench.error = None
    bench.order(LOAD)
    assert isinstance(bench.hear(), protocol.CandidateReady)


def test_a_second_candidate_is_refused_while_the_first_is_loaded_or_stands_by(bench: Bench) -> None:
    bench.gate.clear()
    bench.order(LOAD, LOAD)
    assert "another being loaded" in bench.hear().text
    bench.gate.set()
    model_number = bench.hear().model_number
    bench.order(LOAD)
    assert f"model {model_number} standing by" in bench.hear().text


ORDERS: tuple[Callable[[int], protocol.ModelCommand], ...] = (
    lambda _: LOAD,
    lambda model_number: protocol.SwitchTo(model_number=model_number),
    lambda _: protocol.Back(),
    lambda _: protocol.Keep(),
    lambda _: protocol.DropCandidate(),
)


@settings(max_examples=40)
@given(st.lists(st.integers(0, len(ORDERS) - 1), max_size=12))
def test_any_sequence_of_orders_is_answered_one_by_one(folder: Path, sequence: list[int]) -> None:
    bench = Bench(folder)
    running, other, is_trial = 1, 0, False
    for index in sequence:
        command = ORDERS[index](other)
        bench.order(command)
        bench.models.flip(7)
        answer = bench.hear()
        match command:
            case protocol.LoadCandidate() if not other:
                other = answer.model_number
                assert isinstance(answer, protocol.CandidateReady)
            case protocol.SwitchTo() if other and not is_trial:
                running, other, is_trial = other, running, True
                assert answer.model_number == running
            case protocol.Back() if is_trial:
                running, other, is_trial = other, running, False
                assert answer.model_number == running
            case protocol.Keep() if is_trial:
                assert answer == protocol.Dropped(model_number=other)
                other, is_trial = 0, False
            case protocol.DropCandidate() if other and not is_trial:
                assert answer == protocol.Dropped(model_number=other)
                other = 0
            case _:
                assert answer.code == "E_STATE"
                assert f"found model {running} running" in answer.text
        assert bench.models.active.model_number == running
        assert bench.is_silent()
