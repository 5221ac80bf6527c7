"""The tracking laboratory's truth: scenes of people with known identities, and a detector with known faults.

Owns where each person is at each moment, what of that a camera sees, what a faulty detector makes of it, and the true
counts. Everything follows from the scene and a seed. The truth is computed by fine sampling of the paths, with none
of the code under test.

The picture is 4:3. A person's height grows with the foot's distance from the top, as for a camera that looks down.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgeapp.types import Box, Detection, Prediction

PERSON = 0
CLASS_NAMES = ("person", "bicycle")
WIDTH_OF_HEIGHT = 0.3
LINE_X = 0.5
ZONE = (0.3, 0.0, 0.7, 1.0)
_SAMPLE_S = 0.01


@dataclass(frozen=True, slots=True)
class Person:
    """One person's way: (time in s, foot x, foot y) from knot to knot, straight and at a steady pace in between."""

    knots: tuple[tuple[float, float, float], ...]

    def foot(self, at_s: float) -> tuple[float, float] | None:
        """Where the person stands, or None before the first and after the last knot."""
        for (t0, x0, y0), (t1, x1, y1) in zip(self.knots, self.knots[1:], strict=False):
            if t0 <= at_s <= t1:
                share = (at_s - t0) / (t1 - t0)
                return x0 + share * (x1 - x0), y0 + share * (y1 - y0)
        return None


@dataclass(frozen=True, slots=True)
class Faults:
    """What the detector does wrong.

    miss: share of the time a visible person is not found, in bursts of `miss_burst_s` on average.
    jitter: standard deviation of each edge, as a share of the box's height (of its width for the sides).
    false_per_frame: expected number of boxes where nobody is.
    merge: probability that two boxes with an overlap (IoU) above 0.4 come as the one that encloses both.
    """

    miss: float = 0.0
    miss_burst_s: float = 0.15
    jitter: float = 0.0
    false_per_frame: float = 0.0
    merge: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """People, pillars that hide them (x_min, x_max, foot y), and how long it lasts."""

    people: tuple[Person, ...]
    duration_s: float
    pillars: tuple[tuple[float, float, float], ...] = ()
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True, slots=True)
class Truth:
    """What a perfect counter would say of a scene: line x = LINE_X, forward to the right, zone ZONE."""

    entered: int
    forward: int
    backward: int
    dwell_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SceneFrame:
    """One frame: what the detector said, and who was really to be seen where (identity → box)."""

    prediction: Prediction
    visible: dict[int, Box]


def body(foot: tuple[float, float]) -> Box:
    """The whole box of the person who stands at `foot`, not cut off at the picture's edge."""
    height = 0.15 + 0.4 * foot[1]
    half_width = WIDTH_OF_HEIGHT * height / 2
    return Box(foot[0] - half_width, foot[1] - height, foot[0] + half_width, foot[1])


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    width = min(a.x_max, b.x_max) - max(a.x_min, b.x_min)
    height = min(a.y_max, b.y_max) - max(a.y_min, b.y_min)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / (a.width * a.height + b.width * b.height - shared)


def truth_of(scene: Scene) -> Truth:
    """The true counts, from samples of each path every 10 ms."""
    forward = backward = 0
    dwells: list[float] = []
    for person in scene.people:
        start_s, end_s = person.knots[0][0], min(person.knots[-1][0], scene.duration_s)
        inside = 0
        was_right: bool | None = None
        for step in range(math.floor((end_s - start_s) / _SAMPLE_S) + 1):
            foot = person.foot(start_s + step * _SAMPLE_S)
            if foot is None:
                continue
            inside += ZONE[0] <= foot[0] <= ZONE[2] and ZONE[1] <= foot[1] <= ZONE[3]
            is_right = foot[0] >= LINE_X
            forward += was_right is False and is_right
            backward += was_right is True and not is_right
            was_right = is_right
        if inside:
            dwells.append(inside * _SAMPLE_S)
    return Truth(len(scene.people), forward, backward, tuple(dwells))


