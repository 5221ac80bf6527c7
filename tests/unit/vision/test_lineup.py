"""Whatever vision has and whatever is wished for, single steps lead there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.errors import ModelStateError
from edgeapp.types import DelegateReport, Lineup, ModelReport
from edgeapp.vision import protocol
from edgeapp.vision.lineup import ModelPicture

_MODEL = ModelReport("people", 1, "ab" * 32, "int8", ("person",), "litert", 1, DelegateReport("xnnpack", 5, 5, 1))
_FOLDERS = ("a", "b", "c", "broken")


class PlayedVision:
    """Two models at most, as `vision/models.py` keeps them; what does not fit is an error of the test."""

    def __init__(self, picture: ModelPicture, folder: str) -> None:
        self.picture, self.count, self.is_trial = picture, 1, False
        self.running, self.other = (1, folder), (0, "")
        picture.hear(protocol.Ready(model=_MODEL, model_number=1))

    def obey(self, command: protocol.ModelCommand) -> None:
        match command:
            case protocol.LoadCandidate():
                assert not self.other[1], "two models already"
                if command.model_dir == "broken":
                    self.picture.hear(protocol.CandidateFailed(code="E_LOAD", text="broken"))
                    return
                self.count += 1
                self.other = (self.count, command.model_dir)
                self.picture.hear(protocol.CandidateReady(model=_MODEL, model_number=self.count, load_ms=1.0))
            case protocol.SwitchTo():
                assert command.model_number == self.other[0]
                assert not self.is_trial
                self._flip()
            case protocol.Back():
                assert self.is_trial
                self._flip()
            case protocol.Keep() | protocol.DropCandidate():
                assert isinstance(command, protocol.Keep) is self.is_trial
                model_number, self.other, self.is_trial = self.other[0], (0, ""), False
                self.picture.hear(protocol.Dropped(model_number=model_number))

    def _flip(self) -> None:
        self.running, self.other, self.is_trial = self.other, self.running, not self.is_trial
        self.picture.hear(protocol.Switched(model=_MODEL, model_number=self.running[0], frame_id=1))


WISHES = st.builds(
    Lineup,
    st.lists(st.sampled_from(_FOLDERS), max_size=3, unique=True).map(lambda some: (*some, "factory")),
    st.none() | st.sampled_from(_FOLDERS),
)


@given(st.lists(WISHES, min_size=1, max_size=6))
def test_every_wish_is_reached_from_every_other(wishes: list[Lineup]) -> None:
    picture = ModelPicture(Lineup(("factory",)))
    assert picture.first() == "factory"
    vision = PlayedVision(picture, "factory")
    for wish in wishes:
        picture.want(wish)
        for _ in range(9):
            command = picture.next_command()
            if command is None:
                break
            vision.obey(command)
        assert command is None
        wanted = next(folder for folder in wish.order if folder != "broken")
        beside = wish.beside if wish.beside not in ("broken", wanted) else None
        situation = picture.situation
        assert (situation.running, situation.beside) == (wanted, beside)
        assert (vision.running[1], vision.other[1]) == (wanted, beside or "")


def test_a_start_takes_the_first_model_that_vision_accepts_and_begins_anew_when_all_are_refused() -> None:
    picture = ModelPicture(Lineup(("a", "b")))
    tried = []
    for _ in range(4):
        folder = picture.first()
        assert folder is not None
        tried.append(folder)
        picture.reject("E_LOAD", "torn")
    assert tried == ["a", "b", "a", "b"]
    assert set(picture.situation.rejected) == {"a", "b"}
    assert picture.first() == "a"
    picture.hear(protocol.Ready(model=_MODEL, model_number=1))
    assert (picture.situation.running, set(picture.situation.rejected)) == ("a", {"b"})
    picture.want(Lineup(()))
    assert picture.first() is None


def test_a_candidate_that_is_no_longer_wanted_is_dropped_while_it_loads() -> None:
    picture = ModelPicture(Lineup(("a",), beside="b"))
    picture.first()
    picture.hear(protocol.Ready(model=_MODEL, model_number=1))
    assert picture.next_command() == protocol.LoadCandidate(model_dir="b")
    assert picture.next_command() is None
    picture.want(Lineup(("a",)))
    assert picture.next_command() == protocol.DropCandidate()
    assert picture.next_command() is None
    picture.hear(protocol.Dropped(model_number=2))
    assert picture.next_command() is None


def test_vision_with_other_models_than_thought_is_started_anew() -> None:
    picture = ModelPicture(Lineup(("a",)))
    with pytest.raises(ModelStateError):
        picture.hear(protocol.CandidateFailed(code="E_STATE", text="expected one model"))
