"""Tells what tracks do, as events: entered, is present, crossed a line and which way, stayed in a zone how long, left.

Owns the meaning of each event (`docs/tracking.md` has the words) and the state of each open track towards each line
and zone. Leaves to `tracker.py` what a track is, and to telemetry what of the events counts, the windows and the noise.

These events are the most sensitive thing on the device: exact, and about whoever passes. They live in this memory
only. They are never written, logged, put into an error's message or shown in a status.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator

from edgeapp.config import CountingConfig, LineConfig, ZoneConfig
from edgeapp.tracking.geometry import Point, crossing_direction, distance_to_segment, point_in_polygon, side
from edgeapp.tracking.tracker import Track, TrackUpdate
from edgeapp.types import (
    BACKWARD,
    CONFIDENCE,
    CONFIDENCE_EDGES,
    CROSSINGS,
    DWELL,
    DWELL_EDGES_S,
    ENTERED,
    FORWARD,
    LEFT,
    PRESENCE,
    Box,
    Event,
)

# A crossing counts when the foot is this share of the box's height away from the line. Detectors' feet jitter by
# 2 to 5 % of the height; docs/tracking.md has what was measured.
_CLEAR_HEIGHTS = 0.1


class _LineState:
    """One track towards one line: the side of its foot, and the crossing that is not yet clear of the line."""

    __slots__ = ("is_right", "line", "pending")

    def __init__(self, line: LineConfig, foot: Point) -> None:
        self.line = line
        self.is_right = side(line.start, line.end, foot) >= 0
        self.pending = 0


class _ZoneState:
    """One track towards one zone: whether its foot is inside, and for how long it has been in all."""

    __slots__ = ("dwell_ns", "is_inside", "was_inside", "zone")

    def __init__(self, zone: ZoneConfig, foot: Point) -> None:
        self.zone = zone
        self.is_inside = self.was_inside = point_in_polygon(foot, zone.polygon)
        self.dwell_ns = 0


class _Walker:
    """One open track on its way over the lines and through the zones."""

    __slots__ = ("foot", "last_ns", "lines", "zones")

    def __init__(self, config: CountingConfig, box: Box, now_ns: int) -> None:
        self.foot = box.foot
        self.last_ns = now_ns
        self.lines = [_LineState(line, self.foot) for line in config.lines]
        self.zones = [_ZoneState(zone, self.foot) for zone in config.zones]

    def reconfigure(self, config: CountingConfig) -> None:
        """Keep the state towards each line and zone that is the same as before; begin anew with the others."""
        lines = {state.line: state for state in self.lines}
        zones = {state.zone: state for state in self.zones}
        self.lines = [lines.get(line) or _LineState(line, self.foot) for line in config.lines]
        self.zones = [zones.get(zone) or _ZoneState(zone, self.foot) for zone in config.zones]

    def move(self, box: Box, now_ns: int) -> list[tuple[str, str]]:
        """Go straight to the foot of `box`; returns the crossings (line, direction) that are clear by now."""
        foot = box.foot
        passed_ns = max(0, now_ns - self.last_ns)
        has_moved = foot != self.foot
        for zone in self.zones:
            was_inside = zone.is_inside
            if has_moved:
                zone.is_inside = point_in_polygon(foot, zone.zone.polygon)
                zone.was_inside = zone.was_inside or zone.is_inside
            zone.dwell_ns += passed_ns * (was_inside + zone.is_inside) // 2
        crossed: list[tuple[str, str]] = []
        if has_moved:
            crossed = [done for state in self.lines if (done := self._step(state, foot, box.height)) is not None]
        self.foot, self.last_ns = foot, now_ns
        return crossed

    def _step(self, state: _LineState, foot: Point, height: float) -> tuple[str, str] | None:
        line = state.line
        is_right = side(line.start, line.end, foot) >= 0
        if is_right != state.is_right:
            state.is_right = is_right
            state.pending += crossing_direction(self.foot, foot, line.start, line.end)
        if state.pending and distance_to_segment(foot, line.start, line.end) >= _CLEAR_HEIGHTS * height:
            return settle(state)
        return None

    def end(self) -> list[tuple[str, str]]:
        """The crossings (line, direction) that were pending when the track was last seen."""
        return [done for state in self.lines if (done := settle(state)) is not None]


def settle(state: _LineState) -> tuple[str, str] | None:
    """Turn what is pending into one crossing or none: steps back and forth near the line have cancelled out, and
    circling about the line's end must not add up."""
    pending, state.pending = state.pending, 0
    if pending == 0:
        return None
    return state.line.name, FORWARD if pending > 0 else BACKWARD


class Counter:
    """Counts for one camera. One thread owns it: the one that owns the tracker."""

    def __init__(self, config: CountingConfig) -> None:
        self._config = config
        self._walkers: dict[int, _Walker] = {}

    def reconfigure(self, config: CountingConfig) -> None:
        """Follow `config` from the next frame on.

        Open tracks stay, with their state towards every line and zone that is the same as before.
        """
        self._config = config
        for walker in self._walkers.values():
            walker.reconfigure(config)

    def update(self, update: TrackUpdate, now_ns: int) -> list[Event]:
        """What happened in one frame, captured at `now_ns` (CLOCK_MONOTONIC).

        A track's events begin with `entered` and end with `left`. Of several zones, the one it stayed in longest comes
        first.
        """
        events: list[Event] = []
        for track in update.left:
            events += self._end(track)
        for track in update.entered:
            events.append(Event(ENTERED, (track.class_name,), track.track_id))
            self._walkers[track.track_id] = _Walker(self._config, track.first_box, track.first_ns)
        for observation in update.observations:
            name, track_id = observation.class_name, observation.track_id
            events.append(Event(PRESENCE, (name,), track_id))
            for line, direction in self._walkers[track_id].move(observation.box, now_ns):
                events.append(Event(CROSSINGS, (line, name, direction), track_id))
        return events

    def _end(self, track: Track) -> Iterator[Event]:
        walker = self._walkers.pop(track.track_id)
        for line, direction in walker.end():
            yield Event(CROSSINGS, (line, track.class_name, direction), track.track_id)
        for zone in sorted(walker.zones, key=lambda zone: -zone.dwell_ns):
            if zone.was_inside:
                dwell_bin = bisect_right(DWELL_EDGES_S, zone.dwell_ns * 1e-9)
                yield Event(DWELL, (zone.zone.name, str(dwell_bin)), track.track_id)
        yield Event(CONFIDENCE, (str(bisect_right(CONFIDENCE_EDGES, track.mean_score)),), track.track_id)
        yield Event(LEFT, (), track.track_id)