def frames(scene: Scene, fps: float, seed: int) -> Iterator[SceneFrame]:
    """Play the scene at `fps`; the first frame falls at a random moment of the first period."""
    rng = random.Random(seed)
    found_of: dict[int, bool] = {}
    offset_s = rng.random() / fps
    for frame_id in range(int((scene.duration_s - offset_s) * fps) + 1):
        at_s = offset_s + frame_id / fps
        visible = _visible(scene, at_s)
        boxes = [
            _jittered(box, scene.faults.jitter, rng)
            for who, box in visible.items()
            if _is_found(who, scene.faults, 1 / fps, found_of, rng)
        ]
        boxes = _merged(boxes, scene.faults.merge, rng)
        boxes += _false_boxes(scene.faults.false_per_frame, rng)
        detections = tuple(Detection(_cut(box), 0.5 + 0.5 * rng.random(), PERSON) for box in boxes)
        now_ns = 1_000_000_000_000 + round(at_s * 1e9)
        yield SceneFrame(Prediction(frame_id, now_ns, now_ns + 30_000_000, 30.0, detections), visible)


def _cut(box: Box) -> Box:
    return Box(max(0.0, box.x_min), max(0.0, box.y_min), min(1.0, box.x_max), min(1.0, box.y_max))


def _visible(scene: Scene, at_s: float) -> dict[int, Box]:
    """Who can be seen: at least 40 % of the body's width inside the picture and not behind a pillar or a person."""
    feet = {who: foot for who, person in enumerate(scene.people) if (foot := person.foot(at_s)) is not None}
    bodies = {who: body(foot) for who, foot in feet.items()}
    visible: dict[int, Box] = {}
    for who, box in bodies.items():
        covers = [bodies[other] for other in feet if feet[other][1] > feet[who][1]]
        covers += [Box(x_min, 0.0, x_max, foot_y) for x_min, x_max, foot_y in scene.pillars if foot_y > box.y_max]
        cut = _cut(box)
        seen = cut.width - max((_hidden_width(cut, cover) for cover in covers), default=0.0)
        if seen >= 0.4 * box.width:
            visible[who] = cut
    return visible


def _hidden_width(box: Box, cover: Box) -> float:
    if cover.y_min >= box.y_max or cover.y_max - box.y_min < 0.6 * box.height:
        return 0.0
    return max(0.0, min(box.x_max, cover.x_max) - max(box.x_min, cover.x_min))


def _is_found(who: int, faults: Faults, period_s: float, found_of: dict[int, bool], rng: random.Random) -> bool:
    """A two-state chain with the stationary share `miss`: the state is drawn anew after `miss_burst_s` on average."""
    redraw = 1.0 - math.exp(-period_s / faults.miss_burst_s)
    if who not in found_of or rng.random() < redraw:
        found_of[who] = rng.random() >= faults.miss
    return found_of[who]


def _jittered(box: Box, jitter: float, rng: random.Random) -> Box:
    if jitter == 0.0:
        return box
    by_x, by_y = jitter * box.width, jitter * box.height
    left, right = rng.gauss(0.0, by_x), rng.gauss(0.0, by_x)
    top, bottom = rng.gauss(0.0, by_y), rng.gauss(0.0, by_y)
    return Box(box.x_min + left, box.y_min + top, box.x_max + right, box.y_max + bottom)


def _union(one: Box, other: Box) -> Box:
    return Box(
        min(one.x_min, other.x_min),
        min(one.y_min, other.y_min),
        max(one.x_max, other.x_max),
        max(one.y_max, other.y_max),
    )


def _merged(boxes: list[Box], merge: float, rng: random.Random) -> list[Box]:
    merged: list[Box] = []
    for box in boxes:
        partner = next((other for other in merged if overlap(box, other) > 0.4), None)
        if partner is not None and rng.random() < merge:
            merged.remove(partner)
            merged.append(_union(box, partner))
        else:
            merged.append(box)
    return merged


