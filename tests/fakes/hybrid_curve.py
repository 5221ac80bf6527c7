"""What asking the larger model about a share of the small one's detections is worth, on the demo's video.

The truth is drawn by hand (`people_in_demo.py`): what the float model sees would be no truth, since a crop shows it
people whom it misses in the whole picture. The models are shown the pictures from farther away, too: scaled down in the
middle of a plain ground. A crop goes through the product's own cutting, redaction and judgement.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from edgeapp.config import CropConfig
from edgeapp.escalation.answer import LEAST_SCORE as ANSWERED_SCORE
from edgeapp.escalation.answer import Answer, AnsweringModel, Found, judge
from edgeapp.types import AGREED, DIFFERED, Box, Detection
from edgeapp.vision import protocol
from edgeapp.vision.crops import CropStore
from edgeapp.vision.formats import Picture
from edgeapp.vision.model import Model
from edgeapp.workshop.agreement import agreement
from edgeapp.workshop.demo_assets import DemoAssets
from tests.fakes.people_in_demo import FRAMES, people

DISTANCES = (1.0, 0.8, 0.6, 0.45)
SHARES = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0)
LEAST_SCORE = 0.2  # below it the small model's detections are not looked at
_MIN_SCORE = 0.5
_CALIBRATION_STRIDE = 5  # these frames were seen when the small model was quantized
_ASKED = AnsweringModel(name="float", version=1, sha256="0" * 64)
Track = Callable[[Sequence[Picture], str], Iterable[Picture]]


@dataclass(frozen=True, slots=True)
class Case:
    """One detection of the small model: where, how sure, and what the large one says of its crop."""

    frame: int
    detection: Detection
    outcome: str

    @property
    def doubt(self) -> float:
        return -abs(self.detection.score - _MIN_SCORE)

    def is_there(self, *, is_asked: bool) -> bool:
        """Whether it counts: as the large model says where that is asked and sure, else as the small one does."""
        if is_asked and self.outcome in (AGREED, DIFFERED):
            return self.outcome == AGREED
        return self.detection.score >= _MIN_SCORE


@dataclass(frozen=True, slots=True)
class Scene:
    """All frames at some distances: the truth, what both models say, and the small one's detections as cases."""

    truth: list[tuple[Detection, ...]]
    small: list[tuple[Detection, ...]]
    large: list[tuple[Detection, ...]]
    cases: list[Case]

    def score(self, share: float) -> float:
        """F1 of the hybrid that asks about this share of the cases, those nearest to the threshold first."""
        asked = set(sorted(range(len(self.cases)), key=lambda place: -self.cases[place].doubt)[: self._count(share)])
        said: list[list[Detection]] = [[] for _ in self.truth]
        for place, case in enumerate(self.cases):
            if case.is_there(is_asked=place in asked):
                found = case.detection
                said[case.frame].append(Detection(found.box, max(found.score, _MIN_SCORE), found.class_index))
        return agreement(self.truth, [tuple(each) for each in said]).f1

    def _count(self, share: float) -> int:
        return round(share * len(self.cases))

    def joined(self, other: Scene) -> Scene:
        moved = [Case(case.frame + len(self.truth), case.detection, case.outcome) for case in other.cases]
        return Scene(self.truth + other.truth, self.small + other.small, self.large + other.large, self.cases + moved)


def measure(assets: DemoAssets, crop: CropConfig, track: Track) -> tuple[dict[float, Scene], dict[float, Scene]]:
    """A scene for each distance, 1 being the video as it is; judged by the people, and by the large model."""
    small = Model.load(assets.int8_model_dir, min_score=LEAST_SCORE)
    large = Model.load(assets.float_model_dir, min_score=ANSWERED_SCORE)
    pictures = _pictures(assets.video)
    person = small.manifest.classes.index("person")
    truth = [tuple(Detection(box, 1.0, person) for box in people(number)) for number, _ in pictures]
    shown = [picture for _, picture in pictures]
    try:
        scenes = {distance: _look(shown, truth, distance, small, large, crop, track) for distance in DISTANCES}
        return scenes, by_the_large_model(scenes, shown[0].shape)
    finally:
        small.close()
        large.close()


def by_the_large_model(scenes: dict[float, Scene], shape: tuple[int, ...]) -> dict[float, Scene]:
    """The same scenes judged by what the large model sees in the whole picture as it is, of that shape.

    That is how two models compare without labels; it is no truth, since a crop shows people whom it misses there.
    """
    seen = scenes[1.0].large
    return {
        distance: replace(scene, truth=[tuple(_moved(one, _place(shape, distance)) for one in frame) for frame in seen])
        for distance, scene in scenes.items()
    }


def _look(
    pictures: Sequence[Picture],
    truth: Sequence[tuple[Detection, ...]],
    distance: float,
    small: Model,
    large: Model,
    crop: CropConfig,
    track: Track,
) -> Scene:
    scene = Scene([], [], [], [])
    for frame, picture in enumerate(track(pictures, f"distance {distance:g}")):
        shown, place = _farther(picture, distance)
        scene.truth.append(tuple(_moved(one, place) for one in truth[frame]))
        scene.large.append(tuple(one for one in large.predict(shown)[0] if one.score >= _MIN_SCORE))
        found = small.predict(shown)[0]
        scene.small.append(found)
        store = CropStore(crop)
        store.turn(is_on=True)
        for index, detection in enumerate(found):
            store.keep(shown, index, [detection], small.manifest.classes, 0)
            answer = store.answer(protocol.AskCrop(frame_id=index, index=0), 0)
            assert isinstance(answer, protocol.Crop), "it was kept a moment ago"
            scene.cases.append(Case(frame, detection, _outcome(large, answer.jpeg, detection, crop)))
    return scene


