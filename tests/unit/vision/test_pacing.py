"""The mean rate is the wanted one whatever the camera's rate, and a stall is not followed by a burst."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.vision.pacing import Pacer

_S = 1_000_000_000


def _inferred(camera_fps: float, wanted_fps: float, seconds: float, busy_s: float = 0.0) -> list[int]:
    """The times of the frames inferred when each takes `busy_s`; frames arrive at the camera's rate."""
    pacer, taken, free_ns = Pacer(wanted_fps), [], 0
    period_ns = round(_S / camera_fps)
    wanted_ns = 0
    for index in range(round(camera_fps * seconds)):
        now_ns = index * period_ns
        if now_ns < wanted_ns or now_ns < free_ns - period_ns:
            continue
        start_ns = max(now_ns, free_ns)
        taken.append(now_ns)
        wanted_ns = pacer.wanted_at_ns(start_ns, period_ns)
        free_ns = start_ns + round(busy_s * _S)
        pacer.worked(round(busy_s * _S))
    return taken


@given(st.sampled_from([7.5, 15.0, 25.0, 29.97, 30.0, 50.0, 120.0]), st.floats(0.5, 60))
def test_the_mean_rate_is_the_wanted_one(camera_fps: float, wanted_fps: float) -> None:
    seconds = 60.0
    reachable = min(camera_fps, wanted_fps) * seconds
    assert abs(len(_inferred(camera_fps, wanted_fps, seconds)) - reachable) <= 2


def test_every_nth_frame_would_lose_what_deadlines_keep() -> None:
    """10 of 15 frames a second: every second frame would give 7.5."""
    assert len(_inferred(15, 10, 10)) >= 99


def test_a_model_that_cannot_keep_up_is_never_idle() -> None:
    """At 40 ms a frame 25 a second are possible; a camera period of idleness each would leave 17."""
    assert len(_inferred(camera_fps=60, wanted_fps=60, seconds=20, busy_s=0.04)) >= 25 * 20 - 5


def test_a_stall_is_not_followed_by_a_burst() -> None:
    pacer = Pacer(10)
    pacer.next_due_ns(0)
    after = [pacer.next_due_ns(5 * _S) for _ in range(4)]
    assert after[0] >= 5 * _S - _S // 10
    assert [later - earlier for earlier, later in itertools.pairwise(after)] == [_S // 10] * 3


@pytest.mark.parametrize(("before", "after"), [(0.2, 20.0), (1.0, 10.0), (10.0, 1.0), (20.0, 0.2)])
def test_a_new_rate_counts_from_its_change(before: float, after: float) -> None:
    """A deadline of the old rate that is still to come, seconds away after a frame in great heat, holds nothing up."""
    pacer = Pacer(before)
    pacer.wanted_at_ns(6 * _S, _S // 30)
    pacer.wanted_at_ns(6 * _S, _S // 30)
    pacer.set_rate(after, 7 * _S)
    assert pacer.next_due_ns(7 * _S) == 7 * _S + round(_S / after)
    assert pacer.next_due_ns(7 * _S) == 7 * _S + 2 * round(_S / after)
