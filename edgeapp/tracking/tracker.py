"""Joins the detections of successive frames into tracks: one person, one track, as nearly as boxes alone allow.

Owns which detections count (class, height), which belong together, when a track is believed and when it is forgotten.
Leaves to `counting.py` what is counted of the tracks, and to its caller the clock: the only time here is the frames'.
Guarantees: a track is in `entered` once and, later, in `left` once; at most MAX_OPEN tracks are open; no sequence of
boxes and times raises. Who passed lives in memory only: nothing here is logged.

Association is greedy, best pair first (as in SORT, Bewley et al., arXiv 1602.00763, with a greedy pick in place of the
Hungarian one): first by overlap with the box that constant velocity predicts, then, for what is left over, by distance
within a gate that widens with the time passed, because a few frames per second leave no overlap at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeapp.config import TrackingConfig
from edgeapp.errors import ConfigError
from edgeapp.types import Box, Detection, Observation, Prediction

MAX_OPEN = 200
# All measured with scripts/tracking-lab; docs/tracking.md has the figures.
_VELOCITY_TIME_S = 0.25
_GATE_HEIGHTS = 0.2
_GATE_HEIGHTS_PER_S = 0.6
_GATE_SIZE_RATIO = 1.6
_GATE_MAX_HEIGHTS = 2.0
_PATIENCE_FRAMES = 2.5


@dataclass(frozen=True, slots=True)
class Track:
    """A confirmed track at the moment it entered or left.

    Times are CLOCK_MONOTONIC in ns, boxes as detected, `mean_score` is over its detections.
    """

    track_id: int
    class_name: str
    first_ns: int
    first_box: Box
    last_ns: int
    last_box: Box
    mean_score: float


@dataclass(frozen=True, slots=True)
class TrackUpdate:
    """What one frame changed.

    `observations` has every confirmed open track: as detected, or, where it is briefly hidden, where it was last seen.
    `entered` were confirmed in this frame (and are among the observations); `left` were forgotten in this frame.
    """

    observations: tuple[Observation, ...] = ()
    entered: tuple[Track, ...] = ()
    left: tuple[Track, ...] = ()


class _Open:
    """One open track, confirmed or not yet."""

    __slots__ = (
        "box", "class_index", "class_name", "first_box", "first_ns", "hits", "is_confirmed", "last_ns", "score",
        "score_sum", "track_id", "velocity_x", "velocity_y",
    )  # fmt: skip

    def __init__(self, track_id: int, class_name: str, detection: Detection, now_ns: int) -> None:
        self.track_id = track_id
        self.class_name = class_name
        self.class_index = detection.class_index
        self.box = self.first_box = detection.box
        self.score = self.score_sum = detection.score
        self.first_ns = self.last_ns = now_ns
        self.velocity_x = self.velocity_y = 0.0
        self.hits = 1
        self.is_confirmed = False

    def see(self, detection: Detection, now_ns: int) -> None:
        """Take `detection` as this track's at `now_ns`; the velocity follows with a time constant, not per frame."""
        old, new = self.box, detection.box
        passed_s = (now_ns - self.last_ns) * 1e-9
        if passed_s > 0.0:
            gain = 0.5 / (passed_s + _VELOCITY_TIME_S)
            moved_x = new.x_min + new.x_max - old.x_min - old.x_max
            moved_y = new.y_min + new.y_max - old.y_min - old.y_max
            self.velocity_x += gain * (moved_x - 2.0 * passed_s * self.velocity_x)
            self.velocity_y += gain * (moved_y - 2.0 * passed_s * self.velocity_y)
        self.box = new
        self.score = detection.score
        self.score_sum += detection.score
        self.last_ns = now_ns
        self.hits += 1

    def predicted(self, now_ns: int) -> tuple[float, float, float, float]:
        """The box (x_min, y_min, x_max, y_max) that constant velocity gives for `now_ns`."""
        passed_s = (now_ns - self.last_ns) * 1e-9
        box, by_x, by_y = self.box, self.velocity_x * passed_s, self.velocity_y * passed_s
        return box.x_min + by_x, box.y_min + by_y, box.x_max + by_x, box.y_max + by_y

    def freeze(self) -> Track:
        mean_score = self.score_sum / self.hits
        return Track(self.track_id, self.class_name, self.first_ns, self.first_box, self.last_ns, self.box, mean_score)

    def observe(self, now_ns: int) -> Observation:
        age_s = (now_ns - self.first_ns) * 1e-9
        return Observation(self.track_id, self.class_name, self.box, self.score, age_s)


# No detector's box is smaller than this share of the picture, or reaches further out of it than its own size.
_MIN_SIZE = 1e-4
_LOWEST, _HIGHEST = -1.0, 2.0
_Predicted = tuple[_Open, tuple[float, float, float, float]]
_Pair = tuple[float, int, int]


