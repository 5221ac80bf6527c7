"""Scores the tracker and the counter against the truth of `scene.py`: the logic behind scripts/tracking-lab.

Counts are compared per scene, so that an error in one scene cannot cancel one in another. Identities are scored by
IDF1 and identity switches (Ristani et al., "Performance Measures and a Data Set for Multi-Target, Multi-Camera
Tracking", arXiv 1609.01775): with the one-to-one assignment of tracks to people that agrees in the most frames
(IDTP), IDF1 = 2 IDTP / (boxes of the truth + boxes of the tracks). A box agrees where the overlap (IoU) is 0.5.
"""

from __future__ import annotations

import time
from collections import Counter as Multiset
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from edgeapp.config import CountingConfig, LineConfig, TrackingConfig, ZoneConfig
from edgeapp.tracking.counting import Counter
from edgeapp.tracking.tracker import Tracker
from edgeapp.types import BACKWARD, CROSSINGS, ENTERED, FORWARD, Box, Cell, Detection, Observation, Prediction
from tests.fakes import scene as scenes
from tests.fakes.scene import CLASS_NAMES, LINE_X, ZONE, Faults, Scene, SceneFrame, Truth, frames, overlap, truth_of

FPS = (1.0, 2.0, 5.0, 10.0, 25.0)
FAULTY = Faults(miss=0.1, jitter=0.03, false_per_frame=0.02, merge=0.5)
FAMILIES: dict[str, Callable[[int], Scene]] = {
    "walking": scenes.walking,
    "crossing": scenes.crossing,
    "pillar": scenes.pillar,
    "standing": scenes.standing,
    "walking-faulty": partial(scenes.walking, faults=FAULTY),
    "standing-faulty": partial(scenes.standing, faults=FAULTY),
    "busy-faulty": partial(scenes.busy, faults=FAULTY),
}
COUNTING = CountingConfig(
    lines=(LineConfig(name="middle", start=(LINE_X, 1.0), end=(LINE_X, 0.0)),),
    zones=(
        ZoneConfig(
            name="centre",
            polygon=((ZONE[0], ZONE[1]), (ZONE[2], ZONE[1]), (ZONE[2], ZONE[3]), (ZONE[0], ZONE[3])),
        ),
    ),
)
_AGREES_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Run:
    """One scene, played once: how often each event happened, and how well the identities held."""

    scene: Scene
    tally: Multiset[tuple[str, Cell]]
    id_switches: int
    id_true_positives: int
    truth_boxes: int
    track_boxes: int
    paths: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    @property
    def truth(self) -> Truth:
        return truth_of(self.scene)

    @property
    def entered(self) -> int:
        return self.tally[ENTERED, ("person",)]

    @property
    def forward(self) -> int:
        return self.tally[CROSSINGS, ("middle", "person", FORWARD)]

    @property
    def backward(self) -> int:
        return self.tally[CROSSINGS, ("middle", "person", BACKWARD)]

    @property
    def entered_error(self) -> int:
        return abs(self.entered - self.truth.entered)

    @property
    def crossings_error(self) -> int:
        truth = self.truth
        return abs(self.forward - truth.forward) + abs(self.backward - truth.backward)


@dataclass(frozen=True, slots=True)
class Score:
    """One family at one frame rate, over all seeds. The errors are sums of absolute errors over the true sum."""

    name: str
    fps: float
    entered_error_pct: float
    crossings_error_pct: float
    id_switches_per_100: float
    idf1: float


def play(
    scene: Scene,
    fps: float,
    seed: int,
    config: TrackingConfig | None = None,
    through: Callable[[SceneFrame], Prediction] = lambda frame: frame.prediction,
) -> Run:
    """Track and count the whole scene, then close all tracks. `through` may change what the tracker is told."""
    tracker, counter = Tracker(config or TrackingConfig(), CLASS_NAMES), Counter(COUNTING)
    tally: Multiset[tuple[str, Cell]] = Multiset()
    agreements: Multiset[tuple[int, int]] = Multiset()
    last_track_of: dict[int, int] = {}
    switches = truth_boxes = track_boxes = now_ns = 0
    paths: dict[int, list[tuple[float, float]]] = {}
    for frame in frames(scene, fps, seed):
        now_ns = frame.prediction.captured_ns
        update = tracker.update(through(frame))
        tally.update((event.family, event.cell) for event in counter.update(update, now_ns))
        truth_boxes += len(frame.visible)
        track_boxes += len(update.observations)
        for who, track_id in _matches(frame.visible, update.observations):
            agreements[who, track_id] += 1
            switches += last_track_of.get(who, track_id) != track_id
            last_track_of[who] = track_id
        for observation in update.observations:
            paths.setdefault(observation.track_id, []).append(observation.box.foot)
    tally.update((event.family, event.cell) for event in counter.update(tracker.forget_all(), now_ns))
    return Run(scene, tally, switches, best_assignment(agreements), truth_boxes, track_boxes, paths)


