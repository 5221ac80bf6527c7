"""What a luma thumbnail says: has the picture changed, and is it a live picture at all. Pure.

Owns two rules: the motion gate, which spares a still picture the inference, and the judgement that a camera delivers
the same frame again and again (frozen) or nothing but darkness (black). Leaves making thumbnails to `picture.py`.
Guarantees that the gate lets a frame pass at least every key frame period, whatever the picture does, and that a
change which comes slowly still opens it: frames are compared with the last one that passed, not with the last one.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from edgeapp.config import MotionConfig

Luma = npt.NDArray[np.uint8]

_BLOCK = 4
"""Thumbnail pixels a side. A mean over 16 pixels divides the noise by four: with the default thresholds a sensor's
noise of 20 levels does not open the gate."""
_GAIN_LIMITS = (0.5, 2.0)
"""Brightness of the whole (exposure, lamps) is compensated within these factors; beyond, a light was switched."""
_ROW_GAIN_LIMITS = (0.85, 1.15)
"""A rolling shutter draws the flicker of lamps as bands: each row may differ so much from the whole, and no more, so
that what passes close by and fills whole rows still counts as a change."""

_FROZEN_S = 2.0
_FROZEN_FRAMES = 5
_LIVELY_FRAMES = 3
_BLACK_S = 2.0
_LIT_S = 1.0
_BLACK_MEAN, _BLACK_STD = 8.0, 4.0
_LIT_MEAN, _LIT_STD = 12.0, 6.0


class MotionGate:
    """Lets changed pictures pass, and a key frame now and then. Belongs to one thread."""

    def __init__(self, config: MotionConfig) -> None:
        self._config = config
        self._reference: npt.NDArray[np.float32] | None = None
        self._passed_ns = 0

    def is_changed(self, thumb: Luma, now_ns: int) -> bool:
        """Whether this frame is to be inferred; if so, it becomes the one that the next are compared with.

        Changed is: at least `min_area_pct` of the blocks differ from the reference by at least `min_change` levels
        after the change of brightness that whole rows have in common was taken out.
        """
        if not self._config.enabled:
            return True
        blocks = _block_means(thumb)
        if not self._is_to_pass(blocks, now_ns):
            return False
        self._reference = blocks
        self._passed_ns = now_ns
        return True

    def reset(self) -> None:
        """Let the next frame pass, whatever it shows: what the last one gave no longer holds."""
        self._reference = None

    def _is_to_pass(self, blocks: npt.NDArray[np.float32], now_ns: int) -> bool:
        reference, config = self._reference, self._config
        if reference is None or reference.shape != blocks.shape:
            return True
        if now_ns - self._passed_ns >= config.key_frame_s * 1e9:
            return True
        changed = np.abs(blocks - reference * _gains(blocks, reference)) >= config.min_change
        return int(np.count_nonzero(changed)) * 100.0 >= config.min_area_pct * blocks.size


def _block_means(thumb: Luma) -> npt.NDArray[np.float32]:
    """Means over 4×4 pixels: float32 [height // 4, width // 4]. Summed in halves: five times faster than one sum."""
    height, width = (side // _BLOCK * _BLOCK for side in thumb.shape)
    rows = thumb[:height, :width].reshape(height // _BLOCK, _BLOCK, width).sum(axis=1, dtype=np.uint16)
    blocks = rows[:, 0::_BLOCK] + rows[:, 1::_BLOCK] + rows[:, 2::_BLOCK] + rows[:, 3::_BLOCK]
    means: npt.NDArray[np.float32] = np.multiply(blocks, np.float32(1 / _BLOCK**2), dtype=np.float32)
    return means


def _gains(blocks: npt.NDArray[np.float32], reference: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The factor by which each row became brighter: float32 [rows, 1]. Light multiplies; a shift would not do."""
    now, before = blocks.sum(axis=1, keepdims=True), np.maximum(reference.sum(axis=1, keepdims=True), 1.0)
    low, high = _GAIN_LIMITS
    whole = min(max(float(now.sum()) / float(before.sum()), low), high)
    gains: npt.NDArray[np.float32] = np.clip(now / before, whole * _ROW_GAIN_LIMITS[0], whole * _ROW_GAIN_LIMITS[1])
    return gains


class Verdict(StrEnum):
    """What a camera's pictures look like, apart from what is on them."""

    OK = "ok"
    FROZEN = "frozen"
    BLACK = "black"


class PictureJudge:
    """Tells frozen and black pictures, with hysteresis, so that a verdict holds for seconds. Belongs to one thread.

    A sensor has noise, so bit-identical thumbnails mean that its driver repeats a frame. An encoder (RTSP) may repeat
    a still picture honestly between two key frames: give such a source a longer `frozen_s`.
    """

    def __init__(self, *, is_live: bool, frozen_s: float = _FROZEN_S) -> None:
        """`is_live`: false for recordings, which may hold the same picture for as long as they like."""
        self._is_live = is_live
        self._frozen_ns = round(max(frozen_s, _FROZEN_S) * 1e9)
        self._last: bytes | None = None
        self._same_since_ns = 0
        self._same_frames = 0
        self._new_frames = 0
        self._is_frozen = False
        self._is_black = False
        self._black_doubt_ns: int | None = None

    @property
    def verdict(self) -> Verdict:
        """The judgement so far. A black picture is called black, even where it is frozen too."""
        if self._is_black:
            return Verdict.BLACK
        return Verdict.FROZEN if self._is_frozen else Verdict.OK

    def see(self, thumb: Luma, now_ns: int, visible_share: float = 1.0) -> Verdict:
        """Judge the next thumbnail. `visible_share` is the share of it that no privacy mask (black) covers."""
        if self._is_live:
            self._see_frozen(thumb.tobytes(), now_ns)
        self._see_black(thumb, now_ns, visible_share)
        return self.verdict

    def _see_frozen(self, pixels: bytes, now_ns: int) -> None:
        if pixels == self._last:
            self._same_frames += 1
            self._new_frames = 0
            if now_ns - self._same_since_ns > self._frozen_ns and self._same_frames > _FROZEN_FRAMES:
                self._is_frozen = True
            return
        self._last = pixels
        self._same_since_ns = now_ns
        self._same_frames = 1
        self._new_frames += 1
        if self._new_frames >= _LIVELY_FRAMES:
            self._is_frozen = False

    def _see_black(self, thumb: Luma, now_ns: int, visible_share: float) -> None:
        mean, std = _visible_mean_std(thumb, visible_share)
        if self._is_black:
            is_doubtful, hold_s = mean > _LIT_MEAN or std > _LIT_STD, _LIT_S
        else:
            is_doubtful, hold_s = mean < _BLACK_MEAN and std < _BLACK_STD, _BLACK_S
        if not is_doubtful:
            self._black_doubt_ns = None
        elif self._black_doubt_ns is None:
            self._black_doubt_ns = now_ns
        elif now_ns - self._black_doubt_ns > hold_s * 1e9:
            self._is_black = not self._is_black
            self._black_doubt_ns = None


def _visible_mean_std(thumb: Luma, visible_share: float) -> tuple[float, float]:
    """Mean and standard deviation over the pixels that no mask covers: masked ones are 0 and add to no sum."""
    visible = max(thumb.size * visible_share, 1.0)
    values = thumb.reshape(-1).astype(np.uint32)
    mean = int(values.sum()) / visible
    variance = int((values * values).sum()) / visible - mean * mean
    return mean, max(variance, 0.0) ** 0.5