def _is_outside(x_min: float, y_min: float, x_max: float, y_max: float) -> bool:
    """Whether the middle of the box is out of the picture."""
    return not (0.0 <= x_min + x_max <= 2.0 and 0.0 <= y_min + y_max <= 2.0)


class Tracker:
    """Tracks the boxes of one camera. One thread owns it.

    `ignored` counts the detections that were no box within reach of the picture, of a class the model does not name,
    or beyond MAX_OPEN in one frame. It depends on who passes, so like every count it must not be logged.

    Raises:
        ConfigError: the configuration names a class that the model has not, or its height limits exclude everything.
    """

    def __init__(self, config: TrackingConfig, class_names: tuple[str, ...]) -> None:
        self._class_names = class_names
        self._open: list[_Open] = []
        self._next_id = 1
        self._last_ns: int | None = None
        self._interval_ns = 0
        self.ignored = 0
        self.reconfigure(config)

    @property
    def open_count(self) -> int:
        """How many tracks are open, confirmed or not."""
        return len(self._open)

    def reconfigure(self, config: TrackingConfig) -> None:
        """Follow `config` from the next frame on. Open tracks stay; those it no longer wants are soon forgotten.

        Raises:
            ConfigError: as for the class; then the old configuration stays in force.
        """
        unknown = [name for name in config.classes if name not in self._class_names]
        if unknown:
            known = ", ".join(self._class_names)
            raise ConfigError(f"tracking.classes: expected classes of the model ({known}), found {', '.join(unknown)}")
        if config.min_height_pct > config.max_height_pct:
            raise ConfigError(
                f"tracking.min_height_pct: expected at most max_height_pct ({config.max_height_pct}), "
                f"found {config.min_height_pct}"
            )
        self._config = config
        self._wanted = tuple(not config.classes or name in config.classes for name in self._class_names)
        self._min_height = config.min_height_pct / 100.0
        self._max_height = config.max_height_pct / 100.0
        self._forget_ns = int(config.forget_s * 1e9)

    def update(self, prediction: Prediction) -> TrackUpdate:
        """Take the next frame's detections.

        A time before the last frame's, or a gap longer than tracks are remembered, forgets all tracks first.
        """
        now_ns, previous_ns = prediction.captured_ns, self._last_ns
        left = self._advance(now_ns)
        if prediction.invoke_ms is None and self._open:
            self._rest(now_ns, previous_ns)
            return self._report(now_ns, [], left)
        unmatched = self._associate(self._select(prediction.detections), now_ns)
        left += self._forget(now_ns)
        self._start(unmatched, now_ns)
        return self._report(now_ns, self._confirm(), left)

    def forget_all(self) -> TrackUpdate:
        """Close every open track: the model's classes are about to change, or the program ends."""
        left = tuple(track.freeze() for track in self._open if track.is_confirmed)
        self._open.clear()
        self._last_ns = None
        return TrackUpdate(left=left)

    def _advance(self, now_ns: int) -> list[Track]:
        """Move time to `now_ns`; returns the tracks that cannot be carried over it."""
        left: list[Track] = []
        if self._last_ns is not None:
            interval_ns = now_ns - self._last_ns
            if interval_ns < 0 or interval_ns > self._patience_ns():
                left = list(self.forget_all().left)
            self._interval_ns = max(0, interval_ns)
        self._last_ns = now_ns
        return left

    def _patience_ns(self) -> int:
        """How long an unseen track is remembered: `forget_s`, but at a low frame rate at least one frame's miss."""
        return max(self._forget_ns, int(_PATIENCE_FRAMES * self._interval_ns))

    def _rest(self, now_ns: int, previous_ns: int | None) -> None:
        """The picture is unchanged: nobody has moved, and who was seen stays seen.

        Who was hidden is not forgotten now: nobody leaves an unchanged picture, and a miss is merely repeated with it.
        The next inferred frame decides.
        """
        for track in self._open:
            track.velocity_x = track.velocity_y = 0.0
            if track.last_ns == previous_ns:
                track.last_ns = now_ns

    def _select(self, detections: Sequence[Detection]) -> list[Detection]:
        """The detections that may be part of a track, MAX_OPEN at most. The comparisons are false for NaN."""
        selected: list[Detection] = []
        classes = len(self._wanted)
        for detection in detections:
            box = detection.box
            is_box = (
                _LOWEST <= box.x_min < box.x_max - _MIN_SIZE < _HIGHEST
                and _LOWEST <= box.y_min < box.y_max - _MIN_SIZE < _HIGHEST
            )
            if not is_box or not 0 <= detection.class_index < classes or len(selected) == MAX_OPEN:
                self.ignored += 1
            elif self._wanted[detection.class_index] and self._min_height <= box.height <= self._max_height:
                selected.append(detection)
        return selected

    def _associate(self, detections: list[Detection], now_ns: int) -> list[Detection]:
        """Give each open track at most one detection; returns the detections that no track took."""
        free_tracks = [(track, track.predicted(now_ns)) for track in self._open]
        free_detections = detections
        for find_pairs in (self._overlaps, self._neighbours):
            if not free_tracks or not free_detections:
                break
            pairs = find_pairs(free_tracks, free_detections, now_ns)
            pairs.sort(reverse=True)
            taken_tracks: set[int] = set()
            taken_detections: set[int] = set()
            for _, i, j in pairs:
                if i not in taken_tracks and j not in taken_detections:
                    free_tracks[i][0].see(free_detections[j], now_ns)
                    taken_tracks.add(i)
                    taken_detections.add(j)
            free_tracks = [pair for i, pair in enumerate(free_tracks) if i not in taken_tracks]
            free_detections = [found for j, found in enumerate(free_detections) if j not in taken_detections]
        return free_detections

    def _overlaps(self, tracks: list[_Predicted], detections: list[Detection], _: int) -> list[_Pair]:
        """The pairs of one class whose intersection over union reaches `min_iou`, with it as their worth."""
        min_iou = self._config.min_iou
        boxes = [(found.box, found.box.width * found.box.height, found.class_index) for found in detections]
        pairs: list[_Pair] = []
        for i, (track, (x_min, y_min, x_max, y_max)) in enumerate(tracks):
            area = (x_max - x_min) * (y_max - y_min)
            for j, (box, box_area, class_index) in enumerate(boxes):
                width = (x_max if x_max < box.x_max else box.x_max) - (x_min if x_min > box.x_min else box.x_min)
                if width <= 0.0 or class_index != track.class_index:
                    continue
                height = (y_max if y_max < box.y_max else box.y_max) - (y_min if y_min > box.y_min else box.y_min)
                if height <= 0.0:
                    continue
                shared = width * height
                iou = shared / (area + box_area - shared)
                if iou >= min_iou:
                    pairs.append((iou, i, j))
        return pairs

    def _neighbours(self, tracks: list[_Predicted], detections: list[Detection], now_ns: int) -> list[_Pair]:
        """The pairs of one class and like height whose centres are within the gate; worth 1 - distance / gate."""
        pairs: list[_Pair] = []
        for i, (track, (x_min, y_min, x_max, y_max)) in enumerate(tracks):
            height = y_max - y_min
            if _is_outside(x_min, y_min, x_max, y_max):
                continue
            passed_s = (now_ns - track.last_ns) * 1e-9
            gate = height * min(_GATE_MAX_HEIGHTS, _GATE_HEIGHTS + _GATE_HEIGHTS_PER_S * passed_s)
            for j, found in enumerate(detections):
                box = found.box
                off_x = x_min + x_max - box.x_min - box.x_max
                off_y = y_min + y_max - box.y_min - box.y_max
                distance = 0.5 * math.hypot(off_x, off_y)
                if distance >= gate or found.class_index != track.class_index:
                    continue
                ratio = box.height / height
                if 1.0 / _GATE_SIZE_RATIO <= ratio <= _GATE_SIZE_RATIO:
                    pairs.append((1.0 - distance / gate, i, j))
        return pairs

    def _forget(self, now_ns: int) -> list[Track]:
        """Close the tracks not seen for too long; returns those that were confirmed.

        A track that should be outside the picture by now has gone: remembered on, it would be there for the next one
        who comes in at the same edge. A track not yet confirmed must do with one missed frame, or scattered false
        detections would add up to one.
        """
        patience_ns = self._patience_ns()
        tentative_ns = min(patience_ns, int(_PATIENCE_FRAMES * self._interval_ns))
        left: list[Track] = []
        kept: list[_Open] = []
        for track in self._open:
            unseen_ns = now_ns - track.last_ns
            limit_ns = patience_ns if track.is_confirmed else tentative_ns
            if unseen_ns == 0 or (unseen_ns <= limit_ns and not _is_outside(*track.predicted(now_ns))):
                kept.append(track)
            elif track.is_confirmed:
                left.append(track.freeze())
        self._open = kept
        return left

    def _start(self, detections: list[Detection], now_ns: int) -> None:
        """Open a track for each detection that no track took, as far as there is room."""
        room = MAX_OPEN - len(self._open)
        self.ignored += max(0, len(detections) - room)
        for detection in detections[:room]:
            self._open.append(_Open(self._next_id, self._class_names[detection.class_index], detection, now_ns))
            self._next_id += 1

    def _confirm(self) -> list[Track]:
        entered: list[Track] = []
        for track in self._open:
            if not track.is_confirmed and track.hits >= self._config.confirm_frames:
                track.is_confirmed = True
                entered.append(track.freeze())
        return entered

    def _report(self, now_ns: int, entered: list[Track], left: list[Track]) -> TrackUpdate:
        observations = tuple(track.observe(now_ns) for track in self._open if track.is_confirmed)
        return TrackUpdate(observations, tuple(entered), tuple(left))