def _false_boxes(per_frame: float, rng: random.Random) -> list[Box]:
    """At most one a frame: `per_frame` is well below 1."""
    if rng.random() >= per_frame:
        return []
    return [body((rng.uniform(0.1, 0.9), rng.uniform(0.5, 0.95)))]


def _walk(rng: random.Random, start_s: float, foot_y: float, *, to_right: bool, pause: float | None = None) -> Person:
    """Across the picture in 5 to 9 s, on a slightly slanted way; with a `pause` of 8 to 20 s at that x."""
    across_s = rng.uniform(5.0, 9.0)
    x0, x1 = (-0.1, 1.1) if to_right else (1.1, -0.1)
    y1 = min(0.98, max(0.45, foot_y + rng.uniform(-0.06, 0.06)))
    if pause is None:
        return Person(((start_s, x0, foot_y), (start_s + across_s, x1, y1)))
    share = (pause - x0) / (x1 - x0)
    y = foot_y + share * (y1 - foot_y)
    stop_s = start_s + share * across_s
    go_s = stop_s + rng.uniform(8.0, 20.0)
    return Person(
        ((start_s, x0, foot_y), (stop_s, pause, y), (go_s, pause, y), (go_s + (1 - share) * across_s, x1, y1))
    )


def walking(seed: int, faults: Faults | None = None, people: int = 12) -> Scene:
    """One after the other, at different depths, either way."""
    rng = random.Random(f"walking {seed}")
    ways = [
        _walk(rng, 4.0 * i + rng.random(), rng.uniform(0.5, 0.95), to_right=rng.random() < 0.5) for i in range(people)
    ]
    return Scene(tuple(ways), _duration(ways), (), faults or Faults())


def crossing(seed: int, faults: Faults | None = None, people: int = 12) -> Scene:
    """Pairs that meet in the picture from both sides and hide each other for a moment."""
    rng = random.Random(f"crossing {seed}")
    ways: list[Person] = []
    for i in range(people // 2):
        near = rng.uniform(0.7, 0.95)
        start_s = 10.0 * i + 1.0
        ways.append(_walk(rng, start_s, near, to_right=True))
        ways.append(_walk(rng, start_s + rng.random(), near - rng.uniform(0.03, 0.15), to_right=False))
    return Scene(tuple(ways), _duration(ways), (), faults or Faults())


def pillar(seed: int, faults: Faults | None = None, people: int = 12) -> Scene:
    """As `walking`, behind a pillar that stands left of the line and hides each for about a second."""
    scene = walking(seed, faults, people)
    return Scene(scene.people, scene.duration_s, ((0.25, 0.4, 1.5),), scene.faults)


def standing(seed: int, faults: Faults | None = None, people: int = 10) -> Scene:
    """People who stop on the line, near it, or elsewhere, stand for 8 to 20 s, and go on."""
    rng = random.Random(f"standing {seed}")
    ways: list[Person] = []
    for i in range(people):
        stop_x = (LINE_X, LINE_X + 0.02, LINE_X - 0.02, 0.3, 0.75)[i % 5]
        ways.append(_walk(rng, 30.0 * i + 1.0, rng.uniform(0.5, 0.95), to_right=rng.random() < 0.5, pause=stop_x))
    return Scene(tuple(ways), _duration(ways), (), faults or Faults())


def busy(seed: int, faults: Faults | None = None, people: int = 30) -> Scene:
    """Random arrivals every 2 s on average, either way, some stopping, with a narrow pillar."""
    rng = random.Random(f"busy {seed}")
    ways: list[Person] = []
    start_s = 0.5
    for _ in range(people):
        start_s += rng.expovariate(0.5)
        pause = rng.uniform(0.2, 0.8) if rng.random() < 0.15 else None
        ways.append(_walk(rng, start_s, rng.uniform(0.5, 0.95), to_right=rng.random() < 0.5, pause=pause))
    return Scene(tuple(ways), _duration(ways), ((0.3, 0.36, 1.5),), faults or Faults())


def _duration(ways: list[Person]) -> float:
    return max(way.knots[-1][0] for way in ways) + 3.0
