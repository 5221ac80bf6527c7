"""The drill's verdict on a device beside another: never a wrong one, whatever else the machine does."""

from __future__ import annotations

import random

import pytest

from tests.fakes.paces import LEAST_SPANS, Pace, Verdict, cpu_time, frame_rate, latency


def spans(
    count: int, *, slower: float = 0.0, scatter: float = 0.01, bias: float = 0.0, seed: int = 1
) -> list[tuple[Pace, Pace]]:
    """Two devices that take turns. `slower`: what escalating costs; `scatter`: of each span's ratio, `bias`: of one of
    the two against the other; and the machine is up to five times as slow at times, for both.
    """
    rng = random.Random(seed)

    def pace(took: float) -> Pace:
        frames = round(20_000 / took)
        return Pace(frames=frames, seconds=1000.0, cpu_s=0.01 * took * frames, latencies_ms=(40 * took, 41 * took))

    pairs = []
    for number in range(count):
        load, own = rng.uniform(1, 5), bias if number < count / 2 else -bias
        took = [load * rng.lognormvariate(0, scatter) for _ in range(2)]
        pairs.append((pace(took[0]), pace(took[1] * (1 + slower) * (1 + own))))
    return pairs


@pytest.mark.parametrize(
    ("made", "verdict"),
    [
        (spans(112, scatter=0.01), "within"),
        (spans(112, scatter=0.01, slower=0.05), "worse"),
        (spans(112, scatter=0.3), "too noisy to tell"),
        (spans(112, scatter=0.01, bias=0.2), "too noisy to tell"),
        (spans(LEAST_SPANS - 1, scatter=0.0001), "too noisy to tell"),
    ],
)
def test_what_can_be_said_is_said_and_nothing_else(made: list[tuple[Pace, Pace]], verdict: Verdict) -> None:
    for change in (frame_rate(made, 0.02), latency(made, 0.02), cpu_time(made, 0.02)):
        assert change.verdict == verdict
        assert change.low <= change.ratio <= change.high


def test_a_busy_machine_makes_no_verdict_wrong() -> None:
    """Whatever the scatter: nothing that costs nothing is called worse, nothing that costs 5 % within 2 %."""
    for seed in range(60):
        scatter, bias = (0.01, 0.05, 0.2, 0.5)[seed % 4], (0.0, 0.03)[seed % 2]
        free = spans(14 + 14 * (seed % 3), scatter=scatter, bias=bias, seed=seed)
        assert latency(free, 0.02).verdict != "worse"
        dear = spans(14 + 14 * (seed % 3), scatter=scatter, bias=bias, slower=0.05, seed=seed)
        assert latency(dear, 0.02).verdict != "within"


def test_a_span_in_which_one_saw_nothing_tells_nothing() -> None:
    none = Pace(frames=0, seconds=2.0, cpu_s=0.1, latencies_ms=())
    made = [*spans(20), *((pace, none) for pace, _ in spans(20))]
    assert frame_rate(made, 0.02) == frame_rate(spans(20), 0.02)
