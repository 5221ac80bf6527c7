from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.vision.slot import Buffer, Frame, Slot

_SOON_S = 30.0


def _put(slot: Slot, number: int) -> bool:
    buffer = slot.lend()
    if buffer.picture is None:
        buffer.picture = np.empty((2, 2, 3), np.uint8)
    buffer.picture[:] = number
    return slot.put(buffer, Frame(number, number, buffer.picture))


def test_nothing_is_wanted_until_it_is_asked_for() -> None:
    assert not Slot().is_wanted(10**18)


def test_a_frame_is_wanted_from_the_asked_time_on_until_it_is_taken() -> None:
    slot = Slot()
    slot.want(100)
    assert not slot.is_wanted(99)
    assert slot.is_wanted(100)
    _put(slot, 1)
    assert slot.is_wanted(101), "a newer frame may still replace the waiting one"
    assert slot.take(0) is not None
    assert not slot.is_wanted(102)


def test_a_time_out_does_not_cancel_the_wish() -> None:
    slot = Slot()
    slot.want(0)
    assert slot.take(0) is None
    assert slot.is_wanted(0)


def test_the_newest_frame_replaces_the_waiting_one_and_says_so() -> None:
    slot = Slot()
    assert not _put(slot, 1)
    assert _put(slot, 2)
    frame = slot.take(0)
    assert frame is not None
    assert frame.frame_id == 2
    assert slot.take(0) is None


@given(st.lists(st.sampled_from(["put", "take", "lend"]), max_size=60))
def test_a_taken_picture_is_never_written_to_before_the_next_take(steps: list[str]) -> None:
    slot, in_use, number = Slot(), None, 0
    buffers: set[int] = set()
    for step in steps:
        if step == "take":
            in_use = slot.take(0) or None
        else:
            number += 1
            buffer = slot.lend()
            buffers.add(id(buffer))
            if step == "put":
                _put(slot, number % 250)
            elif buffer.picture is not None:
                buffer.picture[:] = 251  # filled, then found torn, and never put
        if in_use is not None:
            assert (in_use.picture == in_use.frame_id).all()
    assert len(buffers) <= 3


def test_in_turn_every_frame_is_taken_once_and_in_order() -> None:
    slot = Slot()

    def feed() -> None:
        for number in range(1, 201):
            buffer = slot.lend()
            buffer.picture = np.full((2, 2, 3), number, np.uint8)
            assert slot.put_in_turn(buffer, Frame(number, number, buffer.picture))

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    taken: list[int] = []
    while len(taken) < 200:
        frame = slot.take(_SOON_S)
        assert frame is not None
        assert (frame.picture == frame.frame_id).all()
        taken.append(frame.frame_id)
    feeder.join(_SOON_S)
    assert taken == list(range(1, 201))


def test_closing_wakes_a_waiting_taker_at_once() -> None:
    slot = Slot()
    taken: list[object] = ["nothing yet"]
    taker = threading.Thread(target=lambda: taken.append(slot.take(60)), daemon=True)
    taker.start()
    slot.close()
    taker.join(_SOON_S)
    assert not taker.is_alive()
    assert taken[-1] is None


def test_closing_wakes_a_feeder_that_waits_for_its_turn() -> None:
    slot = Slot()
    picture = np.zeros((2, 2, 3), np.uint8)
    assert slot.put_in_turn(slot.lend(), Frame(1, 1, picture))
    handed: list[bool] = []
    feeder = threading.Thread(
        target=lambda: handed.append(slot.put_in_turn(slot.lend(), Frame(2, 2, picture))), daemon=True
    )
    feeder.start()
    slot.close()
    feeder.join(_SOON_S)
    assert handed == [False]


def test_a_closed_slot_hands_out_nothing() -> None:
    slot = Slot()
    _put(slot, 1)
    slot.close()
    before_s = time.monotonic()
    assert slot.take(60) is None
    assert time.monotonic() - before_s < _SOON_S


def test_what_ends_the_capture_thread_unexpectedly_is_raised_where_frames_are_taken() -> None:
    slot = Slot()
    _put(slot, 1)
    slot.fail(ZeroDivisionError("a mistake"))
    with pytest.raises(ZeroDivisionError, match="a mistake"):
        slot.take(0)


def test_a_buffer_that_was_lent_and_not_put_is_lent_again() -> None:
    slot = Slot()
    first: Buffer = slot.lend()
    assert slot.lend() is first
