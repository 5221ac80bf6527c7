"""Who is to be seen in the demo's video, drawn by hand: three people, and in which frames.

Neither model had a say, so both can be wrong. Boxes stand at some frames and lie evenly between them; they are good to
some two hundredths of the picture. Parts of people count, such as the legs of one who walks past; what a person would
take for one only by knowing what came before (a helmet behind a windscreen, the blurred passer-by behind the cyclist)
does not.
"""

from __future__ import annotations

from itertools import pairwise

from edgeapp.types import Box

FRAMES = 250
_Corners = tuple[float, float, float, float]

_MAN_IN_A_SUIT: dict[int, _Corners] = {
    30: (0.25, 0.0, 0.60, 1.0),
    32: (0.30, 0.0, 0.64, 1.0),
    34: (0.345, 0.0, 0.70, 1.0),
    35: (0.375, 0.0, 0.725, 1.0),
    37: (0.437, 0.0, 0.786, 1.0),
    39: (0.46, 0.0, 0.857, 1.0),
    41: (0.55, 0.0, 0.95, 1.0),
    42: (0.575, 0.0, 0.995, 1.0),
    43: (0.632, 0.0, 1.0, 1.0),
    44: (0.70, 0.0, 1.0, 1.0),
    45: (0.747, 0.0, 1.0, 1.0),
    46: (0.828, 0.25, 1.0, 1.0),
    47: (0.875, 0.32, 1.0, 1.0),
}
_CYCLIST_BEFORE_THE_VAN: dict[int, _Corners] = {
    76: (0.58, 0.19, 0.80, 1.0),
    78: (0.586, 0.17, 0.80, 1.0),
    79: (0.58, 0.165, 0.79, 0.90),
    80: (0.585, 0.15, 0.785, 0.70),
    81: (0.585, 0.15, 0.77, 0.57),
    82: (0.586, 0.15, 0.72, 0.53),
}
_CYCLIST_AFTER_IT: dict[int, _Corners] = {
    103: (0.61, 0.12, 0.75, 0.57),
    104: (0.55, 0.10, 0.75, 0.64),
    105: (0.55, 0.09, 0.755, 0.77),
    106: (0.54, 0.08, 0.76, 0.80),
    107: (0.54, 0.07, 0.755, 0.95),
    110: (0.536, 0.055, 0.77, 1.0),
    115: (0.54, 0.045, 0.765, 1.0),
    120: (0.54, 0.01, 0.77, 1.0),
    130: (0.54, 0.0, 0.77, 1.0),
    136: (0.54, 0.0, 0.77, 1.0),
}
_WALKER: dict[int, _Corners] = {
    187: (0.06, 0.0, 0.375, 0.87),
    188: (0.08, 0.0, 0.39, 0.89),
    190: (0.115, 0.0, 0.44, 0.90),
    191: (0.14, 0.0, 0.46, 0.92),
    193: (0.23, 0.0, 0.48, 0.92),
    195: (0.30, 0.0, 0.55, 0.92),
    197: (0.317, 0.0, 0.71, 0.92),
    199: (0.32, 0.0, 0.79, 0.95),
    200: (0.345, 0.0, 0.816, 1.0),
    201: (0.45, 0.0, 0.80, 1.0),
    203: (0.495, 0.0, 0.805, 1.0),
    205: (0.667, 0.0, 0.85, 0.97),
    206: (0.667, 0.0, 0.915, 1.0),
    208: (0.667, 0.0, 0.995, 1.0),
    210: (0.674, 0.0, 1.0, 1.0),
    211: (0.71, 0.0, 1.0, 1.0),
    212: (0.76, 0.33, 1.0, 0.92),
}
_WAYS = (_MAN_IN_A_SUIT, _CYCLIST_BEFORE_THE_VAN, _CYCLIST_AFTER_IT, _WALKER)


def people(frame: int) -> tuple[Box, ...]:
    """Who is in a frame of the video, counted from 0."""
    return tuple(box for way in _WAYS if (box := _place(way, frame)) is not None)


def _place(way: dict[int, _Corners], frame: int) -> Box | None:
    for (before, early), (after, late) in pairwise(way.items()):
        if before <= frame <= after:
            share = (frame - before) / (after - before)
            return Box(*(one + share * (other - one) for one, other in zip(early, late, strict=True)))
    return None
