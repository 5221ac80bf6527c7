from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeapp.config import MotionConfig
from edgeapp.vision.motion import MotionGate, PictureJudge, Verdict

_S = 1_000_000_000
_FRAME_NS = _S // 10
_SHAPE = (120, 160)


def _scene() -> Any:
    """A room: a bright window, a dark floor, furniture."""
    y, x = np.mgrid[0:120, 0:160]
    scene = 110 - 0.5 * y + 15 * np.sin(x / 9) * np.cos(y / 7)
    scene[15:50, 20:60] = 190
    scene[70:110, 90:140] = 45
    return scene


def _thumb(luma: np.ndarray, seed: int = 0, noise: float = 1.0) -> np.ndarray:
    noisy = luma + np.random.default_rng(seed).normal(0, noise, luma.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _with_person(luma: np.ndarray, x: int, size: tuple[int, int] = (8, 20)) -> np.ndarray:
    luma = luma.copy()
    luma[60 : 60 + size[1], x : x + size[0]] = 20
    return luma


def _share_open(picture: Callable[[int], np.ndarray], frames: int = 60, noise: float = 1.0) -> float:
    gate = MotionGate(MotionConfig(enabled=True, key_frame_s=60))
    gate.is_changed(_thumb(picture(0), 0, noise), 0)
    opened = [gate.is_changed(_thumb(picture(i), i, noise), i * _FRAME_NS) for i in range(1, frames)]
    return sum(opened) / len(opened)


def test_a_gate_that_is_not_enabled_lets_every_frame_pass() -> None:
    gate = MotionGate(MotionConfig(enabled=False))
    assert all(gate.is_changed(_thumb(_scene()), 0) for _ in range(3))


def test_the_first_frame_passes_and_the_same_again_does_not() -> None:
    gate = MotionGate(MotionConfig(enabled=True))
    assert gate.is_changed(_thumb(_scene()), 0)
    assert not gate.is_changed(_thumb(_scene()), _FRAME_NS)


@pytest.mark.parametrize("noise", [1.0, 4.0, 7.0])
def test_the_noise_of_a_sensor_does_not_open_the_gate(noise: float) -> None:
    assert _share_open(lambda i: _scene(), noise=noise) == 0


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_flickering_lamps_do_not_hold_the_gate_open(share: float) -> None:
    assert _share_open(lambda i: _scene() * (0.8 + share * np.sin(i * 1.3))) == 0


def test_bands_of_a_rolling_shutter_do_not_hold_the_gate_open() -> None:
    rows = np.arange(120)[:, None]
    assert _share_open(lambda i: _scene() * (0.8 + 0.05 * np.sin(rows / 20 + i * 1.3))) == 0


def test_a_person_opens_the_gate_also_under_flickering_lamps() -> None:
    def walking(i: int) -> Any:
        return _with_person(_scene(), 5 + 2 * i)

    assert _share_open(walking) > 0.5
    assert _share_open(lambda i: walking(i) * (0.8 + 0.15 * np.sin(i * 1.3))) > 0.5


def test_something_that_fills_the_whole_width_opens_the_gate() -> None:
    lorry = _scene()
    lorry[40:100] = 200
    assert _share_open(lambda i: _scene() if i == 0 else lorry, frames=2) == 1


def test_a_light_that_is_switched_off_opens_the_gate() -> None:
    assert _share_open(lambda i: _scene() * (1.0 if i == 0 else 0.2), frames=2) == 1


def test_a_change_too_slow_to_see_from_frame_to_frame_opens_the_gate_in_the_end() -> None:
    """A person fades in by one level a frame: against the frame before it would never count as a change."""
    person = _with_person(_scene(), 100, (12, 30)) - _scene()

    def fading(i: int) -> Any:
        return _scene() + person * min(1.0, i / 60)

    openings = _share_open(fading, frames=61, noise=0.5) * 60
    assert 1 <= openings <= 10


@given(key_frame_s=st.floats(0.1, 60), period_ms=st.integers(5, 2000))
def test_a_key_frame_passes_at_least_every_key_frame_period(key_frame_s: float, period_ms: int) -> None:
    gate = MotionGate(MotionConfig(enabled=True, key_frame_s=key_frame_s))
    thumb = _thumb(_scene())
    passed = [i * period_ms for i in range(40) if gate.is_changed(thumb, i * period_ms * 1_000_000)]
    gaps_ms = np.diff([*passed, 40 * period_ms])
    assert gaps_ms.max() < key_frame_s * 1000 + period_ms + 1
    assert gaps_ms[:-1].min(initial=1e9) >= key_frame_s * 1000


def test_less_changed_area_than_configured_does_not_open_the_gate() -> None:
    def share(min_area_pct: float) -> float:
        gate = MotionGate(MotionConfig(enabled=True, key_frame_s=60, min_area_pct=min_area_pct))
        gate.is_changed(_thumb(_scene()), 0)
        return gate.is_changed(_thumb(_with_person(_scene(), 16, (16, 20))), _FRAME_NS)

    # 16 by 20 of 160 by 120 are 1.67 %.
    assert share(1.0)
    assert not share(3.0)


def test_less_change_than_configured_does_not_open_the_gate() -> None:
    def opens(min_change: int) -> bool:
        gate = MotionGate(MotionConfig(enabled=True, key_frame_s=60, min_change=min_change))
        flat = np.full(_SHAPE, 100.0)
        brighter = flat.copy()
        brighter[40:60, 40:60] += 20
        gate.is_changed(_thumb(flat, noise=0), 0)
        return gate.is_changed(_thumb(brighter, noise=0), _FRAME_NS)

    assert opens(12)
    assert not opens(25)


def _judge_all(judge: PictureJudge, thumbs: list[np.ndarray], period_ns: int = _FRAME_NS) -> list[Verdict]:
    return [judge.see(thumb, i * period_ns) for i, thumb in enumerate(thumbs)]


def test_a_live_camera_that_repeats_its_frame_is_frozen_after_two_seconds() -> None:
    verdicts = _judge_all(PictureJudge(is_live=True), [_thumb(_scene())] * 30)
    assert verdicts[20] is Verdict.OK, "2.0 s are not yet more than 2 s"
    assert verdicts[21] is Verdict.FROZEN


def test_a_slow_camera_is_not_frozen_before_its_sixth_equal_frame() -> None:
    verdicts = _judge_all(PictureJudge(is_live=True), [_thumb(_scene())] * 8, period_ns=5 * _S)
    assert verdicts[:5] == [Verdict.OK] * 5
    assert verdicts[5] is Verdict.FROZEN


def test_the_noise_of_a_live_sensor_is_never_frozen() -> None:
    verdicts = _judge_all(PictureJudge(is_live=True), [_thumb(_scene(), seed, 0.3) for seed in range(60)])
    assert set(verdicts) == {Verdict.OK}


def test_a_recording_may_hold_its_picture() -> None:
    assert set(_judge_all(PictureJudge(is_live=False), [_thumb(_scene())] * 60)) == {Verdict.OK}


def test_an_encoder_may_be_allowed_to_repeat_itself_for_longer() -> None:
    verdicts = _judge_all(PictureJudge(is_live=True, frozen_s=30), [_thumb(_scene())] * 310)
    assert verdicts[300] is Verdict.OK
    assert verdicts[301] is Verdict.FROZEN


def test_one_new_frame_does_not_end_frozen_but_a_living_picture_does() -> None:
    still, alive = _thumb(_scene()), [_thumb(_scene(), seed) for seed in range(1, 5)]
    judge = PictureJudge(is_live=True)
    _judge_all(judge, [still] * 30)
    assert judge.see(alive[0], 31 * _FRAME_NS) is Verdict.FROZEN
    assert judge.see(alive[0], 32 * _FRAME_NS) is Verdict.FROZEN
    verdicts = [judge.see(thumb, (33 + i) * _FRAME_NS) for i, thumb in enumerate(alive[1:])]
    assert verdicts[-1] is Verdict.OK


def test_a_dark_picture_is_black_after_two_seconds_and_is_not_called_frozen() -> None:
    dark = np.zeros(_SHAPE, np.uint8)
    verdicts = _judge_all(PictureJudge(is_live=True), [dark] * 40)
    assert verdicts[20] is Verdict.OK
    assert verdicts[-1] is Verdict.BLACK
    assert Verdict.FROZEN not in verdicts


def test_a_dark_room_with_one_lamp_is_not_black() -> None:
    night = np.zeros(_SHAPE)
    night[10:14, 10:20] = 250
    assert set(_judge_all(PictureJudge(is_live=False), [_thumb(night, seed) for seed in range(40)])) == {Verdict.OK}


def test_a_picture_at_the_border_of_darkness_does_not_flap() -> None:
    judge = PictureJudge(is_live=True)
    levels = [2.0] * 30 + [6.0, 10.0] * 60
    verdicts = _judge_all(judge, [_thumb(np.full(_SHAPE, level), seed) for seed, level in enumerate(levels)])
    assert set(verdicts[25:]) == {Verdict.BLACK}
    fresh = _judge_all(PictureJudge(is_live=True), [_thumb(np.full(_SHAPE, x), i) for i, x in enumerate(levels[30:])])
    assert set(fresh) == {Verdict.OK}


def test_light_ends_black_after_a_second() -> None:
    judge = PictureJudge(is_live=True)
    _judge_all(judge, [np.zeros(_SHAPE, np.uint8)] * 30)
    verdicts = [judge.see(_thumb(_scene(), i), (30 + i) * _FRAME_NS) for i in range(20)]
    assert verdicts[10] is Verdict.BLACK
    assert verdicts[11] is Verdict.OK


def test_masks_that_cover_nearly_everything_do_not_make_a_picture_black() -> None:
    masked = np.zeros(_SHAPE, np.uint8)
    masked[:, :8] = 60
    judge = PictureJudge(is_live=False)
    verdicts = [judge.see(masked, i * _FRAME_NS, visible_share=8 / 160) for i in range(40)]
    assert set(verdicts) == {Verdict.OK}
    hidden = PictureJudge(is_live=False)
    dim = (masked > 0).astype(np.uint8) * 2
    assert [hidden.see(dim, i * _FRAME_NS, visible_share=8 / 160) for i in range(40)][-1] is Verdict.BLACK
