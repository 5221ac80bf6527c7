"""Predicates on points and segments, exact for all finite floats.

Owns the question on which side, whether and which way; what is counted of the answers is `counting.py`'s. A sign is
computed in floats and trusted only beyond the rounding error's bound; within it, it is computed again in rational
numbers. So a path of many steps has crossed an endless line, forward less backward, exactly as its two ends say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

Point = tuple[float, float]

# Shewchuk, "Adaptive Precision Floating-Point Arithmetic and Fast Robust Geometric Predicates" (1997), ccwerrboundA:
# (3 + 16 u) u with u = 2**-53, valid while no product underflows.
_ERROR_BOUND = (3.0 + 16.0 * 2.0**-53) * 2.0**-53
_UNDERFLOW_SAFE = 1e-290


def side(start: Point, end: Point, point: Point) -> int:
    """Where `point` lies, seen from `start` to `end` in a picture (y down): -1 left, +1 right, 0 on the line."""
    rise = (end[0] - start[0]) * (point[1] - start[1])
    run = (end[1] - start[1]) * (point[0] - start[0])
    turn = rise - run
    size = abs(rise) + abs(run)
    if size > _UNDERFLOW_SAFE and abs(turn) > _ERROR_BOUND * size:
        return 1 if turn > 0.0 else -1
    return _exact_side(start, end, point)


def _exact_side(start: Point, end: Point, point: Point) -> int:
    x0, y0 = Fraction(start[0]), Fraction(start[1])
    rise = (Fraction(end[0]) - x0) * (Fraction(point[1]) - y0)
    run = (Fraction(end[1]) - y0) * (Fraction(point[0]) - x0)
    return (rise > run) - (rise < run)


def segments_cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the closed segments a to b and c to d share a point; touching and overlapping count."""
    if max(a[0], b[0]) < min(c[0], d[0]) or max(c[0], d[0]) < min(a[0], b[0]):
        return False
    if max(a[1], b[1]) < min(c[1], d[1]) or max(c[1], d[1]) < min(a[1], b[1]):
        return False
    # With overlapping bounds, neither segment wholly on one side of the other is enough, collinear ones included.
    return side(a, b, c) * side(a, b, d) <= 0 and side(c, d, a) * side(c, d, b) <= 0


def crossing_direction(previous: Point, current: Point, start: Point, end: Point) -> int:
    """Which way the step previous → current crosses the line start to end: +1 left to right, -1 right to left, 0 not.

    A point on the line belongs to its right side, so of two steps that meet on the line exactly one crosses.
    """
    was_right = side(start, end, previous) >= 0
    is_right = side(start, end, current) >= 0
    if was_right == is_right or not segments_cross(previous, current, start, end):
        return 0
    return 1 if is_right else -1


def point_in_polygon(point: Point, polygon: Sequence[Point]) -> bool:
    """Whether `point` is inside `polygon` or on its edge. Any simple polygon, either orientation; even-odd rule."""
    x, y = point
    inside = False
    previous = polygon[-1]
    for corner in polygon:
        if (previous[1] > y) != (corner[1] > y):
            turn = side(previous, corner, point)
            if turn == 0:
                return True
            if (turn > 0) == (corner[1] < previous[1]):
                inside = not inside
        elif _on_flat_or_touching(previous, corner, x, y):
            return True
        previous = corner
    return inside


def _on_flat_or_touching(a: Point, b: Point, x: float, y: float) -> bool:
    """Whether (x, y) lies on an edge that does not pass through its height: a level edge, or an edge's upper corner."""
    if a[1] == y == b[1]:
        return min(a[0], b[0]) <= x <= max(a[0], b[0])
    return (x == a[0] and y == a[1]) or (x == b[0] and y == b[1])


def distance_to_segment(point: Point, start: Point, end: Point) -> float:
    """The Euclidean distance of `point` from the closed segment start to end, in the points' own unit."""
    along_x, along_y = end[0] - start[0], end[1] - start[1]
    to_x, to_y = point[0] - start[0], point[1] - start[1]
    length_squared = along_x * along_x + along_y * along_y
    if length_squared == 0.0:
        return math.hypot(to_x, to_y)
    share = min(1.0, max(0.0, (to_x * along_x + to_y * along_y) / length_squared))
    return math.hypot(to_x - share * along_x, to_y - share * along_y)