def _outcome(large: Model, jpeg: bytes, detection: Detection, crop: CropConfig) -> str:
    picture = np.asarray(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    classes = large.manifest.classes
    found = tuple(
        Found(
            class_name=classes[one.class_index],
            score=one.score,
            box=(one.box.x_min, one.box.y_min, one.box.x_max, one.box.y_max),
        )
        for one in large.predict(picture)[0]
    )
    box = detection.box.within(detection.box.widened(crop.margin_pct / 100))
    return judge(Answer(v=1, model=_ASKED, detections=found), classes[detection.class_index], box)


def _pictures(video: Path) -> list[tuple[int, Picture]]:
    """All but those that the small model was calibrated on, with their numbers."""
    capture = cv2.VideoCapture(str(video))
    pictures = []
    while capture.grab():
        pictures.append(np.asarray(capture.retrieve()[1], np.uint8))
    capture.release()
    assert len(pictures) == FRAMES, (
        f"expected {FRAMES} frames, found {len(pictures)}: people were drawn on another video"
    )
    return [(index, picture) for index, picture in enumerate(pictures) if index % _CALIBRATION_STRIDE]


def _farther(picture: Picture, distance: float) -> tuple[Picture, Box]:
    """The picture scaled down in the middle of its own mean colour, and where it lies."""
    height, width = picture.shape[:2]
    canvas = np.empty_like(picture)
    canvas[:] = picture.reshape(-1, 3).mean(axis=0)
    place = _place(picture.shape, distance)
    left, top = round(place.x_min * width), round(place.y_min * height)
    size = int(width * distance), int(height * distance)
    part: npt.NDArray[np.uint8] = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = part
    return canvas, place


def _place(shape: tuple[int, ...], distance: float) -> Box:
    """Where a picture of that shape lies when it is scaled down, in shares of itself."""
    height, width = shape[:2]
    size = int(width * distance), int(height * distance)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    return Box(left / width, top / height, (left + size[0]) / width, (top + size[1]) / height)


def _moved(detection: Detection, place: Box) -> Detection:
    box = detection.box
    moved = Box(
        place.x_min + box.x_min * place.width,
        place.y_min + box.y_min * place.height,
        place.x_min + box.x_max * place.width,
        place.y_min + box.y_max * place.height,
    )
    return Detection(moved, detection.score, detection.class_index)


_WIDTH, _HEIGHT, _MARGIN = 760, 420, 70
_BLACK, _GREY, _LIGHT, _RED, _BLUE = (30, 30, 30), (140, 140, 140), (225, 225, 225), (40, 40, 210), (190, 100, 20)


def draw(path: Path, result: dict[str, object], title: str) -> None:
    """The curve over the share escalated, between the two models alone, as a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    points: list[dict[str, float]] = result["points"]  # type: ignore[assignment]
    small, large = float(result["small"]), float(result["large"])  # type: ignore[arg-type]
    scores = [point["score"] for point in points]
    low, high = min(small, large, *scores) - 0.03, max(small, large, *scores) + 0.03
    canvas: cv2.typing.MatLike = np.full((_HEIGHT + 2 * _MARGIN, _WIDTH + 2 * _MARGIN, 3), 255, np.uint8)

    def place(share: float, score: float) -> tuple[int, int]:
        return _MARGIN + round(share * _WIDTH), _MARGIN + round((high - score) / (high - low) * _HEIGHT)

    def text(words: str, corner: tuple[int, int], colour: tuple[int, int, int] = _BLACK, size: float = 0.5) -> None:
        cv2.putText(canvas, words, corner, cv2.FONT_HERSHEY_SIMPLEX, size, colour, 1, cv2.LINE_AA)

    text(title, (_MARGIN, 34), size=0.6)
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x = place(share, low)[0]
        cv2.line(canvas, (x, _MARGIN), (x, _MARGIN + _HEIGHT), _LIGHT, 1)
        text(f"{100 * share:.0f} %", (x - 14, _MARGIN + _HEIGHT + 22), _GREY)
    for score, other, name, colour in ((small, large, "small alone", _GREY), (large, small, "large alone", _RED)):
        cv2.line(canvas, place(0, score), place(1, score), colour, 1, cv2.LINE_AA)
        below = 16 if score < other else -8  # the names of two lines that lie close keep apart
        text(f"{name} {score:.3f}", (_MARGIN + _WIDTH - 170, place(1, score)[1] + below), colour)
    curve = np.array([place(point["share"], point["score"]) for point in points], np.int32)
    cv2.polylines(canvas, [curve], False, _BLUE, 2, cv2.LINE_AA)
    for point in points:
        cv2.circle(canvas, place(point["share"], point["score"]), 4, _BLUE, -1, cv2.LINE_AA)
        at = place(point["share"], point["score"])
        text(f"{point['score']:.3f}", (at[0] - 18, at[1] - 10), _BLUE, 0.4)
    text("share of the detections that are escalated", (_MARGIN + 210, _MARGIN + _HEIGHT + 50), _GREY)
    if not cv2.imwrite(str(path), canvas):
        raise OSError(f"{path}: the picture cannot be written")
