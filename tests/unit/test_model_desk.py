"""The desk measures the model that runs, and tells a bad model from bad luck."""

from __future__ import annotations

import pytest

from edgeapp.errors import VisionLostError
from edgeapp.model_desk import ModelDesk
from edgeapp.types import DelegateReport, Lineup, ModelReport, Prediction
from edgeapp.updates.trial import Agreement
from edgeapp.vision import protocol

_MODEL = ModelReport("people", 1, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 5, 5, 1))


@pytest.fixture
def desk() -> ModelDesk:
    desk = ModelDesk("factory")
    desk.first()
    desk.hear(protocol.Ready(model=_MODEL, model_number=1), 0.0)
    return desk


def _run(desk: ModelDesk, from_s: int, to_s: int, invoke_ms: float) -> None:
    """A frame a second, which is throttled for a tenth of the time."""
    for second in range(from_s, to_s):
        desk.follow(Prediction(second, second, second, invoke_ms, ()))
        desk.note(second + 1.0, throttled_s=(second + 1) / 10, rss_mb=100.0, model=_MODEL)


def test_conduct_is_told_of_all_and_of_the_last_quarter_to_half_of_an_hour(desk: ModelDesk) -> None:
    desk.note(0.0, throttled_s=0.0, rss_mb=100.0, model=_MODEL)
    _run(desk, 0, 1800, 90.0)
    _run(desk, 1800, 3600, 10.0)
    look = desk.look()
    assert look.since_begin is not None
    assert look.lately is not None
    assert (look.since_begin.inferred, look.since_begin.seconds) == (3600, 3600.0)
    assert look.since_begin.throttled_share == pytest.approx(0.1)
    assert 900 <= look.lately.seconds <= 1800
    assert look.since_begin.p95_ms == look.lately.p95_ms == pytest.approx(10.0, rel=0.02)


def test_a_crash_counts_against_the_model_that_ran_and_its_measuring_goes_on(desk: ModelDesk) -> None:
    desk.note_failures(3)
    desk.vision_ends(VisionLostError("died", "vision died"))
    desk.vision_ends(VisionLostError("stalled", "the camera hangs", is_camera=True))
    assert desk.first() == "factory"
    desk.hear(protocol.Ready(model=_MODEL, model_number=1), 9.0)
    desk.note(10.0, throttled_s=0.0, rss_mb=None, model=_MODEL)
    look = desk.look()
    assert look.since_begin is not None
    assert (look.since_begin.crashes, look.since_begin.failures, look.crashes) == (1, 3, 1)


def test_another_model_is_measured_anew(desk: ModelDesk) -> None:
    desk.note_failures(3)
    desk.note_comparison(9, 2)
    desk.line_up(Lineup(("new",), beside="factory"))
    assert desk.next_command() == protocol.LoadCandidate(model_dir="new")
    desk.hear(protocol.CandidateReady(model=_MODEL, model_number=2, load_ms=1.0), 5.0)
    assert desk.next_command() == protocol.SwitchTo(model_number=2)
    desk.hear(protocol.Switched(model=_MODEL, model_number=2, frame_id=1), 6.0)
    for _ in range(2):
        desk.note_comparison(10, 8)
    desk.note(8.0, throttled_s=0.0, rss_mb=None, model=_MODEL)
    look = desk.look()
    assert look.since_begin is not None
    assert look.agreement == Agreement(20, 16)
    assert (look.measured, look.since_begin.failures, look.since_begin.seconds) == ("new", 0, 2.0)


@pytest.mark.parametrize(
    "lost",
    [[VisionLostError("refused", "E_LOAD: torn")], [VisionLostError("died", "vision was ended by SIGSEGV")] * 3],
    ids=["refused", "died three times"],
)
def test_a_model_that_vision_does_not_take_gives_way_to_the_next(lost: list[VisionLostError]) -> None:
    desk = ModelDesk("factory")
    desk.line_up(Lineup(("bad", "factory")))
    for one in lost:
        assert desk.first() == "bad"
        desk.vision_ends(one)
    assert desk.first() == "factory"


def test_what_vision_refuses_for_another_reason_is_no_fault_of_the_model() -> None:
    desk = ModelDesk("factory")
    desk.line_up(Lineup(("good", "factory")))
    assert desk.first() == "good"
    desk.vision_ends(VisionLostError("refused", "E_CAMERA: no such device"))
    assert desk.first() == "good"
