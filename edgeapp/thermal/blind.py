"""How much of the time to infer without a thermometer; pure.

Owns two ways to feel the heat. Where the firmware can be asked, its word is taken: slower at each sign of throttling,
else slowly faster. Where it cannot, only the inferences tell, and too little to be seen in one look: a clock lowered by
a tenth is less than what other work does to them. There we rest now and then: inferences that are quicker in the rest
than in the work before it and in the work after it were slow for our own heat.
"""

from __future__ import annotations

import math
from collections import deque

from edgeapp.config import ThermalConfig

_FACTOR, _HOLD_S, _RISE, _RISE_S = 0.8, 20.0, 1.02, 10.0
# Work long enough to warm up again after the rest; a rest outlasts the firmware's lag of 4 s twice before it counts.
_WORK_S, _SURE_WORK_S, _REST_S, _LONGEST_REST_S = 45.0, 180.0, 16.0, 60.0
_REST_SHARE = 0.25
_COUNTED_S, _COUNTED_FRAMES = 8.0, 8.0  # of each, what counts: its end
_ALLOWED, _MOST_AT_ONCE = 0.005, 0.02
_FELT_FACTOR, _UNHEATED_RISE, _HEATED_RISE = 0.5, 1.05, 1.01


class Blind:
    """The duty from the moment at which the thermometer fails until it is trusted again.

    `duty` is what it begins with; `most` the most that flags alone may bring it to. `is_hot`: the heat limited the rate
    before, so that it rises but slowly.
    """

    def __init__(self, limits: ThermalConfig, at_s: float, *, duty: float, most: float, is_hot: bool) -> None:
        self._duty, self._most, self._is_hot = duty, most, is_hot
        self._hold_until_s, self._raised_s = at_s + _HOLD_S, at_s
        self._suspicion, self._limit = 0.0, limits.inflation_limit - 1
        self._test = RestTest(at_s, round(_COUNTED_S / limits.period_s) + 1)

    def follow_flags(self, at_s: float, full_duty: float, *, is_throttled: bool, may_rise: bool) -> float:
        """The duty where the firmware tells whether it throttles: a fifth less every 20 s, or 2 % more every 10 s."""
        if is_throttled:
            self._raised_s = at_s
            if at_s >= self._hold_until_s:
                self._duty = min(self._duty, full_duty) * _FACTOR
                self._hold_until_s = at_s + _HOLD_S
        elif at_s >= self._hold_until_s and at_s - self._raised_s >= _RISE_S:
            if may_rise:
                self._duty = min(self._duty * _RISE, max(self._most, self._duty))
            self._raised_s = at_s
        return self._duty

    def feel(self, at_s: float, full_duty: float, infer_s: float) -> float:
        """The duty where nothing but the inferences tells: by work, rest and work."""
        slower = self._test.see(at_s, infer_s, min(self._duty, full_duty))
        if slower is not None:
            self._suspicion = max(0.0, self._suspicion + min(slower - _ALLOWED, _MOST_AT_ONCE))
            if self._suspicion > self._limit:
                self._is_hot = True
                self._suspicion = self._limit - _MOST_AT_ONCE / 2
                self._duty = min(self._duty, full_duty) * _FELT_FACTOR
            elif self._suspicion == 0:
                self._duty = min(self._duty * (_HEATED_RISE if self._is_hot else _UNHEATED_RISE), 1.0)
            self._test.is_sure = self._suspicion == 0 and (self._is_hot or self._duty >= full_duty)
        return min(self._duty, full_duty) * (_REST_SHARE if self._test.is_resting else 1.0)


class RestTest:
    """Work, rest, work, rest and so on; tells after each work whether our own heat makes inferences slow.

    Other work slows them too, but seldom ends with our rest and begins again after it. Compared is the second quickest
    of the last inference times of each phase, as other work only ever adds to them.
    """

    def __init__(self, at_s: float, counted: int) -> None:
        self._until_s = at_s + _WORK_S
        self._recent_s: deque[float] = deque(maxlen=max(counted, 2))
        self._before_s = self._rest_s = math.inf
        self.is_resting = False
        self.is_sure = False  # then work lasts longer

    def see(self, at_s: float, infer_s: float, duty: float) -> float | None:
        """Take the time of an inference of the period that ends now; None but at the end of work."""
        self._recent_s.append(infer_s)
        if at_s < self._until_s:
            return None
        quick_s = sorted(self._recent_s)[min(1, len(self._recent_s) - 1)]
        self._recent_s.clear()
        self.is_resting = not self.is_resting
        if not self.is_resting:
            self._rest_s = quick_s
            self._until_s = at_s + (_SURE_WORK_S if self.is_sure else _WORK_S)
            return None
        slower = min(self._before_s, quick_s) / self._rest_s - 1 if self._rest_s < math.inf else None
        self._before_s = quick_s
        frames_s = _COUNTED_FRAMES * infer_s / (_REST_SHARE * duty) if duty > 0 else math.inf
        self._until_s = at_s + min(max(_REST_S, _REST_S - _COUNTED_S + frames_s), _LONGEST_REST_S)
        return slower