def score(name: str, fps: float, seeds: Iterable[int], config: TrackingConfig | None = None) -> Score:
    """Play the family's scenes with these seeds and add up."""
    runs = [play(FAMILIES[name](seed), fps, seed, config) for seed in seeds]
    truths = [run.truth for run in runs]
    people = sum(truth.entered for truth in truths)
    crossings = sum(truth.forward + truth.backward for truth in truths)
    boxes = sum(run.truth_boxes + run.track_boxes for run in runs)
    return Score(
        name,
        fps,
        100 * sum(run.entered_error for run in runs) / people,
        100 * sum(run.crossings_error for run in runs) / crossings,
        100 * sum(run.id_switches for run in runs) / people,
        2 * sum(run.id_true_positives for run in runs) / boxes,
    )


def update_cost_us(people: int = 5, repeats: int = 2000) -> float:
    """The median time of one update of tracker and counter with as many tracks as detections, in µs."""
    tracker, counter = Tracker(TrackingConfig(), CLASS_NAMES), Counter(COUNTING)
    costs_ns: list[int] = []
    for frame_id in range(repeats):
        sway = 0.01 * (frame_id % 20 if frame_id % 40 < 20 else 20 - frame_id % 20)
        detections = tuple(
            Detection(Box(0.15 * i + sway, 0.3, 0.15 * i + sway + 0.1, 0.8), 0.8, 0) for i in range(people)
        )
        prediction = Prediction(frame_id, frame_id * 100_000_000, 0, 30.0, detections)
        start_ns = time.perf_counter_ns()
        counter.update(tracker.update(prediction), prediction.captured_ns)
        costs_ns.append(time.perf_counter_ns() - start_ns)
    return sorted(costs_ns)[repeats // 2] / 1000


def _matches(visible: dict[int, Box], observations: tuple[Observation, ...]) -> list[tuple[int, int]]:
    """(identity, track) of the boxes that agree in this frame, best overlap first."""
    pairs = [
        (overlap(box, observation.box), who, observation.track_id)
        for who, box in visible.items()
        for observation in observations
    ]
    taken: set[tuple[str, int]] = set()
    found: list[tuple[int, int]] = []
    for iou, who, track_id in sorted(pairs, reverse=True):
        if iou >= _AGREES_IOU and ("who", who) not in taken and ("track", track_id) not in taken:
            taken |= {("who", who), ("track", track_id)}
            found.append((who, track_id))
    return found


def best_assignment(agreements: Multiset[tuple[int, int]]) -> int:
    """The largest sum of agreements over one-to-one assignments, by augmenting paths on reduced costs (Hungarian)."""
    people = sorted({who for who, _ in agreements})
    tracks = sorted({track_id for _, track_id in agreements})
    size = max(len(people), len(tracks))
    cost = [[0] * (size + 1) for _ in range(size + 1)]
    for (who, track_id), count in agreements.items():
        cost[people.index(who) + 1][tracks.index(track_id) + 1] = -count
    row_price, column_price = [0] * (size + 1), [0] * (size + 1)
    row_of = [0] * (size + 1)
    for row in range(1, size + 1):
        _augment(row, cost, row_price, column_price, row_of)
    return -sum(cost[row_of[column]][column] for column in range(1, size + 1))


def _augment(row: int, cost: list[list[int]], row_price: list[int], column_price: list[int], row_of: list[int]) -> None:
    """Assign `row` by the cheapest augmenting path. Row and column 0 are the algorithm's own; see Kuhn 1955."""
    size = len(row_of) - 1
    row_of[0] = row
    column = 0
    slack = [1 << 60] * (size + 1)
    came_from = [0] * (size + 1)
    is_done = [False] * (size + 1)
    while row_of[column]:
        is_done[column] = True
        current, step, following = row_of[column], 1 << 60, 0
        for other in range(1, size + 1):
            if is_done[other]:
                continue
            reduced = cost[current][other] - row_price[current] - column_price[other]
            if reduced < slack[other]:
                slack[other], came_from[other] = reduced, column
            if slack[other] < step:
                step, following = slack[other], other
        for other in range(size + 1):
            if is_done[other]:
                row_price[row_of[other]] += step
                column_price[other] -= step
            else:
                slack[other] -= step
        column = following
    while column:
        row_of[column] = row_of[came_from[column]]
        column = came_from[column]
