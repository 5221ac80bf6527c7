"""The predicates hold exactly, for all floats a box may have and near every degenerate case."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from edgeapp.tracking.geometry import (
    Point,
    crossing_direction,
    distance_to_segment,
    point_in_polygon,
    segments_cross,
    side,
)

COORDINATE = st.one_of(
    st.floats(-2.0, 3.0, allow_nan=False), st.sampled_from([0.0, 0.25, 0.5, 1.0, 0.1, 0.3, 5e-324, 1e-200])
)
POINT = st.tuples(COORDINATE, COORDINATE)
GRID = st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda p: (p[0] / 4, p[1] / 4))
SQUARE: tuple[Point, ...] = ((0.2, 0.2), (0.8, 0.2), (0.8, 0.8), (0.2, 0.8))


def exact_turn(start: Point, end: Point, point: Point) -> Fraction:
    (x0, y0), (x1, y1), (x, y) = ((Fraction(p[0]), Fraction(p[1])) for p in (start, end, point))
    return (x1 - x0) * (y - y0) - (y1 - y0) * (x - x0)


@given(POINT, POINT, POINT)
@example((0.1, 0.1), (0.3, 0.3), (0.2, 0.2))
@example((0.0, 0.0), (1e-200, 1e-200), (1e-200, 5e-324))
def test_side_is_the_sign_of_the_exact_turn(start: Point, end: Point, point: Point) -> None:
    turn = exact_turn(start, end, point)
    assert side(start, end, point) == (turn > 0) - (turn < 0)


def test_left_and_right_are_as_seen_from_start_to_end_in_a_picture_with_y_down() -> None:
    assert side((0.5, 1.0), (0.5, 0.0), (0.9, 0.5)) == 1
    assert side((0.5, 1.0), (0.5, 0.0), (0.1, 0.5)) == -1


def brute_force_cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Solve a + s (b - a) = c + t (d - c) in rationals; parallel segments share a point where an end lies on one."""
    ax, ay, bx, by, cx, cy, dx, dy = (Fraction(v) for v in (*a, *b, *c, *d))
    det = (bx - ax) * (dy - cy) - (by - ay) * (dx - cx)
    if det != 0:
        s = ((cx - ax) * (dy - cy) - (cy - ay) * (dx - cx)) / det
        t = ((cx - ax) * (by - ay) - (cy - ay) * (bx - ax)) / det
        return 0 <= s <= 1 and 0 <= t <= 1

    def on(p: Point, q: Point, r: Point) -> bool:
        return (
            exact_turn(p, q, r) == 0
            and min(p[0], q[0]) <= r[0] <= max(p[0], q[0])
            and min(p[1], q[1]) <= r[1] <= max(p[1], q[1])
        )

    return on(a, b, c) or on(a, b, d) or on(c, d, a) or on(c, d, b)


@given(st.one_of(st.tuples(POINT, POINT, POINT, POINT), st.tuples(GRID, GRID, GRID, GRID)))
def test_segments_cross_where_solving_in_rationals_finds_a_common_point(four: tuple[Point, ...]) -> None:
    a, b, c, d = four
    assert segments_cross(a, b, c, d) == brute_force_cross(a, b, c, d)


@given(st.one_of(st.tuples(POINT, POINT, POINT, POINT), st.tuples(GRID, GRID, GRID, GRID)))
def test_the_way_back_crosses_the_other_way(four: tuple[Point, ...]) -> None:
    a, b, start, end = four
    assert crossing_direction(a, b, start, end) == -crossing_direction(b, a, start, end)


@given(st.lists(st.one_of(GRID, st.tuples(COORDINATE, COORDINATE)), min_size=2, max_size=12))
def test_a_path_has_crossed_a_long_line_as_its_ends_say_however_often_it_stops_on_the_line(path: list[Point]) -> None:
    start, end = (0.5, 50.0), (0.5, -50.0)
    net = sum(crossing_direction(a, b, start, end) for a, b in itertools.pairwise(path))
    assert net == int(path[-1][0] >= 0.5) - int(path[0][0] >= 0.5)


def test_a_step_past_the_lines_end_is_no_crossing() -> None:
    assert crossing_direction((0.4, 0.9), (0.6, 0.9), (0.5, 0.2), (0.5, 0.8)) == 0
    assert crossing_direction((0.4, 0.7), (0.6, 0.7), (0.5, 0.8), (0.5, 0.2)) == 1


@given(POINT)
def test_inside_a_square_means_within_its_bounds_edges_included(point: Point) -> None:
    expected = 0.2 <= point[0] <= 0.8 and 0.2 <= point[1] <= 0.8
    assert point_in_polygon(point, SQUARE) == expected
    assert point_in_polygon(point, SQUARE[::-1]) == expected


@given(st.lists(GRID, min_size=3, max_size=3, unique=True), st.integers(0, 2))
def test_corners_and_edge_middles_are_inside(corners: list[Point], edge: int) -> None:
    a, b = corners[edge], corners[(edge + 1) % 3]
    assert point_in_polygon(a, corners)
    assert point_in_polygon(((a[0] + b[0]) / 2, (a[1] + b[1]) / 2), corners)


@given(st.lists(GRID, min_size=3, max_size=3, unique=True), GRID)
def test_inside_a_triangle_means_on_one_side_of_all_edges(corners: list[Point], point: Point) -> None:
    a, b, c = corners
    assume(exact_turn(a, b, c) != 0)
    sides = {side(a, b, point), side(b, c, point), side(c, a, point)}
    assert point_in_polygon(point, corners) == (not {-1, 1} <= sides)


def test_the_notch_of_a_concave_polygon_is_outside() -> None:
    horseshoe = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.7, 1.0), (0.7, 0.3), (0.3, 0.3), (0.3, 1.0), (0.0, 1.0))
    assert not point_in_polygon((0.5, 0.6), horseshoe)
    assert point_in_polygon((0.5, 0.2), horseshoe)
    assert point_in_polygon((0.15, 0.9), horseshoe)
    assert point_in_polygon((0.3, 0.6), horseshoe)


@pytest.mark.parametrize(
    ("point", "distance"), [((0.5, 0.7), 0.2), ((0.0, 0.5), 0.2), ((1.0, 0.9), math.hypot(0.2, 0.4)), ((0.6, 0.5), 0.0)]
)
def test_distance_is_to_the_segment_not_to_its_line(point: Point, distance: float) -> None:
    assert distance_to_segment(point, (0.2, 0.5), (0.8, 0.5)) == pytest.approx(distance)


def test_distance_to_a_line_of_no_length_is_to_its_point() -> None:
    assert distance_to_segment((0.3, 0.4), (0.0, 0.0), (0.0, 0.0)) == pytest.approx(0.5)
