"""A lower bound of ε from samples alone: how well two neighbouring worlds can be told apart by what is published.

Knows nothing of the mechanism. A part of the samples chooses the event that tells most, by likelihood ratio; the rest
says how often it happens in each world. Whatever event was chosen, the bound is right but for the stated chance of
error, because the samples that chose it are not asked again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_CHOOSING = 4  # one sample of so many chooses the event
_QUANTILES = 20
_BISECTIONS = 60
_NOTICEABLE = 4.0  # standard deviations by which a column must differ between the worlds, to be asked
_ABSENT = -(10**12)
_Codes = NDArray[np.int64]
_Scores = NDArray[np.float64]
_Mask = NDArray[np.bool_]
_Classify = Callable[[_Codes, _Mask, _Mask], _Codes]


@dataclass(frozen=True, slots=True)
class Life:
    """What one life of a device published: everything but the counts (lengths, fields, how many messages), and the
    counts in their order, where None was left out."""

    shape: Hashable
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class _Event:
    """Which samples it happens in, of both worlds one after the other; `bound` is what the choosing ones promise."""

    bound: float
    happens: _Mask
    is_rare_in_other: bool


def lower_bound(one: Sequence[Life], other: Sequence[Life], error: float) -> float:
    """The largest ε that the samples of two worlds prove; 0 where they prove none.

    Args:
        error: the chance that the true ε is smaller than what is returned, at most.
    """
    size = len(one)
    is_other = np.arange(size + len(other)) >= size
    is_choosing = np.arange(size + len(other)) % _CHOOSING == 0
    columns = _columns([*one, *other])
    events = [
        _most_telling(table, classify, is_other, is_choosing, error)
        for table, classify in (
            (columns, _by_medians),
            (columns, _by_quantiles),
            (np.diff(columns[:, 1:]), _by_medians),
        )
    ]
    event = max(events, key=lambda event: event.bound)
    in_one, in_other = event.happens[~is_choosing & ~is_other], event.happens[~is_choosing & is_other]
    often, rare = (in_one, in_other) if event.is_rare_in_other else (in_other, in_one)
    least, _ = clopper_pearson(int(often.sum()), len(often), error / 2)
    _, most = clopper_pearson(int(rare.sum()), len(rare), error / 2)
    return max(0.0, math.log(least / most)) if least else 0.0


def clopper_pearson(happened: int, times: int, error: float) -> tuple[float, float]:
    """What a probability is at least and at most; each of the two is wrong with a chance of at most `error`."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, times + 1)))])

    def chance(fewest: int, most: int, p: float) -> float:
        k = np.arange(fewest, most + 1)
        choices = logs[times] - logs[k] - logs[times - k]
        return float(np.exp(choices + k * math.log(p) + (times - k) * math.log1p(-p)).sum())

    low = 0.0 if happened == 0 else _bisect(lambda p: chance(happened, times, p) < error)
    high = 1.0 if happened == times else _bisect(lambda p: chance(0, happened, p) > error)
    return low, high


def _bisect(is_below: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_below(middle) else (low, middle)
    return low


def _columns(lives: Sequence[Life]) -> _Codes:
    """One row for each life: its shape as a number, then its counts; what is absent has a number of its own."""
    shapes = {shape: number for number, shape in enumerate(dict.fromkeys(life.shape for life in lives))}
    width = max(len(life.values) for life in lives)
    rows = [
        [shapes[life.shape], *(_ABSENT if value is None else math.floor(value) for value in life.values)]
        + [_ABSENT] * (width - len(life.values))
        for life in lives
    ]
    return np.array(rows, np.int64)


def _most_telling(table: _Codes, classify: _Classify, is_other: _Mask, is_choosing: _Mask, error: float) -> _Event:
    """The most telling of the events "the likelihood ratio is at least so large, or so small"."""
    scores = np.zeros(len(table))
    for column in table.T:
        scores += _log_ratios(classify(column, is_other, is_choosing), is_other, is_choosing)
    in_one, in_other = (np.sort(scores[is_choosing & which]) for which in (~is_other, is_other))
    cuts = np.unique(scores[is_choosing])
    above = [1 - np.searchsorted(each, cuts, "left") / len(each) for each in (in_one, in_other)]
    below = [np.searchsorted(each, cuts, "right") / len(each) for each in (in_one, in_other)]
    z = NormalDist().inv_cdf(1 - error / 2)
    up, down = (
        np.log(_wilson(often, len(in_one), -z) / _wilson(rare, len(in_one), z))
        for often, rare in ((above[1], above[0]), (below[0], below[1]))
    )
    if up.max() >= down.max():
        return _Event(float(up.max()), scores >= cuts[up.argmax()], is_rare_in_other=False)
    return _Event(float(down.max()), scores <= cuts[down.argmax()], is_rare_in_other=True)


def _log_ratios(classes: _Codes, is_other: _Mask, is_choosing: _Mask) -> _Scores:
    """For each life, how much likelier its value's class is in the other world; 0 where the worlds do not differ."""
    names, codes = np.unique(classes, return_inverse=True)
    here, there = (np.bincount(codes[is_choosing & which], minlength=len(names)) for which in (~is_other, is_other))
    seen = np.maximum(here + there, 1)
    surprise, freedom = ((here - there) ** 2 / seen).sum(), len(names) - 1
    if surprise <= freedom + _NOTICEABLE * math.sqrt(2 * freedom):
        return np.zeros(len(classes))
    ratios: _Scores = np.log((there + 0.5) / (here + 0.5))[codes]
    return ratios


def _by_medians(column: _Codes, is_other: _Mask, is_choosing: _Mask) -> _Codes:
    """Below the medians of both worlds, between them, or above: all that Laplace noise can tell."""
    is_there = column > _ABSENT // 2
    middles = [column[is_choosing & is_there & which] for which in (~is_other, is_other)]
    cuts = [math.floor(np.median(middle)) for middle in middles if len(middle)]
    if not cuts:
        return column
    classes = np.where(column <= min(cuts), 0, np.where(column >= max(cuts), 2, 1))
    return np.where(is_there, classes, _ABSENT)


def _by_quantiles(column: _Codes, is_other: _Mask, is_choosing: _Mask) -> _Codes:
    """Some twenty classes of about one size: for what is not Laplace noise."""
    is_there = column > _ABSENT // 2
    if not (is_choosing & is_there).any():
        return column
    edges = np.unique(np.quantile(column[is_choosing & is_there], np.linspace(0, 1, _QUANTILES + 1)[1:-1]))
    return np.where(is_there, np.searchsorted(edges, column), _ABSENT)


def _wilson(share: _Scores, times: int, z: float) -> _Scores:
    """Wilson's approximate bound of a probability: upper with z > 0, lower with z < 0."""
    middle = share + z**2 / (2 * times)
    spread = z * np.sqrt(share * (1 - share) / times + z**2 / (4 * times**2))
    bound: _Scores = np.maximum((middle + spread) / (1 + z**2 / times), 1e-12)
    return bound
